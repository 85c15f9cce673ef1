"""An issuer of tokens for tests: keys of its own, and what it publishes of them."""

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

__all__ = ["Issuer", "encoded"]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Issuer:
    """One RSA and one EC key."""

    def __init__(self, url: str = "https://issuer.example") -> None:
        self.url = url
        self._rsa = rsa.generate_private_key(65537, 2048)
        self._ec = ec.generate_private_key(ec.SECP256R1())

    def jwks(self) -> bytes:
        """The public keys."""
        numbers, point = self._rsa.public_key().public_numbers(), self._ec.public_key().public_numbers()
        keys = [
            {"kty": "RSA", "kid": "rsa", "use": "sig", "n": _number(numbers.n), "e": _number(numbers.e)},
            {"kty": "EC", "kid": "ec", "crv": "P-256", "x": _number(point.x), "y": _number(point.y)},
            {"kty": "oct", "kid": "other", "k": "AAAA"},
        ]
        return json.dumps({"keys": keys}).encode()

    def token(self, subject: str, *audiences: str, kid: str = "ec", alg: str = "", **claims: Any) -> bytes:
        """A token for these audiences that lasts a minute; claims that are None are left out."""
        header = {"alg": alg or ("ES256" if kid == "ec" else "RS256"), "kid": kid}
        content = {"iss": self.url, "sub": subject, "aud": list(audiences), "exp": time.time() + 60, **claims}
        content = {name: value for name, value in content.items() if value is not None}
        signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(content).encode())}".encode()
        return signed + b"." + encoded(self._signature(signed, kid)).encode()

    def _signature(self, signed: bytes, kid: str) -> bytes:
        if kid == "rsa":
            return self._rsa.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self._ec.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
