"""One request of HTTP/2 on a connection of its own: for probes, as `proxies.probe` does it in HTTP/1.1."""

import asyncio
import time
from collections.abc import Iterable

from proxies.fields import Field
from proxies.http2.client import ClientConnection
from proxies.http2.errors import CANCEL
from proxies.http2.hpack import encode
from proxies.http2.stream import Stream
from proxies.http2.transport import CoreProtocol
from proxies.messages import ResponseHead

__all__ = ["Response", "ask"]


class Response:
    """What came back."""

    __slots__ = ("body", "head", "trailers")

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.body = b""
        self.trailers: list[Field] = []


async def ask(
    loop: asyncio.AbstractEventLoop,
    host: str,
    port: int,
    fields: Iterable[tuple[bytes, bytes]],
    body: bytes = b"",
    *,
    body_bytes_max: int = 64 * 1024,
) -> Response:
    """Send a request, pseudo-headers among its `fields`, over plaintext; return the whole response.

    `host` is an address, or the path of a unix socket. Time is the caller's to limit. Raises `OSError`, also for a peer
    that does not speak HTTP/2, resets the stream, or answers with more than `body_bytes_max`.
    """
    protocol = _Asking(loop, b"".join(encode(*field) for field in fields), body, body_bytes_max)
    if host.startswith("/"):
        transport, _ = await loop.create_unix_connection(lambda: protocol, host)
    else:
        transport, _ = await loop.create_connection(lambda: protocol, host, port)
    try:
        return await protocol.response
    finally:
        transport.abort()


class _Asking(CoreProtocol):
    """The connection."""

    core: ClientConnection

    def __init__(self, loop: asyncio.AbstractEventLoop, block: bytes, body: bytes, body_bytes_max: int) -> None:
        super().__init__(loop)
        self.core = ClientConnection(self, time.monotonic)
        self.response: asyncio.Future[Response] = loop.create_future()
        self._block = block
        self._body = body
        self._body_bytes_max = body_bytes_max

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        stream = _AskingStream(self.core, self.response, self._body_bytes_max)
        self.core.open(stream, self._block, not self._body)
        if self._body:
            stream.send_data(self._body, True)


class _AskingStream(Stream):
    """Its one stream."""

    __slots__ = ("_body_bytes_max", "_future", "_response")

    def __init__(self, core: ClientConnection, future: "asyncio.Future[Response]", body_bytes_max: int) -> None:
        super().__init__(core)
        self._future = future
        self._body_bytes_max = body_bytes_max
        self._response: Response

    def response_received(self, head: ResponseHead, is_done: bool) -> None:
        self._response = Response(head)
        if is_done:
            self._done()

    def data_received(self, data: bytes, is_done: bool) -> None:
        self._response.body += data
        if len(self._response.body) > self._body_bytes_max:
            self.reset(CANCEL)
            self._fail(f"expected a body of at most {self._body_bytes_max} bytes")
        elif is_done:
            self._done()

    def trailers_received(self, fields: list[Field]) -> None:
        self._response.trailers = fields
        self._done()

    def lost(self, code: int, text: str, *, is_unprocessed: bool) -> None:
        self._fail(text)

    def _done(self) -> None:
        if not self._future.done():
            self._future.set_result(self._response)

    def _fail(self, text: str) -> None:
        if not self._future.done():
            self._future.set_exception(ConnectionError(text))
