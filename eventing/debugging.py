"""The debug port of a process that handles events: loopback only, with a token, off unless configured.

`KNUV_DEBUG_ADDRESS` (host:port) and `KNUV_DEBUG_TOKEN` turn it on together. It is answered only under a loopback name,
so that a web page that points a name of its own at this address cannot ask, and only to who shows the token.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from eventing.event_journal import EventJournal
from kube.loopback import is_loopback_host
from proxies.environment import Environment
from proxies.exchange import Exchange
from proxies.messages import Answer
from proxies.server import Server

__all__ = ["CannotTell", "Debugging", "Route"]

Route = Callable[[Mapping[str, str]], dict[str, Any] | Awaitable[dict[str, Any]]]
"""From the query, the last of equal names, to what is written as JSON, at once or later.

Raises `ValueError` for a wrong query, `CannotTell` where the process cannot do as asked at this moment.
"""


class CannotTell(Exception):
    """What is asked for cannot be had now; says why."""


_HEAD_TIMEOUT_S: Final = 5.0
_FOREIGN: Final = Answer.error(403, "expected a loopback address in Host")
_UNKNOWN: Final = Answer.error(401, "expected Authorization: Bearer and the token of this process")


class Debugging:
    """The debug port of one process. `journal` is None while it is off."""

    def __init__(self, component: str, address: tuple[str, int] | None = None, token: str = "") -> None:
        """`address` None: it is off."""
        self._address = address
        self._token = token.encode()
        self._server: Server | None = None
        self._routes: dict[tuple[bytes, bytes], Route] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self.journal = EventJournal(component) if address is not None else None

    @classmethod
    def from_env(cls, environ: Mapping[str, str], component: str) -> "Debugging":
        """Read both variables. Raises `ConfigError`."""
        if not environ.get("KNUV_DEBUG_ADDRESS"):
            return cls(component)
        reading = Environment(environ)
        address = reading.parsed("KNUV_DEBUG_ADDRESS", _loopback, None, ("", 0))
        token = reading.filled("KNUV_DEBUG_TOKEN")
        reading.finish()
        return cls(component, address, token)

    def serve(self, method: str, path: str, route: Route) -> None:
        """Answer `method` on `path` by `route`."""
        self._routes[method.encode(), path.encode()] = route

    async def start(self) -> int:
        """Listen, if it is on; return the port, 0 while it is off. Raises `OSError`."""
        if self._address is None or self.journal is None:
            return 0
        self.serve("GET", "/debug/events", self.journal.answer)
        loop = asyncio.get_running_loop()
        self._server = Server(loop, self, head_timeout_s=_HEAD_TIMEOUT_S, is_side_port=True)
        return await self._server.listen(*self._address)

    async def stop(self) -> None:
        """Listen no more."""
        for task in self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering)
        if self._server is not None:
            await self._server.stop()

    # What the engine calls.

    def admit(self, exchange: Exchange) -> None:
        """Answer, at once or when it is found."""
        answer = self._answer(exchange)
        if isinstance(answer, Answer):
            exchange.answer(answer)
            return
        task = asyncio.get_running_loop().create_task(_answer_later(exchange, answer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def cancelled(self, exchange: Exchange) -> None:
        """Who asked has left; what was asked for is found all the same."""

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""

    def _answer(self, exchange: Exchange) -> Answer | Awaitable[dict[str, Any]]:
        request = exchange.request
        if not is_loopback_host(request.host.decode("latin-1")):
            return _FOREIGN
        if not hmac.compare_digest(request.get(b"authorization"), b"Bearer " + self._token):
            return _UNKNOWN
        path, _, query = request.target.partition(b"?")
        route = self._routes.get((request.method, path))
        if route is None:
            known = ", ".join(sorted(f"{method.decode()} {path.decode()}" for method, path in self._routes))
            return Answer.error(404, f"try {known}")
        try:
            found = route(dict(parse_qsl(query.decode("utf-8", "replace"))))
        except ValueError as error:
            return Answer.error(400, str(error))
        return _found(found) if isinstance(found, dict) else found


async def _answer_later(exchange: Exchange, finding: Awaitable[dict[str, Any]]) -> None:
    try:
        answer = _found(await finding)
    except ValueError as error:
        answer = Answer.error(400, str(error))
    except CannotTell as error:
        answer = Answer.error(503, str(error))
    except asyncio.CancelledError:
        if exchange.is_held:
            exchange.answer(Answer.error(503, "the process is ending"))
        raise
    except Exception as error:  # a bug; who asked must not wait for ever
        if exchange.is_held:
            exchange.answer(Answer.error(500, f"internal error: {error!r}"))
        raise
    if exchange.is_held:
        exchange.answer(answer)


def _found(found: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(found).encode(), content_type=b"application/json")


def _loopback(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not is_loopback_host(host):
        raise ValueError("expected host:port with a loopback host")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ValueError("expected a port from 0 to 65535")
    return host.strip("[]"), int(port)
