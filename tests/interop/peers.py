"""The others as processes: nghttpd, nghttpx, Envoy, a gRPC app, and command lines that run once.

Each is started in a group of its own on a free port of its own and is gone at the end of its block.
"""

import asyncio
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import eventually, kill_group

__all__ = ["Done", "grpc_app", "nghttpd", "proxy_by_envoy", "proxy_by_nghttpx", "run"]

ROOT = Path(__file__).parents[2]
TOOLS = f"{os.defpath}:/usr/sbin:/usr/local/bin:{Path(sys.executable).parent}"
TIMEOUT_S = 50.0
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    raw: bytes
    """Its standard output."""
    err: str

    @property
    def out(self) -> str:
        """The same as text."""
        return self.raw.decode()


async def run(*command: str | Path, stdin: bytes = b"") -> Done:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": TOOLS},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(stdin)
    finally:
        kill_group(process.pid)
    assert process.returncode is not None
    return Done(process.returncode, out, err.decode())


def free_port() -> int:
    """A port that nobody has, for programs that cannot say which one they took."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as sock:
        return sock.connect_ex((HOST, port)) == 0


@asynccontextmanager
async def process_on(port: int, *command: str | Path, log: Path) -> AsyncIterator[None]:
    """Start a server and wait until its port is open."""
    assert shutil.which(command[0], path=TOOLS), f"{command[0]} is not installed; .ci/run installs it"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={"PATH": TOOLS},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await eventually(lambda: accepts(port) or process.returncode is not None, timeout_s=TIMEOUT_S)
        assert process.returncode is None, f"{command[0]} has ended, see {log}"
        yield
    finally:
        kill_group(process.pid)
        await process.wait()


@asynccontextmanager
async def nghttpd(folder: Path, files: Mapping[str, bytes], *flags: str) -> AsyncIterator[int]:
    """nghttp2's server in plaintext, which speaks HTTP/2 only and serves `files`; yields its port."""
    root = folder / "files"
    root.mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)
    port = free_port()
    command = ("nghttpd", "--no-tls", "-a", HOST, "-d", root, *flags, str(port))
    async with process_on(port, *command, log=folder / "nghttpd.log"):
        yield port


@asynccontextmanager
async def grpc_app() -> AsyncIterator[int]:
    """`grpc_app.py`; yields its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__).with_name("grpc_app.py"), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            line = await process.stdout.readline()
        yield int(line)
    finally:
        kill_group(process.pid)
        await process.wait()


@asynccontextmanager
async def proxy_by_nghttpx(app_port: int, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """nghttp2's proxy, HTTP/2 on both sides; yields where it listens."""
    port = free_port()
    command = (
        *("nghttpx", "--conf=/dev/null", "--workers=1", "--accesslog-file=/dev/null"),
        *(f"-f{HOST},{port};no-tls", f"-b{HOST},{app_port};;proto=h2", "--add-x-forwarded-for"),
        *("--frontend-http2-max-concurrent-streams=250", "--backend-http2-max-concurrent-streams=1000"),
    )
    async with process_on(port, *command, log=folder / "nghttpx.log"):
        yield HOST, port


@asynccontextmanager
async def proxy_by_envoy(to_host: str, to_port: int, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Envoy, HTTP/2 on both sides, as a gateway has it; yields where it listens."""
    port = free_port()
    config = folder / "envoy.json"
    config.write_text(json.dumps(_envoy_config(port, to_host, to_port)))
    command = ("envoy", "-c", config, "--disable-hot-restart", "--concurrency", "1", "-l", "warn")
    async with process_on(port, *command, log=folder / "envoy.log"):
        yield HOST, port


def _envoy_config(port: int, to_host: str, to_port: int) -> dict[str, Any]:
    extensions = "envoy.extensions"
    options = f"{extensions}.upstreams.http.v3.HttpProtocolOptions"
    manager = {
        "@type": f"type.googleapis.com/{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "stream_idle_timeout": "0s",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"type.googleapis.com/{extensions}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "to", "timeout": "0s"}}],
                }
            ]
        },
    }
    listener = {
        "address": _socket_address(HOST, port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    cluster = {
        "name": "to",
        "type": "STATIC",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "circuit_breakers": {"thresholds": [{"max_requests": 5000, "max_pending_requests": 5000}]},
        "load_assignment": {
            "cluster_name": "to",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket_address(to_host, to_port)}}]}],
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _socket_address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
