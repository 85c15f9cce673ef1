"""Tokens that say who a source is, for sinks that have an audience (OIDC).

Kubernetes makes them for the source's service account; they are kept until shortly before they run out. Source: spec
eventing-broker.md 9.4.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable
from kube.models.core import ServiceAccount
from kube.timestamps import parse_time_s

__all__ = ["TokenError", "Tokens"]

_LIFETIME_S: Final = 3600
_MARGIN_S: Final = 300.0
_KNOWN_MAX: Final = 1024
_Key: TypeAlias = tuple[str, str, str]
"""Namespace, account, audience."""


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
        self._known: OrderedDict[_Key, _Token] = OrderedDict()
        self._asking: dict[_Key, asyncio.Task[_Token]] = {}

    async def get(self, namespace: str, account: str, audience: str) -> str:
        """A token of a service account for an audience. Raises `TokenError`."""
        key = (namespace, account, audience)
        token = self._known.get(key)
        if token is None or token.expires_s - _MARGIN_S <= self._now_s():
            asking = self._asking.get(key)
            if asking is None:
                asking = self._asking[key] = asyncio.get_running_loop().create_task(self._request(*key))
                asking.add_done_callback(lambda task: self._asked(key, task))
            # Others may wait for the same one.
            token = await asyncio.shield(asking)
        return token.text

    def _asked(self, key: _Key, asking: "asyncio.Task[_Token]") -> None:
        del self._asking[key]
        if asking.cancelled() or asking.exception() is not None:
            return  # whoever still waits hears it
        self._known[key] = asking.result()
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

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
