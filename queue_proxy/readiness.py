"""Whether the user container is ready: the probes that the controller hands over, run on behalf of whoever asks.

A run asks all probes side by side and is ready only if all of them are. One run goes on at a time; those who ask
meanwhile get its verdict, and nobody's leaving ends it. Nothing is kept between runs but the count of successes of an
aggressive probe.

    aggressive (period 0)  attempts of 100 ms until the success threshold is reached in a row, for 10 s at most
    standard               one attempt with the probe's own timeout

The original repeats aggressive attempts every 50 ms. Here the pauses of the first two seconds are 5 ms: half a pause is
what a user's cold start loses.

Source: spec queue-proxy.md 13; golden set `readiness`.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from proxies import gojson
from proxies.gojson import GoObject
from proxies.logs import Logger
from proxies.probe import ProbeResult, http_request, probe_http, probe_tcp

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["HttpGet", "ProbeKind", "ProbeSpec", "Readiness", "decode_probes"]

AGENT: Final = b"kube-probe//"
"""The version parts of kubelet's agent are empty in the original."""

_AGGRESSIVE_S: Final = 10.0
_ATTEMPT_S: Final = 0.1
_EAGER_S: Final = 2.0
_PAUSE_EAGER_S: Final = 0.005
"""While the app may just be booting someone waits for it: half a pause is what a cold start loses here on average.
400 refused connects cost less than the wait of one user; see docs/differences.md."""
_PAUSE_S: Final = 0.05
_REDIRECTS_MAX: Final = 10
_PLAIN: Final = ("", "HTTP", "http")
_LOCAL: Final = "127.0.0.1"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
NO_SOCKETS: Final[Mapping[str, str]] = {}


class ProbeKind(Enum):
    """How a probe asks."""

    HTTP_GET = "httpGet"
    TCP_SOCKET = "tcpSocket"
    GRPC = "grpc"
    EXEC = "exec"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class HttpGet:
    """The request of an HTTP probe, as given."""

    path: str
    scheme: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """One Kubernetes `Probe`, as given."""

    kind: ProbeKind
    host: str = ""
    port: str = ""
    """A number or a name, as text; empty for kinds without one."""
    http_get: HttpGet | None = None
    grpc_service: str = ""
    timeout_s: int = 0
    period_s: int = 0
    success_threshold: int = 0
    failure_threshold: int = 0
    initial_delay_s: int = 0

    @property
    def is_aggressive(self) -> bool:
        """Repeated until it succeeds."""
        return self.period_s == 0


def decode_probes(text: str, *, is_list: bool) -> tuple[ProbeSpec, ...]:
    """Return the probes in `text`: one JSON object, or a list of them. Raises `ValueError`.

    As Go decodes them: key names in any case, `null` as absent, unknown keys ignored, whole numbers of 32 bits.
    """
    data = gojson.decode(text)
    if is_list:
        if data is None:
            return ()
        if not isinstance(data, list):
            raise ValueError("expected a list of probes")
        return tuple(_probe(GoObject(each, "probe")) for each in data)
    return (_probe(GoObject(data, "probe")),)


class Readiness:
    """Runs the probes of one pod."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        probes: Sequence[ProbeSpec],
        logger: Logger,
        *,
        sockets: Mapping[str, str] = NO_SOCKETS,
        finds_version: bool = False,
    ) -> None:
        """`sockets`: ports of the user container that are really unix sockets, and their paths.

        `finds_version`: HTTP probes ask in HTTP/2 first (`ENABLE_HTTP2_AUTO_DETECTION`).
        """
        self._loop = loop
        self._logger = logger
        self._was_ready = False
        self._probes = [_RunningProbe(loop, spec, sockets, finds_version) for spec in probes]
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """A run is under way; its verdict is for everybody who asks now."""
        return self._task is not None

    @property
    def has_probes(self) -> bool:
        """Without a probe the user container counts as ready."""
        return bool(self._probes)

    def run(self, done: Callable[[bool], None]) -> None:
        """Start a run; `done(is_ready)` is called once. Not while one is under way."""
        assert self._task is None, "one run at a time"
        self._task = self._loop.create_task(self._run(done))

    def close(self) -> None:
        """End the run; its `done` is not called."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, done: Callable[[bool], None]) -> None:
        try:
            reasons = await asyncio.gather(*(probe.run() for probe in self._probes))
        except Exception as error:
            self._logger.exception("readiness_failed", error)
            reasons = [repr(error)]
        at_s = time.time()
        self._task = None
        failed = [reason for reason in reasons if reason]
        done(not failed)
        if not failed and not self._was_ready:
            self._was_ready = True
            self._logger.info("app_ready", at=at_s)
        elif failed:
            self._logger.warning("app_not_ready", reason="; ".join(failed))


