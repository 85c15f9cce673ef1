"""nghttp2's programs: nghttpx as the rival, nghttpd as an app, h2load as the load."""

import asyncio
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtests.lab.queue_proxy.subjects import HOST, PORT, TLS_PORT, LabError, Setting, Subject

__all__ = ["GRPC_APP", "Loaded", "grpcload", "h1load", "h2load", "h2paced", "nghttpd", "nghttpx", "version"]

_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/usr/local/sbin"
_START_S: Final = 10.0
_OVERTIME_S: Final = 30.0
_POLL_S: Final = 0.005
_OK: Final = b"ok"
_MESSAGE_BYTES: Final = 100
GRPC_APP: Final = ("--echo-upload", "--trailer=grpc-status: 0")
"""Flags that make nghttpd answer as an app of gRPC does: with the message, and the status as a trailer."""
_HEADERS: Final = (
    ":authority: lab.default.example.com",
    "user-agent: lab/1",
    "accept-encoding: gzip",
    "x-forwarded-for: 10.1.2.3",
    "x-forwarded-proto: http",
    "x-request-id: 5f0c2c9e-8c5f-4f6e-9a36-0f6c0c1f7a11",
)
_SUMMARY: Final = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_RATE: Final = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")
_TIME: Final = re.compile(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\b")
_MS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def nghttpx(app: str = "h2") -> Subject:
    """nghttp2's proxy with one worker. Raises `LabError` when it is not installed.

    Clients speak HTTP/1.1 or HTTP/2; `app`: what it speaks to the app, `h2` or `http/1.1`.
    """
    binary = _find("nghttpx", "nghttp2-proxy")

    def command(_scratch: Path, app_port: int, setting: Setting) -> list[str]:
        backend, tls, pair = app, [], []
        if setting.certificates is not None:
            backend = "http/1.1"
            tls = [f"--frontend={setting.host},{TLS_PORT}", "--tls-min-proto-version=TLSv1.3"]
            pair = [str(setting.certificates / name) for name in ("tls.key", "tls.crt")]
        return [
            *(binary, "--conf=/dev/null", "--workers=1", "--accesslog-file=/dev/null", "--errorlog-file=/dev/stderr"),
            *(f"--frontend={setting.host},{PORT};no-tls", f"--backend=127.0.0.1,{app_port};;proto={backend}"),
            *("--add-x-forwarded-for", "--backlog=4096", "--worker-frontend-connections=0"),
            *("--frontend-http2-max-concurrent-streams=250", "--backend-http2-max-concurrent-streams=1000"),
            *tls,
            *pair,
        ]

    return Subject("nghttpx", command)


async def version() -> str:
    """What nghttpx calls itself."""
    return (await _output(_find("nghttpx", "nghttp2-proxy"), "--version")).strip()


@asynccontextmanager
async def nghttpd(scratch: Path, *flags: str) -> AsyncIterator[int]:
    """nghttp2's server with one small file, `/hello`; yields its port."""
    binary = _find("nghttpd", "nghttp2-server")
    files = scratch / "files"
    files.mkdir(exist_ok=True)
    (files / "hello").write_bytes(_OK)
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        *(binary, "--no-tls", "--address=127.0.0.1", f"--htdocs={files}", "--max-concurrent-streams=1000"),
        *flags,
        str(port),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_START_S):
            while not _accepts(port):  # noqa: ASYNC110 - another process gives no event
                await asyncio.sleep(_POLL_S)
        yield port
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What h2load has counted."""

    succeeded: int
    """None on a busy machine, where the time was over before all handshakes were."""
    rate: float
    """Per second."""
    mean_ms: float
    """From a request to its answer's end."""


async def h2load(connections: int, streams: int, seconds: float) -> Loaded:
    """Ask for `/hello` in a closed loop. Raises `LabError` when a request fails; those under way at the end do not."""
    headers = [f"--header={text}" for text in _HEADERS]
    return await _loaded(connections, seconds, f"--max-concurrent-streams={streams}", *headers, f"http://{HOST}:{PORT}")


async def h2paced(scratch: Path, connections: int, rate: int, seconds: float) -> list[float]:
    """Ask for `/hello` `rate` times a second in all; return the milliseconds of each answer, in ascending order.

    Fast requests are the rule: h2load keeps to the rate only while no connection has 100 under way.
    """
    log = scratch / "h2load.log"
    log.unlink(missing_ok=True)
    headers = [f"--header={text}" for text in _HEADERS]
    pace = ("--max-concurrent-streams=100", f"--rps={rate / connections:g}", f"--log-file={log}")
    await _loaded(connections, seconds, *pace, *headers, f"http://{HOST}:{PORT}")
    rows = (line.split("\t") for line in log.read_text().splitlines())
    return sorted(int(took_us) / 1000 for _, status, took_us, *_ in rows if status == "200")


async def grpcload(scratch: Path, connections: int, streams: int, seconds: float) -> Loaded:
    """The same with what a unary call of gRPC with a message of 100 bytes looks like; `GRPC_APP` answers it."""
    message = scratch / "message"
    message.write_bytes(bytes((0,)) + _MESSAGE_BYTES.to_bytes(4) + b"x" * _MESSAGE_BYTES)
    headers = [f"--header={text}" for text in (*_HEADERS, "content-type: application/grpc", "te: trailers")]
    call = (f"--max-concurrent-streams={streams}", f"--data={message}")
    return await _loaded(connections, seconds, *call, *headers, f"http://{HOST}:{PORT}")


async def h1load(connections: int, seconds: float, *, is_tls: bool) -> Loaded:
    """The same over HTTP/1.1, one request at a time on each connection."""
    headers = [f"--header={text}" for text in _HEADERS if not text.startswith(":")]
    url = f"https://{HOST}:{TLS_PORT}" if is_tls else f"http://{HOST}:{PORT}"
    return await _loaded(connections, seconds, "--h1", *headers, url)


async def _loaded(connections: int, seconds: float, *flags: str) -> Loaded:
    *options, server = flags
    load = (f"--clients={connections}", f"--duration={round(seconds * 1000)}ms")
    command = (_find("h2load", "nghttp2-client"), *load, *options, f"{server}/hello")
    try:
        # It may never end when its time is over before all connections are there.
        text = await asyncio.wait_for(_output(*command), seconds + _OVERTIME_S)
    except TimeoutError:
        raise LabError(f"h2load should have ended {_OVERTIME_S:g} s ago; the machine is too busy") from None
    counts, rate, time = _SUMMARY.search(text), _RATE.search(text), _TIME.search(text)
    if counts is None or rate is None or time is None:
        raise LabError(f"h2load did not say what came; it said: {text[-500:]}")
    succeeded, *bad = map(int, counts.groups())
    if any(bad):
        raise LabError(f"h2load: {counts.group()}")
    return Loaded(succeeded, float(rate.group(1)), float(time.group(1)) * _MS[time.group(2)])


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    return out.decode()


def _find(program: str, package: str) -> str:
    binary = shutil.which(program, path=_PATH)
    if binary is None:
        raise LabError(f"{program} is not installed (Debian: apt-get install {package})")
    return binary


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
