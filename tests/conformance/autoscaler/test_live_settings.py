"""Settings take effect while the autoscaler runs (spec autoscaler.md 9); what is wrong with them changes no scale."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kube.models.core import ConfigMap, Event
from kube.models.meta import ObjectMeta
from proxies.wire.stat import Stat
from tests.conformance.autoscaler.world import NAMESPACE, SYSTEM, Revision, World, autoscaler
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = {"stable-window": "6s"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with autoscaler(config=CONFIG, config_deployment={}) as world:
        yield world


async def steady(world: World, **settings: Any) -> Revision:
    """A revision with one pod, decided at one."""
    revision = await world.revision(ready=1, load=5, active=("True", 100), **settings)
    await revision.decided(1)
    return revision


async def until_in_force(world: World, revision: Revision, **expected: object) -> None:
    """Wait for a decision that rests on these settings."""

    async def newest() -> dict[str, object]:
        page = await world.debug(f"decisions/{NAMESPACE}/{revision.name}")
        settings = page["settings"][page["decisions"][0]["settings"]] if page.get("decisions") else {}
        return {name: settings.get(name) for name in expected}

    async def is_so() -> bool:
        return await newest() == expected

    try:
        applied: bool = await eventually(is_so)
    except AssertionError:
        assert await newest() == expected
        raise
    assert applied


async def test_the_log_has_the_level_that_its_config_map_says(world: World) -> None:
    metadata = ObjectMeta(name="config-logging", namespace=SYSTEM)
    await world.client.create(ConfigMap(metadata=metadata, data={"loglevel.autoscaler": "debug"}))
    await world.until(lambda: world.logged("log_level", level="debug"), "debug")
    await world.configure({"loglevel.autoscaler": "info"}, "config-logging")
    await world.until(lambda: world.logged("log_level", level="info"), "info again")


async def test_every_key_of_the_cluster_reaches_the_decisions(world: World) -> None:
    revision = await steady(world)
    changes: dict[str, str | None] = {
        "container-concurrency-target-percentage": "50",
        "container-concurrency-target-default": "40",
        "target-burst-capacity": "10",
        "activator-capacity": "7",
        "max-scale-up-rate": "5",
        "max-scale-down-rate": "3",
        "stable-window": "9s",
        "panic-window-percentage": "50",
        "panic-threshold-percentage": "300",
        "scale-down-delay": "4s",
        "initial-scale": "2",
    }
    await world.configure(changes)
    await until_in_force(
        world,
        revision,
        total_value=40.0,
        target_value=20.0,
        target_burst_capacity=10.0,
        activator_capacity=7.0,
        max_scale_up_rate=5.0,
        max_scale_down_rate=3.0,
        stable_window_s=9.0,
        panic_window_s=5.0,
        panic_threshold=3.0,
        scale_down_delay_s=4.0,
        initial_scale=2,
    )
    await world.configure({key: CONFIG.get(key) for key in changes})
    await until_in_force(world, revision, total_value=100.0, stable_window_s=6.0)


async def test_every_annotation_reaches_the_decisions(world: World) -> None:
    revision = await steady(world)
    await revision.annotate(
        target="10",
        target_utilization_percentage="50",
        target_burst_capacity="12",
        window="9s",
        panic_window_percentage="50",
        panic_threshold_percentage="300",
        scale_down_delay="4s",
        initial_scale="2",
        activation_scale="3",
        metric="rps",
    )
    await until_in_force(
        world,
        revision,
        total_value=10.0,
        target_value=5.0,
        target_burst_capacity=12.0,
        stable_window_s=9.0,
        panic_window_s=5.0,
        panic_threshold=3.0,
        scale_down_delay_s=4.0,
        initial_scale=2,
        activation_scale=3,
        scaling_metric="rps",
    )


async def test_the_old_spellings_of_annotations_reach_the_decisions(world: World) -> None:
    revision = await steady(world)
    await revision.annotate(
        targetUtilizationPercentage="50",
        targetBurstCapacity="12",
        panicWindowPercentage="50",
        panicThresholdPercentage="300",
        scaleDownDelay="4s",
        initialScale="2",
        metricAggregationAlgorithm="weightedExponential",
    )
    await until_in_force(
        world,
        revision,
        target_value=50.0,
        target_burst_capacity=12.0,
        panic_window_s=3.0,
        panic_threshold=3.0,
        scale_down_delay_s=4.0,
        initial_scale=2,
        aggregation_algorithm="weighted-exponential",
    )


async def test_bounds_of_the_cluster_are_applied_at_once(world: World) -> None:
    revision = await steady(world)
    await world.configure({"min-scale": "3"})
    await revision.until_replicas(3)
    await world.configure({"min-scale": None, "max-scale": "2"})
    revision.load = 1000
    await revision.until_replicas(2)
    await world.configure({"max-scale": None})
    revision.load = 5


async def test_the_progress_deadline_of_the_deployments_map(world: World) -> None:
    revision = await world.revision(replicas=1, active=("Unknown", 40))
    await revision.reconciled()
    assert revision.replicas == 1
    await world.configure({"progress-deadline": "5s"}, "config-deployment")
    await revision.until_active("False", "TimedOut")
    await world.configure({"progress-deadline": None}, "config-deployment")


async def test_an_invalid_map_is_told_once_and_changes_nothing(world: World) -> None:
    await world.configure({"min-scale": "2"})
    revision = await world.revision(ready=2, load=5, active=("True", 100))
    await revision.until_replicas(2)
    problem = "min-scale = -7, must be at least 0"
    told = {"config_map": "config-autoscaler", "problem": problem}
    await world.configure({"min-scale": "-7", "max-scale": "1"})
    await world.until(lambda: world.logged("config_invalid", **told), "refused")
    # The same version again, and another look at every revision.
    relabelled = {"metadata": {"labels": {"touched": "yes"}}}
    await world.client.patch(ConfigMap, "config-autoscaler", SYSTEM, relabelled)
    await revision.decided(2)
    assert (revision.replicas, revision.scale_writes) == (2, [])
    assert len(world.logged("config_invalid", **told)) == 1

    async def events() -> list[Event]:
        return [event for event in (await world.client.list(Event, SYSTEM)).items if problem in event.message]

    found: list[Event] = await eventually(events)
    (event,) = found
    assert (event.type, event.reason, event.count) == ("Warning", "InvalidConfig", 1)
    assert event.message == f"{problem}; the last good values stay in force"
    assert (event.involved_object.kind, event.involved_object.name) == ("ConfigMap", "config-autoscaler")

    applied = len(world.logged("config_applied"))
    await world.configure({"min-scale": "3", "max-scale": None})
    await revision.until_replicas(3)
    await world.until(lambda: len(world.logged("config_applied")) == applied + 1, "told")
    await world.configure({"min-scale": None})


async def test_it_does_not_start_on_an_invalid_map() -> None:
    """Defaults in place of what somebody meant could take pods away."""
    with pytest.raises(AssertionError, match="the autoscaler ended") as ended:
        async with autoscaler(config={"min-scale": "five", "stable-window": "6s"}):
            pass
    problem = 'failed to parse data: failed to parse "min-scale": strconv.ParseInt: parsing "five": invalid syntax'
    assert f"autoscaler: ConfigMap config-autoscaler: {problem}" in str(ended.value)


async def test_stats_of_unknown_revisions_and_absurd_ones_change_nothing(world: World) -> None:
    revision = await steady(world)
    idle = await world.revision(active=("False", 1000), desired_scale=0, target_burst_capacity="-1")
    await idle.decided(0)
    bad = [float("nan"), float("inf"), -5.0, -float("inf")]
    await world.push(
        *(("nobody", Stat("activator", average_concurrent_requests=100, request_count=100)) for _ in range(50)),
        *((revision.name, Stat("activator", average_concurrent_requests=value, request_count=1)) for value in bad),
        *((idle.name, Stat("activator", average_concurrent_requests=value, request_count=value)) for value in bad),
    )
    # Behind them on the same way, and so taken after them.
    await world.push((idle.name, Stat("activator", average_concurrent_requests=1, request_count=1)))
    await idle.until_replicas(1)
    assert [write.body[0]["value"] for write in idle.scale_writes] == [1]
    decided = await revision.decided(1)
    assert decided["stable"] <= 5
    assert revision.scale_writes == []
    state = await world.debug("state")
    assert "nobody" not in [each["name"] for each in state["revisions"]]


async def test_a_revision_that_cannot_be_reconciled_does_not_stop_the_others(world: World) -> None:
    """Its Deployment is missing."""
    lost = await world.revision(active=("True", 100), min_scale="3")
    await world.client.delete(type(world.deployments.list()[0]), f"{lost.name}-deployment", NAMESPACE)
    revisions = await asyncio.gather(*(steady(world) for _ in range(3)))
    await lost.annotate(min_scale="4")
    for revision in revisions:
        await revision.annotate(min_scale="2")
        await revision.until_replicas(2)
