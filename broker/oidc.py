"""Tokens that others show us: JSON Web Tokens of the cluster's issuer, verified with the keys that it publishes.

    discover   <base>/.well-known/openid-configuration  -> issuer, jwks_uri -> keys by id
    verify     signature, issuer, audience, times       -> the subject

A token that was good is remembered until it ends, so that a producer's next event costs a look-up. A token with a key
that is not known makes the keys be fetched again, at most once in 10 s. Loads `cryptography`.

Source: OpenID Connect Discovery 1.0, RFC 7515 to 7519; spec eventing-broker.md 9.1.
"""

import asyncio
import base64
import binascii
import hashlib
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from kube.client import Client
from proxies.logs import Logger

__all__ = ["Keys", "TokenError", "Verifier"]

_AGAIN_S: Final = 10.0
_LEEWAY_S: Final = 300.0
"""How far `nbf` may lie ahead of our clock, as in the original's library."""
_TOKEN_BYTES_MAX: Final = 16 * 1024
_ANSWER_BYTES_MAX: Final = 1 << 20
_KNOWN_MAX: Final = 4096
_WAITING_MAX: Final = 10_000
_API_HOSTS: Final = ("kubernetes.default.svc", "kubernetes.default", "kubernetes.default.svc.cluster.local")
_API_KEYS: Final = "/openid/v1/jwks"
_RSA: Final = {"RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512()}
_PSS: Final = {"PS256": hashes.SHA256(), "PS384": hashes.SHA384(), "PS512": hashes.SHA512()}
_EC: Final = {
    "ES256": (hashes.SHA256(), ec.SECP256R1, 32),
    "ES384": (hashes.SHA384(), ec.SECP384R1, 48),
    "ES512": (hashes.SHA512(), ec.SECP521R1, 66),
}
_CURVES: Final = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


class TokenError(ValueError):
    """A token that proves nothing; says why."""


class Claims(NamedTuple):
    """What a verified token says."""

    subject: str
    audiences: frozenset[str]
    until_s: float
    """Unix time of its end."""


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""


class _Payload(msgspec.Struct):
    iss: str
    sub: str
    exp: float
    aud: str | list[str] = []
    nbf: float | None = None


class _UnknownKey(TokenError):
    """Its key may have been published meanwhile."""


class Keys:
    """The keys of one issuer, and what they prove."""

    def __init__(self, issuer: str, jwks: bytes) -> None:
        """`jwks`: a JSON Web Key Set; keys of kinds that are not known, or that are none, are passed over.

        Raises `ValueError` for what is no set, and for one of which nothing is left by that.
        """
        self.issuer = issuer
        self._keys: dict[str, list[rsa.RSAPublicKey | ec.EllipticCurvePublicKey]] = {}
        problem = ""
        for each in msgspec.json.decode(jwks, type=dict[str, Any]).get("keys") or []:
            try:
                key = _key_of(each) if isinstance(each, dict) else None
            except (KeyError, ValueError, UnsupportedAlgorithm) as error:
                problem = f"key {str(each.get('kid'))[:64]!r}: {error!r}"
                continue
            if key is not None:
                self._keys.setdefault(str(each.get("kid") or ""), []).append(key)
        if problem and not self._keys:
            raise ValueError(problem)

    def claims(self, token: bytes, now_s: float) -> Claims:
        """Return what a token says, its audience not looked at. Raises `TokenError`."""
        signed, _, signature = token.rpartition(b".")
        head, _, payload = signed.partition(b".")
        try:
            header = msgspec.json.decode(_decoded(head), type=_Header)
            claims = msgspec.json.decode(_decoded(payload), type=_Payload)
            proof = _decoded(signature)
        except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, RecursionError) as error:
            raise TokenError(f"expected a JSON Web Token: {error}") from error
        keys = self._keys.get(header.kid)
        if keys is None:
            raise _UnknownKey(f"no key {header.kid[:64]!r}")
        if not any(_is_signed(key, header.alg, signed, proof) for key in keys):
            raise TokenError("the signature does not fit")
        if claims.iss != self.issuer:
            raise TokenError(f"expected issuer {self.issuer!r}, got {claims.iss[:200]!r}")
        # Written so that NaN is refused, too.
        if not claims.exp > now_s:
            raise TokenError("it has expired")
        if claims.nbf is not None and not claims.nbf <= now_s + _LEEWAY_S:
            raise TokenError("it is not valid yet")
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        return Claims(claims.sub, frozenset(audiences), claims.exp)


class _Question(NamedTuple):
    token: bytes
    audience: str
    then: Callable[[str], None]


