"""`examples/eventing/` on a stack, and what people do with events there: send, tail, trace, redrive, curl, an SDK."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from kube.models.batch import Job
from kube.models.core import Pod
from kube.models.eventing import Trigger
from kube.models.sinks import JobSink
from kube.models.sources import ApiServerSource, ContainerSource
from loadtests.load import fetch
from loadtests.scenario import until
from local_cluster.manifests import apply, load
from tests.system.conftest import System, running_system

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("stack-eventing")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "eventing" / "eventing.yaml"
DOMAIN = "default.127.0.0.1.sslip.io"
WITHIN_S = 90.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The module's stack with the example in it."""
    async with running_system(tmp_path_factory.mktemp("stack")) as running:
        for manifest in load(EXAMPLE):
            await apply(running.client, running.kinds, manifest, "default")
        yield running


async def seen(system: System, service: str) -> list[dict[str, str]]:
    """What a displaying subscriber has got, the last event first; nothing while it does not answer."""
    got = await fetch(system.stack.http_port, f"{service}.{DOMAIN}", "/")
    if got.status != 200:
        return []
    events: list[dict[str, str]] = json.loads(got.body)
    return events


async def until_seen(system: System, service: str, **wanted: str) -> dict[str, str]:
    """Wait for an event with these attributes."""

    async def probe() -> dict[str, str] | None:
        found = await seen(system, service)
        return next((each for each in found if wanted.items() <= each.items()), None)

    return await until(probe, WITHIN_S, f"{service} to get {wanted}")


async def test_pings_are_answered_and_what_nobody_takes_ends_at_the_dead_letter_sink(system: System) -> None:
    bar = await until_seen(system, "display", type="bar")
    assert json.loads(bar["data"]) == {"heard": '{"message": "hello"}'}
    dead = await until_seen(system, "dead-letters", type="dev.knative.sources.ping")
    assert dead["source"] == "/apis/v1/namespaces/default/pingsources/ping"
    assert (dead["example"], dead["knativeerrorcode"]) == ("eventing", "500")
    assert dead["knativeerrordest"] == "http://fail.default.svc.cluster.local"


async def test_people_send_see_trace_and_redrive(system: System) -> None:
    tail = await system.knuv("events", "tail", "--type", "bar", "--json", "--count", "1")
    assert json.loads(tail.out)["type"] == "bar"
    event = ("--type", "dev.knative.sources.mine", "-e", "example=eventing", "--id", "m1")
    sent = await system.knuv("events", "send", *event)
    assert (sent.code, sent.out.splitlines()) == (0, ["202", "id m1"])
    await until_seen(system, "dead-letters", id="m1")
    traced = await system.knuv("events", "trace", "m1")
    for step in ("accepted", "matched", "filtered"):
        assert step in traced.out
    listed = await system.knuv("events", "redrive", "--trigger", "default/fail", "--dry-run")
    assert "m1 from /knuv/cli: code 500" in listed.out
    redriven = await system.knuv("events", "redrive", "--trigger", "default/fail")
    assert redriven.out.endswith("sent again\n")
    assert not redriven.out.startswith("default/fail: 0 ")


async def test_mistakes_are_told(system: System) -> None:
    for arguments, told in (
        (("send", "broker/none"), 'no broker "none" in namespace "default"'),
        (("send", "-e", "A-B=1"), "expected name=value"),
        (("send", "--data", "a", "--file", "b"), "expected one of --data, --file and --event"),
        (("tail", "trigger/x"), "expected broker/NAME or channel/NAME"),
        (("trace", "never"), 'no event "never"'),
        (("redrive", "--trigger", "none"), 'no trigger "none" in namespace "default"'),
        (("redrive", "--subscription", "none"), 'no subscription "none" in namespace "default"'),
        (("redrive",), "expected one of --trigger and --subscription"),
    ):
        output = await system.knuv("events", *arguments)
        assert output.code != 0, arguments
        assert told in " ".join(output.err.replace("│", " ").split()), (arguments, output.err)


async def test_the_sdk_sends_in_both_modes(system: System) -> None:
    attributes = {"type": "bar", "source": "/sdk", "specversion": "1.0", "datacontenttype": "application/json"}
    host = "broker-ingress.knative-eventing.127.0.0.1.sslip.io"
    url = f"http://127.0.0.1:{system.stack.http_port}/default/default"
    async with aiohttp.ClientSession() as session:
        for number, write in enumerate((to_binary_event, to_structured_event)):
            event = CloudEvent(
                attributes={**attributes, "id": f"sdk-{number}", "mode": str(number)}, data={"n": number}
            )
            message = write(event)
            async with session.post(url, data=message.body, headers={**message.headers, "Host": host}) as response:
                assert response.status == 202
            assert json.loads((await until_seen(system, "display", id=f"sdk-{number}"))["data"]) == {"n": number}


