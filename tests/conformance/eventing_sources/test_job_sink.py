"""Statements 52 to 55: the process that makes Jobs of events, against an API server that runs none of them."""

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from kube.models.batch import Job
from kube.models.core import ConfigMap, Namespace, Secret
from kube.models.meta import ObjectMeta
from kube.models.sinks import JobSink
from tests.broker.issuer import Issuer
from tests.conformance.eventing_broker.world import EVENT, SYSTEM, Process, environment, structured
from tests.conformance.eventing_sources.conftest import Api
from tests.support.http import Call, Response, fetch, running_app
from tests.support.loopback import loopback_subnet
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

JOB: dict[str, Any] = {
    "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
    "spec": {
        "backoffLimit": 2,
        "podFailurePolicy": {"rules": []},
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "initContainers": [{"name": "i", "image": "i"}],
                "containers": [
                    {"name": "c", "image": "c", "env": [{"name": "A", "value": "1"}]},
                    {
                        "name": "own",
                        "image": "c",
                        "env": [{"name": "K_EXECUTION_MODE", "value": "mine"}],
                        "volumeMounts": [{"name": "jobsink-event", "mountPath": "/own"}],
                    },
                ],
            }
        },
    },
}


class Sinks:
    """The process and what it makes."""

    def __init__(self, api: Api, process: Process) -> None:
        self.api = api
        self.process = process

    async def create(self, name: str, job: dict[str, Any] = JOB) -> JobSink:
        """A JobSink that the process knows."""
        for each in (name, f"{name}-known"):
            manifest = {"apiVersion": "sinks.knative.dev/v1alpha1", "kind": "JobSink", "metadata": {"name": each}}
            await self.api.create(JobSink.RESOURCE.path("ns"), manifest | {"spec": {"job": job}})

        async def is_known() -> bool:
            found = await self.post(f"{name}-known", [])
            return b"there is no JobSink" not in found.body

        await eventually(is_known)
        return await self.api.client.get(JobSink, name, "ns")

    async def post(self, name: str, headers: list[str], body: bytes = b"") -> Response:
        return await self.fetch(f"/ns/{name}", method="POST", headers=headers, body=body)

    async def fetch(self, target: str, **options: Any) -> Response:
        return await fetch(self.process.host, 8080, target, **options)

    async def jobs(self, name: str) -> list[Job]:
        found = await self.api.client.list(Job, "ns", label_selector=f"sinks.knative.dev/job-sink-name={name}")
        return list(found.items)

    async def end(self, job: Job, type_: str) -> None:
        """What the Job's controller would say."""
        await self.api.client.patch_status(job, {"conditions": [{"type": type_, "status": "True"}]})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sinks(api: Api) -> AsyncIterator[Sinks]:
    for namespace in (SYSTEM, "ns"):
        await api.client.create(Namespace(metadata=ObjectMeta(name=namespace)))
    data = {"metrics-protocol": "prometheus"}
    metadata = ObjectMeta(name="config-observability", namespace=SYSTEM)
    await api.client.create(ConfigMap(metadata=metadata, data=data))
    with loopback_subnet() as subnet:
        host = f"{subnet}.2"
        process = Process("job-sink", host, environment("job-sink", host, api.running))
        try:
            await process.start()
            yield Sinks(api, process)
        finally:
            await process.stop()


async def event_of(sinks: Sinks, job: Job) -> Secret:
    """The Secret from which the containers of a Job read the event."""
    (volume,) = [each for each in job.spec.template["spec"]["volumes"] if each["name"] == "jobsink-event"]
    return await sinks.api.client.get(Secret, volume["secret"]["secretName"], "ns")


