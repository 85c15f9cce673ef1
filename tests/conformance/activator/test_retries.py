"""A request that could not be sent to its pod goes to another one, or waits for one; see docs/differences.md."""

import asyncio

import pytest

from tests.conformance.activator.world import Pod, World, surroundings
from tests.support.processes import eventually


async def packed(world: World, *lasts: int) -> list[Pod]:
    """Pods of a revision that takes one request each; all usable, and each with a pooled connection."""
    await world.revision(cc=1)
    await world.start()
    pods = [await world.pod(last) for last in lasts]
    await world.endpoints(ready=pods)
    for pod in pods:
        pod.gate.clear()
    fill = [world.start_get() for _ in pods]
    for pod in pods:
        await pod.until(lambda pod: pod.active == 1, "a request")
    for pod in pods:
        pod.gate.set()
    assert {response.status for response in await asyncio.gather(*fill)} == {200}
    return pods


@pytest.mark.parametrize("body", [b"", b"x" * 3000], ids=["no body", "body"])
async def test_a_request_that_a_pod_refuses_goes_to_another_one(body: bytes) -> None:
    async with surroundings(network={}) as world:
        gone, other = await packed(world, 10, 11)
        await gone.stop()
        # Found by a GET; the POST comes when no pooled connection is left that it could get lost on.
        # Which pod is chosen is left to chance; of so many requests one meets the dead one.
        assert {(await world.get()).body for _ in range(16)} == {b"pod-11"}
        await world.logged("pod_suspect")
        probes = len(gone.probes)
        await gone.start()
        await gone.until(lambda pod: len(pod.probes) > probes, "a probe of the suspect")
        await gone.stop()
        response = await world.get(method="POST", body=body)
        assert (response.status, response.body) == (200, b"pod-11")
        assert other.requests[-1].body == body


async def test_without_another_pod_it_waits_until_its_own_is_back() -> None:
    async with surroundings(network={}) as world:
        (pod,) = await packed(world, 10)
        await pod.stop()
        waiting = world.start_get()
        line = await world.logged("pod_suspect")
        assert (line["namespace"], line["revision"], line["pod"]) == ("ns", "rev", f"{pod.host}:{pod.port}")
        await pod.start()
        assert (await waiting).body == b"pod-10"


async def test_what_waits_for_a_pod_again_keeps_to_its_time() -> None:
    async with surroundings(network={}) as world:
        await world.revision(cc=1, timeoutSeconds=1, responseStartTimeoutSeconds=1)
        await world.start()
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        assert (await world.get()).status == 200
        await pod.stop()
        assert (await world.get()).status == 504
        # It gave back its place.
        await pod.start()
        assert (await world.get()).status == 200


async def test_what_a_pod_may_have_begun_is_not_repeated() -> None:
    async with surroundings(network={}) as world:
        pods = await packed(world, 10, 11)
        for pod in pods:
            pod.gate.clear()
        waiting = world.start_get(method="POST", body=b"order")
        await eventually(lambda: any(pod.active for pod in pods))
        pod, other = sorted(pods, key=lambda pod: -pod.active)
        await pod.stop()
        other.gate.set()
        assert (await waiting).status == 502
        assert [request.body for request in other.requests] == [b""]
        await world.logged("pod_suspect")


async def test_a_pod_that_shuts_down_leaves_before_its_queue_proxy_closes() -> None:
    async with surroundings(network={}) as world:
        leaving, staying = await packed(world, 10, 11)
        leaving.probe_answer = (503, b"shutting down\n")
        probes = len(leaving.probes)
        await world.endpoints(ready=[staying], not_ready=[leaving])
        await leaving.until(lambda pod: len(pod.probes) > probes, "a probe")
        before = len(leaving.requests)
        assert {(await world.get()).body for _ in range(5)} == {b"pod-11"}
        assert len(leaving.requests) == before
