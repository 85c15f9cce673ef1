"""Tokens of service accounts: text that says for whom it stands, and a proof that it was issued with the server's key.

So a server knows its predecessor's tokens as long as the key is the same, and keeps no list. Source: Kubernetes API
reference, TokenRequest. What a request says about audiences and lifetime is accepted; the token is the same for all and
ends with the key.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

from local_cluster.apiserver.errors import bad_request
from local_cluster.apiserver.objects import Identity

__all__ = ["ServiceAccountTokens"]

_EXPIRATION_S = 3600


class ServiceAccountTokens:
    """Issues tokens with `key`, at least 16 random bytes, and recognises them."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError(f"expected a key of at least 16 bytes, got {len(key)}")
        self._key = key

    def issue(self, namespace: str, account: str) -> str:
        """The token of an account, which need not exist as an object."""
        subject = f"{namespace}:{account}".encode()
        return f"{_text(subject)}.{_text(self._proof(subject))}"

    def identity_of(self, token: str) -> Identity | None:
        """For whom a token stands; None for text that was not issued with this key."""
        subject, _, proof = token.partition(".")
        try:
            told, proven = _bytes(subject), _bytes(proof)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(self._proof(told), proven):
            return None
        namespace, _, account = told.decode().partition(":")
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return Identity(f"system:serviceaccount:{namespace}:{account}", groups)

    def answer(self, namespace: str, account: str, request: dict[str, Any]) -> dict[str, Any]:
        """A TokenRequest with its status filled in. Raises 400."""
        spec = request.get("spec") or {}
        seconds = spec.get("expirationSeconds", _EXPIRATION_S)
        if not isinstance(seconds, int) or not 600 <= seconds <= 1 << 32:
            raise bad_request(f"spec.expirationSeconds: expected a number from 600 to 2^32, got {seconds!r}")
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        return {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": account, "namespace": namespace},
            "spec": {**spec, "expirationSeconds": seconds},
            "status": {
                "token": self.issue(namespace, account),
                "expirationTimestamp": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }

    def _proof(self, subject: bytes) -> bytes:
        return hmac.digest(self._key, subject, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
