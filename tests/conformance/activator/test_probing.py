"""Statements 24 to 36, as far as they concern HTTP/1.1: how the activator finds out which pods take requests."""

import asyncio
import time

import pytest

from tests.conformance.activator.world import DEADLINE_S, SOON_S, Pod, World, activator, surroundings
from tests.support.processes import eventually
from tests.support.relay import running_relay

SEEN_LATE_S = 0.4
"""How late the first of some may be seen, which then seems closer to the others."""


def intervals(pod: Pod) -> list[float]:
    return [later.at - earlier.at for earlier, later in zip(pod.probes, pod.probes[1:], strict=False)]


async def no_answer_within(world: World, seconds: float) -> None:
    """A request is still waiting after this time."""
    waiting = world.start_get()
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    assert not done, waiting.result()
    waiting.cancel()


async def test_statements_24_and_25_a_pod_that_is_not_ready_is_probed_until_it_passes() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        pod.probe_answer = (503, b"")
        waiting = world.start_get()
        began = time.monotonic()
        await world.endpoints(not_ready=[pod])
        await pod.until(lambda pod: len(pod.probes) >= 6, "six probes")
        assert pod.probes[0].at - began < SOON_S
        assert all(interval < 0.2 + SOON_S for interval in intervals(pod)), intervals(pod)
        assert pod.probes[5].at - pod.probes[0].at > 5 * 0.2 - SEEN_LATE_S
        probe = pod.probes[0]
        assert probe.first_line == "GET /healthz HTTP/1.1"
        assert probe.get("k-network-probe") == "queue"
        assert probe.get("user-agent") == "Knative-Activator-Probe"
        assert probe.get("host") == f"{pod.host}:{pod.port}"
        pod.probe_answer = (200, b"queue")
        assert (await waiting).body == b"pod-10"
        assert pod.requests[0].at - pod.probes[-1].at < SOON_S
        count = len(pod.probes)
        await asyncio.wait_for(world.get(), 5)
        await no_more_probes(pod, count)


async def no_more_probes(pod: Pod, count: int) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), pod.changed:
            await pod.changed.wait_for(lambda: len(pod.probes) > count)


@pytest.mark.parametrize(("status", "body"), [(200, b"queue\n"), (200, b"ok"), (201, b"queue")])
async def test_statement_26_only_200_with_the_exact_body_counts(status: int, body: bytes) -> None:
    async with activator() as world:
        pod = await world.pod(10)
        pod.probe_answer = (status, body)
        await world.endpoints(not_ready=[pod])
        await pod.until(lambda pod: len(pod.probes) >= 2, "two probes")
        await no_answer_within(world, 0.3)


@pytest.mark.parametrize("probe", ["readinessProbe", "startupProbe"])
async def test_statement_27_with_checks_that_only_the_kubelet_makes_readiness_is_waited_for(probe: str) -> None:
    async with surroundings(network={}) as world:
        check = {"exec": {"command": ["true"]}}
        await world.revision(containers=[{"name": "c", "ports": [{"containerPort": 80}], probe: check}])
        await world.start()
        pod = await world.pod(10)
        await world.endpoints(not_ready=[pod])
        await no_answer_within(world, 0.5)
        assert pod.requests == []
        await world.endpoints(ready=[pod])
        assert (await world.get()).body == b"pod-10"


async def test_statement_28_without_mesh_compatibility_ready_pods_are_trusted() -> None:
    async with activator(network={"mesh-compatibility-mode": "disabled"}) as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        assert (await world.get()).body == b"pod-10"
        assert pod.probes == []


async def test_statement_29_a_cluster_address_that_works_is_used_and_stays_in_use() -> None:
    async with activator() as world:
        pod, cluster = await world.pod(10), await world.pod(100)
        pod.probe_answer = (503, b"")
        await world.cluster_address(cluster)
        await world.endpoints(ready=[pod])
        assert (await world.get()).body == b"pod-100"
        pod.probe_answer = (200, b"queue")
        await world.endpoints(ready=[pod, await world.pod(11)])
        assert (await world.get()).body == b"pod-100"


async def test_statement_30_an_answer_that_no_mesh_gives_forbids_the_cluster_address() -> None:
    async with activator() as world:
        pod, cluster = await world.pod(10), await world.pod(100)
        pod.probe_answer = (404, b"")
        await world.cluster_address(cluster)
        await world.endpoints(ready=[pod])
        await pod.until(lambda pod: len(pod.probes) >= 3, "three probes")
        assert cluster.probes == []


