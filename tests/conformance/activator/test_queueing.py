"""Statements 37 to 52, as far as they concern HTTP/1.1: who waits, for how long, and which pod is chosen."""

import asyncio
import time
from collections.abc import Sequence

from tests.conformance.activator.world import (
    DEADLINE_S,
    SOON_S,
    Message,
    Pod,
    World,
    activator,
    read_message,
    surroundings,
)
from tests.support.processes import eventually


async def with_revision(world: World, cc: int, **spec: object) -> None:
    """Revision `rev` with this container concurrency, and a running activator."""
    await world.revision(cc=cc, **spec)
    await world.start()


async def closed_pods(world: World, *lasts: int) -> list[Pod]:
    """Pods that answer requests only when their gates are opened, all known to the activator."""
    pods = [await world.pod(last) for last in lasts]
    for pod in pods:
        pod.gate.clear()
    await world.endpoints(ready=pods)
    for pod in pods:
        await pod.until(lambda pod: bool(pod.probes), "was not probed")
    return pods


def active(pods: Sequence[Pod]) -> int:
    return sum(pod.active for pod in pods)


async def answers(waiting: Sequence["asyncio.Task[Message]"], pods: Sequence[Pod]) -> list[int]:
    """Open the gates; the statuses of what waited."""
    for pod in pods:
        pod.gate.set()
    return [response.status for response in await asyncio.gather(*waiting)]


async def test_statement_37_without_pods_a_request_times_out() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 0, timeoutSeconds=1)
        began = asyncio.get_running_loop().time()
        response = await world.get()
        assert (response.status, response.body) == (504, b"activator request timeout")
        assert 0.9 < asyncio.get_running_loop().time() - began < 1 + SOON_S


async def test_statement_38_waiting_uses_up_the_time_of_the_request_but_not_of_its_response() -> None:
    """Stated: 504 after `responseStartTimeoutSeconds` from arrival. Here that time begins when a pod was chosen."""
    async with surroundings(network={}) as world:
        await with_revision(world, 0, timeoutSeconds=4, responseStartTimeoutSeconds=3)
        waiting = world.start_get()
        began = time.monotonic()
        await world.autoscaler.until(lambda autoscaler: len(autoscaler.frames) >= 3, "reports of two seconds")
        (pod,) = await closed_pods(world, 10)
        answer = await waiting
        assert (answer.status, answer.body) == (504, b"activator request timeout")
        assert answer.at - began > 3.5
        assert pod.requests


async def test_statement_39_one_request_at_a_time_with_container_concurrency_1() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 1)
        (pod,) = await closed_pods(world, 10)
        waiting = [world.start_get() for _ in range(20)]
        await pod.until(lambda pod: pod.active == 1, "a request")
        assert await answers(waiting, [pod]) == [200] * 20
        assert pod.active_max == 1


async def test_all_wait_within_the_bound_and_the_one_beyond_it_is_refused() -> None:
    async with activator(KNUV_HELD_REQUESTS_MAX="300") as world:
        waiting = [world.start_get() for _ in range(300)]
        # The autoscaler hears of all of them, so they are all inside.
        await world.autoscaler.heard_of(300)
        refused = await world.get()
        assert (refused.status, refused.body) == (503, b"pending request queue full\n")
        assert refused.get("retry-after") == "1"
        pod = await world.pod(10)
        await world.endpoints(not_ready=[pod])
        assert {response.status for response in await asyncio.gather(*waiting)} == {200}
        assert (await world.logged("cold_start_released"))["released"] == 300


async def test_statement_41_without_a_limit_everything_reaches_the_pod_at_once() -> None:
    async with activator() as world:
        pods = await closed_pods(world, 10)
        waiting = [world.start_get() for _ in range(200)]
        await pods[0].until(lambda pod: pod.active == 200, "200 requests at once")
        assert await answers(waiting, pods) == [200] * 200


