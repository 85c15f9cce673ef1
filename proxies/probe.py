"""One-shot HTTP and TCP probes: connect, ask, hang up. No pool, no redirects, nothing left behind.

Used by queue-proxy for the readiness of the user container and by the activator for its pods. The result comes by a
callback, so that many probes run side by side without a waiter each.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from proxies.bodies import BodyReader, ChunkedBody, LengthBody, UntilCloseBody
from proxies.heads import response_head
from proxies.http1 import HttpError
from proxies.messages import ResponseHead

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Probe", "ProbeResult", "http_request", "probe_http", "probe_tcp"]

_HEAD_BYTES_MAX: Final = 64 * 1024


class ProbeResult:
    """What a probe learnt."""

    __slots__ = ("body", "error", "head", "is_refused", "status")

    def __init__(
        self, *, head: ResponseHead | None = None, body: bytes = b"", error: str = "", is_refused: bool = False
    ) -> None:
        self.head = head
        """Head of the final response; None when there was none, and for TCP."""
        self.status = head.status if head is not None else 0
        """HTTP status; 0 when there was no response, and for TCP."""
        self.body = body
        """Beginning of the body, at most `body_bytes_max`."""
        self.error = error
        """Why there is no whole response; empty when there is one, for TCP when the connection was made."""
        self.is_refused = is_refused
        """The error is that nobody listens there."""

    def __repr__(self) -> str:
        return f"ProbeResult(status={self.status}, body={self.body!r}, error={self.error!r})"


class Probe:
    """A probe under way."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        port: int,
        *,
        request: bytes,
        timeout_s: float,
        done: Callable[[ProbeResult], None],
        body_bytes_max: int,
        tls: "SSLContext | None" = None,
    ) -> None:
        self._loop = loop
        self._host = host
        self._port = port
        self._request = request
        self._timeout_s = timeout_s
        self._done = done
        self._body_bytes_max = body_bytes_max
        self._tls = tls
        self._task = loop.create_task(self._run())

    def cancel(self) -> None:
        """Close the connection; the callback is not called."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s or None):
                result = await self._ask()
        except TimeoutError:
            result = ProbeResult(error=f"no result within {self._timeout_s:g} s")
        except OSError as error:
            # OpenSSL's errors have numbers of their own, and texts.
            is_systems = error.errno and not hasattr(error, "library")
            text = _reason(error.errno) if is_systems else str(error)
            result = ProbeResult(error=text, is_refused=isinstance(error, ConnectionRefusedError))
        except (ValueError, OverflowError) as error:
            # A redirect may lead to a host or port that no address can be made of.
            result = ProbeResult(error=str(error))
        self._done(result)

    async def _ask(self) -> ProbeResult:
        connection = _ProbeConnection(self._loop.create_future(), self._request, self._body_bytes_max)
        if self._host.startswith("/"):
            transport, _ = await self._loop.create_unix_connection(lambda: connection, self._host)
        else:
            transport, _ = await self._loop.create_connection(lambda: connection, self._host, self._port, ssl=self._tls)
        try:
            return await connection.result if self._request else ProbeResult()
        finally:
            transport.abort()


@lru_cache(maxsize=32)
def _reason(number: int) -> str:
    """What an error number says. Kept, as `strerror` takes longer than the probe where translations may exist."""
    return os.strerror(number).lower()


def probe_http(
    loop: asyncio.AbstractEventLoop,
    host: str,
    port: int,
    *,
    request: bytes,
    timeout_s: float,
    done: Callable[[ProbeResult], None],
    body_bytes_max: int = 1024,
    tls: "SSLContext | None" = None,
) -> Probe:
    """Connect, send `request` (a whole HTTP/1.1 request), call `done` once with the response or why there is none.

    `host` is an address, or the path of a unix socket. `timeout_s` covers all of it; 0: no limit. `tls`: ask over TLS.
    """
    return Probe(
        loop, host, port, request=request, timeout_s=timeout_s, done=done, body_bytes_max=body_bytes_max, tls=tls
    )


def probe_tcp(
    loop: asyncio.AbstractEventLoop, host: str, port: int, *, timeout_s: float, done: Callable[[ProbeResult], None]
) -> Probe:
    """Connect and close; call `done` once. `timeout_s` 0: no limit."""
    return Probe(loop, host, port, request=b"", timeout_s=timeout_s, done=done, body_bytes_max=0)


def http_request(target: bytes, host: bytes, fields: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Return a GET without keep-alive, to be sent by `probe_http`."""
    lines = [b"GET %s HTTP/1.1" % target, b"Host: " + host]
    lines.extend(b"%s: %s" % field for field in fields)
    lines.append(b"Connection: close\r\n\r\n")
    return b"\r\n".join(lines)


class _ProbeConnection(asyncio.Protocol):
    """Reads one response to its end, or as much of its body as is wanted."""

    def __init__(self, result: asyncio.Future[ProbeResult], request: bytes, body_bytes_max: int) -> None:
        self.result = result
        self._request = request
        self._body_bytes_max = body_bytes_max
        self._data = b""
        self._content = b""
        self._head: ResponseHead | None = None
        self._body: BodyReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._request:
            cast("asyncio.WriteTransport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            if self._head is None:
                self._read_head()
            if self._body is not None:
                self._read_body(self._body)
        except HttpError as error:
            self._finish(ProbeResult(error=f"malformed HTTP response: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(self._body, UntilCloseBody) and error is None:
            self._finish(ProbeResult(head=self._head, body=self._content))
        else:
            self._finish(ProbeResult(head=self._head, error=str(error) if error else "EOF"))

    def _read_head(self) -> None:
        end = self._data.find(b"\r\n\r\n")
        while end >= 0 and self._head is None:
            head = response_head(self._data[:end])
            self._data = self._data[end + 4 :]
            if head.status >= 200:
                self._head = head
                self._body = _body_of(head)
            end = self._data.find(b"\r\n\r\n")
        if self._head is None and len(self._data) > _HEAD_BYTES_MAX:
            self._finish(ProbeResult(error=f"expected a head of at most {_HEAD_BYTES_MAX} bytes"))

    def _read_body(self, body: BodyReader) -> None:
        took = body.scan(self._data)
        if isinstance(body, ChunkedBody):
            self._content += b"".join(self._data[begin:end] for begin, end in body.spans)
        else:
            self._content += self._data[:took]
        self._data = self._data[took:]
        if body.is_done or len(self._content) >= self._body_bytes_max:
            self._finish(ProbeResult(head=self._head, body=self._content[: self._body_bytes_max]))

    def _finish(self, result: ProbeResult) -> None:
        if not self.result.done():
            self.result.set_result(result)


def _body_of(head: ResponseHead) -> BodyReader:
    if head.status == 204 or head.status == 304:
        return LengthBody(0)
    if head.is_chunked:
        return ChunkedBody(keeps_spans=True)
    return LengthBody(head.content_length) if head.content_length >= 0 else UntilCloseBody()
