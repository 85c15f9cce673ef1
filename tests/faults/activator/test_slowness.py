"""Pods far away, clients that give up, pods that come and go: slow or restless, and still nothing is lost."""

import asyncio
from contextlib import suppress

import pytest

from tests.conformance.activator.world import DEADLINE_S, Pod, World, activator, read_message
from tests.faults.activator.support import REQUEST, SlowGate, rss_bytes, traffic
from tests.support.relay import running_relay

GROWTH_MAX = 4 << 20
GIVES_UP_S = 1.0
GIVING_UP_RATE = 200


@pytest.mark.parametrize("delay_s", [0.07, 0.2])
async def test_pods_behind_a_long_way_are_found_and_get_every_request(delay_s: float) -> None:
    async with activator() as world:
        pod = await world.pod(10)
        async with running_relay(pod.port, pod.host, delay_s=delay_s) as relay:
            held = [world.start_get() for _ in range(20)]
            far = Pod("127.0.0.1", "far", port=relay.port)
            await world.endpoints(ready=[far])
            answers = await asyncio.gather(*held)
            assert [answer.body for answer in answers] == [b"pod-10"] * 20
            async with traffic(world, clients=20, rate=200) as seen:
                await seen.until(100)
            assert not seen.failed


async def test_clients_that_give_up_cost_no_memory(request: pytest.FixtureRequest) -> None:
    seconds = request.config.getoption("--soak-seconds", default=15)
    async with activator() as world:
        await world.revision("busy", cc=1)
        pods = [await world.pod(last) for last in (10, 11)]
        for pod in pods:
            pod.gate = SlowGate(0.5)
        await world.endpoints(name="busy", ready=pods)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        early = 0

        async def impatient() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(GIVES_UP_S):
                    assert await ask(world) == 200

        async with asyncio.TaskGroup() as clients:
            for number in range(seconds * GIVING_UP_RATE):
                await asyncio.sleep(max(0.0, began_s + number / GIVING_UP_RATE - loop.time()))
                clients.create_task(impatient())
                if number == seconds * GIVING_UP_RATE // 4:
                    early = rss_bytes(world)
        late = rss_bytes(world)
        # First come, first served: who is next has nearly given up. The pods are busy all the same.
        assert min(len(pod.requests) for pod in pods) >= seconds
        assert late - early < GROWTH_MAX, f"{early} -> {late} bytes"
        async with asyncio.timeout(DEADLINE_S):
            assert await ask(world) == 200


async def ask(world: World) -> int:
    """Send a request to the revision `busy`; the status. The connection ends with it."""
    reader, writer = await asyncio.open_connection(world.address, 8012)
    try:
        writer.write(REQUEST.replace(b"Revision: rev", b"Revision: busy"))
        return (await read_message(reader)).status
    finally:
        writer.transport.abort()


async def test_no_request_is_lost_while_pods_and_activators_come_and_go(request: pytest.FixtureRequest) -> None:
    count = request.config.getoption("--transitions", default=40)
    rate = request.config.getoption("--rate", default=100)
    async with activator() as world:
        pods = [await world.pod(last) for last in (10, 11, 12)]
        stages = [pods[:1], pods, pods[1:], []]
        async with traffic(world, clients=50, rate=rate) as seen:
            for number in range(count):
                stage = stages[number % len(stages)]
                await world.endpoints(ready=stage)
                # In serve mode the public Endpoints list pods, in proxy mode activators.
                others = [pod.host for pod in stage] if number % 3 == 0 else [f"{world.subnet}.3"]
                await world.activators([world.address] if number % 2 else others)
                if stage:
                    await seen.until(5)
            await world.endpoints(ready=pods)
            await seen.until(100)
        assert not seen.failed
