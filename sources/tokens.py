"""Tokens that say who a source is, for sinks that have an audience (OIDC).

Kubernetes makes them for the source's service account; they are kept until shortly before they run out. Source: spec
eventing-broker.md 9.4.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable
from kube.models.core import ServiceAccount
from kube.timestamps import parse_time_s

__all__ = ["TokenError", "Tokens"]

_LIFETIME_S: Final = 3600
_MARGIN_S: Final = 300.0
_KNOWN_MAX: Final = 1024


class TokenError(Exception):
    """There is no token; says why."""


class _Token(NamedTuple):
    text: str
    expires_s: float


class Tokens:
    """Asks the API for tokens; one request at a time for each account and audience."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        """`clock`: Unix seconds."""
        self._client = client
        self._now_s = clock
        self._known: OrderedDict[tuple[str, str, str], _Token] = OrderedDict()
        self._asking = asyncio.Lock()

    async def get(self, namespace: str, account: str, audience: str) -> str:
        """A token of a service account for an audience. Raises `TokenError`."""
        key = (namespace, account, audience)
        async with self._asking:
            token = self._known.get(key)
            if token is None or token.expires_s - _MARGIN_S <= self._now_s():
                token = self._known[key] = await self._request(namespace, account, audience)
                if len(self._known) > _KNOWN_MAX:
                    self._known.popitem(last=False)
        return token.text

    async def _request(self, namespace: str, account: str, audience: str) -> _Token:
        path = ServiceAccount.RESOURCE.path(namespace, account, "token")
        spec = {"audiences": [audience], "expirationSeconds": _LIFETIME_S}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = json.loads(await self._client.raw("POST", path, body=json.dumps(body).encode()))
            status = answer["status"]
            return _Token(str(status["token"]), parse_time_s(status["expirationTimestamp"]))
        except (ApiError, ApiUnreachable, ValueError, KeyError, TypeError) as error:
            raise TokenError(f"no token of service account {namespace}/{account} for {audience}: {error}") from error