class Verifier:
    """Verifies on one loop; fetches keys when it has to."""

    def __init__(self, client: Client, log: Logger, *, unix_s: Callable[[], float] = time.time) -> None:
        """`client`: the API's, which also publishes the keys unless another base URL is configured."""
        self._client = client
        self._log = log
        self._unix_s = unix_s
        self._base_url = ""
        self._keys: Keys | None = None
        self._known: dict[bytes, Claims] = {}
        """By the token's sum: what is in our memory is of no use to whoever reads it."""
        self._waiting: list[_Question] = []
        self._task: asyncio.Task[None] | None = None
        self._asked_s = -_AGAIN_S

    def discover(self, base_url: str) -> None:
        """Trust this issuer from now on."""
        if base_url == self._base_url:
            return
        self._base_url = base_url
        self._keys = None
        self._known.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._fetch()

    async def stop(self) -> None:
        """Ask no more. Who still waits is not called."""
        self._waiting.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def verify(self, token: bytes, audience: str, then: Callable[[str], None]) -> None:
        """Call `then` with the token's subject, at once or later; empty when it proves nothing for `audience`."""
        question = _Question(token, audience, then)
        try:
            subject = self._subject(question)
        except _UnknownKey:
            now_s = asyncio.get_running_loop().time()
            if self._task is None and now_s - self._asked_s >= _AGAIN_S:
                self._fetch()
            if self._task is None or len(self._waiting) >= _WAITING_MAX:
                then("")
            else:
                self._waiting.append(question)
        else:
            then(subject)

    def _subject(self, question: _Question) -> str:
        """Raises `_UnknownKey`."""
        token, audience, _ = question
        if len(token) > _TOKEN_BYTES_MAX:
            return ""
        now_s = self._unix_s()
        sum_ = hashlib.sha256(token).digest()
        claims = self._known.get(sum_)
        if claims is None:
            if self._keys is None:
                raise _UnknownKey("no keys are known yet")
            try:
                claims = self._keys.claims(token, now_s)
            except _UnknownKey:
                raise
            except TokenError as error:
                self._log.debug("token_refused", problem=str(error))
                return ""
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[sum_] = claims
        if claims.until_s <= now_s:
            return ""
        return claims.subject if audience and audience in claims.audiences else ""

    def _fetch(self) -> None:
        loop = asyncio.get_running_loop()
        self._asked_s = loop.time()
        self._task = loop.create_task(self._fetch_keys(self._base_url))

    async def _fetch_keys(self, base_url: str) -> None:
        try:
            configuration = msgspec.json.decode(
                await self._get(f"{base_url}/.well-known/openid-configuration"), type=dict[str, Any]
            )
            keys = Keys(str(configuration["issuer"]), await self._get(str(configuration["jwks_uri"])))
        except Exception as error:  # noqa: BLE001 - whatever an issuer published, those who wait have to hear it
            self._log.error("oidc_keys_unavailable", base_url=base_url, problem=f"{type(error).__name__}: {error}")
        else:
            self._keys = keys
            self._known.clear()
            self._log.info("oidc_keys", issuer=keys.issuer)
        self._task = None
        waiting, self._waiting = self._waiting, []
        for question in waiting:
            try:
                subject = self._subject(question)
            except _UnknownKey:
                subject = ""
            question.then(subject)

    async def _get(self, url: str) -> bytes:
        parts = urlsplit(url)
        is_api = parts.hostname in _API_HOSTS or parts.netloc == urlsplit(self._client.config.server).netloc
        if is_api or (parts.path == _API_KEYS and urlsplit(self._base_url).hostname in _API_HOSTS):
            # By the way to the API, and with the identity, that we have: its own URL of itself may be of no use here.
            return await self._client.raw("GET", parts.path)
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            response.raise_for_status()
            body = bytearray()
            async for part in response.content.iter_any():
                body += part
                if len(body) > _ANSWER_BYTES_MAX:
                    raise ValueError(f"expected at most {_ANSWER_BYTES_MAX} bytes")
            return bytes(body)


def _decoded(part: bytes) -> bytes:
    return base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _number(text: object) -> int:
    return int.from_bytes(_decoded(str(text).encode()), "big")


def _key_of(jwk: dict[str, Any]) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | None:
    if jwk.get("use", "sig") != "sig":
        return None
    if jwk.get("kty") == "RSA":
        return rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
    curve = _CURVES.get(str(jwk.get("crv")))
    if jwk.get("kty") == "EC" and curve is not None:
        return ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve).public_key()
    return None


def _is_signed(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, algorithm: str, signed: bytes, signature: bytes
) -> bool:
    """Whether `key` made the signature by `algorithm`; an algorithm that is not the key's own proves nothing."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            if algorithm in _RSA:
                key.verify(signature, signed, padding.PKCS1v15(), _RSA[algorithm])
            elif algorithm in _PSS:
                sum_ = _PSS[algorithm]
                key.verify(signature, signed, padding.PSS(padding.MGF1(sum_), sum_.digest_size), sum_)
            else:
                return False
            return True
        if algorithm not in _EC:
            return False
        hash_, curve, size = _EC[algorithm]
        if not isinstance(key.curve, curve) or len(signature) != 2 * size:
            return False
        numbers = (int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))
        key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(hash_))
    except InvalidSignature:
        return False
    return True
