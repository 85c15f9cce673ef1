"""Tokens that we show to others: of service accounts, for an audience each, asked of the API and kept while they last.

Whoever needs one gets it at once when it is known, otherwise when the API has answered; requests for the same token
share one question. Source: Kubernetes API reference, TokenRequest; spec eventing-broker.md 9.4.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable
from kube.models.meta import ResourceInfo
from kube.timestamps import parse_time_s
from proxies.logs import Logger

__all__ = ["Tokens"]

_ACCOUNTS: Final = ResourceInfo("", "v1", "serviceaccounts", "ServiceAccount")
_LIFETIME_S: Final = 3600
_MARGIN_S: Final = 300.0
"""A token is not shown any more when it has less left."""
_AGAIN_S: Final = 1.0
"""A question that failed is not asked again before."""
_TOKENS_MAX: Final = 10_000


class _Key(NamedTuple):
    namespace: str
    account: str
    audience: str


class _Token(NamedTuple):
    line: bytes | None
    """None: it could not be had."""
    until_s: float
    """Unix time until which this holds."""


class _Status(msgspec.Struct):
    token: str
    expiration_timestamp: str = msgspec.field(name="expirationTimestamp")


class _Answer(msgspec.Struct):
    status: _Status


class Tokens:
    """Keeps at most 10,000; beyond that all are asked for anew."""

    def __init__(self, client: Client, log: Logger, *, unix_s: Callable[[], float] = time.time) -> None:
        self._client = client
        self._log = log
        self._unix_s = unix_s
        self._tokens: dict[_Key, _Token] = {}
        self._waiting: dict[_Key, list[Callable[[bytes | None], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def line(self, namespace: str, account: str, audience: str, then: Callable[[bytes | None], None]) -> None:
        """Call `then` with the line `Authorization: Bearer ...`, at once or later; None: there is no token."""
        key = _Key(namespace, account, audience)
        token = self._tokens.get(key)
        left_s = token.until_s - self._unix_s() if token is not None else 0.0
        # A clock that was set back meanwhile makes no failure last.
        if token is not None and left_s > 0 and (token.line is not None or left_s <= _AGAIN_S):
            then(token.line)
            return
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(then)
            return
        self._waiting[key] = [then]
        task = asyncio.get_running_loop().create_task(self._ask(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Ask no more. Who still waits is not called."""
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: _Key) -> None:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [key.audience], "expirationSeconds": _LIFETIME_S},
        }
        path = _ACCOUNTS.path(key.namespace, key.account, "token")
        try:
            if not key.account:
                raise ValueError("expected a service account, got none")
            answer = await self._client.raw("POST", path, body=msgspec.json.encode(request))
            status = msgspec.json.decode(answer, type=_Answer).status
            line = f"Authorization: Bearer {status.token}".encode("ascii")
            token = _Token(line, parse_time_s(status.expiration_timestamp) - _MARGIN_S)
        except (ApiError, ApiUnreachable, msgspec.DecodeError, ValueError) as error:
            self._log.error(
                "token_refused",
                service_account=f"{key.namespace}/{key.account}",
                audience=key.audience,
                problem=str(error),
            )
            token = _Token(None, self._unix_s() + _AGAIN_S)
        if len(self._tokens) >= _TOKENS_MAX:
            self._tokens.clear()
        self._tokens[key] = token
        for then in self._waiting.pop(key, ()):
            then(token.line)
