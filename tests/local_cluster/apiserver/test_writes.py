"""Create, replace, read and delete. Numbers are the api-clients statements."""

import re
from typing import Any

import pytest

from tests.local_cluster.apiserver.raw import (
    CONFIGMAPS,
    DEPLOYMENTS,
    KSERVICES,
    PODS,
    SERVICES,
    Api,
    config_map,
    deployment,
    kservice,
    pod,
)


async def test_24_the_server_sets_identity_and_ignores_the_clients(api: Api) -> None:
    sent = config_map("a")
    sent["metadata"] |= {
        "uid": "mine",
        "resourceVersion": "7",
        "generation": 9,
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
        "selfLink": "/mine",
    }
    metadata = (await api.create(CONFIGMAPS, sent))["metadata"]
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata["uid"])
    assert metadata["generation"] == 1
    assert int(metadata["resourceVersion"]) > 7
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"])
    assert not metadata["creationTimestamp"].startswith("2001")
    assert "deletionTimestamp" not in metadata
    assert metadata["namespace"] == "default"


async def test_an_integer_is_stored_as_such_however_it_was_written(api: Api) -> None:
    made = kservice("hello")
    made["spec"]["template"]["spec"]["timeoutSeconds"] = 30.0
    spec = (await api.create(KSERVICES, made))["spec"]["template"]["spec"]
    assert (spec["timeoutSeconds"], type(spec["timeoutSeconds"])) == (30, int)
    for number in (30.5, 1e30):
        answer = await api.patch(f"{KSERVICES}/hello", {"spec": {"template": {"spec": {"timeoutSeconds": number}}}})
        assert (answer.status, "must be of type integer" in answer.data["message"]) == (422, True)


async def test_25_names_are_generated_from_a_prefix(api: Api) -> None:
    names = {
        (await api.create(CONFIGMAPS, {"metadata": {"generateName": "web-"}}))["metadata"]["name"] for _ in range(5)
    }
    assert len(names) == 5
    assert all(re.fullmatch(r"web-[a-z0-9]{5}", name) for name in names)


async def test_26_generation_counts_changes_outside_metadata_and_status(api: Api) -> None:
    path = f"{KSERVICES}/hello"

    async def generation(patch: dict[str, Any], subresource: str = "") -> int:
        answer = await api.patch(path + subresource, patch)
        assert answer.status == 200, answer.data
        counted: int = answer.data["metadata"]["generation"]
        return counted

    await api.create(KSERVICES, kservice("hello"))
    assert await generation({"metadata": {"labels": {"a": "b"}}}) == 1
    assert await generation({"status": {"url": "http://hello"}}, "/status") == 1
    assert await generation({"spec": {"traffic": [{"percent": 100, "latestRevision": True}]}}) == 2
    assert await generation({"spec": {"traffic": [{"percent": 100, "latestRevision": True}]}}) == 2


async def test_27_status_and_the_rest_are_written_apart(api: Api) -> None:
    created = await api.create(KSERVICES, kservice("hello"))
    created["status"] = {"url": "http://ignored"}
    created["spec"]["template"]["spec"]["containers"][0]["image"] = "app:2"
    main = (await api.call("PUT", f"{KSERVICES}/hello", created)).data
    assert "status" not in main
    main["status"] = {"url": "http://kept"}
    main["spec"]["template"]["spec"]["containers"][0]["image"] = "app:3"
    main["metadata"]["labels"] = {"ignored": "true"}
    status = (await api.call("PUT", f"{KSERVICES}/hello/status", main)).data
    assert status["status"] == {"url": "http://kept"}
    assert status["spec"]["template"]["spec"]["containers"][0]["image"] == "app:2"
    assert "labels" not in status["metadata"]
    status["metadata"]["annotations"] = {"a": "b"}
    del status["status"]
    kept = (await api.call("PUT", f"{KSERVICES}/hello", status)).data
    assert kept["status"] == {"url": "http://kept"}


async def test_28_status_is_dropped_on_create(api: Api) -> None:
    sent = kservice("hello")
    sent["status"] = {"url": "http://mine"}
    assert "status" not in await api.create(KSERVICES, sent)


async def test_29_a_stale_put_conflicts_and_one_without_version_does_not(api: Api) -> None:
    stale = await api.create(CONFIGMAPS, config_map("a", key="1"))
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"key": "2"}})
    stale["data"]["key"] = "3"
    refused = await api.call("PUT", f"{CONFIGMAPS}/a", stale)
    assert (refused.status, refused.data["reason"]) == (409, "Conflict")
    assert refused.data["details"] == {"name": "a", "kind": "configmaps"}
    del stale["metadata"]["resourceVersion"]
    assert (await api.call("PUT", f"{CONFIGMAPS}/a", stale)).data["data"] == {"key": "3"}


