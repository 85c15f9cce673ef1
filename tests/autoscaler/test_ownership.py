"""`autoscaler.ownership`: several replicas in one process, over a real API server and real connections."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from autoscaler.buckets import StatefulSet
from autoscaler.config import Config
from autoscaler.ownership import Ownership
from autoscaler.stat_server import StatServer
from kube.client import Client
from kube.election.settings import ElectionSettings, LeaseTiming
from kube.models.coordination import Lease, LeaseSpec
from kube.models.core import Namespace
from kube.models.discovery import EndpointSlice
from kube.models.meta import ObjectMeta
from kube.resolve import Resolver
from kube.subset import bucket_names, bucket_owner
from proxies.environment import ConfigError
from proxies.logs import Logger
from proxies.wire.stat import Stat, StatMessage
from tests.support.api import RunningApiServer, running_api_server
from tests.support.loopback import loopback_subnet
from tests.support.processes import eventually

SYSTEM = "knative-serving"
BRIEF = LeaseTiming(duration_s=2, renew_deadline_s=1.2, retry_s=0.2)
KEY = ("default", "hello-00001")
NOW = 1_800_000_000.75


class Names(Resolver):
    """A name server that knows the replicas of a StatefulSet."""

    known: dict[str, str]

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        return [(self.known.get(host, host), port)]


class Replica:
    """One autoscaler as far as ownership goes: its buckets, its stat server, and what reached it."""

    def __init__(self, api: RunningApiServer, number: int, subnet: str, *, ordinal: bool = False) -> None:
        self.ip = f"{subnet}.{number + 1}"
        self.client = Client(api.config)
        self.accepted: list[StatMessage] = []
        self.turns: list[str] = []
        self.lines: list[bytes] = []
        place = StatefulSet(name="as", ordinal=number, service="peers", port=8080) if ordinal else None
        config = Config(
            api=api.config,
            system_namespace=SYSTEM,
            pod_name=f"autoscaler-{number}",
            pod_ip=self.ip,
            bind_address=self.ip,
            stateful_set=place,
        )
        names = Names(self.client, by_endpoints=False)
        names.known = {f"as-{other}.peers.{SYSTEM}.svc.cluster.local": f"{subnet}.{other + 1}" for other in range(3)}
        log = Logger("replica", write=self.lines.append)
        self.ownership = Ownership(
            self.client,
            names,
            config,
            accept=self.accepted.append,
            on_gained=lambda: self.turns.append("gained"),
            on_lost=lambda: self.turns.append("lost"),
            clock=lambda: NOW,
            log=log,
        )
        self.server = StatServer(self.ownership.take, owns_bucket=self.ownership.owns_bucket, log=log)

    async def start(self, buckets: int = 1, timing: LeaseTiming = BRIEF) -> None:
        await self.client.open()
        await self.server.start(self.ip, 8080)
        await self.ownership.follow()
        await self.ownership.contend(ElectionSettings(buckets=buckets, timing=timing))

    async def stop(self) -> None:
        await self.ownership.stop()
        await self.server.stop(1)
        await self.client.close()


Make = Callable[..., Replica]


@pytest.fixture
async def api() -> AsyncIterator[RunningApiServer]:
    async with running_api_server() as server:
        async with Client(server.config) as client:
            await client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        yield server


@pytest.fixture
async def client(api: RunningApiServer) -> AsyncIterator[Client]:
    async with Client(api.config) as opened:
        yield opened


@pytest.fixture
async def make(api: RunningApiServer) -> AsyncIterator[Make]:
    """Makes replicas with addresses of this test's own; they are ended with it."""
    made: list[Replica] = []
    with loopback_subnet() as subnet:

        def one(number: int = 0, *, ordinal: bool = False) -> Replica:
            made.append(Replica(api, number, subnet, ordinal=ordinal))
            return made[-1]

        yield one
        for replica in made:
            await replica.stop()


def stat(key: tuple[str, str] = KEY, *, timestamp: int = 0, concurrency: float = 1.0) -> StatMessage:
    return StatMessage(*key, Stat("activator-1", average_concurrent_requests=concurrency, timestamp=timestamp))


