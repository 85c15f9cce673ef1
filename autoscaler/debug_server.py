"""What the autoscaler knows and why it decided so, as JSON, on a loopback listener.

    GET /debug/state                            the figures of every revision
    GET /debug/decisions/NAMESPACE/REVISION     one revision's last decisions, with their inputs and reasons

Off unless configured. Not part of Knative's contract, so it has a listener of its own and port 8080 stays the
original's. Read only. Answered only under a loopback name, so that a web page that points a name of its own at this
address cannot read along.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeAlias

from autoscaler.multiscaler import RevisionKey
from kube.loopback import is_loopback_host

__all__ = ["DebugServer"]

Json: TypeAlias = dict[str, Any]

_HEAD_BYTES_MAX = 8192
_TIMEOUT_S = 5.0
_STATE = "/debug/state"
_DECISIONS = "/debug/decisions/"
_HELP = f"try GET {_STATE} or GET {_DECISIONS}NAMESPACE/REVISION"


class DebugServer:
    """Answers one request per connection. `state()` and `decisions(key)` return what can be written as JSON; the latter
    None for a revision that is not known."""

    def __init__(self, state: Callable[[], Json], decisions: Callable[[RevisionKey], Json | None]) -> None:
        self._state = state
        self._decisions = decisions
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises `OSError` when the address cannot be had.

        On one machine a successor has the same address as its predecessor, which may still be ending: both may listen.
        """
        self._server = await asyncio.start_server(self._answer, host, port, limit=_HEAD_BYTES_MAX, reuse_port=True)

    async def stop(self) -> None:
        """Close the listener."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, content = self._page(head.decode("latin-1"))
                body = json.dumps(content).encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            return  # the asker went away or does not speak HTTP; nobody is waiting
        finally:
            writer.close()

    def _page(self, head: str) -> tuple[str, Json]:
        """Status and content."""
        request_line, *lines = head.split("\r\n")
        host = next((line[5:].strip() for line in lines if line[:5].lower() == "host:"), "")
        if not is_loopback_host(host):
            return "403 Forbidden", {"error": f"expected a loopback address in Host, got {host!r}"}
        method, _, rest = request_line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method != "GET":
            return "405 Method Not Allowed", {"error": _HELP}
        if path == _STATE:
            return "200 OK", self._state()
        namespace, slash, name = path.removeprefix(_DECISIONS).partition("/")
        if not (path.startswith(_DECISIONS) and slash and namespace and name):
            return "404 Not Found", {"error": _HELP}
        decisions = self._decisions((namespace, name))
        if decisions is None:
            problem = f"no revision {namespace}/{name} is decided here; another replica may own it"
            return "404 Not Found", {"error": problem}
        return "200 OK", decisions
