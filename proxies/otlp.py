"""Pushing telemetry to an OpenTelemetry collector: OTLP over HTTP with protobuf bodies.

`Endpoint` says where to, `Pusher` takes whole bodies (an `ExportMetricsServiceRequest`, an `ExportTraceServiceRequest`)
and delivers them in the background. Telemetry never holds up or ends what it observes: `push` returns at once, what
waits is bounded (beyond it the oldest body is dropped), and a collector that is away costs one log line when it goes
and one when it is back. A body that may be sent again is kept until it is delivered or displaced by newer ones.

Imported only where something is exported, and `ssl` only for `https`.

Source: OTLP specification 1.x "OTLP/HTTP"; OpenTelemetry environment variables `OTEL_EXPORTER_OTLP_*`.
"""

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from proxies.bodies import ChunkedBody, LengthBody, UntilCloseBody
from proxies.environment import Environment
from proxies.heads import response_head
from proxies.http1 import HttpError
from proxies.logs import Logger
from proxies.messages import ResponseHead
from proxies.wire.protobuf import WireError, read_bytes, read_tag, skip

if TYPE_CHECKING:
    import ssl

__all__ = ["Endpoint", "Pusher", "endpoint_of"]

_TIMEOUT_S: Final = 10.0
"""For one body, connecting included (`OTEL_EXPORTER_OTLP_TIMEOUT`'s default)."""
_RETRY_FIRST_S: Final = 1.0
_RETRY_MAX_S: Final = 30.0
_RETRYABLE: Final = frozenset([429, 502, 503, 504])
"""OTLP/HTTP "Retryable Response Codes"; any other failure would be repeated in vain."""
_RESPONSE_BYTES_MAX: Final = 64 * 1024
_BODIES_MAX: Final = 16
_CLOSE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one signal is pushed to."""

    host: str
    port: int
    path: str
    """Target of the POST, such as `/v1/metrics`."""
    is_tls: bool
    ca_file: str = ""
    """PEM file with the authorities to trust; empty: the system's. `OTEL_EXPORTER_OTLP_CERTIFICATE`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to each request, an API key for example. `OTEL_EXPORTER_OTLP_HEADERS`."""
    timeout_s: float = _TIMEOUT_S
    """Longest time for one body, connecting included. `OTEL_EXPORTER_OTLP_TIMEOUT`, there in milliseconds."""

    @property
    def authority(self) -> str:
        """Host and port as `Host` wants them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """For messages."""
        return f"{'https' if self.is_tls else 'http'}://{self.authority}{self.path}"

    @classmethod
    def from_url(cls, url: str, *, default_path: str) -> "Endpoint":
        """Read `url`; without a scheme it is `https`, without a path it has `default_path`. Raises `ValueError`."""
        parts = urlsplit(url if "://" in url else f"https://{url}")
        is_clean = url.isascii() and url.isprintable() and " " not in url
        if not (is_clean and parts.hostname and parts.scheme in ("http", "https")) or parts.query or parts.fragment:
            raise ValueError(f"expected a URL such as http://collector:4318, got {url!r}")
        is_tls = parts.scheme == "https"
        port = (443 if is_tls else 80) if parts.port is None else parts.port
        return cls(host=parts.hostname, port=port, path=parts.path or default_path, is_tls=is_tls)


def endpoint_of(env: Environment, signal: str, configured: str, *, endpoint_from: str) -> Endpoint | None:
    """Return where `signal` (`metrics`, `traces`) goes; None when that is nowhere or wrong, which `env` then knows.

    `OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT` is the whole URL, `OTEL_EXPORTER_OTLP_ENDPOINT` the base of `/v1/<signal>`;
    if either is set, `configured` is ignored (spec queue-proxy.md 2.2). That one gets `/v1/<signal>` if it has no path,
    and `endpoint_from` names it in problems.
    """
    prefix, own = "OTEL_EXPORTER_OTLP", f"OTEL_EXPORTER_OTLP_{signal.upper()}"
    path = f"/v1/{signal}"

    def first(name: str) -> tuple[str, str]:
        """The name and the text of the signal's own variable, else of the common one."""
        for variable in (f"{own}_{name}", f"{prefix}_{name}"):
            if text := env.text(variable, ""):
                return variable, text
        return f"{prefix}_{name}", ""

    source, url = first("ENDPOINT")
    headers_from, headers_text = first("HEADERS")
    timeout_from, timeout_text = first("TIMEOUT")
    try:
        if not url:
            source = endpoint_from
            if not configured:
                raise ValueError(f"expected an endpoint for {signal}, there or in {prefix}_ENDPOINT")
            endpoint = Endpoint.from_url(configured, default_path=path)
        elif source == f"{own}_ENDPOINT":
            endpoint = Endpoint.from_url(url, default_path="/")
        else:
            endpoint = Endpoint.from_url(url, default_path="")
            endpoint = replace(endpoint, path=endpoint.path.rstrip("/") + path)
        source = headers_from
        headers = _headers(headers_text)
        source = timeout_from
        timeout_s = _milliseconds(timeout_text) if timeout_text else _TIMEOUT_S
    except ValueError as error:
        env.refuse(f"{source}: {error}")
        return None
    return replace(endpoint, ca_file=first("CERTIFICATE")[1], headers=headers, timeout_s=timeout_s)