async def test_statement_31_with_mesh_compatibility_pods_are_not_probed() -> None:
    async with activator(network={"mesh-compatibility-mode": "Enabled"}) as world:
        pod, cluster = await world.pod(10), await world.pod(100)
        await world.cluster_address(cluster)
        await world.endpoints(ready=[pod])
        assert (await world.get()).body == b"pod-100"
        assert pod.probes == []


async def test_statement_32_with_pass_through_the_cluster_address_is_never_used() -> None:
    async with activator(network={"enable-mesh-pod-addressability": "true"}) as world:
        pod, cluster = await world.pod(10), await world.pod(100)
        pod.probe_answer = (503, b"")
        await world.cluster_address(cluster)
        await world.endpoints(ready=[pod])
        await pod.until(lambda pod: len(pod.probes) >= 3, "three probes")
        assert cluster.probes == []


async def test_statement_33_a_pod_that_is_not_ready_any_more_is_probed_again() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        assert (await world.get()).status == 200
        pod.probe_answer = (503, b"")
        await world.endpoints(not_ready=[pod])
        await pod.until(lambda pod: len(pod.probes) >= 2, "a second probe")
        await no_answer_within(world, 0.3)
        assert len(pod.requests) == 1


async def test_statement_34_a_pod_that_hangs_delays_no_other() -> None:
    async with activator(PROBE_TIMEOUT="20s") as world:
        hanging, pod = await world.pod(10), await world.pod(11)
        hanging.probe_answer = None
        began = time.monotonic()
        await world.endpoints(not_ready=[hanging, pod])
        assert (await world.get()).body == b"pod-11"
        assert time.monotonic() - began < SOON_S


async def test_statement_35_the_frequency_is_configurable() -> None:
    async with activator(PROBE_FREQUENCY="1s") as world:
        pod = await world.pod(10)
        pod.probe_answer = (503, b"")
        await world.endpoints(not_ready=[pod])
        await pod.until(lambda pod: len(pod.probes) >= 2, "two probes")
        assert 1 - SEEN_LATE_S < intervals(pod)[0] < 1 + SOON_S


async def test_statement_35_a_frequency_that_is_none_prevents_the_start() -> None:
    async with surroundings(network={}, PROBE_FREQUENCY="x", POD_NAME="") as world:
        process = await world.spawn()
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 1
        for name in ("PROBE_FREQUENCY", "POD_NAME"):
            await eventually(lambda name=name: [line for line in world.stderr if name in line])  # type: ignore[misc]


async def test_statement_36_pods_of_an_h2c_revision_are_found_by_their_ports_name() -> None:
    async with surroundings(network={}) as world:
        ports = [{"name": "h2c", "containerPort": 80}]
        await world.revision(containers=[{"name": "c", "image": "i", "ports": ports}])
        await world.start()
        http, http2 = await world.pod(10), await world.pod(11)
        await world.endpoints(ready=[http], port_name="http")
        await no_answer_within(world, 0.3)
        await world.endpoints(ready=[http2], port_name="http2")
        await http2.until(lambda pod: bool(pod.probes), "a probe")
        assert http2.probes[0].first_line == "GET /healthz HTTP/1.1"
        assert http.probes == []


async def test_a_pod_that_does_not_listen_yet_is_found_soon_after_it_does() -> None:
    async with activator() as world:
        pod = await world.pod(10, listens=False)
        waiting = world.start_get()
        await world.endpoints(not_ready=[pod])
        # Long enough for the back-off to have grown.
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        began = time.monotonic()
        await pod.start()
        assert (await waiting).body == b"pod-10"
        assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("round_trip_s", [0.07, 0.2])
async def test_pods_that_are_far_away_are_found_and_used(round_trip_s: float) -> None:
    async with activator() as world:
        pod = await world.pod(10)
        # A relay cannot delay a connect, so the bytes are late by that as well.
        async with running_relay(pod.port, pod.host, delay_s=round_trip_s) as relay:
            await world.endpoints(not_ready=[Pod("127.0.0.1", "far", port=relay.port)])
            assert (await world.get()).body == b"pod-10"
            assert len(pod.probes) <= 3


async def test_a_change_of_pods_is_one_line() -> None:
    async with activator() as world:
        pod, deaf = await world.pod(10), await world.pod(11, listens=False)
        await world.endpoints(not_ready=[pod, deaf])
        line = await world.logged("backends_changed")
        assert (line["namespace"], line["revision"], line["pods"], line["unsettled"]) == ("ns", "rev", 1, 1)
        await world.endpoints()
        assert (await world.logged("backends_changed", 2))["pods"] == 0
        await world.end()
        assert [line["message"] for line in world.log].count("backends_changed") == 2
