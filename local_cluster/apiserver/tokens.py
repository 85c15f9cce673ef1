"""Tokens of service accounts: one for each account, as long as the server lives.

Source: Kubernetes API reference, TokenRequest. What a request says about audiences and lifetime is accepted; the token
is the same for all and ends with the stack.
"""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from local_cluster.apiserver.errors import bad_request
from local_cluster.apiserver.objects import Identity

__all__ = ["ServiceAccountTokens"]

_EXPIRATION_S = 3600


class ServiceAccountTokens:
    """Issues tokens; `add` makes the server accept them."""

    def __init__(self, add: Callable[[str, Identity], None]) -> None:
        self._add = add
        self._tokens: dict[tuple[str, str], str] = {}

    def issue(self, namespace: str, account: str) -> str:
        """The token of an account."""
        key = (namespace, account)
        if key not in self._tokens:
            token = secrets.token_urlsafe(32)
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
            self._add(token, Identity(f"system:serviceaccount:{namespace}:{account}", groups))
            self._tokens[key] = token
        return self._tokens[key]

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