def env_of(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env") or []}


async def test_52_an_event_gives_one_job_however_often_it_comes(sinks: Sinks) -> None:
    sink = await sinks.create("once")
    answers = await asyncio.gather(*(sinks.post("once", EVENT, b"x") for _ in range(5)))
    answers.append(await sinks.fetch("/ns/once/", method="POST", headers=EVENT, body=b"x"))
    assert {answer.status for answer in answers} == {202}
    assert {answer.value("location") for answer in answers} == {"/namespaces/ns/name/once/sources/%2Ftest/ids/1"}
    assert not answers[0].values("allow")
    (job,) = await sinks.jobs("once")
    assert job.name == "once-c919a18cd1e1254f560bb64acc581574"  # printf /test1 | md5sum
    assert job.is_controlled_by(sink)
    assert job.metadata.labels == {
        "team": "a",
        "sinks.knative.dev/job-sink-name": "once",
        "sinks.knative.dev/job-sink-id": job.name,
    }
    assert job.metadata.annotations["note"] == "b"
    raw = json.loads(await sinks.api.client.raw("GET", Job.RESOURCE.path("ns", job.name)))
    assert raw["spec"]["podFailurePolicy"] == {"rules": []}
    assert (await sinks.post("once", [*EVENT[:1], "ce-id: 2", *EVENT[2:]])).status == 202
    assert len(await sinks.jobs("once")) == 2


async def test_52_a_long_name_is_shortened(sinks: Sinks) -> None:
    name = "a" * 60
    await sinks.create(name)
    assert (await sinks.post(name, EVENT)).status == 202
    (job,) = await sinks.jobs(name)
    assert len(job.name) == 63
    assert job.metadata.labels["sinks.knative.dev/job-sink-id"] == job.name


async def test_53_containers_find_the_event(sinks: Sinks) -> None:
    await sinks.create("reads")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = [*EVENT, "Content-Type: application/json", "ce-more: m", f"traceparent: {trace}", "tracestate: a=b"]
    assert (await sinks.post("reads", headers, b'{"n": 1.0}')).status == 202
    (job,) = await sinks.jobs("reads")
    secret = await event_of(sinks, job)
    event = base64.b64decode(secret.data["event"])
    assert b'"data":{"n": 1.0}' in event
    assert json.loads(event) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/test",
        "type": "a",
        "datacontenttype": "application/json",
        "more": "m",
        "traceparent": trace,
        "tracestate": "a=b",
        "data": {"n": 1.0},
    }
    assert secret.is_controlled_by(job)
    assert secret.metadata.labels["sinks.knative.dev/job-sink-id"] == job.name
    pod = job.spec.template["spec"]
    (init,), (container, own) = pod["initContainers"], pod["containers"]
    assert env_of(init) == {"K_EXECUTION_MODE": "batch"}
    assert "volumeMounts" not in init
    assert env_of(container) == {"A": "1", "K_EXECUTION_MODE": "batch", "K_EVENT_PATH": "/etc/jobsink-event"}
    (mount,) = container["volumeMounts"]
    assert mount == {"name": "jobsink-event", "mountPath": "/etc/jobsink-event", "readOnly": True}
    assert env_of(own) == {"K_EXECUTION_MODE": "mine", "K_EVENT_PATH": "/own"}
    assert secret.name.startswith(f"{job.name}-")


async def test_53_what_was_left_out_is_made_when_the_event_comes_again(sinks: Sinks) -> None:
    """As after an end between the two objects."""
    await sinks.create("again")
    assert (await sinks.post("again", EVENT, b"one")).status == 202
    (job,) = await sinks.jobs("again")
    await sinks.api.client.delete(Secret, (await event_of(sinks, job)).name, "ns")
    assert (await sinks.post("again", EVENT, b"one")).status == 202
    secret = await event_of(sinks, job)
    assert secret.is_controlled_by(job)
    # A Job that is made anew has nothing to do with what its predecessor left.
    await sinks.api.client.delete(Job, job.name, "ns", propagation="Orphan")

    async def is_orphaned() -> bool:
        found = await sinks.api.client.get(Secret, secret.name, "ns")
        return not found.metadata.owner_references and not await sinks.jobs("again")

    await eventually(is_orphaned)
    assert (await sinks.post("again", EVENT, b"two")).status == 202
    (anew,) = await sinks.jobs("again")
    other = await event_of(sinks, anew)
    assert (anew.metadata.uid != job.metadata.uid, other.name != secret.name) == (True, True)
    assert other.is_controlled_by(anew)
    assert json.loads(base64.b64decode(other.data["event"]))["data_base64"] == base64.b64encode(b"two").decode()
    left = await sinks.api.client.get(Secret, secret.name, "ns")
    assert left.data == secret.data


