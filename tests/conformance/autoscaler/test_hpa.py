"""Class hpa (spec autoscaler.md 11), seen through the API.

Nobody acts on HorizontalPodAutoscalers here, so their status is the test's to set.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kube.models.core import Event
from kube.models.horizontal_autoscaling import HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus
from kube.models.meta import ObjectMeta
from local_cluster.apiserver.admission import AdmissionDenied, AdmissionRequest
from tests.conformance.autoscaler.world import NAMESPACE, Revision, World, autoscaler, condition
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

HPA = "hpa.autoscaling.knative.dev"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with autoscaler() as world:
        world.api.server.add_admission(fill_in_defaults)
        yield world


def fill_in_defaults(request: AdmissionRequest) -> None:
    """What a cluster's API server makes of a HorizontalPodAutoscaler."""
    if request.plural != "horizontalpodautoscalers" or request.subresource:
        return
    spec = request.object["spec"]
    spec.setdefault("minReplicas", 1)
    utilization = {"type": "Utilization", "averageUtilization": 80}
    spec.setdefault("metrics", [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}])
    for rules in spec.get("behavior", {}).values():
        rules.setdefault("selectPolicy", "Max")


async def stored(world: World, revision: Revision) -> HorizontalPodAutoscaler:
    """The HorizontalPodAutoscaler once there is one."""

    async def find() -> list[HorizontalPodAutoscaler]:
        listed = (await world.client.list(HorizontalPodAutoscaler, NAMESPACE)).items
        return [each for each in listed if each.name == revision.name]

    found: list[HorizontalPodAutoscaler] = await eventually(find)
    return found[0]


async def set_status(world: World, revision: Revision, *, current: int, desired: int) -> None:
    status = HorizontalPodAutoscalerStatus(current_replicas=current, desired_replicas=desired)
    await world.client.patch_status(await stored(world, revision), status)


async def hpa(world: World, **settings: Any) -> Revision:
    return await world.revision(class_=HPA, metric="cpu", **settings)


async def test_what_is_created(world: World) -> None:
    revision = await hpa(world, target="50", min_scale="2", max_scale="5", mode=None)
    found = await stored(world, revision)
    assert found.is_controlled_by(revision.autoscaler)
    assert found.metadata.labels == revision.autoscaler.metadata.labels
    assert found.metadata.annotations == revision.autoscaler.metadata.annotations
    assert found.spec.scale_target_ref.name == f"{revision.name}-deployment"
    assert (found.spec.min_replicas, found.spec.max_replicas) == (2, 5)
    (metric,) = found.spec.metrics
    assert metric.resource is not None
    assert (metric.resource.name, metric.resource.target.average_utilization) == ("cpu", 50)
    await revision.until_service(lambda spec: (spec.mode, spec.num_activators) == ("Serve", 0), "that serves")


async def test_what_the_api_server_fills_in_is_left_alone(world: World) -> None:
    revision = await hpa(world)
    assert (await stored(world, revision)).spec.min_replicas == 1
    await revision.reconciled()
    assert [write for write in world.writes if write.path == f"horizontalpodautoscalers/{revision.name}"] == []


async def test_nothing_is_collected_or_decided(world: World) -> None:
    revision = await hpa(world, replicas=1)
    await revision.until_active("True")
    assert world.metrics.get(NAMESPACE, revision.name) is None
    assert await world.debug(f"decisions/{NAMESPACE}/{revision.name}") == {}
    assert (revision.replicas, revision.scale_writes, revision.probes) == (1, [], [])


async def test_its_status_is_reflected(world: World) -> None:
    revision = await hpa(world, target="50", min_scale="2")
    await revision.until_active("True")
    autoscaler = await revision.reconciled()
    assert condition(autoscaler, "ScaleTargetInitialized")[0] == "Unknown"
    assert (autoscaler.status.desired_scale, autoscaler.status.actual_scale) == (0, 0)
    # A service that is told of its new mode is ready only when it says so about that.
    assert condition(autoscaler, "SKSReady")[0] == "Unknown"
    await revision.set_service_status(observed_generation=revision.service.metadata.generation)
    await set_status(world, revision, current=1, desired=4)
    autoscaler = await revision.until(lambda pa: pa.status.desired_scale == 4, "desired 4")
    assert autoscaler.status.actual_scale == 1
    assert condition(autoscaler, "SKSReady")[0] == "True"
    assert condition(autoscaler, "ScaleTargetInitialized")[0] == "Unknown"
    await set_status(world, revision, current=2, desired=4)
    autoscaler = await revision.until(lambda pa: condition(pa, "Ready")[0] == "True", "ready")
    assert condition(autoscaler, "ScaleTargetInitialized")[0] == "True"
    assert autoscaler.status.service_name == revision.name
    await set_status(world, revision, current=0, desired=4)
    autoscaler = await revision.until(lambda pa: pa.status.actual_scale == 0, "without pods")
    assert condition(autoscaler, "ScaleTargetInitialized")[0] == "True"
    assert condition(autoscaler, "Active")[0] == "True"


