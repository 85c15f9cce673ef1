"""Statements 51 to 72: what a PodAutoscaler of class kpa makes of its surroundings, seen through the API.

One autoscaler process serves the whole file; every test has a revision of its own.
"""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kube.models.autoscaling import Metric
from kube.models.core import Event
from kube.models.meta import ObjectMeta
from kube.models.networking import ServerlessService
from proxies.wire.stat import Stat
from tests.conformance.autoscaler.world import NAMESPACE, WITHIN_S, Revision, World, autoscaler, condition
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

WINDOW_S = 6
CONFIG = {"stable-window": f"{WINDOW_S}s", "panic-window-percentage": "50"}
ORIGINAL = {"KNUV_STRICT_COMPAT": "1"}
"""What is prepared looks as after a restart, when the original takes a single pod at the first sight of no load."""
BUFFERED = {"target_burst_capacity": "-1"}
"""Nothing is scraped, and the activator is not asked whether it is there."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with autoscaler(config=CONFIG, environ=ORIGINAL) as world:
        yield world


def steady(revision: Revision) -> int | None:
    """Replicas, if nobody was asked to change them."""
    return revision.replicas if not revision.scale_writes else None


# Proxy or serve.


@pytest.mark.parametrize("mode", [None, "Serve"])
async def test_51_without_a_private_service_two_activators_stand_before_the_revision(
    world: World, mode: str | None
) -> None:
    revision = await world.revision(ready=1, mode=mode, has_private_service=False)
    await revision.until_service(lambda spec: (spec.mode, spec.num_activators) == ("Proxy", 2), "of two activators")
    autoscaler = await revision.reconciled()
    assert condition(autoscaler, "SKSReady") == ("Unknown", "NotReady")
    message = next(c.message for c in autoscaler.status.conditions if c.type == "SKSReady")
    assert message == "No Private Service Name"
    assert (autoscaler.status.desired_scale, autoscaler.status.actual_scale) == (-1, 0)


async def test_52_pods_serve_while_they_have_room_for_a_burst(world: World) -> None:
    with_room = await world.revision(ready=1, load=5, active=("True", 100), target_burst_capacity="10")
    without = await world.revision(ready=1, load=5, active=("True", 100), mode="Serve")
    assert (await with_room.decided(1))["excess_burst_capacity"] == 85
    assert with_room.service.spec.mode == "Serve"
    assert (await without.decided(1))["excess_burst_capacity"] == -116
    assert without.service.spec.mode == "Proxy"


async def test_52_no_room_left_over_is_enough_room(world: World) -> None:
    revision = await world.revision(ready=1, load=5, active=("True", 100), target_burst_capacity="0")
    assert (await revision.decided(1))["excess_burst_capacity"] == 0
    assert revision.service.spec.mode == "Serve"


async def test_53_an_inactive_revision_stays_proxied_while_nothing_is_known(world: World) -> None:
    """With burst capacity 0 there would be room, so it is the missing decision that keeps the activators."""
    inactive = await world.revision(ready=0, active=("False", 1), target_burst_capacity="0", mode="Serve")
    active = await world.revision(ready=0, active=("True", 1), target_burst_capacity="0", mode="Serve")
    assert (await inactive.reconciled()).status.desired_scale == -1
    assert inactive.service.spec.mode == "Proxy"
    assert (await active.reconciled()).status.desired_scale == -1
    assert active.service.spec.mode == "Serve"


@pytest.mark.parametrize(
    ("ready", "burst", "activators"), [(1, "200", 3), (1, "0", 2), (5, "-1", 5), (0, "211", 3), (1, "211", 4)]
)
async def test_54_activators_for_the_pods_and_the_burst(world: World, ready: int, burst: str, activators: int) -> None:
    revision = await world.revision(ready=ready, active=("True", 100), target_burst_capacity=burst)
    await revision.until_service(lambda spec: spec.num_activators == activators, f"of {activators} activators")


# Bounds.


async def test_55_the_largest_scale_is_applied_and_no_more(world: World) -> None:
    revision = await world.revision(
        ready=1, load=100, target="10", target_utilization_percentage="100", max_scale="8", active=("True", 100)
    )
    await revision.until_replicas(8)
    assert (await revision.decided(10))["desired"] == 10
    assert (revision.replicas, revision.autoscaler.status.desired_scale) == (8, 8)


@pytest.mark.parametrize("reachability", ["Reachable", ""])
async def test_56_the_smallest_scale_is_kept(world: World, reachability: str) -> None:
    revision = await world.revision(
        replicas=5, active=("False", 100), min_scale="2", reachability=reachability, **BUFFERED
    )
    await revision.decided(0)
    await revision.until_replicas(2)
    assert revision.autoscaler.status.desired_scale == 2


async def test_56_an_unreachable_revision_has_no_smallest_scale(world: World) -> None:
    revision = await world.revision(
        replicas=5, active=("False", 100), min_scale="2", reachability="Unreachable", **BUFFERED
    )
    await revision.until_replicas(0)


async def test_57_without_scaling_to_zero_one_replica_stays() -> None:
    async with autoscaler(config={**CONFIG, "enable-scale-to-zero": "false"}, environ=ORIGINAL) as world:
        revision = await world.revision(replicas=3, active=("False", 1000), proxied_for_s=1000, **BUFFERED)
        await revision.decided(0)
        await revision.until_replicas(1)
        assert (await revision.reconciled()).status.desired_scale == 1
        assert revision.replicas == 1


# The way to zero.


async def test_58_an_idle_revision_shrinks_to_one_until_the_window_has_passed(world: World) -> None:
    revision = await world.revision(ready=1, replicas=3, active=("True", 0), **BUFFERED)
    await revision.report(0)
    await revision.until_replicas(1)
    assert condition(revision.autoscaler, "Active")[0] == "True"
    # Nothing happens any more, so it is the clock that brings the autoscaler back.
    await revision.until_active("False", "NoTraffic")


async def test_59_the_pass_that_marks_a_revision_inactive_takes_no_pods(world: World) -> None:
    revision = await world.revision(ready=1, active=("True", WINDOW_S), mode="Serve", target_burst_capacity="0")
    revision.activator = (503, b"")
    await revision.decided(0)
    autoscaler = await revision.until_active("False", "NoTraffic")
    assert revision.service.spec.mode == "Proxy"
    assert autoscaler.status.desired_scale == 0
    assert steady(revision) == 1


async def test_60_the_last_pod_stays_until_an_activator_answers(world: World) -> None:
    revision = await world.revision(ready=1, active=("False", 1000), proxied_for_s=1000)
    revision.activator = (200, b"queue")
    await revision.decided(0)
    for _ in range(20):
        await revision.reconciled()
    # However many reconciles there were, in the background there is one question a second (and one may be on its way).
    asked, began_s = len(revision.probes), time.monotonic()
    await world.until(lambda: len(revision.probes) >= asked + 4, "asked in the background")
    assert time.monotonic() - began_s > 1.5
    assert steady(revision) == 1
    revision.activator = (200, b"activator")
    await revision.until_replicas(0)


async def test_61_with_unlimited_burst_capacity_nobody_is_asked(world: World) -> None:
    revision = await world.revision(ready=1, active=("False", 1000), proxied_for_s=1000, **BUFFERED)
    revision.activator = (503, b"")
    await revision.report(0)
    await revision.until_replicas(0)
    assert revision.probes == []


@pytest.mark.parametrize(
    ("inactive_s", "proxied_s", "retention"),
    [
        pytest.param(40, None, None, id="62 the grace period is over"),
        pytest.param(100, None, "1m30s", id="62 grace period and retention are over"),
        pytest.param(10, 40, None, id="64 activators stood in the path for the grace period"),
        pytest.param(20, 40, "15s", id="64 and the retention is over"),
    ],
)
async def test_62_and_64_the_last_pod_goes(
    world: World, inactive_s: float, proxied_s: float | None, retention: str | None
) -> None:
    own = {} if retention is None else {"scale_to_zero_pod_retention_period": retention}
    revision = await world.revision(ready=1, active=("False", inactive_s), proxied_for_s=proxied_s, **own)
    await revision.until_replicas(0)


@pytest.mark.parametrize(
    ("inactive_s", "proxied_s", "retention"),
    [
        pytest.param(5, None, None, id="62 within the grace period"),
        pytest.param(5, 5, None, id="64 activators have not been there for long enough"),
        pytest.param(40, 1000, "1h", id="63 within the retention"),
        pytest.param(40, None, "1m30s", id="62 the retention is longer than the grace period"),
    ],
)
async def test_62_to_64_the_last_pod_stays(
    world: World, inactive_s: float, proxied_s: float | None, retention: str | None
) -> None:
    own = {} if retention is None else {"scale_to_zero_pod_retention_period": retention}
    revision = await world.revision(ready=1, active=("False", inactive_s), proxied_for_s=proxied_s, **own)
    await revision.decided(0)
    assert len(revision.probes) > 0
    assert steady(revision) == 1


async def test_65_a_retention_of_0_overrides_the_clusters() -> None:
    config = {**CONFIG, "scale-to-zero-pod-retention-period": "1h"}
    async with autoscaler(config=config, environ=ORIGINAL) as world:
        own = await world.revision(
            ready=1, active=("False", 100), proxied_for_s=100, scale_to_zero_pod_retention_period="0"
        )
        clusters = await world.revision(ready=1, active=("False", 100), proxied_for_s=100)
        await own.until_replicas(0)
        await clusters.decided(0)
        assert steady(clusters) == 1


async def test_a_pod_that_is_found_stays_for_a_stable_window_and_makes_nothing_active() -> None:
    async with autoscaler(config=CONFIG) as world:
        revision = await world.revision(ready=1, active=("False", 1000), proxied_for_s=1000)
        found_s = time.monotonic()
        before = revision.autoscaler.status.conditions
        decision = await revision.decided(1)
        assert decision["why"] == "held: not watched for a whole stable window of 6 s yet"
        assert steady(revision) == 1
        await revision.until_replicas(0)
        assert time.monotonic() - found_s > WINDOW_S - 1
        (active,) = (each for each in revision.autoscaler.status.conditions if each.type == "Active")
        assert active in before


@pytest.mark.parametrize(("unknown_s", "deadline"), [(631, ""), (41, "10s")])
async def test_66_an_activation_that_takes_too_long_is_given_up(world: World, unknown_s: float, deadline: str) -> None:
    revision = await world.revision(replicas=1, active=("Unknown", unknown_s), progress_deadline=deadline)
    await revision.until_replicas(0)
    await revision.until_active("False", "TimedOut")


async def test_66_an_activation_has_the_deadline_and_half_a_minute(world: World) -> None:
    revision = await world.revision(replicas=1, active=("Unknown", 35), progress_deadline="10s")
    autoscaler = await revision.reconciled()
    assert condition(autoscaler, "Active")[0] == "Unknown"
    assert steady(revision) == 1


@pytest.mark.parametrize("answer", [(200, b"activators"), (200, b""), (503, b"activator"), (302, b"activator")])
async def test_67_only_an_activators_own_answer_counts(world: World, answer: tuple[int, bytes]) -> None:
    revision = await world.revision(ready=1, active=("False", 1000), proxied_for_s=1000)
    revision.activator = answer
    await revision.decided(0)
    assert steady(revision) == 1
    head = revision.probes[0]
    assert head.startswith("GET /healthz HTTP/1.1\r\n")
    assert f"\r\nHost: {revision.name}.{NAMESPACE}.svc.cluster.local\r\n" in head
    assert "\r\nUser-Agent: Knative-Autoscaling-Probe\r\n" in head
    assert "\r\nK-Network-Probe: activator\r\n" in head


async def test_a_request_that_comes_while_the_activator_is_asked_keeps_the_pod(world: World) -> None:
    world.activators_answer.clear()
    try:
        revision = await world.revision(ready=1, active=("False", 1000), proxied_for_s=1000)
        await world.until(lambda: revision.probes, "the activator asked")
        await world.push((revision.name, Stat("activator", average_concurrent_requests=5)))

        async def is_wanted() -> bool:
            page = await world.debug(f"decisions/{NAMESPACE}/{revision.name}")
            return bool(page["decisions"][0]["desired"] == 1)

        _: bool = await eventually(is_wanted, timeout_s=WITHIN_S)
    finally:
        world.activators_answer.set()
    await revision.reconciled()
    assert steady(revision) == 1


async def test_68_the_scale_is_patched_by_the_scale_subresource(world: World) -> None:
    revision = await world.revision(replicas=1, min_scale="3", active=("True", 100))
    await revision.until_replicas(3)
    (write,) = revision.scale_writes
    assert write.content_type == "application/json-patch+json"
    assert write.body == [{"op": "add", "path": "/spec/replicas", "value": 3}]


async def test_68_a_patch_that_the_watch_has_not_brought_yet_is_neither_repeated_nor_forgotten(world: World) -> None:
    revision = await world.revision(
        ready=1, load=100, target="10", target_utilization_percentage="100", active=("True", 100)
    )
    world.deployments_flow.clear()
    try:
        await world.until(lambda: revision.scale_writes, "patched")
        for _ in range(5):
            await revision.reconciled()
        assert [write.body[0]["value"] for write in revision.scale_writes] == [10]
        # One replica is what the autoscaler still reads, and not what there is.
        for largest, scales in (("1", [10, 1]), (None, [10, 1, 10])):
            await revision.annotate(max_scale=largest)
            await revision.reconciled()
            assert [write.body[0]["value"] for write in revision.scale_writes] == scales
    finally:
        world.deployments_flow.set()
    await revision.until_replicas(10)
    await revision.reconciled()
    assert len(revision.scale_writes) == 3


# Conditions and figures.


async def test_69_a_revision_below_its_initial_scale_is_queued(world: World) -> None:
    revision = await world.revision(ready=1, active=("Unknown", 1), is_initialized=False, initial_scale="20")
    await revision.until_replicas(20)
    autoscaler = await revision.until(lambda pa: pa.status.desired_scale == 20, "wanted at 20")
    assert condition(autoscaler, "Active") == ("Unknown", "Queued")
    assert condition(autoscaler, "ScaleTargetInitialized") == ("Unknown", "")


async def test_70_the_initial_scale_is_reached_once_the_service_has_a_name(world: World) -> None:
    revision = await world.revision(ready=1, load=1, active=("Unknown", 1), is_initialized=False, has_service=False)
    autoscaler = await revision.reconciled()
    assert autoscaler.status.actual_scale == 1
    assert condition(autoscaler, "ScaleTargetInitialized")[0] == "Unknown"
    await revision.set_service_status(service_name=revision.name)
    await revision.until(lambda pa: condition(pa, "ScaleTargetInitialized")[0] == "True", "initialised")
    await revision.remove_pods()
    autoscaler = await revision.until(lambda pa: pa.status.actual_scale == 0, "without pods")
    assert condition(autoscaler, "ScaleTargetInitialized")[0] == "True"


async def test_71_what_is_unknown_does_not_wipe_out_the_known_scale(world: World) -> None:
    known = await world.revision(active=("True", 100), desired_scale=4)
    never = await world.revision(active=("True", 100))
    assert (await known.reconciled()).status.desired_scale == 4
    assert (await never.reconciled()).status.desired_scale == -1


@pytest.mark.parametrize(("kind", "what"), [(Metric, "Metric"), (ServerlessService, "ServerlessService")])
async def test_72_what_belongs_to_someone_else_is_left_alone(
    world: World, kind: type[Metric | ServerlessService], what: str
) -> None:
    name = f"hello-{len(world.revisions) + 1:05d}"
    theirs = await world.client.create(kind(metadata=ObjectMeta(name=name, namespace=NAMESPACE)))
    revision = await world.revision(ready=1, mode=None if kind is ServerlessService else "Proxy")
    assert revision.name == name
    autoscaler = await revision.until_active("False", "NotOwned")
    message = next(c.message for c in autoscaler.status.conditions if c.type == "Active")
    assert message == f'There is an existing {what} "{name}" that we do not own.'
    assert (await world.client.get(kind, name, NAMESPACE)).metadata.resource_version == (
        theirs.metadata.resource_version
    )

    async def events() -> list[Event]:
        listed = (await world.client.list(Event, NAMESPACE)).items
        return [event for event in listed if event.involved_object.name == name]

    found: list[Event] = await eventually(events)
    (told,) = found
    assert (told.type, told.reason, told.message) == ("Warning", "InternalError", message)
    assert (told.involved_object.kind, told.source) == ("PodAutoscaler", {"component": "autoscaler"})
