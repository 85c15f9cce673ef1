"""Selectors, pages, tables and the other forms of an answer. Numbers are the api-clients statements."""

from typing import Any

import pytest

from tests.local_cluster.apiserver.raw import CONFIGMAPS, KSERVICES, PODS, TABLE, Api, config_map, kservice, pod
from tests.support.api import RunningApiServer


def names(answer: Any) -> list[str]:
    return [item["metadata"]["name"] for item in answer.data["items"]]


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("colour=red", ["a"]),
        ("colour==red", ["a"]),
        ("colour!=red", ["b", "c"]),
        ("colour in (red, blue)", ["a", "b"]),
        ("colour notin (red)", ["b", "c"]),
        ("colour", ["a", "b"]),
        ("!colour", ["c"]),
        ("colour,size=big", ["b"]),
        ("a.example/b=c", ["c"]),
        ("", ["a", "b", "c"]),
    ],
)
async def test_19_label_selectors_select(api: Api, selector: str, selected: list[str]) -> None:
    await api.create(CONFIGMAPS, config_map("a", {"colour": "red"}))
    await api.create(CONFIGMAPS, config_map("b", {"colour": "blue", "size": "big"}))
    await api.create(CONFIGMAPS, config_map("c", {"a.example/b": "c"}))
    assert names(await api.get(CONFIGMAPS, labelSelector=selector)) == selected


@pytest.mark.parametrize("selector", ["=", "a=b,", "a in", "a in (b", "a b", "!", "a=b c"])
async def test_a_label_selector_that_cannot_be_read_is_400(api: Api, selector: str) -> None:
    answer = await api.get(CONFIGMAPS, labelSelector=selector)
    assert (answer.status, answer.data["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("metadata.name=a", ["a"]),
        ("metadata.name!=a", ["b", "c"]),
        ("metadata.namespace=default", ["a", "b", "c"]),
        ("metadata.namespace=other", []),
        ("spec.nodeName=one", ["a", "b"]),
        ("spec.nodeName=", ["c"]),
        ("spec.nodeName=one,metadata.name=b", ["b"]),
        ("status.phase=Running", ["b"]),
        ("status.phase!=Running", ["a", "c"]),
    ],
)
async def test_21_field_selectors_select_pods(api: Api, selector: str, selected: list[str]) -> None:
    await api.create(PODS, pod("a", node="one"))
    await api.create(PODS, pod("b", node="one"))
    await api.create(PODS, pod("c"))
    await api.patch(f"{PODS}/b/status", {"status": {"phase": "Running"}})
    assert names(await api.get("/api/v1/pods", fieldSelector=selector)) == selected


async def test_21_events_are_selected_by_the_object_that_they_are_about(api: Api) -> None:
    path = "/api/v1/namespaces/default/events"
    for name, uid, reason in (("e1", "1", "Created"), ("e2", "2", "Created"), ("e3", "1", "Failed")):
        involved = {"kind": "Pod", "name": "p", "namespace": "default", "uid": uid}
        event = {"metadata": {"name": name}, "involvedObject": involved, "reason": reason, "type": "Normal"}
        await api.create(path, event)
    selector = "involvedObject.uid=1,involvedObject.kind=Pod,involvedObject.name=p,involvedObject.namespace=default"
    assert names(await api.get(path, fieldSelector=selector)) == ["e1", "e3"]
    assert names(await api.get(path, fieldSelector="reason=Failed,type=Normal")) == ["e3"]


async def test_a_field_that_cannot_be_selected_is_400(api: Api) -> None:
    answer = await api.get(CONFIGMAPS, fieldSelector="data.key=1")
    assert (answer.status, answer.data["message"]) == (400, "field label not supported: data.key")


async def test_22_pages_show_one_moment_while_others_write(api: Api) -> None:
    for number in range(7):
        await api.create(CONFIGMAPS, config_map(f"c{number}"))
    first = await api.get(CONFIGMAPS, limit="3")
    assert names(first) == ["c0", "c1", "c2"]
    assert first.data["metadata"]["remainingItemCount"] == 4
    await api.call("DELETE", f"{CONFIGMAPS}/c4")
    await api.create(CONFIGMAPS, config_map("c31"))
    token = first.data["metadata"]["continue"]
    second = await api.get(CONFIGMAPS, limit="3", **{"continue": token})
    assert names(second) == ["c3", "c4", "c5"]
    assert second.data["metadata"]["resourceVersion"] == first.data["metadata"]["resourceVersion"]
    last = await api.get(CONFIGMAPS, limit="3", **{"continue": second.data["metadata"]["continue"]})
    assert names(last) == ["c6"]
    assert "continue" not in last.data["metadata"]
    assert "remainingItemCount" not in last.data["metadata"]


