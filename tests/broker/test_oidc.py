"""`broker/oidc.py`: which tokens prove something."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from broker.oidc import Keys, TokenError
from tests.broker.issuer import Issuer, encoded

ISSUER = Issuer()
KEYS = Keys(ISSUER.url, ISSUER.jwks())
NOW_S = time.time()


@pytest.mark.parametrize("kid", ["rsa", "ec"])
def test_a_good_token_says_who_and_for_whom(kid: str) -> None:
    claims = KEYS.claims(ISSUER.token("me", "a", "b", kid=kid, nbf=NOW_S), NOW_S)
    assert (claims.subject, claims.audiences) == ("me", {"a", "b"})
    assert KEYS.claims(ISSUER.token("me", aud="one"), NOW_S).audiences == {"one"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://other.example"}, "expected issuer"),
        ({"exp": NOW_S - 1}, "expired"),
        ({"exp": None}, "expected a JSON Web Token"),
        ({"sub": None}, "expected a JSON Web Token"),
        ({"nbf": NOW_S + 1000}, "not valid yet"),
        ({"kid": "unknown"}, "no key 'unknown'"),
        ({"alg": "none"}, "signature"),
        ({"alg": "RS256"}, "signature"),
        ({"alg": "ES384"}, "signature"),
        ({"kid": "rsa", "alg": "ES256"}, "signature"),
        ({"kid": "rsa", "alg": "RS512"}, "signature"),
        ({"kid": "other"}, "no key"),
    ],
)
def test_what_proves_nothing(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError, match=reason):
        KEYS.claims(ISSUER.token(**{"subject": "me", **change}), NOW_S)


def test_a_changed_token_proves_nothing() -> None:
    head, payload, signature = ISSUER.token("me", "a").split(b".")
    content = json.loads(base64.urlsafe_b64decode(payload + b"=="))
    other = encoded(json.dumps({**content, "sub": "you"}).encode()).encode()
    for token in (
        b".".join([head, other, signature]),
        b".".join([head, payload, b""]),
        b".".join([head, payload, signature[:-4]]),
        head + b"." + payload,
        b"",
        b"...",
        b"\xff.\xff.\xff",
        b"[" * 10_000,
    ):
        with pytest.raises(TokenError):
            KEYS.claims(token, NOW_S)


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    """The oldest trick: a sum made with the published key as a secret."""
    header = encoded(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
    payload = encoded(json.dumps({"iss": ISSUER.url, "sub": "me", "exp": NOW_S + 60}).encode())
    signed = f"{header}.{payload}".encode()
    proof = hmac.digest(ISSUER.jwks(), signed, hashlib.sha256)
    with pytest.raises(TokenError, match="signature"):
        KEYS.claims(signed + b"." + encoded(proof).encode(), NOW_S)


@pytest.mark.parametrize(
    "jwks", [b"", b"[]", b"{", b'{"keys":[{"kty":"RSA"}]}', b'{"keys":[{"kty":"EC","crv":"P-256"}]}']
)
def test_keys_that_are_none_are_refused(jwks: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        Keys("https://issuer.example", jwks)


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "RSA", "n": "AQ", "e": "AQ"},
        {"kty": "RSA"},
        {"kty": "RSA", "n": "@", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"},
        {"kty": "EC", "crv": ["P-256"], "x": "AQ", "y": "AQ"},
        {"kty": "EC", "crv": "P-256", "x": None, "y": 5},
    ],
)
def test_a_key_that_is_none_takes_nothing_from_the_others(key: dict[str, Any]) -> None:
    """RFC 7517 section 5."""
    keys = json.dumps({"keys": [{"kid": "bad", **key}, *json.loads(ISSUER.jwks())["keys"]]})
    assert Keys(ISSUER.url, keys.encode()).claims(ISSUER.token("me", "a"), NOW_S).subject == "me"
