"""PATCH in its four forms, on objects and on their subresources. Numbers are the api-clients statements."""

from typing import Any

import pytest

from tests.local_cluster.apiserver.raw import (
    CONFIGMAPS,
    DEPLOYMENTS,
    JSON_PATCH,
    KSERVICES,
    STRATEGIC_PATCH,
    Api,
    config_map,
    deployment,
    kservice,
)

APPLY_PATCH = "application/apply-patch+yaml"


async def test_30_a_merge_patch_with_a_stale_version_conflicts(api: Api) -> None:
    created = await api.create(KSERVICES, kservice("hello"))
    stale = created["metadata"]["resourceVersion"]
    finalizers = {"metadata": {"finalizers": ["a.example/b"], "resourceVersion": stale}}
    assert (await api.patch(f"{KSERVICES}/hello", finalizers)).status == 200
    refused = await api.patch(f"{KSERVICES}/hello", finalizers)
    assert (refused.status, refused.data["reason"]) == (409, "Conflict")


async def test_30_a_strategic_patch_with_a_stale_version_conflicts(api: Api) -> None:
    created = await api.create(DEPLOYMENTS, deployment("web"))
    patch = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"], "labels": {"a": "b"}}}
    assert (await api.patch(f"{DEPLOYMENTS}/web", patch, STRATEGIC_PATCH)).status == 200
    assert (await api.patch(f"{DEPLOYMENTS}/web", patch, STRATEGIC_PATCH)).status == 409


async def test_33_a_merge_patch_merges_objects_replaces_lists_and_removes_nulls(api: Api) -> None:
    await api.create(KSERVICES, kservice("hello"))
    patch = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"template": {"spec": {"containers": [{"image": "app:2"}], "timeoutSeconds": 5}}},
    }
    spec = (await api.patch(f"{KSERVICES}/hello", patch)).data["spec"]["template"]["spec"]
    assert spec == {"containers": [{"image": "app:2"}], "timeoutSeconds": 5}
    patch = {"spec": {"template": {"spec": {"timeoutSeconds": None}}}, "metadata": {"labels": {"a": None}}}
    answer = (await api.patch(f"{KSERVICES}/hello", patch)).data
    assert answer["spec"]["template"]["spec"] == {"containers": [{"image": "app:2"}]}
    assert not answer["metadata"].get("labels")


async def test_33_a_json_patch_adds_over_existing_members_and_tests(api: Api) -> None:
    created = await api.create(CONFIGMAPS, config_map("a", key="1"))
    version = created["metadata"]["resourceVersion"]
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/data/key", "value": "2"},
        {"op": "add", "path": "/metadata/annotations", "value": {"a.example/b": "c"}},
    ]
    answer = await api.patch(f"{CONFIGMAPS}/a", operations, JSON_PATCH)
    assert answer.data["data"] == {"key": "2"}
    failing = await api.patch(f"{CONFIGMAPS}/a", operations, JSON_PATCH)
    assert (failing.status, failing.data["reason"]) == (422, "Invalid")


async def test_a_json_patch_that_sets_a_stale_version_conflicts(api: Api) -> None:
    created = await api.create(CONFIGMAPS, config_map("a"))
    stale = created["metadata"]["resourceVersion"]
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"key": "1"}})
    operations = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": stale},
        {"op": "add", "path": "/data", "value": {"key": "2"}},
    ]
    answer = await api.patch(f"{CONFIGMAPS}/a", operations, JSON_PATCH)
    assert (answer.status, answer.data["reason"]) == (409, "Conflict")


async def test_33_a_strategic_patch_merges_containers_by_name(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    patch = {
        "spec": {
            "template": {
                "spec": {
                    "$setElementOrder/containers": [{"name": "sidecar"}, {"name": "app"}],
                    "containers": [
                        {"name": "app", "image": "app:2"},
                        {"name": "sidecar", "image": "proxy:1"},
                    ],
                }
            }
        }
    }
    answer = await api.patch(f"{DEPLOYMENTS}/web", patch, STRATEGIC_PATCH)
    containers = answer.data["spec"]["template"]["spec"]["containers"]
    assert [(container["name"], container["image"]) for container in containers] == [
        ("sidecar", "proxy:1"),
        ("app", "app:2"),
    ]
    assert containers[1]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    removal = {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "$patch": "delete"}]}}}}
    answer = await api.patch(f"{DEPLOYMENTS}/web", removal, STRATEGIC_PATCH)
    assert [container["name"] for container in answer.data["spec"]["template"]["spec"]["containers"]] == ["app"]


