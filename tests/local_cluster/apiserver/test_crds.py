"""Kinds that are defined at run time. Numbers are the api-clients statements."""

import asyncio
from typing import Any

import pytest

from tests.local_cluster.apiserver.raw import STRATEGIC_PATCH, STREAMING_LIST, TABLE, Api

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "replicas": {"type": "integer"},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "list": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
                "port": {"x-kubernetes-int-or-string": True},
                "maybe": {"type": "string", "nullable": True},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def definition(**names: Any) -> dict[str, Any]:
    version = {
        "served": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Made", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.a.example"},
        "spec": {
            "group": "a.example",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"], **names},
            "versions": [
                {"name": "v2", "storage": True, **version},
                {"name": "v1", "storage": False, **version},
            ],
        },
    }


V1, V2 = "/apis/a.example/v1/namespaces/default/widgets", "/apis/a.example/v2/namespaces/default/widgets"


def widget(name: str, /, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"size": 1, **spec}}


async def test_44_a_definition_is_established_at_once(api: Api) -> None:
    created = await api.create(CRDS, definition())
    conditions = {condition["type"]: condition["status"] for condition in created["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert created["status"]["storedVersions"] == ["v2"]
    assert created["status"]["acceptedNames"]["singular"] == "widget"
    assert (await api.get(V1)).data["items"] == []


async def test_43_all_versions_show_the_same_objects(api: Api) -> None:
    await api.create(CRDS, definition())
    await api.create(V1, widget("a"))
    created = await api.create(V2, widget("b"))
    for path, version in ((V1, "a.example/v1"), (V2, "a.example/v2")):
        items = (await api.get(path)).data["items"]
        assert [item["metadata"]["name"] for item in items] == ["a", "b"]
        assert {item["apiVersion"] for item in items} == {version}
    async with api.watch(V1, resourceVersion=created["metadata"]["resourceVersion"]) as events:
        await api.patch(f"{V2}/a", {"spec": {"size": 2}})
        event = await events.next()
        assert (event["object"]["apiVersion"], event["object"]["spec"]["size"]) == ("a.example/v1", 2)


async def test_43_status_and_scale_are_subresources_as_declared(api: Api) -> None:
    await api.create(CRDS, definition())
    await api.create(V2, widget("a"))
    status = {"status": {"replicas": 2, "selector": "app=a"}}
    assert (await api.patch(f"{V2}/a/status", status)).status == 200
    scale = (await api.get(f"{V2}/a/scale")).data
    assert (scale["spec"], scale["status"]) == ({}, {"replicas": 2, "selector": "app=a"})
    operations = [{"op": "add", "path": "/spec/replicas", "value": 4}]
    answer = await api.patch(f"{V2}/a/scale", operations, "application/json-patch+json")
    assert answer.data["spec"] == {"replicas": 4}
    assert (await api.get(f"{V2}/a")).data["spec"]["replicas"] == 4


async def test_discovery_tables_and_openapi_know_the_kind(api: Api) -> None:
    before = (await api.get("/openapi/v3")).data["paths"]
    await api.create(CRDS, definition())
    resources = {item["name"]: item for item in (await api.get("/apis/a.example/v2")).data["resources"]}
    assert (resources["widgets"]["shortNames"], resources["widgets"]["categories"]) == (["wd"], ["all"])
    await api.create(V2, widget("a", size=7))
    table = (await api.call("GET", V2, headers={"Accept": TABLE})).data
    assert table["rows"][0]["cells"] == ["a", 7, "0s"]
    after = (await api.get("/openapi/v3")).data["paths"]
    assert after.keys() - before.keys() == {"apis/a.example/v1", "apis/a.example/v2"}
    assert (await api.patch(f"{V2}/a", {}, STRATEGIC_PATCH)).status == 415


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"size": "big"}, "spec.size"),
        ({"size": 0}, "spec.size"),
        ({"size": 10}, "spec.size"),
        ({"size": None}, "spec.size"),
        ({"colour": "green"}, "spec.colour"),
        ({"name": "UPPER"}, "spec.name"),
        ({"name": "toolong"}, "spec.name"),
        ({"list": ["a", "b", "c"]}, "spec.list"),
        ({"list": ["a", 1]}, "spec.list[1]"),
        ({"port": True}, "spec.port"),
    ],
)
async def test_objects_must_follow_the_schema(api: Api, spec: dict[str, Any], field: str) -> None:
    await api.create(CRDS, definition())
    answer = await api.call("POST", V2, widget("a", **spec))
    assert (answer.status, answer.data["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.data["details"]["causes"]] == [field]


async def test_defaults_are_filled_in_and_unknown_fields_dropped(api: Api) -> None:
    await api.create(CRDS, definition())
    created = await api.create(V2, widget("a", unknown=1, free={"any": {"thing": 1}}, port="http", maybe=None))
    assert created["spec"] == {
        "size": 1,
        "colour": "red",
        "free": {"any": {"thing": 1}},
        "port": "http",
        "maybe": None,
    }


async def test_a_definition_takes_its_objects_and_then_its_paths_along(api: Api) -> None:
    await api.create(CRDS, definition())
    sent = widget("held")
    sent["metadata"]["finalizers"] = ["a.example/one"]
    await api.create(V2, sent)
    await api.create(V2, widget("plain"))
    async with api.watch(V2, resourceVersion=await api.version()) as events:
        await api.call("DELETE", f"{CRDS}/widgets.a.example")
        assert set(await events.names(2)) == {("DELETED", "plain"), ("MODIFIED", "held")}
        assert (await api.get(f"{V2}/held")).status == 200
        await api.patch(f"{V2}/held", {"metadata": {"finalizers": None}})
        assert await events.names(1) == [("DELETED", "held")]
        await events.end()
    async with asyncio.timeout(5):
        status = 200
        while status == 200:
            status = (await api.get(f"{CRDS}/widgets.a.example")).status
    assert (await api.get(V2)).status == 404
    assert (await api.get("/apis/a.example/v2")).status == 404


async def test_whoever_watches_is_told_of_objects_that_go_with_their_definition(api: Api) -> None:
    await api.create(CRDS, definition())
    sent = widget("held")
    sent["metadata"]["finalizers"] = ["a.example/one"]
    await api.create(V2, sent)
    await api.call("DELETE", f"{CRDS}/widgets.a.example")
    async with api.watch(V2, **STREAMING_LIST) as events:
        assert await events.names(2) == [("ADDED", "held"), ("BOOKMARK", "")]
        await api.patch(f"{CRDS}/widgets.a.example", {"metadata": {"finalizers": None}})
        seen = await events.names(1)
        while seen[-1][0] == "MODIFIED":  # the collector marks the object as ending at about the same time
            seen += await events.names(1)
        assert seen[-1] == ("DELETED", "held")
        await events.end()


async def test_a_version_may_be_withdrawn(api: Api) -> None:
    created = await api.create(CRDS, definition())
    await api.create(V2, widget("a"))
    created["spec"]["versions"][1]["served"] = False
    assert (await api.call("PUT", f"{CRDS}/widgets.a.example", created)).status == 200
    assert (await api.get(V1)).status == 404
    assert len((await api.get(V2)).data["items"]) == 1


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("metadata", "name"), "other.a.example", "metadata.name"),
        (("spec", "scope"), "Galaxy", "spec.scope"),
        (("spec", "versions"), [], "spec.versions"),
        (("spec", "names"), {"plural": "widgets"}, "spec.names.kind"),
    ],
)
async def test_a_definition_that_cannot_be_served_is_refused(
    api: Api, path: tuple[str, str], value: Any, field: str
) -> None:
    sent = definition()
    sent[path[0]][path[1]] = value
    answer = await api.call("POST", CRDS, sent)
    assert (answer.status, answer.data["reason"]) == (422, "Invalid")
    assert field in [cause["field"] for cause in answer.data["details"]["causes"]]