class _RunningProbe:
    """One probe and its successes in a row."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spec: ProbeSpec, sockets: Mapping[str, str], finds_version: bool
    ) -> None:
        self._loop = loop
        self._spec = spec
        self._sockets = sockets
        self._finds_version = finds_version
        self._tls: SSLContext | None = None
        self._successes = 0

    async def run(self) -> str:
        """Return why it is not ready; empty when it is."""
        if not self._spec.is_aggressive:
            return await self._attempt(self._spec.timeout_s)
        began_s = self._loop.time()
        attempts = 0
        while True:
            attempts += 1
            reason = await self._attempt(_ATTEMPT_S)
            self._successes = 0 if reason else self._successes + 1
            if not reason and self._successes >= self._spec.success_threshold:
                return ""
            elapsed_s = self._loop.time() - began_s
            pause_s = _PAUSE_EAGER_S if elapsed_s < _EAGER_S else _PAUSE_S
            if elapsed_s + pause_s > _AGGRESSIVE_S:
                return f"aggressive probe error (failed {attempts} times): {reason or 'success threshold not reached'}"
            await asyncio.sleep(pause_s)

    async def _attempt(self, timeout_s: float) -> str:
        spec = self._spec
        if spec.kind is ProbeKind.EXEC or spec.kind is ProbeKind.NONE:
            return f"a probe of kind {spec.kind.value} cannot be run"
        if not spec.port.isdecimal():
            return f"expected a port number, got {spec.port!r}"
        if spec.kind is ProbeKind.TCP_SOCKET:
            return (await self._tcp(timeout_s)).error
        if spec.kind is ProbeKind.GRPC:
            return await self._grpc(timeout_s)
        assert spec.http_get is not None
        if self._finds_version and spec.http_get.scheme in _PLAIN:
            return await self._http_of_any_version(spec.http_get, timeout_s)
        return await self._http(spec.http_get, timeout_s)

    async def _grpc(self, timeout_s: float) -> str:
        from queue_proxy.http2_probes import check_grpc

        port = self._spec.port
        host = self._sockets.get(port, _LOCAL)
        check = check_grpc(
            self._loop,
            host,
            int(port),
            service=self._spec.grpc_service,
            agent=AGENT,
            authority=_authority(_LOCAL, int(port)).encode(),
        )
        try:
            # Unlike the others, it fails at once without a limit of time, as in the original.
            async with asyncio.timeout(timeout_s):
                return await check
        except TimeoutError:
            return f"no result within {timeout_s:g} s"
        except OSError as error:
            return os.strerror(error.errno).lower() if error.errno else str(error)

    async def _http_of_any_version(self, get: HttpGet, timeout_s: float) -> str:
        """Ask in HTTP/2; an app that does not answer well is asked in HTTP/1.1.

        Only the second request in HTTP/2, to an app that speaks it, has the headers of the probe, as in the original.
        """
        from queue_proxy.http2_probes import get_status

        host, port = self._spec.host, int(self._spec.port)
        headers = [(name.encode(), value.encode()) for name, value in get.headers]
        authority = _authority(host, port).encode()

        async def status_of(fields: list[tuple[bytes, bytes]]) -> int:
            asked_host = next((value for name, value in fields if name.lower() == b"host"), authority)
            others = [field for field in fields if field[0].lower() != b"host"]
            async with asyncio.timeout(timeout_s or None):
                return await get_status(
                    self._loop,
                    self._sockets.get(self._spec.port, host),
                    port,
                    target=b"/" + get.path.removeprefix("/").encode(),
                    fields=[(b"Host", asked_host), (b"User-Agent", AGENT), *others],
                )

        try:
            if 200 <= await status_of([]) < 400:
                status = await status_of(headers)
                return "" if 200 <= status < 400 else f"HTTP probe did not respond Ready, got status {status}"
        except (OSError, TimeoutError):
            pass  # as most that do not speak HTTP/2
        return await self._http(HttpGet(get.path, get.scheme, ()), timeout_s)

    async def _tcp(self, timeout_s: float) -> ProbeResult:
        result: asyncio.Future[ProbeResult] = self._loop.create_future()
        host = self._sockets.get(self._spec.port, self._spec.host)
        probe = probe_tcp(self._loop, host, int(self._spec.port), timeout_s=timeout_s, done=result.set_result)
        try:
            return await result
        finally:
            probe.cancel()

    async def _http(self, get: HttpGet, timeout_s: float) -> str:
        if get.scheme not in _PLAIN and get.scheme.upper() != "HTTPS":
            return f"a probe with scheme {get.scheme} cannot be run"
        is_tls = get.scheme not in _PLAIN
        host, port = self._spec.host, int(self._spec.port)
        target = "/" + get.path.removeprefix("/")
        headers = [(name.encode(), value.encode()) for name, value in get.headers if name.lower() != "host"]
        wanted_host = next((value for name, value in get.headers if name.lower() == "host"), "")
        end_s = self._loop.time() + timeout_s if timeout_s else 0.0
        for _ in range(_REDIRECTS_MAX + 1):
            request = http_request(
                target.encode(), (wanted_host or _authority(host, port)).encode(), [(b"User-Agent", AGENT), *headers]
            )
            left_s = max(0.001, end_s - self._loop.time()) if end_s else 0.0
            result = await self._ask(host, port, request, left_s, is_tls=is_tls)
            if result.error:
                return result.error
            location = result.head.get(b"location").decode("latin-1") if result.head is not None else ""
            if not (300 < result.status < 309 and result.status not in (304, 305, 306) and location):
                return (
                    ""
                    if 200 <= result.status < 400
                    else f"HTTP probe did not respond Ready, got status {result.status}"
                )
            try:
                host, port, target = _redirected("https" if is_tls else "http", host, port, target, location)
            except ValueError as error:
                return f"redirect to {location[:128]!r}: {error}"
            wanted_host = ""
        return f"stopped after {_REDIRECTS_MAX} redirects"

    async def _ask(self, host: str, port: int, request: bytes, timeout_s: float, *, is_tls: bool) -> ProbeResult:
        result: asyncio.Future[ProbeResult] = self._loop.create_future()
        host = self._sockets.get(str(port), host)
        probe = probe_http(
            self._loop,
            host,
            port,
            request=request,
            timeout_s=timeout_s,
            done=result.set_result,
            body_bytes_max=0,
            tls=self._tls_context() if is_tls else None,
        )
        try:
            return await result
        finally:
            probe.cancel()

    def _tls_context(self) -> "SSLContext":
        """As the original: the system's authorities have to have signed, for the address that is asked."""
        if self._tls is None:
            import ssl  # made once: it reads all authorities

            self._tls = ssl.create_default_context()
        return self._tls