async def test_a_service_that_is_not_ready_is_waited_for(world: World) -> None:
    revision = await hpa(world, mode=None)
    autoscaler = await revision.until_active("True")
    condition_ = next(c for c in autoscaler.status.conditions if c.type == "SKSReady")
    assert (condition_.status, condition_.reason) == ("Unknown", "NotReady")
    assert condition_.message == "SKS Services are not ready yet"
    assert condition(autoscaler, "Ready")[0] == "Unknown"


async def test_changed_annotations_reach_it(world: World) -> None:
    revision = await hpa(world, target="50", max_scale="5")
    await stored(world, revision)
    assert [write for write in world.writes if write.path == f"horizontalpodautoscalers/{revision.name}"] == []
    await revision.annotate(max_scale="7", window="30s", target="60.5")
    await revision.reconciled()
    spec = (await stored(world, revision)).spec
    assert spec.max_replicas == 7
    assert spec.metrics[0].resource is not None
    assert spec.metrics[0].resource.target.average_utilization == 61
    assert spec.behavior is not None
    assert spec.behavior.scale_up is not None
    assert spec.behavior.scale_up.stabilization_window_seconds == 30
    writes = [write for write in world.writes if write.path == f"horizontalpodautoscalers/{revision.name}"]
    await revision.reconciled()
    await revision.reconciled()
    assert [w for w in world.writes if w.path == f"horizontalpodautoscalers/{revision.name}"] == writes


async def test_what_somebody_else_changed_is_put_right(world: World) -> None:
    revision = await hpa(world, max_scale="5")
    await stored(world, revision)
    await revision.patch(HorizontalPodAutoscaler, {"spec": {"maxReplicas": 50, "minReplicas": 3}})

    async def repaired() -> bool:
        spec = (await stored(world, revision)).spec
        return (spec.min_replicas or 1, spec.max_replicas) == (1, 5)

    is_repaired: bool = await eventually(repaired)
    assert is_repaired


async def test_one_of_somebody_else_is_left_alone(world: World) -> None:
    name = f"hello-{len(world.revisions) + 1:05d}"
    theirs = HorizontalPodAutoscaler(metadata=ObjectMeta(name=name, namespace=NAMESPACE))
    theirs.spec.max_replicas = 9
    await world.client.create(theirs)
    revision = await hpa(world)
    assert revision.name == name
    autoscaler = await revision.until_active("False", "NotOwned")
    message = next(c.message for c in autoscaler.status.conditions if c.type == "Active")
    assert message == f'There is an existing HorizontalPodAutoscaler "{name}" that we do not own.'
    assert (await stored(world, revision)).spec.max_replicas == 9


async def test_where_nobody_may_read_them_other_revisions_are_scaled_nevertheless() -> None:
    """More of them than the autoscaler reconciles at once."""
    async with autoscaler() as world:
        world.forbidden.add("horizontalpodautoscalers")
        await asyncio.gather(*(hpa(world) for _ in range(40)))
        await world.until(lambda: world.logged("watch_lost", kind="HorizontalPodAutoscaler"), "refused")
        other = await world.revision(replicas=1, active=("True", 100), min_scale="2")
        await other.until_replicas(2)
        world.forbidden.clear()
        revision = world.revisions["hello-00001"]
        await revision.until_active("True")


async def test_where_nobody_answers_about_them_other_revisions_are_scaled_nevertheless() -> None:
    async with autoscaler() as world:
        world.stuck.add("horizontalpodautoscalers")
        await asyncio.gather(*(hpa(world) for _ in range(40)))
        other = await world.revision(replicas=1, active=("True", 100), min_scale="2")
        await other.until_replicas(2)


async def test_one_that_cannot_be_created_is_said() -> None:
    def refuse(request: AdmissionRequest) -> None:
        if request.plural == "horizontalpodautoscalers":
            raise AdmissionDenied("none of these here")

    async with autoscaler() as world:
        world.api.server.add_admission(refuse, name="quota.example.com", validating=True)
        revision = await hpa(world)
        autoscaler_ = await revision.until_active("False", "FailedCreate")
        message = next(c.message for c in autoscaler_.status.conditions if c.type == "Active")
        assert message == f'Failed to create HorizontalPodAutoscaler "{revision.name}".'

        async def told() -> list[Event]:
            listed = (await world.client.list(Event, NAMESPACE)).items
            return [event for event in listed if event.reason == "InternalError"]

        events: list[Event] = await eventually(told)
        assert "none of these here" in events[0].message