def keys_of(bucket: str, buckets: list[str]) -> tuple[str, str]:
    """A revision that belongs to `bucket`."""
    return next(
        ("default", f"hello-{number:05d}")
        for number in range(1, 1000)
        if bucket_owner(buckets, f"default/hello-{number:05d}") == bucket
    )


async def test_before_it_contends_a_replica_owns_nothing(make: Make) -> None:
    replica = make()
    assert not replica.ownership.owns(KEY)
    assert not replica.ownership.owns_bucket("autoscaler-bucket-00-of-01")
    assert not replica.ownership.owns_bucket("")
    await replica.start()
    assert replica.ownership.owns(KEY)


async def test_a_single_replica_owns_every_bucket_as_soon_as_it_contends(make: Make) -> None:
    replica = make()
    await replica.start(3, LeaseTiming())
    assert replica.ownership.held_buckets == bucket_names(3)
    assert all(replica.ownership.owns(("default", f"hello-{number:05d}")) for number in range(50))
    assert replica.turns == ["gained"] * 3
    assert not replica.ownership.owns_bucket("autoscaler-bucket-00-of-01")


async def test_stats_of_our_revisions_are_accepted_as_they_are(make: Make) -> None:
    replica = make()
    await replica.start()
    replica.ownership.take(stat())
    assert replica.accepted == [stat()]


async def test_stats_of_others_are_stamped_with_the_second_of_their_arrival_and_forwarded(make: Make) -> None:
    first, second = make(0), make(1)
    await first.start(timing=LeaseTiming())
    await second.start(timing=LeaseTiming())
    assert not second.ownership.owns(KEY)
    second.ownership.take(stat())
    second.ownership.take(stat(timestamp=17))
    await eventually(lambda: len(first.accepted) == 2, timeout_s=8)  # not only with the next renewal
    assert first.accepted == [stat(timestamp=int(NOW)), stat(timestamp=17)]
    assert second.accepted == []


async def test_each_bucket_goes_to_its_own_holder(make: Make, client: Client) -> None:
    buckets = bucket_names(2)
    first, second = make(0), make(1)
    taken = LeaseSpec(holder_identity=f"autoscaler-1_{second.ip}", lease_duration_seconds=60)
    await client.create(Lease(metadata=ObjectMeta(name=buckets[1], namespace=SYSTEM), spec=taken))
    await first.start(2)
    await second.start(2)
    assert (first.ownership.held_buckets, second.ownership.held_buckets) == ([buckets[0]], [buckets[1]])
    one, two = keys_of(buckets[0], buckets), keys_of(buckets[1], buckets)
    for replica in (first, second):
        replica.ownership.take(stat(one))
        replica.ownership.take(stat(two))
    await eventually(lambda: len(first.accepted) == len(second.accepted) == 2)
    assert {message.name for message in first.accepted} == {one[1]}
    assert {message.name for message in second.accepted} == {two[1]}


async def test_what_waited_for_an_owner_is_accepted_by_who_becomes_it(make: Make, client: Client) -> None:
    bucket = bucket_names(1)[0]
    dead = LeaseSpec(holder_identity="dead_127.0.0.1", lease_duration_seconds=1)
    await client.create(Lease(metadata=ObjectMeta(name=bucket, namespace=SYSTEM), spec=dead))
    replica = make()
    await replica.start()
    replica.ownership.take(stat())
    assert replica.accepted == []
    await eventually(lambda: replica.accepted == [stat(timestamp=int(NOW))])
    assert replica.turns == ["gained"]


async def test_a_holder_that_is_none_of_ours_changes_nothing(make: Make, client: Client) -> None:
    lease = LeaseSpec(holder_identity="somebody", lease_duration_seconds=1)
    await client.create(Lease(metadata=ObjectMeta(name=bucket_names(1)[0], namespace=SYSTEM), spec=lease))
    replica = make()
    await replica.start()
    assert not replica.ownership.owns(KEY)
    await eventually(lambda: replica.ownership.owns(KEY))