def _authority(host: str, port: int) -> str:
    return f"{host}:{port}"


def _redirected(scheme: str, host: str, port: int, target: str, location: str) -> tuple[str, int, str]:
    """Return (host, port, target) that `location` leads to. Raises `ValueError` where that cannot be asked."""
    # Few probes are redirected, so none of the others pays for the import.
    from urllib.parse import urljoin, urlsplit

    parts = urlsplit(urljoin(f"{scheme}://{_authority(host, port)}{target}", location))
    if parts.scheme != scheme:
        raise ValueError(f"expected {scheme}, got {parts.scheme}")
    path = parts.path or "/"
    return (
        parts.hostname or host,
        parts.port or _DEFAULT_PORTS[scheme],
        f"{path}?{parts.query}" if parts.query else path,
    )


def _probe(data: GoObject) -> ProbeSpec:
    http_get, tcp, grpc, exec_ = (data.object(name) for name in ("httpGet", "tcpSocket", "grpc", "exec"))
    kind, host, port, service, get = ProbeKind.NONE, "", "", "", None
    if http_get is not None:
        kind, host, port = ProbeKind.HTTP_GET, http_get.text("host"), _port(http_get)
        headers = tuple((each.text("name"), each.text("value")) for each in http_get.objects("httpHeaders"))
        get = HttpGet(http_get.text("path"), http_get.text("scheme"), headers)
    elif tcp is not None:
        kind, host, port = ProbeKind.TCP_SOCKET, tcp.text("host"), _port(tcp)
    elif grpc is not None:
        kind, port, service = ProbeKind.GRPC, str(grpc.int32("port")), grpc.text("service")
    elif exec_ is not None:
        kind = ProbeKind.EXEC
    return ProbeSpec(
        kind=kind,
        host=host,
        port=port,
        http_get=get,
        grpc_service=service,
        timeout_s=data.int32("timeoutSeconds"),
        period_s=data.int32("periodSeconds"),
        success_threshold=data.int32("successThreshold"),
        failure_threshold=data.int32("failureThreshold"),
        initial_delay_s=data.int32("initialDelaySeconds"),
    )


def _port(data: GoObject) -> str:
    """A number or a name; 0 when absent."""
    value = data.get("port")
    return value if isinstance(value, str) else str(data.int32("port"))
