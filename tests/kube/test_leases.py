"""Electors against a real API server: who holds, how fast a lease moves, and when it must not."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from kube.client import Client
from kube.config import ApiConfig
from kube.election.elector import Elector
from kube.election.settings import LeaseTiming
from kube.informer import Informer
from kube.models.coordination import Lease, LeaseSpec
from kube.models.meta import ObjectMeta
from proxies.logs import Logger
from tests.support.api import RunningApiServer, running_api_server
from tests.support.processes import LATE_S, eventually
from tests.support.relay import running_relay

NAMESPACE = "default"
BRIEF = LeaseTiming(duration_s=3, renew_deadline_s=2, retry_s=0.2)
ORDINARY = LeaseTiming()


class Replica:
    """One contender with its own connection and watch, and what it was told, by the clock."""

    def __init__(self, config: ApiConfig, identity: str, timing: LeaseTiming, names: tuple[str, ...]) -> None:
        self.client = Client(config)
        self.lines: list[bytes] = []
        self.log: list[tuple[float, str, str]] = []
        self.clock_ahead_s = 0.0
        self.on_acquired = self._acquired
        quiet = Logger("test", write=lambda line: None)
        self.leases = Informer(self.client, Lease, namespace=NAMESPACE, log=quiet)
        self.elector = Elector(
            self.client,
            self.leases,
            namespace=NAMESPACE,
            names=names,
            identity=identity,
            timing=timing,
            on_acquired=lambda name: self.on_acquired(name),
            on_lost=lambda name: self.log.append((time.monotonic(), "lost", name)),
            log=Logger("elector", write=self.lines.append),
            clock=lambda: time.monotonic() + self.clock_ahead_s,
        )

    def _acquired(self, name: str) -> None:
        self.log.append((time.monotonic(), "acquired", name))

    @property
    def events(self) -> list[str]:
        """What it was told, without times and names."""
        return [event for _, event, _ in self.log]

    def reasons(self) -> list[str]:
        """Why leases were lost."""
        return [line["reason"] for line in map(json.loads, self.lines) if line["message"] == "lease_lost"]

    async def start(self) -> None:
        await self.client.open()
        await self.leases.start()
        await self.elector.start()

    async def die(self) -> None:
        """For everybody else the same as being killed: not another word to the API."""
        await self.client.close()

    async def stop(self) -> None:
        await self.elector.stop()
        await self.leases.stop()
        await self.client.close()


class Replicas:
    """Replicas of one test, all ended with it."""

    def __init__(self, api: RunningApiServer) -> None:
        self._config = api.config
        self._all: list[Replica] = []

    async def start(
        self,
        identity: str,
        timing: LeaseTiming = BRIEF,
        names: tuple[str, ...] = ("lock",),
        *,
        config: ApiConfig | None = None,
    ) -> Replica:
        replica = Replica(config or self._config, identity, timing, names)
        self._all.append(replica)
        await replica.start()
        return replica

    async def stop(self) -> None:
        for replica in self._all:
            await replica.stop()


@pytest.fixture
async def api() -> AsyncIterator[RunningApiServer]:
    async with running_api_server() as server:
        yield server


@pytest.fixture
async def client(api: RunningApiServer) -> AsyncIterator[Client]:
    async with Client(api.config) as opened:
        yield opened


@pytest.fixture
async def replicas(api: RunningApiServer) -> AsyncIterator[Replicas]:
    group = Replicas(api)
    yield group
    await group.stop()


async def record(client: Client, name: str = "lock") -> LeaseSpec:
    return (await client.get(Lease, name, NAMESPACE)).spec


async def write(client: Client, holder: str, *, seconds: int, renew_time: str = "2026-01-01T00:00:00.000000Z") -> None:
    spec = LeaseSpec(holder_identity=holder, lease_duration_seconds=seconds, renew_time=renew_time)
    await client.create(Lease(metadata=ObjectMeta(name="lock", namespace=NAMESPACE), spec=spec))


async def patch(client: Client, spec: dict[str, Any]) -> None:
    await client.patch(Lease, "lock", NAMESPACE, {"spec": spec})


async def test_a_lease_that_nobody_holds_is_taken_by_the_time_start_returns(replicas: Replicas, client: Client) -> None:
    one = await replicas.start("one", ORDINARY)
    assert one.events == ["acquired"]
    assert one.elector.holds("lock")
    assert not one.elector.holds("another")
    spec = await record(client)
    assert (spec.holder_identity, spec.lease_duration_seconds, spec.lease_transitions) == ("one", 60, 0)
    assert spec.acquire_time == spec.renew_time


async def test_several_leases_are_held_at_once_and_each_is_told(replicas: Replicas) -> None:
    names = tuple(f"lock-{number}" for number in range(10))
    one = await replicas.start("one", ORDINARY, names)
    assert sorted(name for _, _, name in one.log) == list(names)
    two = await replicas.start("two", ORDINARY, names)
    assert two.events == []
    await one.stop()
    await eventually(lambda: all(two.elector.holds(name) for name in names))


async def test_a_released_lease_moves_at_once_although_nobody_would_retry_for_ten_seconds(
    replicas: Replicas, client: Client
) -> None:
    one = await replicas.start("one", ORDINARY)
    two = await replicas.start("two", ORDINARY)
    await one.elector.stop()
    await eventually(lambda: two.elector.holds("lock"), timeout_s=8)
    assert one.events == ["acquired", "lost"]
    assert one.log[-1][0] < two.log[-1][0]
    assert (await record(client)).lease_transitions == 1


async def test_release_leaves_an_empty_holder_and_one_second(replicas: Replicas, client: Client) -> None:
    one = await replicas.start("one", ORDINARY)
    await one.elector.stop()
    spec = await record(client)
    assert (spec.holder_identity, spec.lease_duration_seconds) == ("", 1)


async def test_a_replica_that_never_held_the_lease_leaves_it_alone_at_its_end(
    replicas: Replicas, client: Client
) -> None:
    await write(client, "someone", seconds=60)
    before = await client.get(Lease, "lock", NAMESPACE)
    one = await replicas.start("one", ORDINARY)
    await one.elector.stop()
    assert await client.get(Lease, "lock", NAMESPACE) == before


@pytest.mark.parametrize("renew_time", ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_a_dead_holders_lease_is_taken_when_it_was_not_renewed_here_whatever_its_clock_said(
    replicas: Replicas, client: Client, renew_time: str
) -> None:
    await write(client, "dead", seconds=1, renew_time=renew_time)
    began = time.monotonic()
    one = await replicas.start("one")
    assert one.events == []
    await eventually(lambda: one.elector.holds("lock"))
    assert 0.95 <= one.log[0][0] - began < 10


async def test_a_holder_that_renews_is_left_alone(replicas: Replicas, client: Client) -> None:
    one = await replicas.start("one")
    first = await record(client)
    two = await replicas.start("two")
    await asyncio.sleep(2 * BRIEF.duration_s)  # the statement is about time: twice the lease's duration
    assert (one.events, two.events) == (["acquired"], [])
    last = await record(client)
    assert last.acquire_time == first.acquire_time
    assert first.renew_time is not None
    assert last.renew_time is not None
    assert last.renew_time > first.renew_time


async def test_a_killed_holders_lease_moves_within_its_duration(replicas: Replicas) -> None:
    one = await replicas.start("one")
    two = await replicas.start("two")
    three = await replicas.start("three")
    await one.die()
    died = time.monotonic()
    await eventually(lambda: two.elector.holds("lock") or three.elector.holds("lock"))
    assert time.monotonic() - died <= BRIEF.duration_s + LATE_S
    assert two.elector.holds("lock") != three.elector.holds("lock")


async def test_a_restarted_container_of_the_same_pod_goes_on_at_once(replicas: Replicas, client: Client) -> None:
    one = await replicas.start("pod_10.0.0.1", ORDINARY)
    acquired = (await record(client)).acquire_time
    await one.die()
    again = await replicas.start("pod_10.0.0.1", ORDINARY)
    assert again.elector.holds("lock")
    spec = await record(client)
    assert (spec.acquire_time, spec.lease_transitions) == (acquired, 0)


async def test_a_holder_cut_off_from_the_api_stops_before_another_may_start(
    api: RunningApiServer, replicas: Replicas
) -> None:
    port = int(api.config.server.rpartition(":")[2])
    async with running_relay(port) as relay:
        config = replace(api.config, server=f"https://127.0.0.1:{relay.port}")
        one = await replicas.start("one", config=config)
        two = await replicas.start("two")
        relay.fall_silent()
        await eventually(lambda: two.elector.holds("lock"))
        assert one.events == ["acquired", "lost"]
        assert one.log[-1][0] < two.log[0][0]
        assert one.reasons() == [f"not renewed for {BRIEF.renew_deadline_s:g} s"]

        relay.recover()
        await two.elector.stop()
        await eventually(lambda: one.elector.holds("lock"))


async def test_a_suspended_process_does_not_act_when_it_wakes_up_too_late(replicas: Replicas) -> None:
    one = await replicas.start("one", ORDINARY)
    one.clock_ahead_s = ORDINARY.renew_deadline_s + 1
    assert not one.elector.holds("lock")  # before the loop had a chance to notice


async def test_a_lease_taken_by_force_is_lost_at_once(replicas: Replicas, client: Client) -> None:
    one = await replicas.start("one", ORDINARY)
    await patch(client, {"holderIdentity": "bully"})
    await eventually(lambda: one.events == ["acquired", "lost"], timeout_s=8)
    assert one.reasons() == ["held by bully"]


async def test_a_deleted_lease_is_made_again_and_its_holder_goes_on(replicas: Replicas, client: Client) -> None:
    one = await replicas.start("one")
    await client.delete(Lease, "lock", NAMESPACE)

    async def is_back() -> bool:
        return [lease.spec.holder_identity for lease in (await client.list(Lease, NAMESPACE)).items] == ["one"]

    await eventually(is_back)
    assert one.events == ["acquired"]


async def test_a_watch_that_lags_takes_nothing_away_from_a_holder(api: RunningApiServer, client: Client) -> None:
    await write(client, "", seconds=1)
    late = Replica(api.config, "late", ORDINARY, ("lock",))
    await late.client.open()
    await late.leases.start()
    await late.leases.stop()  # its copy says from here on that the lease is free
    await patch(client, {"holderIdentity": "quick", "leaseDurationSeconds": 60})
    await late.elector.start()
    assert late.events == []
    assert (await record(client)).holder_identity == "quick"
    await late.stop()


async def test_a_watch_that_lags_does_not_keep_a_free_lease_from_being_taken(
    api: RunningApiServer, client: Client
) -> None:
    await write(client, "", seconds=1)
    late = Replica(api.config, "late", ORDINARY, ("lock",))
    await late.client.open()
    await late.leases.start()
    await late.leases.stop()
    await client.patch(Lease, "lock", NAMESPACE, {"metadata": {"labels": {"touched": "yes"}}})
    await late.elector.start()
    assert late.events == ["acquired"]
    await late.stop()


async def test_metadata_that_others_wrote_stays(replicas: Replicas, client: Client) -> None:
    await write(client, "", seconds=1)
    await client.patch(Lease, "lock", NAMESPACE, {"metadata": {"labels": {"team": "a"}}, "spec": {"strategy": "x"}})
    await replicas.start("one")
    lease = await client.get(Lease, "lock", NAMESPACE)
    assert (lease.metadata.labels, lease.spec.holder_identity) == ({"team": "a"}, "one")


async def test_a_callback_that_fails_ends_the_term_and_not_the_election(api: RunningApiServer) -> None:
    terms: list[str] = []

    def fail_once(name: str) -> None:
        terms.append(name)
        if len(terms) == 1:
            raise RuntimeError("not ready for that")

    one = Replica(api.config, "one", BRIEF, ("lock",))
    one.on_acquired = fail_once
    await one.start()
    assert not one.elector.holds("lock")
    await eventually(lambda: one.elector.holds("lock"))
    assert terms == ["lock", "lock"]
    assert one.reasons() == ["failed"]
    assert any(json.loads(line)["message"] == "election_failed" for line in one.lines)
    await one.stop()


async def test_an_api_that_refuses_is_told_once_and_tried_again(replicas: Replicas, api: RunningApiServer) -> None:
    one = await replicas.start("one")
    await api.server.stop()
    await eventually(lambda: "lost" in one.events)
    await asyncio.sleep(3 * BRIEF.retry_s)  # time for more attempts
    complaints = [line for line in map(json.loads, one.lines) if line["message"] == "lease_not_written"]
    assert len(complaints) == 1