async def test_somebody_elses_job_does_not_have_secrets_made_of_any_name(sinks: Sinks) -> None:
    await sinks.create("lent")
    assert (await sinks.post("lent", EVENT)).status == 202
    (job,) = await sinks.jobs("lent")
    body = json.loads(await sinks.api.client.raw("GET", Job.RESOURCE.path("ns", job.name)))
    await sinks.api.client.delete(Job, job.name, "ns", propagation="Background")
    body["spec"]["template"]["spec"]["volumes"] = [{"name": "jobsink-event", "secret": {"secretName": "wanted"}}]
    metadata = {name: body["metadata"][name] for name in ("name", "labels", "ownerReferences")}

    async def is_gone() -> bool:
        return not await sinks.jobs("lent")

    await eventually(is_gone)
    await sinks.api.create(Job.RESOURCE.path("ns"), {**body, "metadata": metadata, "status": {}})
    answer = await sinks.post("lent", EVENT)
    assert (answer.status, "named after the Job" in answer.value("reason")) == (500, True)
    assert not [each for each in (await sinks.api.client.list(Secret, "ns")).items if each.name == "wanted"]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/ns/wrong"),
        ("OPTIONS", "/ns/wrong"),
        ("DELETE", "/ns/wrong"),
        ("HEAD", "/ns/wrong"),
        ("POST", "/"),
        ("POST", "/ns"),
        ("POST", "/ns/wrong//"),
        ("POST", "/ns/wrong/more"),
        ("POST", "/ns/wrong?a=b"),
        ("POST", "/ns/none"),
        ("POST", "/none/wrong"),
        ("GET", "/ns/wrong"),
        ("GET", "/namespaces/ns/name/wrong/sources/a/b/ids/1"),
        ("GET", "/namespaces/ns/name/none/sources/a/ids/1"),
        ("GET", "/namespaces/ns/name/wrong/sources/%FF/ids/1"),
    ],
)
async def test_54_whatever_is_wrong_is_400(sinks: Sinks, method: str, target: str) -> None:
    if not (await sinks.api.client.list(JobSink, "ns", field_selector="metadata.name=wrong")).items:
        await sinks.create("wrong")
    answer = await sinks.fetch(target, method=method, headers=EVENT)
    assert answer.status == 400, answer
    assert not answer.values("allow")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ([], b"hello", 400),
        ([*EVENT[:3]], b"", 400),
        (["Content-Type: application/cloudevents+json"], structured(source=...), 400),
        (["Content-Type: application/cloudevents-batch+json"], b"[" + structured() + b"]", 400),
        (EVENT, b"x" * ((1 << 20) + 1), 413),
        # In the JSON format it is larger.
        (EVENT, b"\xff" * 900_000, 413),
    ],
)
async def test_what_is_no_event_for_a_job_is_refused(
    sinks: Sinks, headers: list[str], body: bytes, status: int
) -> None:
    await sinks.create(name := f"refuses-{random.randbytes(4).hex()}")
    answer = await sinks.post(name, headers, body)
    assert answer.status == status
    assert await sinks.jobs(name) == []


async def test_55_the_location_tells_how_the_job_ended(sinks: Sinks) -> None:
    await sinks.create("ends")
    source = "https://a.example/b c?d=é"
    for number, (type_, status) in enumerate((("Complete", 200), ("Failed", 400))):
        headers = ["Content-Type: application/cloudevents+json"]
        made = await sinks.post("ends", headers, structured(source=quote(source, safe=":/?="), id=f"{number}/é"))
        location = made.value("location")
        running = await sinks.fetch(location)
        assert (running.status, running.value("location")) == (202, location)
        (job,) = [each for each in await sinks.jobs("ends") if not each.status.conditions]
        await sinks.end(job, type_)
        ended = await sinks.fetch(location.replace("/sources/", "/any/"))
        assert (ended.status, ended.value("reason")) == (status, type_)
    assert (await sinks.fetch("/namespaces/ns/name/ends/sources/x/ids/none")).status == 500


async def test_a_location_that_peers_would_not_take_is_left_out(sinks: Sinks) -> None:
    await sinks.create("long")
    headers = ["Content-Type: application/cloudevents+json"]
    # In the path each of these has six bytes.
    for id_, is_told in (("é" * 600, True), ("é" * 700, False), ("é" * 100_000, False)):
        made = await sinks.post("long", headers, structured(id=id_))
        assert (made.status, len(made.values("location"))) == (202, is_told)
    assert len(await sinks.jobs("long")) == 3


async def test_nothing_is_remembered_of_a_job_sink_that_is_gone(sinks: Sinks) -> None:
    wrong = {"spec": {"template": {"spec": {}}}}
    await sinks.create("gone", wrong)
    assert (await sinks.post("gone", EVENT)).status == 500
    await sinks.api.client.delete(JobSink, "gone", "ns")

    async def is_known() -> bool:
        return b"there is no JobSink" not in (await sinks.post("gone", [])).body

    async def is_forgotten() -> bool:
        return not await is_known()

    await eventually(is_forgotten)
    manifest = {"apiVersion": "sinks.knative.dev/v1alpha1", "kind": "JobSink", "metadata": {"name": "gone"}}
    await sinks.api.create(JobSink.RESOURCE.path("ns"), manifest | {"spec": {"job": wrong}})
    await eventually(is_known)
    assert (await sinks.post("gone", EVENT)).status == 500

    def told() -> bool:
        # Of this one, too: it is not the one of which it was said.
        return sum(line.get("job_sink") == "ns/gone" for line in sinks.process.log) == 2

    await eventually(told)


