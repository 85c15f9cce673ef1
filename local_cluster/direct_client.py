"""The API client of the process that is the API server: the same calls and refusals, without a connection in between.

Node and workload controllers live in that process. Over HTTPS each of their calls cost it both ends of HTTP and TLS,
about a millisecond; a pod's start is three calls in a row, and three watches.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from kube.client import Client
from kube.config import ApiConfig
from kube.errors import ApiUnreachable, error_from_status
from local_cluster.apiserver.handlers import Answer
from local_cluster.apiserver.server import ApiServer, Identity

__all__ = ["DirectClient"]


class DirectClient(Client):
    """A client that is `identity` to `server`. Calls raise `ApiError`, and `ApiUnreachable` once it is closed."""

    def __init__(self, server: ApiServer, identity: Identity, *, agent: str) -> None:
        super().__init__(ApiConfig(server=server.url), user_agent=agent)
        self._server = server
        self._identity = identity
        self._agent = agent
        self._is_open = False

    async def open(self) -> None:
        """Nothing to connect."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse further calls. Watches end with the tasks that read them."""
        self._is_open = False

    async def raw(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
        accept: str | None = None,
    ) -> bytes:
        """One call by path; the answer's bytes when its status is 2xx."""
        answer = await self._ask(
            method,
            path,
            query=params or {},
            body=body or b"",
            content_type=content_type if body is not None else "",
            accept=accept or "application/json",
        )
        if answer.stream is None:
            return answer.body
        try:
            return b"".join([chunk async for chunk in answer.stream])
        finally:
            await answer.stream.aclose()

    async def stream(self, path: str, params: Mapping[str, str], *, silence_max_s: float) -> AsyncIterator[bytes]:
        """The lines of an answer that goes on; within one process nobody falls silent."""
        answer = await self._ask("GET", path, query=params, accept="application/json")
        if answer.stream is None:
            return
        try:
            async for chunk in answer.stream:
                for line in chunk.splitlines():
                    yield line
        finally:
            await answer.stream.aclose()

    async def _ask(self, method: str, path: str, **parts: Any) -> Answer:
        if not self._is_open:
            raise ApiUnreachable("the client is closed")
        answer = await self._server.ask(self._identity, method, path, agent=self._agent, **parts)
        if answer.status >= 300:
            raise error_from_status(answer.status, orjson.loads(answer.body))
        return answer