async def test_29_a_late_put_to_a_recreated_object_conflicts_by_its_uid(api: Api) -> None:
    ghost = await api.create(CONFIGMAPS, config_map("a"))
    await api.call("DELETE", f"{CONFIGMAPS}/a")
    await api.create(CONFIGMAPS, config_map("a"))
    del ghost["metadata"]["resourceVersion"]
    answer = await api.call("PUT", f"{CONFIGMAPS}/a", ghost)
    assert (answer.status, answer.data["reason"]) == (409, "Conflict")


async def test_31_a_write_that_changes_nothing_makes_no_version_and_no_event(api: Api) -> None:
    created = await api.create(CONFIGMAPS, config_map("a", key="1"))
    async with api.watch(CONFIGMAPS, resourceVersion=created["metadata"]["resourceVersion"]) as events:
        put = await api.call("PUT", f"{CONFIGMAPS}/a", created)
        patched = await api.patch(f"{CONFIGMAPS}/a", {"data": {"key": "1"}, "metadata": {"labels": {}}})
        for answer in (put, patched):
            assert answer.data["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
        await api.create(CONFIGMAPS, config_map("next"))
        assert await events.names(1) == [("ADDED", "next")]


async def test_32_refusals_name_group_kind_and_name(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    taken = await api.call("POST", DEPLOYMENTS, deployment("web"))
    assert (taken.status, taken.data["reason"]) == (409, "AlreadyExists")
    assert taken.data["details"] == {"name": "web", "group": "apps", "kind": "deployments"}
    assert taken.data["message"] == 'deployments.apps "web" already exists'
    missing = await api.get(f"{DEPLOYMENTS}/none")
    assert (missing.status, missing.data["reason"]) == (404, "NotFound")
    assert missing.data["details"] == {"name": "none", "group": "apps", "kind": "deployments"}
    assert missing.data["kind"] == "Status"
    assert missing.data["status"] == "Failure"


async def test_39_delete_options_come_as_json_as_protobuf_or_not_at_all(api: Api) -> None:
    for name in ("none", "json", "protobuf"):
        await api.create(CONFIGMAPS, config_map(name))
    assert (await api.call("DELETE", f"{CONFIGMAPS}/none")).data["status"] == "Success"
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    assert (await api.call("DELETE", f"{CONFIGMAPS}/json", options)).data["details"]["name"] == "json"
    # apiVersion v1, kind DeleteOptions; field 4, propagationPolicy, is Background.
    body = b"k8s\0\n\x13\n\x02v1\x12\rDeleteOptions\x12\x0c\x22\x0aBackground"
    answer = await api.call(
        "DELETE", f"{CONFIGMAPS}/protobuf", body, content_type="application/vnd.kubernetes.protobuf"
    )
    assert answer.data["status"] == "Success", answer.data
    assert (await api.get(CONFIGMAPS)).data["items"] == []


async def test_delete_preconditions_protect_a_recreated_object(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("a"))
    answer = await api.call("DELETE", f"{CONFIGMAPS}/a", {"preconditions": {"uid": "another"}})
    assert (answer.status, answer.data["reason"]) == (409, "Conflict")
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 200


async def test_deleting_a_collection_takes_what_the_selector_means(api: Api) -> None:
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        await api.create(CONFIGMAPS, config_map(name, {"colour": colour}))
    answer = await api.call("DELETE", CONFIGMAPS, labelSelector="colour=red")
    assert [item["metadata"]["name"] for item in answer.data["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in (await api.get(CONFIGMAPS)).data["items"]] == ["c"]


async def test_41_a_service_gets_an_address_and_keeps_it(api: Api) -> None:
    sent = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    created = await api.create(SERVICES, sent)
    address = created["spec"]["clusterIP"]
    assert created["spec"]["clusterIPs"] == [address]
    assert address.startswith("10.96.")
    replaced = await api.call("PUT", f"{SERVICES}/web", {**sent, "spec": {"ports": [{"port": 81}]}})
    assert replaced.data["spec"]["clusterIP"] == address
    moved = await api.patch(f"{SERVICES}/web", {"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}})
    assert (moved.status, moved.data["reason"]) == (422, "Invalid")
    other = await api.create(SERVICES, {"metadata": {"name": "other"}, "spec": {"ports": [{"port": 80}]}})
    assert other["spec"]["clusterIP"] != address


async def test_41_a_wanted_address_is_given_once_and_freed_with_its_service(api: Api) -> None:
    def wanting(name: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}}

    assert (await api.create(SERVICES, wanting("one")))["spec"]["clusterIP"] == "10.96.7.7"
    assert (await api.call("POST", SERVICES, wanting("two"))).status == 422
    await api.call("DELETE", f"{SERVICES}/one")
    assert (await api.create(SERVICES, wanting("two")))["spec"]["clusterIP"] == "10.96.7.7"
    headless = {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}
    assert (await api.create(SERVICES, headless))["spec"]["clusterIP"] == "None"


async def test_41_an_external_name_keeps_target_port_zero_and_has_no_address(api: Api) -> None:
    spec = {
        "type": "ExternalName",
        "externalName": "a.example",
        "ports": [{"name": "http", "port": 80, "targetPort": 0}],
    }
    created = await api.create(SERVICES, {"metadata": {"name": "channel"}, "spec": spec})
    assert created["spec"]["ports"][0]["targetPort"] == 0
    assert "clusterIP" not in created["spec"]


async def test_42_services_and_deployments_are_defaulted(api: Api) -> None:
    service = await api.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    assert service["spec"]["type"] == "ClusterIP"
    assert service["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    created = await api.create(DEPLOYMENTS, deployment("web"))
    assert created["spec"]["replicas"] == 1
    assert created["spec"]["strategy"]["type"] == "RollingUpdate"
    assert created["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    zero = await api.create(DEPLOYMENTS, deployment("zero", replicas=0))
    assert zero["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("path", "obj", "field"),
    [
        (DEPLOYMENTS, {"metadata": {"name": "x"}, "spec": {"template": {"spec": {}}}}, "spec.selector"),
        (DEPLOYMENTS, deployment("x", image=""), "spec.template.spec.containers[0].image"),
        (PODS, {"metadata": {"name": "x"}, "spec": {"containers": []}}, "spec.containers"),
        (SERVICES, {"metadata": {"name": "x"}, "spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port"),
        (CONFIGMAPS, config_map("Not_A_Name"), "metadata.name"),
        (CONFIGMAPS, {"metadata": {}}, "metadata.name"),
        (CONFIGMAPS, config_map("a", {"bad key!": "x"}), "metadata.labels"),
    ],
)
async def test_an_object_that_breaks_rules_is_refused_with_the_fields_path(
    api: Api, path: str, obj: dict[str, Any], field: str
) -> None:
    answer = await api.call("POST", path, obj)
    assert (answer.status, answer.data["reason"]) == (422, "Invalid")
    assert field in [cause["field"] for cause in answer.data["details"]["causes"]]
    assert field in answer.data["message"]


async def test_an_object_of_another_place_or_type_is_refused(api: Api) -> None:
    elsewhere = config_map("a")
    elsewhere["metadata"]["namespace"] = "kube-system"
    assert (await api.call("POST", CONFIGMAPS, elsewhere)).status == 400
    assert (await api.call("POST", CONFIGMAPS, pod("a"))).status == 400
    await api.create(CONFIGMAPS, config_map("a"))
    assert (await api.call("PUT", f"{CONFIGMAPS}/a", config_map("b"))).status == 400


async def test_a_namespace_must_exist(api: Api) -> None:
    answer = await api.call("POST", "/api/v1/namespaces/none/configmaps", config_map("a"))
    assert (answer.status, answer.data["message"]) == (404, 'namespaces "none" not found')


async def test_a_dry_run_answers_and_stores_nothing(api: Api) -> None:
    version = await api.version()
    answer = await api.call("POST", CONFIGMAPS, config_map("a"), dryRun="All")
    assert (answer.status, answer.data["metadata"]["name"]) == (201, "a")
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 404
    service = {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}}
    assert (await api.call("POST", SERVICES, service, dryRun="All")).status == 201
    assert await api.version() == version
    await api.create(SERVICES, service)
    patched = await api.patch(f"{SERVICES}/web", {"metadata": {"labels": {"a": "b"}}}, dryRun="All")
    assert patched.data["metadata"]["labels"] == {"a": "b"}
    await api.call("DELETE", f"{SERVICES}/web", dryRun="All")
    assert "labels" not in (await api.get(f"{SERVICES}/web")).data["metadata"]


async def test_63_events_take_any_object_and_strategic_patches(api: Api) -> None:
    path = "/api/v1/namespaces/default/events"
    involved = {"kind": "Broker", "apiVersion": "eventing.knative.dev/v1", "name": "b", "namespace": "default"}
    event = {"metadata": {"name": "e.1"}, "involvedObject": involved, "reason": "Ready", "type": "Normal", "count": 1}
    await api.create(path, event)
    patch = {"count": 2, "message": "again"}
    answer = await api.patch(f"{path}/e.1", patch, "application/strategic-merge-patch+json")
    assert (answer.data["count"], answer.data["involvedObject"]["name"]) == (2, "b")
    renamed = (await api.get("/apis/events.k8s.io/v1/namespaces/default/events/e.1")).data
    assert renamed["apiVersion"] == "events.k8s.io/v1"
    assert (renamed["note"], renamed["regarding"]["name"], renamed["deprecatedCount"]) == ("again", "b", 2)


async def test_secrets_given_as_text_are_stored_as_base64(api: Api) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
    created = await api.create("/api/v1/namespaces/default/secrets", secret)
    assert created["data"] == {"password": "aHVudGVyMg=="}
    assert created["type"] == "Opaque"
    assert "stringData" not in created
