"""A cluster around one real autoscaler process: a real API server in this process, revisions in it, and the peers.

The autoscaler is `python -m autoscaler`, told where everything is by its environment, as everywhere. What it writes is
noted where the API server admits it.
"""

import asyncio
import gc
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from kube.models.core import ConfigMap, Namespace, Pod
from kube.models.meta import ObjectMeta, Resource
from loadtests.lab.autoscaler.fleet import NAMESPACE, TARGET, Group, RevisionOf, autoscaler_of, children_of
from loadtests.lab.queue_proxy.machine import Process
from loadtests.lab.queue_proxy.subjects import LabError
from local_cluster.apiserver.admission import AdmissionRequest
from local_cluster.apiserver.certificates import CertificateAuthority, write_kubeconfig
from local_cluster.apiserver.server import ApiServer, ApiServerConfig, Identity
from local_cluster.subnet import Subnet
from proxies.wire.stat import Stat, StatMessage, encode_messages

__all__ = ["World", "running_world"]

SYSTEM_NAMESPACE = "knative-serving"
_START_TIMEOUT_S = 180.0
_QUIET_S = 3.0
_REACTION_TIMEOUT_S = 5.0


class World:
    """What runs, and what the autoscaler wrote."""

    def __init__(self, server: ApiServer, autoscaler: asyncio.subprocess.Process, stat_port: int, log: Path) -> None:
        self.process = Process(autoscaler.pid)
        self.writes = 0
        """Objects that the autoscaler wrote, Leases apart."""
        self._autoscaler = autoscaler
        self._stat_port = stat_port
        self._log = log
        self._last_write_s = time.monotonic()
        self._scaled: dict[str, asyncio.Future[float]] = {}
        server.add_admission(self._admit)

    async def settle(self) -> None:
        """Wait until the autoscaler listens, and has written nothing for a while."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while b"autoscaler_started" not in self._log.read_bytes():
            await self._pause(deadline_s, "the autoscaler does not start")
        while time.monotonic() - self._last_write_s < _QUIET_S:
            await self._pause(deadline_s, "the autoscaler does not settle")

    @asynccontextmanager
    async def activator(self) -> AsyncIterator[ClientConnection]:
        """A connection to push stats over."""
        uri = f"ws://127.0.0.1:{self._stat_port}/"
        async with connect(uri, compression=None, proxy=None) as connection:
            yield connection

    async def reaction_s(self, activator: ClientConnection, name: str) -> float:
        """From a first request's stat to the arrival of the patch that scales its revision up."""
        arrived = self._scaled[f"{name}-deployment"] = asyncio.get_running_loop().create_future()
        stat = Stat("activator-x", average_concurrent_requests=1.0, request_count=1.0)
        frame = encode_messages([StatMessage(NAMESPACE, name, stat)])
        sent_s = time.monotonic()
        await activator.send(frame)
        try:
            arrived_s: float = await asyncio.wait_for(arrived, _REACTION_TIMEOUT_S)
        except TimeoutError:
            raise LabError(f"{name} was not scaled up within {_REACTION_TIMEOUT_S:g} s") from None
        return arrived_s - sent_s

    async def until_logged(self, name: str) -> None:
        """Wait until the autoscaler has logged this event."""
        deadline_s = time.monotonic() + _REACTION_TIMEOUT_S
        while not self.log_events(name):
            await asyncio.sleep(0.05)
            self.check()
            if time.monotonic() > deadline_s:
                raise LabError(f"{name} was not logged within {_REACTION_TIMEOUT_S:g} s")

    def log_events(self, name: str) -> int:
        """How often the autoscaler logged this event."""
        return self._log.read_bytes().count(f'"{name}"'.encode())

    def check(self) -> None:
        """Raise when the autoscaler has ended."""
        if self._autoscaler.returncode is not None:
            tail = self._log.read_bytes()[-2000:].decode("utf-8", "replace")
            raise LabError(f"the autoscaler ended with {self._autoscaler.returncode}: {tail}")

    def _admit(self, request: AdmissionRequest) -> None:
        name = request.object.get("metadata", {}).get("name", "")
        if request.object.get("kind") != "Lease":
            self.writes += 1
            self._last_write_s = time.monotonic()
        arrived = self._scaled.pop(name, None)
        if arrived is not None and not arrived.done():
            arrived.set_result(time.monotonic())

    async def _pause(self, deadline_s: float, problem: str) -> None:
        self.check()
        if time.monotonic() > deadline_s:
            raise LabError(f"{problem} within {_START_TIMEOUT_S:g} s; {self.writes} writes; log: {self._log}")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def running_world(
    scratch: Path, groups: Sequence[Group], senders: Sequence[Sequence[str]] = ()
) -> AsyncIterator[World]:
    """The API server with those revisions, their pods, stat senders (each with its revisions), and the autoscaler."""
    token = secrets.token_hex(16)
    ca = CertificateAuthority.create()
    server = ApiServer(ApiServerConfig(ca=ca, tokens={token: Identity("kubernetes-admin", ("system:masters",))}))
    await server.start()
    subnet = Subnet.claim()
    autoscaler: asyncio.subprocess.Process | None = None
    peers: asyncio.subprocess.Process | None = None
    try:
        pods = _populate(server, groups, map(str, subnet.network.hosts()))
        gc.collect()
        gc.freeze()
        kubeconfig = scratch / "kubeconfig"
        write_kubeconfig(kubeconfig, server.url, ca.certificate_pem, token)
        stat_port = _free_port()
        log = scratch / "autoscaler.log"
        peers = await _start_peers(pods, senders, stat_port)
        with log.open("wb") as output:
            autoscaler = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "autoscaler", env=_environ(kubeconfig, stat_port), stdout=output, stderr=output
            )
        world = World(server, autoscaler, stat_port, log)
        await world.settle()
        await _tell(peers, "connect", expects=b"connected")
        yield world
        world.check()
    finally:
        for process in (peers, autoscaler):
            if process is not None:
                await _end(process)
        await server.stop()
        subnet.release()
        gc.unfreeze()


