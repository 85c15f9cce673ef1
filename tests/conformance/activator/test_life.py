"""Statements 53, 69 and 76: deleted revisions, the activator's own end, and its refusal to start."""

import asyncio
import signal
import time

import pytest

from kube.models.serving import Revision
from tests.conformance.activator.world import DEADLINE_S, activator, surroundings
from tests.support.processes import eventually


async def test_statement_53_a_deleted_revision_is_not_found_and_its_requests_go_on() -> None:
    async with surroundings(network={}) as world:
        await world.revision()
        await world.revision("podless", timeoutSeconds=2)
        await world.start()
        pod = await world.pod(10)
        pod.gate.clear()
        await world.endpoints(ready=[pod])
        running = world.start_get()
        await pod.until(lambda pod: pod.active == 1, "a request")
        waiting = world.start_get(revision=("ns", "podless"))
        await world.get(headers=[("K-Network-Probe", "activator")])
        for name in ("rev", "podless"):
            await world.client.delete(Revision, name, "ns")

        async def is_not_found() -> bool:
            response = world.start_get(revision=("ns", "podless"))
            done, _ = await asyncio.wait([response], timeout=0.2)
            response.cancel()
            return bool(done) and response.result().status == 404

        await eventually(is_not_found)
        assert (await world.get()).status == 404
        assert (await waiting).status == 504
        pod.gate.set()
        assert (await running).body == b"pod-10"


async def test_a_revision_that_was_deleted_can_come_back() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get()
        await world.client.delete(Revision, "rev", "ns")
        await world.revision(cc=1)

        async def is_served() -> bool:
            return (await world.get()).status == 200 and len(pod.probes) > 1

        await eventually(is_served)


async def test_statement_69_the_drain_serves_and_then_running_requests_finish() -> None:
    async with activator(KNUV_DRAIN_SECONDS="0.5") as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get()
        pod.gate.clear()
        running = world.start_get()
        await pod.until(lambda pod: pod.active == 1, "a request")
        assert world.process is not None
        world.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        await world.logged("draining")
        during = world.start_get()
        await pod.until(lambda pod: pod.active == 2, "a request during the drain")

        async def is_closed() -> bool:
            try:
                await world.connect()
            except (ConnectionRefusedError, ConnectionResetError):  # reset: just while it was closed
                return True
            return False

        await eventually(is_closed)
        assert time.monotonic() - began > 0.4
        assert world.process.returncode is None
        pod.gate.set()
        assert [(await running).status, (await during).status] == [200, 200]
        assert await asyncio.wait_for(world.process.wait(), 30) == 0


async def test_a_second_signal_ends_it_at_once() -> None:
    async with activator(KNUV_DRAIN_SECONDS="30") as world:
        assert world.process is not None
        world.process.send_signal(signal.SIGTERM)
        await world.logged("draining")
        world.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(world.process.wait(), 30) == 1


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (None, "ConfigMap knative-serving/config-network does not exist"),
        ({"system-internal-tls": "always"}, "system-internal-tls"),
    ],
)
async def test_statement_76_without_a_usable_network_configuration_it_does_not_start(
    network: dict[str, str] | None, said: str
) -> None:
    async with surroundings(network=network) as world:
        process = await world.spawn()
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 1
        await eventually(lambda: world.stderr)
        assert len(world.stderr) == 1
        assert said in world.stderr[0]


async def test_a_cold_start_is_logged_once_with_its_times() -> None:
    async with activator() as world:
        before = time.time()
        waiting = [world.start_get() for _ in range(3)]
        await world.autoscaler.heard_of(3)
        pod = await world.pod(10)
        await world.endpoints(not_ready=[pod])
        await asyncio.gather(*waiting)
        line = await world.logged("cold_start_released")
        assert (line["namespace"], line["revision"], line["released"]) == ("ns", "rev", 3)
        assert before < line["first_arrived"] < line["stat_sent"] < line["capacity_at"] < time.time()
        await world.endpoints(ready=[pod])
        await world.get()
        assert [entry["message"] for entry in world.log].count("cold_start_released") == 1