async def test_22_a_forgotten_page_is_410_and_a_forged_one_400(api: Api) -> None:
    for number in range(3):
        await api.create(CONFIGMAPS, config_map(f"c{number}"))
    token = (await api.get(CONFIGMAPS, limit="1")).data["metadata"]["continue"]
    for _ in range(64):
        await api.get(CONFIGMAPS, limit="1")
    assert (await api.get(CONFIGMAPS, limit="1", **{"continue": token})).status == 410
    assert (await api.get(CONFIGMAPS, limit="1", **{"continue": "forged"})).status == 400
    token = (await api.get(CONFIGMAPS, limit="1")).data["metadata"]["continue"]
    assert (await api.get(PODS, limit="1", **{"continue": token})).status == 400


async def test_lists_carry_types_and_are_sorted(api: Api) -> None:
    for name in ("b", "a"):
        await api.create(CONFIGMAPS, config_map(name))
    await api.create("/api/v1/namespaces/kube-system/configmaps", config_map("a"))
    answer = await api.get("/api/v1/configmaps")
    assert (answer.data["kind"], answer.data["apiVersion"]) == ("ConfigMapList", "v1")
    places = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in answer.data["items"]]
    assert places == [("default", "a"), ("default", "b"), ("kube-system", "a")]
    assert {(item["kind"], item["apiVersion"]) for item in answer.data["items"]} == {("ConfigMap", "v1")}


async def test_59_a_table_shows_the_kinds_columns(api: Api) -> None:
    await api.create(KSERVICES, kservice("hello"))
    conditions = [{"type": "Ready", "status": "False", "reason": "RevisionMissing"}]
    status = {"status": {"url": "http://hello", "latestCreatedRevisionName": "hello-00001", "conditions": conditions}}
    await api.patch(f"{KSERVICES}/hello/status", status)
    table = (await api.call("GET", KSERVICES, headers={"Accept": TABLE})).data
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns == ["Name", "URL", "LatestCreated", "LatestReady", "Ready", "Reason"]
    [row] = table["rows"]
    assert row["cells"] == ["hello", "http://hello", "hello-00001", "", "False", "RevisionMissing"]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["name"] == "hello"
    assert "spec" not in row["object"]


async def test_59_a_row_carries_the_whole_object_or_none_when_asked(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("a", key="value"))
    whole = (await api.call("GET", CONFIGMAPS, headers={"Accept": TABLE}, includeObject="Object")).data
    assert whole["rows"][0]["object"]["data"] == {"key": "value"}
    none = (await api.call("GET", CONFIGMAPS, headers={"Accept": TABLE}, includeObject="None")).data
    assert "object" not in none["rows"][0]


async def test_a_pods_row_counts_ready_containers(api: Api) -> None:
    await api.create(PODS, pod("a", node="one"))
    status = {"phase": "Running", "podIP": "127.1.1.1", "containerStatuses": [{"ready": True, "restartCount": 2}]}
    await api.patch(f"{PODS}/a/status", {"status": status})
    table = (await api.call("GET", f"{PODS}/a", headers={"Accept": TABLE})).data
    cells = dict(zip([column["name"] for column in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert {name: cells[name] for name in ("Ready", "Status", "Restarts", "IP", "Node")} == {
        "Ready": "1/1",
        "Status": "Running",
        "Restarts": "2",
        "IP": "127.1.1.1",
        "Node": "one",
    }


async def test_metadata_alone_can_be_asked_for(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("a", key="value"))
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
    answer = (await api.call("GET", CONFIGMAPS, headers=accept)).data
    assert answer["kind"] == "PartialObjectMetadataList"
    assert answer["items"][0]["kind"] == "PartialObjectMetadata"
    assert "data" not in answer["items"][0]


async def test_06_json_is_answered_when_protobuf_is_asked_for_first(api: Api) -> None:
    accept = {"Accept": "application/vnd.kubernetes.protobuf,application/json"}
    answer = await api.call("GET", CONFIGMAPS, headers=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")


async def test_a_client_that_takes_protobuf_alone_is_told_406(api: Api) -> None:
    accept = {"Accept": "application/vnd.kubernetes.protobuf"}
    assert (await api.call("GET", CONFIGMAPS, headers=accept)).status == 406


async def test_60_unknown_parameters_are_accepted(api: Api) -> None:
    assert (await api.get(CONFIGMAPS, pretty="true", timeout="32s", anything="x")).status == 200


async def test_56_absent_config_is_told_at_once(api: Api, running: RunningApiServer) -> None:
    for plural in ("configmaps", "secrets"):
        answer = await api.get(f"/api/v1/namespaces/knative-serving/{plural}/none")
        assert (answer.status, answer.data["reason"]) == (404, "NotFound")
