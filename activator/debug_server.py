"""What the activator knows of every revision, as JSON, on a loopback listener: GET /debug/state.

Off unless configured. Read only. Answered only under a loopback name, so that a web page that points a name of its own
at this address cannot read along.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from kube.loopback import is_loopback_host
from proxies.exchange import Exchange
from proxies.messages import Answer, RequestHead
from proxies.server import Server

__all__ = ["DebugServer"]

_PATH: Final = b"/debug/state"
_HEAD_TIMEOUT_S: Final = 5.0
_NOT_FOUND: Final = Answer.error(404, "try GET /debug/state")
_FOREIGN: Final = Answer.error(403, "expected a loopback address in Host")


class DebugServer:
    """`start` listens, `stop` closes. `state()` returns what can be written as JSON."""

    def __init__(self, loop: asyncio.AbstractEventLoop, state: Callable[[], dict[str, Any]]) -> None:
        self._server = Server(loop, _StatePolicy(state), head_timeout_s=_HEAD_TIMEOUT_S, is_side_port=True)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port. Raises `OSError` when the address cannot be had."""
        return await self._server.listen(host, port)

    async def stop(self) -> None:
        """Listen no more."""
        await self._server.stop()


class _StatePolicy:
    """Answers with the state."""

    def __init__(self, state: Callable[[], dict[str, Any]]) -> None:
        self._state = state

    def admit(self, exchange: Exchange) -> None:
        """`GET` of the one page."""
        request: RequestHead = exchange.request
        if not is_loopback_host(request.host.decode("latin-1")):
            exchange.answer(_FOREIGN)
        elif request.method != b"GET" or request.target.partition(b"?")[0] != _PATH:
            exchange.answer(_NOT_FOUND)
        else:
            exchange.answer(Answer(200, json.dumps(self._state()).encode(), content_type=b"application/json"))

    def cancelled(self, exchange: Exchange) -> None:
        """Nothing is held."""

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""
