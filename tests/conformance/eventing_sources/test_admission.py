"""Statements about what sources may look like, against an API server with admission."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kube.models.sinks import JobSink
from kube.models.sources import ApiServerSource, ContainerSource, JetStreamSource, PingSource, SinkBinding
from tests.controller.eventing.cluster import Eventing, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SINK: dict[str, Any] = {"uri": "http://sink.example/"}
PODS: dict[str, Any] = {"resources": [{"apiVersion": "v1", "kind": "Pod"}], "sink": SINK}
SUBJECT: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api() -> AsyncIterator[Eventing]:
    async with running(acts=False, settings={"config-ping-defaults": {"data-max-size": "10"}}) as found:
        yield found


@pytest.mark.parametrize("name", ["a-b", ""])
async def test_4_names_of_overrides(api: Eventing, name: str) -> None:
    spec = {"sink": SINK, "ceOverrides": {"extensions": {name: "x"}}}
    assert "spec.ceOverrides.extensions" in await api.refusal(PingSource, "p", spec)


async def test_9_a_reference_and_an_absolute_uri(api: Eventing) -> None:
    ref = {"apiVersion": "v1", "kind": "Service", "name": "s"}
    told = await api.refusal(PingSource, "p", {"sink": {"ref": ref, "uri": "http://x/"}})
    assert "Absolute URI is not allowed" in told
    assert "Relative URI is not allowed" in await api.refusal(PingSource, "p", {"sink": {"uri": "/x"}})
    assert "expected at least one, got none" in await api.refusal(PingSource, "p", {})


async def test_18_the_schedule_is_every_minute_and_references_get_a_namespace(api: Eventing) -> None:
    ref = {"apiVersion": "v1", "kind": "Service", "name": "s"}
    made = await api.create(PingSource, "p18", {"sink": {"ref": ref}})
    assert made.spec.schedule == "* * * * *"
    assert made.spec.sink.ref is not None
    assert made.spec.sink.ref.namespace == "default"


@pytest.mark.parametrize("schedule", ["@every 5s", "* * * *", "60 * * * *", "* * * * 7"])
async def test_20_schedules_that_are_refused(api: Eventing, schedule: str) -> None:
    told = await api.refusal(PingSource, "p", {"sink": SINK, "schedule": schedule})
    assert "spec.schedule" in told


async def test_20_hourly_is_fine(api: Eventing) -> None:
    await api.create(PingSource, "p20", {"sink": SINK, "schedule": "@hourly"})


async def test_21_an_unknown_timezone(api: Eventing) -> None:
    told = await api.refusal(PingSource, "p", {"sink": SINK, "timezone": "Mars/Olympus"})
    assert "spec.timezone" in told
    assert "spec.schedule" not in told


async def test_22_data_and_base64(api: Eventing) -> None:
    told = await api.refusal(PingSource, "p", {"sink": SINK, "data": "a", "dataBase64": "YQ=="})
    assert "expected exactly one, got both: spec.data, spec.dataBase64" in told
    assert "spec.dataBase64" in await api.refusal(PingSource, "p", {"sink": SINK, "dataBase64": "?"})


async def test_23_json_is_an_object(api: Eventing) -> None:
    for data in ("[1]", "{bad", '"x"', "1"):
        spec = {"sink": SINK, "contentType": "application/json", "data": data}
        assert "spec.data" in await api.refusal(PingSource, "p", spec)
    for number, data in enumerate(('{"a":1}', "null")):
        await api.create(PingSource, f"p23-{number}", {"sink": SINK, "contentType": "application/json", "data": data})
    other = {"sink": SINK, "contentType": "application/json; charset=utf-8", "data": "[1]"}
    await api.create(PingSource, "p23-other", other)


async def test_24_the_size_of_data(api: Eventing) -> None:
    assert "exceeds limit set at 10" in await api.refusal(PingSource, "p", {"sink": SINK, "data": "x" * 11})
    await api.create(PingSource, "p24", {"sink": SINK, "data": "x" * 10})


async def test_36_filters_need_the_flag(api: Eventing) -> None:
    spec = {**PODS, "filters": [{"exact": {"type": "dev.knative.apiserver.ref.add"}}]}
    assert "must not set the field(s): spec.filters" in await api.refusal(ApiServerSource, "a", spec)
    await api.set_config("config-features", {"new-apiserversource-filters": "enabled"})
    await api.create(ApiServerSource, "a36", spec)
    wrong = {**PODS, "filters": [{"cesql": "type ="}]}
    assert "spec.filters" in await api.refusal(ApiServerSource, "a", wrong)


async def test_37_mode_and_resources(api: Eventing) -> None:
    assert "spec.mode" in await api.refusal(ApiServerSource, "a", {**PODS, "mode": "Other"})
    assert "missing field(s): spec.resources" in await api.refusal(ApiServerSource, "a", {"sink": SINK})
    told = await api.refusal(ApiServerSource, "a", {"sink": SINK, "resources": [{"apiVersion": "v1"}]})
    assert "spec.resources[0].kind" in told
    told = await api.refusal(ApiServerSource, "a", {**PODS, "owner": {"kind": "Deployment"}})
    assert "spec.owner.apiVersion" in told
    made = await api.create(ApiServerSource, "a37", PODS)
    assert (made.spec.mode, made.spec.service_account_name) == ("Reference", "default")


async def test_45_subjects(api: Eventing) -> None:
    elsewhere = {"sink": SINK, "subject": {**SUBJECT, "namespace": "other"}}
    assert "spec.subject.namespace" in await api.refusal(SinkBinding, "b", elsewhere)
    both = {"sink": SINK, "subject": {**SUBJECT, "selector": {"matchLabels": {"a": "b"}}}}
    assert "got both: spec.subject.name, spec.subject.selector" in await api.refusal(SinkBinding, "b", both)
    neither = {"sink": SINK, "subject": {"apiVersion": "apps/v1", "kind": "Deployment"}}
    assert "got neither: spec.subject.name, spec.subject.selector" in await api.refusal(SinkBinding, "b", neither)
    assert "spec.subject.kind" in await api.refusal(SinkBinding, "b", {"sink": SINK, "subject": {"name": "d"}})


async def test_47_containers_have_images_and_get_names(api: Eventing) -> None:
    template: dict[str, Any] = {"spec": {"containers": [{"name": "c"}]}}
    told = await api.refusal(ContainerSource, "c", {"sink": SINK, "template": template})
    assert "spec.template.spec.containers[0].image" in told
    assert "containers" in await api.refusal(ContainerSource, "c", {"sink": SINK, "template": {}})
    template = {"spec": {"containers": [{"image": "a"}, {"image": "b"}]}}
    made = await api.create(ContainerSource, "c47", {"sink": SINK, "template": template})
    assert [each["name"] for each in made.spec.template["spec"]["containers"]] == ["c47-0", "c47-1"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("stream", ""), ("deliverPolicy", "Sometimes"), ("maxAckPending", -1), ("ackWait", "soon"), ("ackWait", "-1s")],
)
async def test_a_jetstream_source_that_its_adapter_would_refuse(api: Eventing, field: str, value: object) -> None:
    spec = {"sink": SINK, "stream": "orders", field: value}
    assert f"spec.{field}" in await api.refusal(JetStreamSource, "j", spec)


async def test_a_jetstream_source_that_is_fine(api: Eventing) -> None:
    await api.create(JetStreamSource, "j", {"sink": SINK, "stream": "orders", "deliverPolicy": "New", "ackWait": "30s"})


CONTAINER = {"name": "c", "image": "c"}


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        ({}, "missing field(s): spec.job.spec.template.spec.containers"),
        ({"containers": []}, "missing field(s): spec.job.spec.template.spec.containers"),
        ({"containers": [{"name": "c"}]}, "missing field(s): spec.job.spec.template.spec.containers[0].image"),
        (
            {"containers": [CONTAINER], "initContainers": [{"image": "i"}]},
            "missing field(s): spec.job.spec.template.spec.initContainers[0].name",
        ),
        ({"containers": [CONTAINER], "restartPolicy": "Always"}, "spec.job.spec.template.spec.restartPolicy"),
    ],
)
async def test_a_job_sink_of_which_no_job_could_be_made(api: Eventing, pod: dict[str, Any], told: str) -> None:
    spec = {"job": {"spec": {"template": {"spec": {"restartPolicy": "Never", **pod}}}}}
    assert told in await api.refusal(JobSink, "j", spec)


async def test_a_job_sink_that_is_fine_and_two_that_are_not(api: Eventing) -> None:
    pod = {"containers": [CONTAINER], "restartPolicy": "OnFailure", "volumes": [{"name": "v", "emptyDir": {}}]}
    spec = {"job": {"spec": {"template": {"spec": pod}}}}
    await api.create(JobSink, "j", spec)
    assert "missing field(s): spec.job" in await api.refusal(JobSink, "none", {})
    assert "metadata.name" in await api.refusal(JobSink, "j" * 64, spec)