async def test_statement_42_a_low_concurrency_is_packed_in_the_order_of_addresses() -> None:
    async with surroundings(network={}, KNUV_STRICT_COMPAT="1") as world:
        await with_revision(world, 2)
        # As texts .100 comes before .20 and that before .3.
        pods = await closed_pods(world, 3, 20, 100)
        await usable(world, pods, 2)
        waiting = [world.start_get() for _ in range(2)]
        await pods[2].until(lambda pod: pod.active == 2, "two requests")
        waiting.append(world.start_get())
        await pods[1].until(lambda pod: pod.active == 1, "the third request")
        assert await answers(waiting, pods) == [200] * 3


async def test_by_default_the_pod_with_the_fewest_requests_is_next() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 2)
        pods = await closed_pods(world, 3, 20, 100)
        await usable(world, pods, 2)
        waiting = []
        for count in range(1, 4):
            waiting.append(world.start_get())
            await eventually(lambda count=count: active(pods) == count)
        assert [pod.active for pod in pods] == [1, 1, 1]
        assert await answers(waiting, pods) == [200] * 3


async def usable(world: World, pods: Sequence[Pod], cc: int) -> None:
    """Return when the activator uses all of these pods: as many requests as fit are under way at once."""
    fill = [world.start_get() for _ in range(cc * len(pods))]
    await eventually(lambda: active(pods) == len(fill))
    await answers(fill, pods)
    for pod in pods:
        pod.gate.clear()


async def test_statement_43_a_higher_concurrency_goes_round() -> None:
    async with surroundings(network={}, KNUV_STRICT_COMPAT="1") as world:
        await with_revision(world, 5)
        pods = await closed_pods(world, 10, 11, 12)
        await usable(world, pods, 5)
        waiting = []
        for count in range(1, 4):
            waiting.append(world.start_get())
            await eventually(lambda count=count: active(pods) == count)
        assert [pod.active for pod in pods] == [1, 1, 1]
        assert await answers(waiting, pods) == [200] * 3


async def test_statement_44_without_a_limit_the_pod_with_fewer_requests_is_chosen() -> None:
    async with activator() as world:
        (busy,) = await closed_pods(world, 10)
        waiting = [world.start_get() for _ in range(10)]
        await busy.until(lambda pod: pod.active == 10, "ten requests")
        idle = await world.pod(11)
        idle.gate.clear()
        await world.endpoints(ready=[busy, idle])
        await idle.until(lambda pod: bool(pod.probes), "was not probed")
        await eventually(lambda: _one_more(world, waiting, [busy, idle]))
        before = busy.active
        waiting += [world.start_get() for _ in range(3)]
        await eventually(lambda: active([busy, idle]) == len(waiting))
        assert busy.active == before
        assert set(await answers(waiting, [busy, idle])) == {200}


async def _one_more(world: World, waiting: list["asyncio.Task[Message]"], pods: list[Pod]) -> bool:
    """Whether a request has reached the second pod; sends another one."""
    waiting.append(world.start_get())
    await eventually(lambda: active(pods) == len(waiting))
    return pods[1].active > 0


async def share(world: World, pods: Sequence[Pod], expected: set[str]) -> None:
    """Wait until exactly the expected pods get requests: as many as fit run, and no more."""

    async def is_so() -> bool:
        waiting = [world.start_get() for _ in pods]
        await eventually(lambda: active(pods) >= len(expected))
        busy = {pod.name for pod in pods if pod.active}
        await answers(waiting, pods)
        for pod in pods:
            pod.gate.clear()
        return busy == expected

    await eventually(is_so)


async def test_statements_46_and_48_pods_are_shared_between_activators() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 1)
        pods = await closed_pods(world, 10, 11, 12, 13, 14, 15)
        others = [f"{world.subnet}.{last}" for last in (1, 3, 4)]
        await world.activators([*others, world.address])
        await share(world, pods, {"pod-11", "pod-15"})
        await world.activators(others)
        # What is there to wait for is that nothing changes: a later change of the pods is seen with the old share.
        await world.endpoints(ready=pods[:5])
        await share(world, pods, {"pod-11"})


async def test_statement_47_more_activators_than_pods_share_them() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 1)
        pods = await closed_pods(world, 10, 11)
        await world.activators([f"{world.subnet}.0", f"{world.subnet}.1", world.address])
        await share(world, pods, {"pod-10"})


