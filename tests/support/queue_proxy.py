"""A real `python -m queue_proxy` process on a loopback address of its own."""

import asyncio
import json
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.support.http import Client, Response, fetch
from tests.support.processes import eventually, kill_group

__all__ = ["ACTIVATOR_PROBE", "QueueProxy", "environment", "exit_of", "running_queue_proxy"]

ROOT = Path(__file__).parents[2]
ACTIVATOR_PROBE = ("User-Agent: Knative-Activator-Probe", "K-Network-Probe: queue")
MAIN_PORT, ADMIN_PORT, STAT_PORT = 8012, 8022, 9090


class Connection(Protocol):
    """What a test opened."""

    def close(self) -> None:
        """Close at once; nothing when it is closed."""


@dataclass
class QueueProxy:
    """A running sidecar."""

    host: str
    process: asyncio.subprocess.Process
    port: int
    events: list[dict[str, Any]] = field(default_factory=list)
    """Its log lines."""
    output: list[str] = field(default_factory=list)
    """Lines on its standard output, without their ends."""
    clients: list[Connection] = field(default_factory=list)
    """Closed at the end."""

    async def fetch(self, target: str = "/", **options: Any) -> Response:
        """One request to the main port."""
        return await fetch(self.host, self.port, target, **options)

    async def open(self) -> Client:
        """A connection to the main port."""
        client = await Client.open(self.host, self.port)
        self.clients.append(client)
        return client

    async def probe(self, *headers: str) -> Response:
        """The activator's probe."""
        return await fetch(self.host, self.port, headers=headers or ACTIVATOR_PROBE)

    async def admin(self, target: str) -> Response:
        """One request to the admin port."""
        return await fetch(self.host, ADMIN_PORT, target)

    async def stat(self, *headers: str) -> Response:
        """One scrape."""
        return await fetch(self.host, STAT_PORT, "/metrics", headers=headers)

    def accepts(self, port: int) -> bool:
        """Whether something listens there."""
        with socket.socket() as sock:
            return sock.connect_ex((self.host, port)) == 0


def environment(app_port: int = 1, **variables: str) -> dict[str, str]:
    """A complete environment."""
    return {
        "CONTAINER_CONCURRENCY": "0",
        "QUEUE_SERVING_PORT": str(MAIN_PORT),
        "QUEUE_SERVING_TLS_PORT": "8112",
        "USER_PORT": str(app_port),
        "REVISION_TIMEOUT_SECONDS": "60",
        "SERVING_LOGGING_CONFIG": "",
        "SERVING_LOGGING_LEVEL": "",
        "SERVING_NAMESPACE": "default",
        "SERVING_CONFIGURATION": "hello",
        "SERVING_REVISION": "hello-00001",
        "SERVING_POD": "hello-00001-deployment-abc",
        "SERVING_POD_IP": "10.0.0.9",
        **variables,
    }


async def _start(
    env: dict[str, str],
    open_files: int | None = None,
    stdout: int | None = None,
    command: Sequence[str] = (sys.executable, "-m", "queue_proxy"),
) -> asyncio.subprocess.Process:
    if open_files is not None:
        command = ("/bin/sh", "-c", 'ulimit -n "$0" && exec "$@"', str(open_files), *command)
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**env, "PATH": os.defpath},
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def exit_of(env: dict[str, str]) -> tuple[int, str]:
    """Start one that ends by itself; return its exit code and what it wrote to stderr."""
    process = await _start(env)
    try:
        async with asyncio.timeout(60):
            _, stderr = await process.communicate()
    finally:
        kill_group(process.pid)
    assert process.returncode is not None
    return process.returncode, stderr.decode()


@asynccontextmanager
async def running_queue_proxy(
    app_port: int = 1,
    *,
    open_files: int | None = None,
    stdout: int = asyncio.subprocess.PIPE,
    command: Sequence[str] = (sys.executable, "-m", "queue_proxy"),
    **variables: str,
) -> AsyncIterator[QueueProxy]:
    """Start one in front of an app on `app_port` and wait until it listens.

    `open_files`: its limit of descriptors. `stdout`: a descriptor of the caller's instead of `QueueProxy.output`.
    `command`: that program instead.
    """
    host = f"127.{random.randrange(64, 192)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
    env = environment(app_port, KNUV_BIND_ADDRESS=host) | variables
    process = await _start(env, open_files, stdout, command)
    proxy = QueueProxy(host, process, int(env["QUEUE_SERVING_PORT"]))
    reading = asyncio.gather(_read_events(process, proxy.events), _read_output(process, proxy.output))
    try:
        await eventually(lambda: any(event["message"] == "listening" for event in proxy.events))
        yield proxy
    finally:
        for client in proxy.clients:
            client.close()
        kill_group(process.pid)
        await process.wait()
        await reading


async def _read_events(process: asyncio.subprocess.Process, events: list[dict[str, Any]]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        events.append(json.loads(line) if line.startswith(b"{") else {"message": line.decode()})


async def _read_output(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    while process.stdout is not None and (line := await process.stdout.readline()):
        lines.append(line.decode("utf-8", "surrogateescape").removesuffix("\n"))
