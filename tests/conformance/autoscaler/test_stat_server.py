"""Statements 80 to 85: how the autoscaler's port 8080 behaves towards kubelets and activators."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from proxies.wire.stat import Stat, StatMessage, encode_messages
from tests.autoscaler.replicas import NAMESPACE, Autoscaler, World, world
from tests.support.processes import eventually

SLEEPERS = ("sleeper-1", "sleeper-2", "sleeper-3")


@pytest.fixture
async def kn() -> AsyncIterator[World]:
    """Three revisions that are known to be at zero, so that any stat for one of them shows as a patch of its scale."""
    async with world({}) as kn:
        await kn.revisions(*SLEEPERS, pods=0, **{"target-burst-capacity": "-1"})
        yield kn


@pytest.fixture
async def autoscaler(kn: World) -> Autoscaler:
    return await kn.autoscaler(1)


@pytest.fixture
async def decided(kn: World, autoscaler: Autoscaler) -> Autoscaler:
    """The same, when it knows that its revisions are at zero."""
    await kn.all_decided(autoscaler)
    return autoscaler


def dial(autoscaler: Autoscaler, host: str = "autoscaler.knative-serving.svc.cluster.local:8080") -> connect:
    return connect(f"ws://{host}/", host=autoscaler.ip, port=8080, compression=None, proxy=None)


def frame(*names: str) -> bytes:
    stat = Stat("activator-1", average_concurrent_requests=1, request_count=1)
    return encode_messages([StatMessage(NAMESPACE, name, stat) for name in names])


async def woken(kn: World, *names: str) -> None:
    """Wait until these have left zero, well before the next tick would decide anything."""
    await eventually(lambda: all(kn.replicas[name] == [0, 1] for name in names))


async def delivers(client: ClientConnection, kn: World, name: str) -> None:
    await client.send(frame(name))
    await woken(kn, name)


async def test_80_a_kubelet_gets_200_on_any_path(autoscaler: Autoscaler) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/healthz", "/any/path?at=all"):
            for name, text in (("User-Agent", "kube-probe/1.34"), ("K-Kubelet-Probe", "queue")):
                url = f"http://{autoscaler.ip}:8080{path}"
                async with session.get(url, headers={name: text}) as response:
                    assert (response.status, await response.read()) == (200, b"")


async def test_81_each_stat_of_a_frame_counts_and_entries_without_one_do_not(kn: World, decided: Autoscaler) -> None:
    empty = b"\x0a\x14" + b"\x0a\x07default" + b"\x12\x09sleeper-3"
    async with dial(decided) as client:
        await client.send(empty + frame("sleeper-1", "sleeper-2"))
        await woken(kn, "sleeper-1", "sleeper-2")
        assert kn.replicas["sleeper-3"] == [0]


async def test_81_garbage_leaves_the_connection_open(kn: World, decided: Autoscaler) -> None:
    async with dial(decided) as client:
        for garbage in (b"\xff\xff\xff", b"\x0a\x05abc", b"", b"\x00" * 10):
            await client.send(garbage)
        await delivers(client, kn, "sleeper-1")


async def test_82_text_frames_are_ignored(kn: World, decided: Autoscaler) -> None:
    async with dial(decided) as client:
        await client.send("sleeper-2")
        await client.send('{"namespace": "default", "name": "sleeper-2"}')
        await delivers(client, kn, "sleeper-1")
        assert kn.replicas["sleeper-2"] == [0]


async def test_83_on_shutdown_each_client_gets_1012(autoscaler: Autoscaler) -> None:
    clients = [await dial(autoscaler) for _ in range(5)]
    autoscaler.signal(signal.SIGTERM)
    for client in clients:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), 5)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "Restarting")
    assert await asyncio.wait_for(autoscaler.process.wait(), 30) == 0


async def test_84_who_asks_for_a_bucket_gets_through_to_its_owner_only(kn: World, autoscaler: Autoscaler) -> None:
    other = await kn.autoscaler(2)
    bucket = "autoscaler-bucket-00-of-01"
    for host in (bucket, f"{bucket}:8080", f"{bucket}.knative-serving.svc.cluster.local:8080"):
        with pytest.raises(InvalidStatus) as refused:
            await dial(other, host)
        assert (refused.value.response.status_code, refused.value.response.body) == (200, b"")
        async with dial(autoscaler, host):
            pass
    with pytest.raises(InvalidStatus):
        await dial(autoscaler, "autoscaler-bucket-00-of-02")
    for replica in (autoscaler, other):
        for host in ("autoscaler", "autoscaler:8080", replica.ip):
            async with dial(replica, host):
                pass


async def test_85_pings_are_answered_within_10_s(autoscaler: Autoscaler) -> None:
    async with dial(autoscaler) as client:
        began = time.monotonic()
        await asyncio.wait_for(await client.ping(b"there?"), 10)
        assert time.monotonic() - began < 10
