"""What a running autoscaler says about its decisions, and why: log lines and debug pages (an extension of ours)."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kube.models.apps import Deployment
from tests.conformance.autoscaler.world import NAMESPACE, World, autoscaler

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with autoscaler(config={"stable-window": "6s", "panic-window-percentage": "50"}) as world:
        yield world


async def test_a_start_that_finds_all_in_order_says_nothing(world: World) -> None:
    revision = await world.revision(ready=1, load=5, active=("True", 100))
    await revision.decided(1)
    assert world.logged("desired_changed", revision=revision.name) == []


async def test_each_change_is_one_line_with_its_reason(world: World) -> None:
    revision = await world.revision(
        ready=1, load=5, active=("True", 100), target="10", target_utilization_percentage="100"
    )
    await revision.decided(1)
    revision.load = 84.2
    await world.until(lambda: world.logged("desired_changed", revision=revision.name), "a change")
    line = world.logged("desired_changed", revision=revision.name)[0]
    assert (line["namespace"], line["from"], line["ready"]) == (NAMESPACE, 1, 1)
    assert line["to"] > 1
    assert line["why"].startswith("panic: 3 s average ")
    assert line["why"].endswith(" over 2.0x capacity 10")


async def test_a_decision_is_shown_with_its_inputs(world: World) -> None:
    revision = await world.revision(ready=1, load=5, active=("True", 100), window="8s")
    await revision.decided(1)
    page = await world.debug(f"decisions/{NAMESPACE}/{revision.name}")
    newest = page["decisions"][0]
    assert newest["why"] == "8 s average 5 at target 70 takes 1 pod"
    assert (newest["stable"], newest["panic"], newest["ready"], newest["desired"]) == (5, 5, 1, 1)
    assert (newest["excess_burst_capacity"], newest["panicking"], newest["held"]) == (-116, False, False)
    settings = page["settings"][newest["settings"]]
    assert (settings["stable_window_s"], settings["target_value"], settings["reachable"]) == (8.0, 70.0, True)
    assert (page["mode"], page["ready"], page["desired"]) == ("proxy", 1, 1)


async def test_what_became_of_a_decision_is_told_with_its_reason(world: World) -> None:
    revision = await world.revision(ready=1, load=100, active=("True", 100), target="10", max_scale="3")
    await revision.until_replicas(3)
    await revision.reconciled()
    await world.until(lambda: world.logged("scale_applied", revision=revision.name), "told")
    (line,) = world.logged("scale_applied", revision=revision.name)
    assert (line["from"], line["to"], line["why"]) == (1, 3, "max-scale allows 3")
    page = await world.debug(f"decisions/{NAMESPACE}/{revision.name}")
    assert page["plan"] == {"scale": 3, "applies": True, "why": "max-scale allows 3"}
    assert page["desired"] > 3


async def test_a_missing_deployment_is_said_once(world: World) -> None:
    lost = await world.revision(active=("True", 100))
    await world.client.delete(Deployment, f"{lost.name}-deployment", NAMESPACE)
    for _ in range(3):
        await lost.annotate(min_scale="3")
        await lost.reconciled()
    told = {"deployment": f"{lost.name}-deployment"}
    await world.until(lambda: world.logged("scale_target_missing", **told), "told")
    assert len(world.logged("scale_target_missing", **told)) == 1


async def test_a_revision_of_which_nothing_is_known_says_since_when(world: World) -> None:
    revision = await world.revision(active=("False", 5))

    async def since() -> str:
        page = await world.debug(f"decisions/{NAMESPACE}/{revision.name}")
        text: str = page.get("load_unknown_since") or ""
        return text

    await revision.reconciled()
    while not await since():
        await revision.reconciled()
    page = await world.debug(f"decisions/{NAMESPACE}/{revision.name}")
    assert (page["decisions"], page["desired"]) == ([], -1)
