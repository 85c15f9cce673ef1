"""Replicas that come and go: revisions move in time, and whoever takes over does not shrink what it does not know."""

import asyncio
import signal
import time

import pytest
from websockets.asyncio.client import connect

from proxies.wire.stat import Stat, StatMessage, encode_messages
from tests.autoscaler.replicas import NAMESPACE, Autoscaler, World, world
from tests.support.processes import eventually

BRIEF = {"buckets": "3", "lease-duration": "2s", "renew-deadline": "1200ms", "retry-period": "300ms"}
LEASE_S = 2.0
BUSY_S = 5.0
"""What a busy machine may add."""
NAMES = tuple(f"hello-{number:05d}" for number in range(1, 7))

pytestmark = pytest.mark.timeout(180)


async def leader_and_others(kn: World) -> tuple[Autoscaler, list[Autoscaler]]:
    """Three replicas of which the first took every bucket, when all revisions are decided."""
    leader = await kn.autoscaler(1)
    others = [await kn.autoscaler(2), await kn.autoscaler(3)]
    await kn.all_decided(leader)
    await eventually(lambda: set(kn.desired) == set(NAMES))
    assert await kn.holders() == {leader.ip}
    return leader, others


async def taken_over(kn: World, before: Autoscaler) -> None:
    """Wait until others hold every bucket."""

    async def moved() -> bool:
        holders = await kn.holders()
        return "" not in holders and before.ip not in holders

    await eventually(moved, timeout_s=20)


def nothing_shrank(kn: World) -> None:
    assert kn.replicas == {name: [4] for name in NAMES}
    assert kn.desired == {name: [4] for name in NAMES}


async def watch_three_decisions(kn: World) -> None:
    """The statement is about time: nothing happens while the successors decide three times."""
    await asyncio.sleep(6.5)
    nothing_shrank(kn)


async def test_a_killed_leaders_revisions_move_within_the_lease_and_nothing_shrinks() -> None:
    async with world(BRIEF) as kn:
        await kn.revisions(*NAMES, pods=4)
        leader, others = await leader_and_others(kn)
        # A lull, which the leader's windows would have bridged. The successors see nothing but the lull.
        kn.load_per_pod = 0.0
        leader.signal(signal.SIGKILL)
        killed = time.monotonic()
        await taken_over(kn, leader)
        assert time.monotonic() - killed <= LEASE_S + BUSY_S
        await kn.all_decided(*others)
        await watch_three_decisions(kn)


async def test_a_leader_that_was_frozen_wakes_up_as_nobody() -> None:
    async with world(BRIEF) as kn:
        await kn.revisions(*NAMES, pods=4)
        leader, others = await leader_and_others(kn)
        kn.load_per_pod = 0.0
        leader.signal(signal.SIGSTOP)
        await taken_over(kn, leader)
        await kn.all_decided(*others)
        leader.signal(signal.SIGCONT)

        async def owns_nothing() -> bool:
            state = await leader.state()
            return state["buckets"] == state["revisions"] == []

        await eventually(owns_nothing)
        await watch_three_decisions(kn)
        assert leader.ip not in await kn.holders()


async def test_an_orderly_end_hands_over_at_once_whatever_the_lease_lasts() -> None:
    async with world({"buckets": "3"}) as kn:
        await kn.revisions(*NAMES, pods=4)
        leader, others = await leader_and_others(kn)
        leader.signal(signal.SIGTERM)
        began = time.monotonic()
        await taken_over(kn, leader)
        assert time.monotonic() - began < 10
        await kn.all_decided(*others)
        nothing_shrank(kn)
        assert await asyncio.wait_for(leader.process.wait(), 30) == 0


async def test_a_stat_that_reaches_another_replica_wakes_a_revision_at_zero() -> None:
    async with world(BRIEF) as kn:
        # Unlimited burst capacity: silence means no load, so the revision is known to be at zero.
        await kn.revisions("sleeper", pods=0, **{"target-burst-capacity": "-1"})
        owner = await kn.autoscaler(1)
        other = await kn.autoscaler(2)
        await kn.all_decided(owner)
        message = StatMessage(NAMESPACE, "sleeper", Stat("activator-1", average_concurrent_requests=1, request_count=1))
        async with connect("ws://autoscaler:8080/", host=other.ip, compression=None, proxy=None) as activator:
            await activator.send(encode_messages([message]))
            await eventually(lambda: kn.replicas["sleeper"] == [0, 1])
        line = await owner.logged("scale_applied")
        # Decided when it came, and not when it was the revision's turn.
        assert line["decided"] == line["stat_received"]
        assert (await other.logged("stat_forwarding"))["to"] == f"{owner.ip}:8080"
        assert (await other.state())["revisions"] == []


async def test_an_invalid_config_map_is_refused_with_its_name_and_the_rule() -> None:
    async with world({"lease-duration": "1s"}) as kn:
        refused = await kn.spawn(1)
        assert await asyncio.wait_for(refused.process.wait(), 30) == 1
        await refused.end()
        problem = "lease-duration = 1s, must be greater than renew-deadline = 40s"
        assert refused.lines[-1]["message"] == (
            f"autoscaler: ConfigMap knative-serving/config-leader-election: {problem}\n"
        )