async def test_a_job_that_cannot_be_made(sinks: Sinks) -> None:
    await sinks.create("refused", {"spec": {"template": {"spec": {}}}})
    answer = await sinks.post("refused", EVENT)
    assert answer.status == 500
    assert "spec.job is no Job" in answer.value("reason")
    await sinks.process.logged("jobs_not_made")
    await sinks.api.client.patch(JobSink, "refused", "ns", {"spec": {"job": JOB}})

    async def is_made() -> bool:
        return (await sinks.post("refused", EVENT)).status == 202

    await eventually(is_made)
    await sinks.process.logged("jobs_made_again")
    told = [line for line in sinks.process.log if line.get("job_sink") == "ns/refused"]
    assert [line["message"] for line in told] == ["jobs_not_made", "jobs_made_again"]


async def test_somebody_elses_job_of_that_name(sinks: Sinks) -> None:
    await sinks.create("taken")
    assert (await sinks.post("taken", EVENT)).status == 202
    (job,) = await sinks.jobs("taken")
    await sinks.api.client.patch(Job, job.name, "ns", {"metadata": {"labels": {"sinks.knative.dev/job-sink-id": None}}})
    answer = await sinks.post("taken", EVENT)
    assert (answer.status, "is not of JobSink" in answer.value("reason")) == (500, True)


async def test_every_request_is_measured_and_probes_are_answered(sinks: Sinks) -> None:
    await sinks.create("measured")

    async def count(status: int) -> float:
        page = (await fetch(sinks.process.host, 9092, "/metrics")).body.decode()
        lines = [
            line
            for line in page.splitlines()
            if line.startswith("kn_eventing_dispatch_duration_seconds_count") and f'status_code="{status}"' in line
        ]
        assert all('otel_scope_name="knative.dev/cmd/jobsink"' in line for line in lines)
        return sum(float(line.split()[-1]) for line in lines)

    before = await count(202), await count(400)
    assert (await sinks.post("measured", EVENT)).status == 202
    assert (await sinks.fetch("/ns/measured", method="PUT")).status == 400
    assert (await sinks.fetch("/x", headers=["User-Agent: kube-probe/1.33"])).status == 200

    async def counted() -> bool:
        return (await count(202), await count(400)) == (before[0] + 1, before[1] + 1)

    await eventually(counted)


async def test_who_may_send_while_oidc_is_on(sinks: Sinks) -> None:
    """Who may not send is not told what is wrong with an event."""
    sink = await sinks.create("guarded")
    audience, issuer = "sinks.knative.dev/jobsink/ns/guarded", Issuer()
    address = {"url": "http://job-sink/ns/guarded", "audience": audience}
    await sinks.api.client.patch_status(sink, {"address": address})

    async def publish(call: Call) -> None:
        url = f"http://127.0.0.1:{app.port}"
        content = {"issuer": issuer.url, "jwks_uri": f"{url}/keys"}
        await call.respond(200, issuer.jwks() if call.target == "/keys" else json.dumps(content).encode())

    def shown(account: str, *lines: str) -> list[str]:
        token = issuer.token(f"system:serviceaccount:{account}", audience)
        return [*lines, f"Authorization: Bearer {token.decode()}"]

    async with running_app(publish) as app:
        data = {"authentication-oidc": "enabled", "oidc-discovery-base-url": f"http://127.0.0.1:{app.port}/"}
        metadata = ObjectMeta(name="config-features", namespace=SYSTEM)
        await sinks.api.client.create(ConfigMap(metadata=metadata, data=data))

        async def is_guarded() -> bool:
            strange, known = [await sinks.post("guarded", each) for each in (EVENT, shown("ns:me", *EVENT))]
            return (strange.status, known.status) == (401, 202)

        try:
            await eventually(is_guarded)
            for headers, status in (
                (EVENT, 401),
                ([], 401),
                (shown("other:me", *EVENT), 403),
                (shown("other:me"), 403),
                (shown("ns:me"), 400),
            ):
                assert (await sinks.post("guarded", headers)).status == status, headers
        finally:
            await sinks.api.client.delete(ConfigMap, "config-features", SYSTEM)

    async def is_open() -> bool:
        return (await sinks.post("guarded", EVENT)).status == 202

    await eventually(is_open)