class Pusher:
    """Delivers bodies to one endpoint, in order, one at a time; a connection is kept while bodies wait."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, logger: Logger, *, bodies_max: int = _BODIES_MAX
    ) -> None:
        """At most `bodies_max` bodies wait; 1 suits cumulative metrics, where a newer body replaces an older one."""
        self._loop = loop
        self._endpoint = endpoint
        self._logger = logger.bind(endpoint=endpoint.url)
        self._bodies: deque[bytes] = deque()
        self._bodies_max = bodies_max
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._is_failing = False
        self._retry_s = _RETRY_FIRST_S
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._tls: ssl.SSLContext | None = None
        self.dropped = 0
        """Bodies that were never delivered: displaced, refused for good, or left at the end."""

    def push(self, body: bytes) -> None:
        """Deliver `body` soon. Returns at once and never raises; nothing happens after `close`."""
        if self._hurry.is_set():
            return
        self._append(body)
        if self._task is None:
            self._task = self._loop.create_task(self._deliver())

    async def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Try once more to deliver what waits, for at most `timeout_s`; drop what is left."""
        self._hurry.set()
        task = self._task
        if task is not None:
            _, late = await asyncio.wait([task], timeout=timeout_s)
            if late:
                task.cancel()
                await asyncio.wait([task])
        if self._bodies:
            self.dropped += len(self._bodies)
            self._logger.warning("otlp_export_given_up", bodies=len(self._bodies))
            self._bodies.clear()

    def _append(self, body: bytes) -> None:
        if len(self._bodies) >= self._bodies_max:
            self._bodies.popleft()
            self.dropped += 1
        self._bodies.append(body)

    async def _deliver(self) -> None:
        """Send what waits, then end: without bodies there is neither a connection nor a task."""
        try:
            while self._bodies:
                body = self._bodies.popleft()
                try:
                    if await self._send(body):
                        continue
                except asyncio.CancelledError:
                    self._bodies.appendleft(body)
                    raise
                if len(self._bodies) < self._bodies_max:
                    self._bodies.appendleft(body)
                else:
                    self.dropped += 1
                if self._hurry.is_set():
                    return
                await self._pause()
        finally:
            self._disconnect()
            self._task = None

    async def _pause(self) -> None:
        """Wait before the next attempt, longer each time, and at random so that a fleet does not come back at once."""
        try:
            async with asyncio.timeout(self._retry_s * random.uniform(0.5, 1.0)):
                await self._hurry.wait()
        except TimeoutError:
            self._retry_s = min(2 * self._retry_s, _RETRY_MAX_S)

    async def _send(self, body: bytes) -> bool:
        """Post `body`. False: it was not delivered and may be sent again."""
        try:
            async with asyncio.timeout(self._endpoint.timeout_s):
                head, content = await self._post(body)
        except TimeoutError:
            return self._failed(f"no response within {self._endpoint.timeout_s:g} s")
        except OSError as error:
            return self._failed(error.strerror or str(error))
        except (HttpError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            return self._failed(f"expected an HTTP response: {error}")
        if head.status in _RETRYABLE:
            return self._failed(f"status {head.status}")
        refusal = _refusal(content) if head.status == 200 else f"status {head.status}"
        if refusal:
            self.dropped += 1
            self._failed(refusal)
            return True
        self._retry_s = _RETRY_FIRST_S
        if self._is_failing:
            self._is_failing = False
            self._logger.info("otlp_export_restored", dropped=self.dropped)
        return True

    def _failed(self, reason: str) -> bool:
        """Tell the change from working to failing once; always False."""
        self._disconnect()
        if not self._is_failing:
            self._is_failing = True
            self._logger.warning("otlp_export_failed", reason=reason)
        return False

    async def _post(self, body: bytes) -> tuple[ResponseHead, bytes]:
        reader, writer = self._connection or await self._connect()
        endpoint = self._endpoint
        lines = [
            f"POST {endpoint.path} HTTP/1.1",
            f"Host: {endpoint.authority}",
            "Content-Type: application/x-protobuf",
            *(f"{name}: {value}" for name, value in endpoint.headers.items()),
            f"Content-Length: {len(body)}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        writer.write(body)
        await writer.drain()
        head = response_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
        while head.status < 200:
            head = response_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
        content = await _read_content(reader, head)
        if not head.keep_alive:
            self._disconnect()
        return head, content

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        endpoint = self._endpoint
        if endpoint.is_tls and self._tls is None:
            import ssl

            self._tls = ssl.create_default_context(cafile=endpoint.ca_file or None)
        self._connection = await asyncio.open_connection(
            endpoint.host, endpoint.port, ssl=self._tls, limit=_RESPONSE_BYTES_MAX
        )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection[1].transport.abort()
            self._connection = None


async def _read_content(reader: asyncio.StreamReader, head: ResponseHead) -> bytes:
    """Return the beginning of the response's body. Raises `HttpError` when it is longer than any collector's."""
    body = (
        ChunkedBody(keeps_spans=True)
        if head.is_chunked
        else UntilCloseBody()
        if head.content_length < 0
        else LengthBody(0 if head.status in (204, 304) else head.content_length)
    )
    content, rest = b"", b""
    while not body.is_done:
        data = await reader.read(_RESPONSE_BYTES_MAX)
        if not data:
            if isinstance(body, UntilCloseBody):
                break
            raise HttpError("the connection ended inside the response")
        rest += data
        took = body.scan(rest)
        spans = body.spans if isinstance(body, ChunkedBody) else [(0, took)]
        content += b"".join(rest[begin:end] for begin, end in spans)
        rest = rest[took:]
        if len(content) > _RESPONSE_BYTES_MAX:
            raise HttpError(f"expected a response of at most {_RESPONSE_BYTES_MAX} bytes")
    return content


def _refusal(content: bytes) -> str:
    """Return what a collector says of data that it did not take; empty when it took all.

    `Export*ServiceResponse.partial_success` = 1: {`rejected_*` = 1, `error_message` = 2}. A collector that answers in
    another format has said 200, and that counts.
    """
    try:
        success = _field(content, 1)
        message = _field(success, 2) if success else b""
    except WireError:
        return ""
    if not success:
        return ""
    return f"part of the data was refused: {message.decode('utf-8', 'replace')[:256]}"


def _field(data: bytes, wanted: int) -> bytes:
    """Return the content of the last length-delimited field of that number; empty when there is none."""
    found, position = b"", 0
    while position < len(data):
        number, wire_type, position = read_tag(data, position)
        if number == wanted:
            found, position = read_bytes(data, position, wire_type, "field")
        else:
            position = skip(data, position, wire_type)
    return found


def _headers(text: str) -> dict[str, str]:
    """`name=value,name=value`, values percent-encoded (OpenTelemetry "Protocol Exporter": W3C baggage's format)."""
    headers: dict[str, str] = {}
    for pair in text.split(",") if text else ():
        name, equals, value = pair.partition("=")
        name, value = unquote(name.strip()), unquote(value.strip())
        is_clean = name.isascii() and name.replace("-", "").replace("_", "").isalnum() and value.isprintable()
        if not equals or not is_clean or not value.isascii():
            # The value may be a secret: say only which one is wrong.
            raise ValueError(f"expected name=value pairs with commas between, got a wrong one named {name[:64]!r}")
        headers[name] = value
    return headers


def _milliseconds(text: str) -> float:
    if not text.isdecimal() or not int(text):
        raise ValueError(f"expected milliseconds, got {text!r}")
    return int(text) / 1000