async def test_statement_49_without_a_limit_all_pods_are_used() -> None:
    async with activator() as world:
        await world.activators([f"{world.subnet}.1", world.address])
        pods = await closed_pods(world, 10, 11)
        waiting: list[asyncio.Task[Message]] = []
        await eventually(lambda: _one_more(world, waiting, pods))
        await eventually(lambda: _one_more(world, waiting, pods[::-1]))
        assert set(await answers(waiting, pods)) == {200}


async def test_statement_50_a_second_pod_releases_waiting_requests() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 1)
        (first,) = await closed_pods(world, 10)
        waiting = [world.start_get() for _ in range(2)]
        await first.until(lambda pod: pod.active == 1, "a request")
        second = await world.pod(11)
        await world.endpoints(ready=[first, second])
        await second.until(lambda pod: bool(pod.requests), "the waiting request")
        assert second.requests[0].at - second.probes[0].at < SOON_S
        assert await answers(waiting, [first]) == [200] * 2
        await world.end()
        events = [line["message"] for line in world.log]
        assert "cold_start_released" not in events, "there was capacity before"


async def test_statement_51_running_requests_survive_their_pod_and_others_wait() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 1)
        (pod,) = await closed_pods(world, 10)
        running = world.start_get()
        await pod.until(lambda pod: pod.active == 1, "a request")
        other = await world.pod(11)
        other.probe_answer = (503, b"")
        await world.endpoints(not_ready=[other])
        await other.until(lambda pod: bool(pod.probes), "a probe")
        waiting = world.start_get()
        pod.gate.set()
        assert (await running).body == b"pod-10"
        other.probe_answer = (200, b"queue")
        assert (await waiting).body == b"pod-11"
        assert len(pod.requests) == 1


async def test_no_connection_is_kept_to_a_pod_that_left() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get()
        assert pod.connections == 1
        await world.endpoints()
        await eventually(lambda: pod.connections == 0)


async def test_statement_52_a_client_that_leaves_gives_up_its_place() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 1)
        (pod,) = await closed_pods(world, 10)
        running = world.start_get()
        await pod.until(lambda pod: pod.active == 1, "a request")
        _, leaving = await world.send(path="/leaving")
        waiting = world.start_get(path="/waiting")
        await world.autoscaler.heard_of(3)
        leaving.close()
        await leaving.wait_closed()
        await world.autoscaler.heard_of(2)
        assert await answers([running, waiting], [pod]) == [200, 200]
        assert [message.first_line for message in pod.requests] == ["GET / HTTP/1.1", "GET /waiting HTTP/1.1"]


async def test_waiting_requests_are_served_in_the_order_of_their_arrival() -> None:
    async with surroundings(network={}) as world:
        await with_revision(world, 1)
        (pod,) = await closed_pods(world, 10)
        waiting = [await world.send(path="/0")]
        await pod.until(lambda pod: pod.active == 1, "a request")
        for index in range(1, 6):
            waiting += [await world.send(path=f"/{index}")]
            # A probe on another connection is answered behind every head that was sent before it.
            await world.get(headers=[("K-Network-Probe", "activator")])
        pod.gate.set()
        async with asyncio.timeout(DEADLINE_S):
            for reader, _ in waiting:
                assert (await read_message(reader)).status == 200
        assert [message.first_line.split(" ")[1] for message in pod.requests] == [f"/{index}" for index in range(6)]


async def test_statement_45_a_cluster_address_has_this_activators_share_of_the_capacity() -> None:
    async with surroundings(network={"mesh-compatibility-mode": "enabled"}) as world:
        await with_revision(world, 10)
        cluster = await world.pod(100)
        cluster.gate.clear()
        await world.cluster_address(cluster)
        await world.activators([world.address, *(f"{world.subnet}.{last}" for last in (3, 4, 5, 6))])
        await world.endpoints(ready=[Pod(f"{world.subnet}.{last}", "ready", port=80) for last in range(10, 20)])
        await cluster.until(lambda pod: bool(pod.probes), "a probe")
        waiting = [world.start_get() for _ in range(30)]
        await cluster.until(lambda pod: pod.active == 20, "20 requests")
        await world.autoscaler.heard_of(30)
        assert cluster.active == 20
        assert await answers(waiting, [cluster]) == [200] * 30
        assert cluster.active_max == 20
