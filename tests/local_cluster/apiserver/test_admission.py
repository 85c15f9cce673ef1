"""Admission hooks: what they see, what they may change, how their refusals read. Numbers are the api-clients
statements."""

import asyncio
from typing import Any

from local_cluster.apiserver.admission import AdmissionDenied, AdmissionRequest
from tests.local_cluster.apiserver.raw import CONFIGMAPS, KSERVICES, Api, config_map, kservice
from tests.support.api import RunningApiServer


async def test_45_mutating_hooks_run_before_validating_ones(running: RunningApiServer, api: Api) -> None:
    seen: list[str] = []

    def validate(request: AdmissionRequest) -> None:
        seen.append(request.object["metadata"]["labels"]["by"])

    def mutate(request: AdmissionRequest) -> dict[str, Any]:
        return {**request.object, "metadata": {**request.object["metadata"], "labels": {"by": "hook"}}}

    running.server.add_admission(validate, validating=True)
    running.server.add_admission(mutate)
    created = await api.create(KSERVICES, kservice("hello"))
    assert created["metadata"]["labels"] == {"by": "hook"}
    assert seen == ["hook"]


async def test_47_a_hook_that_returns_nothing_changes_nothing(running: RunningApiServer, api: Api) -> None:
    running.server.add_admission(lambda request: None)
    assert (await api.create(CONFIGMAPS, config_map("a", key="1")))["data"] == {"key": "1"}


async def test_49_and_51_a_hook_sees_the_caller_the_merged_object_and_the_stored_one(
    running: RunningApiServer, api: Api
) -> None:
    seen: list[AdmissionRequest] = []

    async def observe(request: AdmissionRequest) -> None:
        seen.append(request)

    running.server.add_admission(observe)
    await api.create(KSERVICES, kservice("hello"))
    await api.patch(f"{KSERVICES}/hello", {"metadata": {"labels": {"a": "b"}}}, dryRun="All")
    await api.patch(f"{KSERVICES}/hello/status", {"status": {"url": "http://hello"}})
    await api.call("DELETE", f"{KSERVICES}/hello")
    created, patched, status, deleted = seen
    assert [request.operation for request in seen] == ["CREATE", "UPDATE", "UPDATE", "DELETE"]
    assert {(r.group, r.version, r.plural, r.kind) for r in seen} == {
        ("serving.knative.dev", "v1", "services", "Service")
    }
    assert {(r.namespace, r.name, r.username) for r in seen} == {("default", "hello", "kubernetes-admin")}
    assert created.old_object == {}
    assert patched.object["metadata"]["labels"] == {"a": "b"}
    assert patched.object["spec"] == kservice("hello")["spec"]
    assert "labels" not in patched.old_object["metadata"]
    assert patched.dry_run
    assert (status.subresource, status.dry_run) == ("status", False)
    assert status.object["status"] == {"url": "http://hello"}
    assert deleted.object == {}
    assert deleted.old_object["status"] == {"url": "http://hello"}


async def test_50_a_refusal_reads_as_a_webhooks_denial(running: RunningApiServer, api: Api) -> None:
    def refuse(request: AdmissionRequest) -> None:
        if request.plural == "services":
            causes = [("spec.template", "FieldValueInvalid", "expected exactly one, got neither")]
            raise AdmissionDenied("validation failed: missing field(s): spec.template", causes=causes)

    running.server.add_admission(refuse)
    answer = await api.call("POST", KSERVICES, kservice("hello"))
    assert (answer.status, answer.data["code"], answer.data["reason"]) == (400, 400, "BadRequest")
    assert answer.data["message"] == (
        'admission webhook "validation.webhook.serving.knative.dev" denied the request: '
        "validation failed: missing field(s): spec.template"
    )
    assert answer.data["details"]["causes"][0]["field"] == "spec.template"
    assert (await api.get(f"{KSERVICES}/hello")).status == 404
    await api.create(CONFIGMAPS, config_map("unaffected"))


async def test_a_refusal_has_the_name_and_the_code_of_its_hook(running: RunningApiServer, api: Api) -> None:
    def refuse(request: AdmissionRequest) -> None:
        raise AdmissionDenied("no", code=403)

    running.server.add_admission(refuse, name="policy.example")
    answer = await api.call("POST", CONFIGMAPS, config_map("a"))
    assert (answer.status, answer.data["reason"]) == (403, "Forbidden")
    assert answer.data["message"] == 'admission webhook "policy.example" denied the request: no'


async def test_a_hook_that_breaks_is_an_internal_error_and_stores_nothing(running: RunningApiServer, api: Api) -> None:
    def broken(request: AdmissionRequest) -> None:
        raise KeyError("bug")

    running.server.add_admission(broken)
    answer = await api.call("POST", CONFIGMAPS, config_map("a"))
    assert (answer.status, answer.data["reason"]) == (500, "InternalError")
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 404


async def test_a_patch_that_meets_another_write_starts_over(running: RunningApiServer, api: Api) -> None:
    """An unconditional patch whose admission takes long must not undo what was written meanwhile."""
    await api.create(CONFIGMAPS, config_map("a"))
    entered, leave = asyncio.Event(), asyncio.Event()

    async def delay(request: AdmissionRequest) -> None:
        if request.object.get("data", {}).get("slow") and not entered.is_set():
            entered.set()
            await leave.wait()

    running.server.add_admission(delay)
    slow = asyncio.create_task(api.patch(f"{CONFIGMAPS}/a", {"data": {"slow": "1"}}))
    await asyncio.wait_for(entered.wait(), 5)
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"fast": "1"}})
    leave.set()
    answer = await slow
    assert answer.status == 200, answer.data
    assert answer.data["data"] == {"fast": "1", "slow": "1"}


async def test_a_conditional_patch_that_meets_another_write_conflicts(running: RunningApiServer, api: Api) -> None:
    created = await api.create(CONFIGMAPS, config_map("a"))
    entered, leave = asyncio.Event(), asyncio.Event()

    async def delay(request: AdmissionRequest) -> None:
        if request.object.get("data", {}).get("slow"):
            entered.set()
            await leave.wait()

    running.server.add_admission(delay)
    metadata = {"resourceVersion": created["metadata"]["resourceVersion"]}
    slow = asyncio.create_task(api.patch(f"{CONFIGMAPS}/a", {"metadata": metadata, "data": {"slow": "1"}}))
    await asyncio.wait_for(entered.wait(), 5)
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"fast": "1"}})
    leave.set()
    assert (await slow).status == 409