async def test_curl_sends_an_event(system: System) -> None:
    host = "broker-ingress.knative-eventing.127.0.0.1.sslip.io"
    command = [
        *("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {host}"),
        *("-H", "Ce-Specversion: 1.0", "-H", "Ce-Type: bar", "-H", "Ce-Source: /curl", "-H", "Ce-Id: c1"),
        *(
            "-H",
            "Content-Type: text/plain",
            "-d",
            "hello",
            f"http://127.0.0.1:{system.stack.http_port}/default/default",
        ),
    ]
    assert await asyncio.to_thread(subprocess.check_output, command) == b"202"
    assert (await until_seen(system, "display", id="c1"))["data"] == "hello"


async def test_objects_and_containers_are_sources_too(system: System) -> None:
    """An ApiServerSource's adapter and a ContainerSource's program run as processes and reach the broker."""
    broker = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
    watched = {"resources": [{"apiVersion": "v1", "kind": "ConfigMap"}], "mode": "Resource", "sink": broker}
    show = {
        "broker": "default",
        "filters": [{"any": [{"prefix": {"type": "dev.knative.apiserver"}}, {"exact": {"type": "told"}}]}],
        "subscriber": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "display"}},
    }
    program = (
        "import json, os, time; print(os.environ['K_SINK'], os.environ['K_CE_OVERRIDES'], flush=True); time.sleep(600)"
    )
    container = {"image": "dev.local/teller", "command": ["python3", "-c", program]}
    overrides = {"extensions": {"team": "a"}}
    told = {"template": {"spec": {"containers": [container]}}, "sink": broker, "ceOverrides": overrides}
    for api_version, kind, name, spec in (
        ("eventing.knative.dev/v1", "Trigger", "show", show),
        ("sources.knative.dev/v1", "ApiServerSource", "maps", watched),
        ("sources.knative.dev/v1", "ContainerSource", "teller", told),
    ):
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        await apply(system.client, system.kinds, manifest, "default")

    async def ready() -> bool | None:
        found = [
            await system.client.get(ApiServerSource, "maps", "default"),
            await system.client.get(ContainerSource, "teller", "default"),
        ]
        return True if all(each.status.is_ready() for each in found) else None  # type: ignore[attr-defined]

    await until(ready, WITHIN_S, "both sources to be ready")
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "news"}, "data": {"a": "b"}}
    await apply(system.client, system.kinds, config_map, "default")
    event = await until_seen(system, "display", type="dev.knative.apiserver.resource.add", name="news")
    assert json.loads(event["data"])["data"] == {"a": "b"}
    pods = json.loads(await system.client.raw("GET", "/api/v1/namespaces/default/pods"))["items"]
    name = next(each["metadata"]["name"] for each in pods if each["metadata"]["name"].startswith("teller-deployment"))

    async def log() -> str | None:
        text = (await system.client.raw("GET", f"/api/v1/namespaces/default/pods/{name}/log")).decode()
        return text or None

    line = await until(log, WITHIN_S, "the container to tell its sink")
    sink, _, overrides_text = line.partition(" ")
    assert sink == "http://broker-ingress.knative-eventing.svc.cluster.local/default/default"
    assert json.loads(overrides_text) == overrides


async def test_a_job_reads_the_event_that_it_was_made_of(system: System) -> None:
    """A Trigger sends to a JobSink, whose Job is a process of the node with the event in a file."""
    program = (
        "import os, pathlib; "
        "print(os.environ['K_EXECUTION_MODE'], pathlib.Path(os.environ['K_EVENT_PATH'], 'event').read_text())"
    )
    container = {"name": "reader", "image": "dev.local/reader", "command": ["python3", "-c", program]}
    job = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    ref = {"apiVersion": "sinks.knative.dev/v1alpha1", "kind": "JobSink", "name": "reader"}
    trigger = {"broker": "default", "filters": [{"exact": {"type": "read"}}], "subscriber": {"ref": ref}}
    for api_version, kind, spec in (
        ("sinks.knative.dev/v1alpha1", "JobSink", {"job": job}),
        ("eventing.knative.dev/v1", "Trigger", trigger),
    ):
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "reader"}, "spec": spec}
        await apply(system.client, system.kinds, manifest, "default")

    async def ready() -> bool | None:
        found = await system.client.get(Trigger, "reader", "default")
        sink = await system.client.get(JobSink, "reader", "default")
        return True if found.status.is_ready() and sink.status.is_ready() else None

    await until(ready, WITHIN_S, "the JobSink and its Trigger to be ready")
    sent = await system.knuv("events", "send", "--type", "read", "--id", "r1", "--data", '{"n": 1}')
    assert sent.code == 0, sent.err

    async def finished() -> Job | None:
        jobs = (await system.client.list(Job, "default", label_selector="sinks.knative.dev/job-sink-name=reader")).items
        return next((job for job in jobs if any(each.type == "Complete" for each in job.status.conditions)), None)

    found = await until(finished, WITHIN_S, "the Job to end well")
    selector = f"job-name={found.name}"
    (pod,) = (await system.client.list(Pod, "default", label_selector=selector)).items
    log = (await system.client.raw("GET", f"/api/v1/namespaces/default/pods/{pod.name}/log")).decode()
    mode, _, event = log.partition(" ")
    assert mode == "batch"
    assert {"id": "r1", "type": "read", "data": {"n": 1}}.items() <= json.loads(event).items()
