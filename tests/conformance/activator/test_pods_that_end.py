"""Pods that end without Kubernetes' word: they say so themselves, and leave before their queue-proxy closes."""

import asyncio

import pytest

from tests.conformance.activator.world import activator

IN_USE = {"KNUV_POD_CHECK_SECONDS": "0.5"}


@pytest.mark.parametrize(
    ("answer", "reason"), [((503, b"shutting down\n"), "draining"), ((200, b"another app"), "not-mesh")]
)
async def test_a_pod_in_use_that_is_none_any_more_leaves(answer: tuple[int, bytes], reason: str) -> None:
    async with activator(**IN_USE) as world:
        leaving, staying = await world.pod(10), await world.pod(11)
        await world.endpoints(ready=[leaving, staying])
        for pod in (leaving, staying):
            await pod.until(lambda pod: bool(pod.probes), "a probe")
        leaving.gate.clear()
        held = [world.start_get() for _ in range(8)]
        await leaving.until(lambda pod: pod.active > 1, "requests")
        leaving.probe_answer = answer
        line = await world.logged("pod_over")
        assert (line["revision"], line["pod"], line["reason"]) == (
            "rev",
            f"{leaving.host}:{leaving.port}",
            reason,
        )
        got = len(leaving.requests)
        assert {(await world.get()).body for _ in range(10)} == {b"pod-11"}
        assert len(leaving.requests) == got
        leaving.gate.set()
        bodies = [answer.body for answer in await asyncio.gather(*held)]
        assert bodies.count(b"pod-10") == got, "what it has goes on"
        leaving.probe_answer = (200, b"queue")
        probes = len(leaving.probes)
        await leaving.until(lambda pod: len(pod.probes) > probes, "a probe")
        while (await world.get()).body != b"pod-10":
            pass


async def test_overload_takes_no_pod_out() -> None:
    async with activator(**IN_USE) as world:
        answers = {10: (503, b""), 11: (502, b"bad gateway"), 12: None}
        pods = [await world.pod(last) for last in answers]
        await world.endpoints(ready=pods)
        for pod, answer in zip(pods, answers.values(), strict=True):
            await pod.until(lambda pod: bool(pod.probes), "a probe")
            pod.gate.clear()
            pod.probe_answer = answer
        held = world.start_get()
        for pod in pods:
            await pod.until(lambda pod: len(pod.probes) > 2, "two more probes")
        for pod in pods:
            pod.gate.set()
        assert (await held).status == 200
        while not all(pod.requests for pod in pods):
            assert (await world.get()).status == 200
        assert "pod_over" not in [line["message"] for line in world.log]


async def test_pods_of_a_revision_without_requests_are_left_alone() -> None:
    async with activator(**IN_USE) as world:
        idle, busy = await world.pod(10), await world.pod(11)
        await world.revision("busy")
        await world.endpoints(ready=[idle])
        await world.endpoints(ready=[busy], name="busy")
        await idle.until(lambda pod: bool(pod.probes), "a probe")
        busy.gate.clear()
        held = world.start_get(revision=("ns", "busy"))
        await busy.until(lambda pod: len(pod.probes) >= 3, "probes")
        busy.gate.set()
        await held
        assert len(idle.probes) == 1


async def test_told_to_be_strict_a_pod_that_passed_is_not_probed_again() -> None:
    async with activator(**IN_USE, KNUV_STRICT_COMPAT="1") as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        pod.gate.clear()
        held = world.start_get()
        await world.autoscaler.until(lambda autoscaler: len(autoscaler.frames) >= 4, "reports of three seconds")
        pod.gate.set()
        await held
        assert len(pod.probes) == 1
