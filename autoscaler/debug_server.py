"""GET /debug/state on a loopback listener: the figures of every revision, as JSON, for whoever watches the autoscaler.

Off unless configured. Not part of Knative's contract, so it has a listener of its own and port 8080 stays the
original's.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

__all__ = ["DebugServer"]

_HEAD_BYTES_MAX = 8192
_TIMEOUT_S = 5.0


class DebugServer:
    """Answers one request per connection. `state` returns what can be written as JSON."""

    def __init__(self, state: Callable[[], dict[str, Any]]) -> None:
        self._state = state
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises `OSError` when the address cannot be had."""
        self._server = await asyncio.start_server(self._answer, host, port, limit=_HEAD_BYTES_MAX)

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
                if head.startswith((b"GET /debug/state ", b"GET /debug/state?")):
                    status, body = "200 OK", json.dumps(self._state()).encode()
                else:
                    status, body = "404 Not Found", b'{"error":"try GET /debug/state"}'
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