def _populate(server: ApiServer, groups: Sequence[Group], addresses: Iterator[str]) -> list[str]:
    """Store all revisions; the addresses of the pods that are to be asked."""
    _put(server, Namespace(metadata=ObjectMeta(name=SYSTEM_NAMESPACE)))
    for name in ("config-autoscaler", "config-leader-election"):
        _put(server, ConfigMap(metadata=ObjectMeta(name=name, namespace=SYSTEM_NAMESPACE)))
    asked = []
    for group in groups:
        for number in range(group.revisions):
            revision = RevisionOf(group, number)
            autoscaler = autoscaler_of(revision)
            autoscaler.metadata.uid = _put(server, autoscaler)
            for child in children_of(revision, autoscaler, addresses):
                _put(server, child)
                if isinstance(child, Pod) and group.is_scraped:
                    asked.append(child.status.pod_ip)
    return asked


def _put(server: ApiServer, obj: Resource) -> str:
    """Store an object as if it had always been there; its UID."""
    info = obj.RESOURCE
    kind = server.registry.at(info.group, info.version, info.plural)
    raw: dict[str, Any] = {"apiVersion": info.api_version, "kind": info.kind, **msgspec.to_builtins(obj)}
    status = raw.pop("status", None)  # a creation never sets it
    stored = server.objects.create_own(kind, raw)
    if status:
        server.store.put(kind.key, stored.load() | {"status": status})
    return stored.uid


def _environ(kubeconfig: Path, stat_port: int) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),  # noqa: TID251 - handed on, not read
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "KUBECONFIG": str(kubeconfig),
        "SYSTEM_NAMESPACE": SYSTEM_NAMESPACE,
        "POD_NAME": "autoscaler-0",
        "POD_IP": "127.0.0.1",
        "KNUV_BIND_ADDRESS": "127.0.0.1",
        "KNUV_STAT_PORT": str(stat_port),
        "KNUV_SERVICE_RESOLUTION": "endpoints",
    }


async def _start_peers(pods: Sequence[str], senders: Sequence[Sequence[str]], port: int) -> asyncio.subprocess.Process:
    """Start them; pods answer from now on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "loadtests.lab.autoscaler.peers",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told = {"pods": list(pods), "concurrency": TARGET - 5, "senders": [list(names) for names in senders], "port": port}
    await _tell(process, json.dumps(told), expects=b"listening")
    return process


async def _tell(peers: asyncio.subprocess.Process, line: str, *, expects: bytes) -> None:
    assert peers.stdin is not None
    assert peers.stdout is not None
    peers.stdin.write(line.encode() + b"\n")
    async with asyncio.timeout(_START_TIMEOUT_S):
        answer = await peers.stdout.readline()
    if answer.strip() != expects:
        raise LabError(f"the autoscaler's peers did not say {expects!r} but {answer!r}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