async def test_a_strategic_patch_keeps_only_the_named_members_of_a_union(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    answer = await api.patch(f"{DEPLOYMENTS}/web", patch, STRATEGIC_PATCH)
    assert answer.data["spec"]["strategy"] == {"type": "Recreate"}


async def test_34_custom_kinds_answer_415_to_strategic_patches(api: Api) -> None:
    await api.create(KSERVICES, kservice("hello"))
    answer = await api.patch(f"{KSERVICES}/hello", {"metadata": {"labels": {"a": "b"}}}, STRATEGIC_PATCH)
    assert (answer.status, answer.data["reason"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream"])
async def test_07_other_patch_types_are_415(api: Api, content_type: str) -> None:
    await api.create(CONFIGMAPS, config_map("a"))
    assert (await api.patch(f"{CONFIGMAPS}/a", {}, content_type)).status == 415


async def test_35_a_json_patch_of_status_changes_nothing_else(api: Api) -> None:
    await api.create(KSERVICES, kservice("hello"))
    operations = [
        {"op": "add", "path": "/status", "value": {"url": "http://hello"}},
        {"op": "add", "path": "/spec/traffic", "value": []},
    ]
    answer = await api.patch(f"{KSERVICES}/hello/status", operations, JSON_PATCH)
    assert answer.data["status"] == {"url": "http://hello"}
    assert "traffic" not in answer.data["spec"]


async def test_36_scale_is_read_replaced_and_patched(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    scale = (await api.get(f"{DEPLOYMENTS}/web/scale")).data
    assert (scale["kind"], scale["apiVersion"], scale["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 1})
    assert scale["status"] == {"replicas": 0, "selector": "app=web"}
    scale["spec"]["replicas"] = 3
    assert (await api.call("PUT", f"{DEPLOYMENTS}/web/scale", scale)).data["spec"] == {"replicas": 3}
    stale = await api.call("PUT", f"{DEPLOYMENTS}/web/scale", scale)
    assert stale.status == 409
    operations = [{"op": "add", "path": "/spec/replicas", "value": 5}]
    assert (await api.patch(f"{DEPLOYMENTS}/web/scale", operations, JSON_PATCH)).data["spec"] == {"replicas": 5}
    assert (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 0}})).data["spec"] == {"replicas": 0}
    found = (await api.get(f"{DEPLOYMENTS}/web")).data
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (0, 4)


@pytest.mark.parametrize(("replicas", "status"), [(-1, 422), ("three", 400), (1.5, 400), (True, 400)])
async def test_a_scale_that_is_no_count_is_refused(api: Api, replicas: object, status: int) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    assert (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": replicas}})).status == status


async def test_subresources_that_a_kind_has_not_are_404(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("a"))
    for subresource in ("status", "scale", "log", "other"):
        assert (await api.get(f"{CONFIGMAPS}/a/{subresource}")).status == 404
        assert (await api.patch(f"{CONFIGMAPS}/a/{subresource}", {})).status == 404


@pytest.mark.parametrize(
    ("patch", "content_type", "status"),
    [
        (b"{", "application/merge-patch+json", 400),
        ([], "application/merge-patch+json", 400),
        ({}, JSON_PATCH, 400),
        ([{"op": "jump", "path": "/data"}], JSON_PATCH, 400),
        ([{"op": "remove", "path": "/data/none"}], JSON_PATCH, 422),
        ([{"op": "replace", "path": "", "value": []}], JSON_PATCH, 422),
        ({"metadata": {"ownerReferences": [{"kind": "x"}]}}, STRATEGIC_PATCH, 400),
        ({"metadata": []}, "application/merge-patch+json", 422),
        ({"metadata": {"name": "b"}}, "application/merge-patch+json", 400),
        ({"kind": "Secret"}, "application/merge-patch+json", 400),
    ],
)
async def test_malformed_patches_are_refused(api: Api, patch: Any, content_type: str, status: int) -> None:
    await api.create(CONFIGMAPS, config_map("a", key="1"))
    answer = await api.patch(f"{CONFIGMAPS}/a", patch, content_type)
    assert answer.status == status, answer.data
    assert (await api.get(f"{CONFIGMAPS}/a")).data["data"] == {"key": "1"}


async def test_applying_creates_and_then_merges(api: Api) -> None:
    manifest = (
        b"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  selector: {matchLabels: {a: b}}\n"
    )
    template = (
        b"  template:\n    metadata: {labels: {a: b}}\n    spec:\n      containers: [{name: app, image: 'app:1'}]\n"
    )
    answer = await api.patch(f"{DEPLOYMENTS}/web", manifest + template, APPLY_PATCH, fieldManager="test")
    assert answer.status == 201, answer.data
    await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 4}})
    template = template.replace(b"app:1", b"app:2")
    answer = await api.patch(f"{DEPLOYMENTS}/web", manifest + template, APPLY_PATCH, fieldManager="test")
    assert answer.status == 200, answer.data
    assert answer.data["spec"]["replicas"] == 4
    assert answer.data["spec"]["template"]["spec"]["containers"][0]["image"] == "app:2"


async def test_applying_needs_a_field_manager(api: Api) -> None:
    assert (await api.patch(f"{CONFIGMAPS}/a", {"data": {}}, APPLY_PATCH)).status == 400
