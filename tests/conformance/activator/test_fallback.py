"""The annotations `serving.knuv.dev/fallback-url` and `fallback-after`: who is sent elsewhere, and when."""

import asyncio
import time

from tests.conformance.activator.world import surroundings

URL = "serving.knuv.dev/fallback-url"
AFTER = "serving.knuv.dev/fallback-after"


async def test_who_waits_too_long_is_sent_elsewhere_and_others_get_the_pod() -> None:
    async with surroundings(network={}) as world:
        await world.revision(cc=1, annotations={URL: "https://b.example.com", AFTER: "1s"})
        await world.start()
        began = time.monotonic()
        answers = await asyncio.gather(*(world.get(path=f"/{n}?q", method="POST", body=b"order") for n in range(250)))
        waited_s = time.monotonic() - began
        assert [(answer.status, answer.get("location")) for answer in answers] == [
            (307, f"https://b.example.com/{n}?q") for n in range(250)
        ]
        assert {answer.get("cache-control") for answer in answers} == {"no-store"}
        assert min(answer.at for answer in answers) - began > 0.9, waited_s
        assert (await world.autoscaler.frame(0)).messages[0].stat.request_count == 1, "it wakes the revision"

        pod = await world.pod(10)
        pod.gate.clear()
        await world.endpoints(ready=[pod])
        await pod.until(lambda pod: bool(pod.probes), "a probe")  # before, a request would wait, and not for long
        running = world.start_get()
        await pod.until(lambda pod: pod.active == 1, "a request")
        assert (await world.get()).status == 307, "also where the pods are full"
        pod.gate.set()
        assert (await running).body == b"pod-10"
        assert (await world.get()).body == b"pod-10"
        assert len(pod.requests) == 2, "who was sent elsewhere is not forwarded later"


async def test_time_that_is_over_is_over() -> None:
    async with surroundings(network={}) as world:
        await world.revision(timeoutSeconds=1, annotations={URL: "https://b.example.com", AFTER: "2s"})
        await world.start()
        assert (await world.get()).status == 504


async def test_a_url_that_is_none_is_said_once_and_requests_wait() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations={URL: "file:///etc/passwd", AFTER: "100ms"})
        await world.start()
        line = await world.logged("annotation_ignored")
        assert (line["namespace"], line["revision"]) == ("ns", "rev")
        assert "expected http:// or https://" in line["error"]
        waiting = world.start_get()
        await world.autoscaler.heard_of(1)
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        assert (await waiting).body == b"pod-10"
        assert [line["message"] for line in world.log].count("annotation_ignored") == 1
