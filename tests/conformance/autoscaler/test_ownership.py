"""Statements 86 to 88: how replicas divide the revisions, and what they send each other.

The other replica is played by the test: it holds a bucket's Lease, and listens where the holder of a Lease listens.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from kube.models.coordination import Lease, LeaseSpec
from kube.models.meta import ObjectMeta
from kube.subset import choose_subset
from proxies.wire.stat import Stat, StatMessage, decode_messages, encode_messages
from tests.autoscaler.replicas import SYSTEM, Autoscaler, World, world
from tests.support.processes import eventually


class Holder:
    """Another replica, as far as the wire tells."""

    def __init__(self) -> None:
        self.received: list[StatMessage] = []

    async def serve(self, connection: ServerConnection) -> None:
        try:
            async for frame in connection:
                assert isinstance(frame, bytes)
                self.received += decode_messages(frame)
        except ConnectionClosed:
            return


@asynccontextmanager
async def holding(kn: World, bucket: str) -> AsyncIterator[Holder]:
    """Hold a bucket before any autoscaler can take it."""
    ip = kn.address(9)
    spec = LeaseSpec(holder_identity=f"autoscaler-9_{ip}", lease_duration_seconds=3600)
    await kn.client.create(Lease(metadata=ObjectMeta(name=bucket, namespace=SYSTEM), spec=spec))
    holder = Holder()
    async with serve(holder.serve, ip, 8080):
        yield holder


async def push(autoscaler: Autoscaler, *messages: StatMessage) -> None:
    async with connect("ws://autoscaler:8080/", host=autoscaler.ip, compression=None, proxy=None) as activator:
        await activator.send(encode_messages(list(messages)))


def stat(namespace: str, name: str, *, timestamp: int = 0) -> StatMessage:
    return StatMessage(namespace, name, Stat("activator-1", 2.5, 0.5, 7, 1, 60, timestamp))


async def test_86_stats_without_a_timestamp_are_stamped_with_the_second_of_arrival_before_forwarding() -> None:
    async with world({}) as kn, holding(kn, "autoscaler-bucket-00-of-01") as holder:
        autoscaler = await kn.autoscaler(1)
        before = int(time.time())
        await push(autoscaler, stat("default", "hello-00001"), stat("default", "hello-00002", timestamp=1_700_000_000))
        await eventually(lambda: len(holder.received) == 2)
        stamped, kept = holder.received
        assert before <= stamped.stat.timestamp <= time.time() + 1
        stamped.stat.timestamp = 0
        assert stamped == stat("default", "hello-00001")
        assert kept == stat("default", "hello-00002", timestamp=1_700_000_000)


@pytest.mark.parametrize(
    ("bucket", "theirs"),
    [
        ("autoscaler-bucket-00-of-03", {("default", "hello-00001")}),
        ("autoscaler-bucket-01-of-03", {("default", "hello-00002")}),
        ("autoscaler-bucket-02-of-03", {("ns", "rev"), ("default", "world-00001")}),
    ],
)
async def test_87_the_owner_of_a_revision_is_chosen_by_the_rule(bucket: str, theirs: set[tuple[str, str]]) -> None:
    keys = [("default", "hello-00001"), ("default", "hello-00002"), ("ns", "rev"), ("default", "world-00001")]
    async with world({"buckets": "3"}) as kn, holding(kn, bucket) as holder:
        autoscaler = await kn.autoscaler(1)
        await push(autoscaler, *(stat(*key) for key in keys))
        await eventually(lambda: len(holder.received) >= len(theirs))
        assert {(message.namespace, message.name) for message in holder.received} == theirs


@pytest.mark.parametrize(
    ("target", "subset"),
    [("hello-00001", {"10.0.0.4", "10.0.0.5"}), ("hello-00002", {"10.0.0.2", "10.0.0.5"})],
)
def test_87_subsets_of_addresses_are_chosen_by_the_same_rule(target: str, subset: set[str]) -> None:
    assert choose_subset([f"10.0.0.{number}" for number in range(1, 6)], 2, target) == subset


@pytest.mark.parametrize(
    ("buckets", "names"),
    [
        ("1", ["autoscaler-bucket-00-of-01"]),
        ("10", [f"autoscaler-bucket-0{ordinal}-of-10" for ordinal in range(10)]),
    ],
)
async def test_88_buckets_are_named_with_two_digits(buckets: str, names: list[str]) -> None:
    async with world({"buckets": buckets}) as kn:
        autoscaler = await kn.autoscaler(1)
        leases = (await kn.client.list(Lease, SYSTEM)).items
        assert sorted(lease.name for lease in leases) == names
        assert {lease.spec.holder_identity for lease in leases} == {f"autoscaler-1_{autoscaler.ip}"}