async def test_handing_over_moves_revisions_and_stats_at_once(make: Make) -> None:
    first, second = make(0), make(1)
    await first.start(timing=LeaseTiming())
    await second.start(timing=LeaseTiming())
    await first.ownership.hand_over()
    assert first.turns == ["gained", "lost"]
    first.ownership.take(stat())
    await eventually(lambda: len(second.accepted) == 1)
    assert second.ownership.owns(KEY)


async def test_the_holder_can_be_found_by_the_buckets_name(make: Make, client: Client, api: RunningApiServer) -> None:
    replica = make()
    await replica.start()
    bucket = bucket_names(1)[0]

    async def written() -> bool:
        return bool((await client.list(EndpointSlice, SYSTEM)).items)

    await eventually(written)
    resolver = Resolver(client, by_endpoints=True)
    found = await resolver.resolve(f"{bucket}.{SYSTEM}.svc.cluster.local", 8080)
    assert found == [(replica.ip, 8080)]


async def test_work_for_a_revision_of_somebody_else_is_not_begun(make: Make) -> None:
    replica = make()
    begun: list[str] = []

    async def work() -> int:
        begun.append("work")
        return 1

    assert await replica.ownership.while_owned(KEY, work) is None
    assert begun == []
    await replica.start()
    assert await replica.ownership.while_owned(KEY, work) == 1


async def test_work_under_way_is_cancelled_when_the_revision_is_lost(make: Make) -> None:
    replica = make()
    await replica.start()
    cancelled = asyncio.Event()

    async def work() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 1

    doing = asyncio.create_task(replica.ownership.while_owned(KEY, work))
    await asyncio.sleep(0)
    await replica.ownership.hand_over()
    assert await asyncio.wait_for(doing, 20) is None
    assert cancelled.is_set()


async def test_a_bucket_may_be_lost_again_before_work_from_the_first_time_has_ended(make: Make, client: Client) -> None:
    replica = make()
    await replica.start()
    bucket = bucket_names(1)[0]
    may_end = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await may_end.wait()

    async def lose() -> None:
        other = {"holderIdentity": "somebody", "leaseDurationSeconds": 1}
        await client.patch(Lease, bucket, SYSTEM, {"spec": other})

    doing = asyncio.create_task(replica.ownership.while_owned(KEY, work))
    await asyncio.sleep(0)
    await lose()
    await eventually(lambda: replica.turns == ["gained", "lost", "gained"])
    await lose()
    await eventually(lambda: replica.turns[:4] == ["gained", "lost", "gained", "lost"])
    may_end.set()
    assert await asyncio.wait_for(doing, 20) is None
    assert b"election_failed" not in b"".join(replica.lines)


async def test_what_work_raises_is_raised(make: Make) -> None:
    replica = make()
    await replica.start()

    async def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await replica.ownership.while_owned(KEY, work)


async def test_in_a_stateful_set_each_ordinal_owns_its_bucket_and_there_are_no_leases(
    make: Make, client: Client
) -> None:
    replicas = [make(number, ordinal=True) for number in range(2)]
    for replica in replicas:
        await replica.start(2)
    buckets = [f"http://as-{ordinal}.peers.{SYSTEM}.svc.cluster.local:8080" for ordinal in range(2)]
    assert [replica.ownership.held_buckets for replica in replicas] == [[buckets[0]], [buckets[1]]]
    for ordinal, replica in enumerate(replicas):
        key = keys_of(buckets[ordinal], buckets)
        assert [other.ownership.owns(key) for other in replicas] == [other is replica for other in replicas]
        replicas[1 - ordinal].ownership.take(stat(key))
        await eventually(lambda replica=replica: len(replica.accepted) == 1)
    assert (await client.list(Lease, SYSTEM)).items == []


async def test_an_ordinal_beyond_the_buckets_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"ordinal 2 is out of range \[0, 2\)"):
        await make(2, ordinal=True).start(2)
