"""Who may talk to the server, what it says about itself, and what it does with malformed requests."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from local_cluster.apiserver.server import Identity
from tests.local_cluster.apiserver.raw import CONFIGMAPS, DEPLOYMENTS, PODS, Api, config_map, connected, deployment, pod
from tests.support.api import RunningApiServer, running_api_server

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


async def test_01_the_version_is_one_that_client_go_accepts(api: Api) -> None:
    version = (await api.get("/version")).data
    major, minor, _ = version["gitVersion"].lstrip("v").split(".")
    assert (int(major), int(minor)) >= (1, 34)


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz/ping"])
async def test_health_is_answered_without_a_token(running: RunningApiServer, path: str) -> None:
    async with connected(running.config, token="") as anonymous:
        answer = await anonymous.get(path)
    assert (answer.status, answer.data) == (200, "ok")


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_65_a_missing_or_wrong_token_is_401(running: RunningApiServer, token: str) -> None:
    async with connected(running.config, token=token) as stranger:
        for path in (CONFIGMAPS, "/api", "/apis", "/openapi/v3", "/nowhere"):
            answer = await stranger.get(path)
            assert (answer.status, answer.data["reason"]) == (401, "Unauthorized")


async def test_plain_http_and_old_tls_are_refused(running: RunningApiServer) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(running.config.server.replace("https", "http") + "/version")
    context = running.config.ssl_context()
    assert context is not None
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", running.server.port, ssl=context)


async def test_each_token_has_its_own_name(running: RunningApiServer, api: Api) -> None:
    running.server.add_token("its-token", Identity("system:serviceaccount:knative-serving:activator"))
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    async with connected(running.config, token="its-token") as activator:
        user = (await activator.create(path, {}))["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:knative-serving:activator"
    assert "system:authenticated" in user["groups"]
    review = await api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "its-token"}})
    assert review["status"]["user"]["username"] == user["username"]
    review = await api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "wrong"}})
    assert review["status"] == {"authenticated": False}


async def test_everyone_may_do_everything(api: Api) -> None:
    review = {"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods"}}}
    answer = await api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    assert answer["status"]["allowed"] is True
    assert (await api.get("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")).status == 405


async def test_57_plain_discovery_lists_names_categories_and_subresources(api: Api) -> None:
    assert (await api.get("/api")).data["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await api.get("/apis")).data["groups"]}
    assert groups["serving.knative.dev"]["preferredVersion"]["groupVersion"] == "serving.knative.dev/v1"
    assert (await api.get("/apis/apps")).data["versions"] == [{"groupVersion": "apps/v1", "version": "v1"}]
    resources = {item["name"]: item for item in (await api.get("/apis/serving.knative.dev/v1")).data["resources"]}
    service = resources["services"]
    assert (service["kind"], service["singularName"], service["namespaced"]) == ("Service", "service", True)
    assert service["shortNames"] == ["kservice", "ksvc"]
    assert service["categories"] == ["all", "knative", "serving"]
    assert {"create", "delete", "get", "list", "patch", "update", "watch"} <= set(service["verbs"])
    assert "services/status" in resources
    apps = {item["name"]: item for item in (await api.get("/apis/apps/v1")).data["resources"]}
    assert apps["deployments/scale"] | {"verbs": None} == {
        "name": "deployments/scale",
        "singularName": "",
        "namespaced": True,
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
        "verbs": None,
    }
    assert (await api.get("/apis/none/v1")).status == 404


async def test_57_aggregated_discovery_says_the_same_in_one_document(api: Api) -> None:
    answer = await api.call("GET", "/apis", headers={"Accept": AGGREGATED})
    assert answer.headers["Content-Type"].startswith("application/json;g=apidiscovery.k8s.io;v=v2")
    assert (answer.data["kind"], answer.data["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    found = {
        (item["metadata"]["name"], version["version"], resource["resource"]): resource
        for item in answer.data["items"]
        for version in item["versions"]
        for resource in version["resources"]
    }
    sks = found["networking.internal.knative.dev", "v1alpha1", "serverlessservices"]
    assert (sks["scope"], sks["shortNames"], sks["singularResource"]) == ("Namespaced", ["sks"], "serverlessservice")
    assert [item["subresource"] for item in sks["subresources"]] == ["status"]
    assert found["networking.internal.knative.dev", "v1alpha1", "clusterdomainclaims"]["scope"] == "Cluster"
    core = await api.call("GET", "/api", headers={"Accept": AGGREGATED})
    resources = {resource["resource"] for resource in core.data["items"][0]["versions"][0]["resources"]}
    assert {"pods", "services", "configmaps", "secrets", "namespaces", "nodes"} <= resources


async def test_58_openapi_has_a_document_per_group_version_named_by_its_content(api: Api) -> None:
    paths = (await api.get("/openapi/v3")).data["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/serving.knative.dev/v1"} <= paths.keys()
    link = paths["apis/apps/v1"]["serverRelativeURL"]
    path, _, digest = link.partition("?hash=")
    assert len(digest) == 64
    document = (await api.get(path, hash=digest)).data
    schemas = document["components"]["schemas"]
    described = schemas["io.k8s.api.apps.v1.Deployment"]
    assert described["x-kubernetes-group-version-kind"] == [{"group": "apps", "version": "v1", "kind": "Deployment"}]
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert patch["x-kubernetes-group-version-kind"]["kind"] == "Deployment"
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"


async def test_58_every_reference_in_the_documents_leads_somewhere(api: Api) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for item in node for found in references(item)]
        if not isinstance(node, dict):
            return []
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in references(value)]

    for path in (await api.get("/openapi/v3")).data["paths"]:
        document = (await api.get(f"/openapi/v3/{path}")).data
        named = {f"#/components/{sort}/{name}" for sort, all_of in document["components"].items() for name in all_of}
        assert set(references(document)) <= named
        assert document["openapi"].startswith("3.")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/api/v1/unknown", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/namespaces//pods", 404),
        ("GET", "/api/v1/namespaces/default/pods/..%2f..%2fnodes", 404),
        ("GET", "/api/v1/namespaces/default/pods/a/b/c", 404),
        ("GET", "/api/v1/pods/name-without-namespace", 405),
        ("PUT", CONFIGMAPS, 405),
        ("POST", f"{CONFIGMAPS}/a", 405),
        ("PATCH", CONFIGMAPS, 405),
        ("DELETE", "/api/v1/configmaps", 405),
        ("OPTIONS", CONFIGMAPS, 405),
    ],
)
async def test_paths_and_methods_that_do_not_exist_are_told(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.call(method, path, {} if method in ("PUT", "POST", "PATCH") else None)
    assert (answer.status, answer.data["kind"]) == (status, "Status")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"metadata": 1}', "application/json", 400),
        (b'{"metadata":{"labels":{"a":1},"name":"a"}}', "application/json", 400),
        (b"a: [", "application/yaml", 400),
        (b"k8s\0\xff\xff", "application/vnd.kubernetes.protobuf", 400),
        (b"no magic", "application/vnd.kubernetes.protobuf", 400),
        (b"\xd9\xd9\xf7\xa0", "application/cbor", 415),
        (b"<a/>", "application/xml", 415),
    ],
)
async def test_07_bodies_that_cannot_be_read_are_refused(api: Api, body: bytes, content_type: str, status: int) -> None:
    answer = await api.call("POST", CONFIGMAPS, body, content_type=content_type)
    assert (answer.status, answer.data["kind"]) == (status, "Status")


async def test_yaml_bodies_are_read(api: Api) -> None:
    body = b"metadata: {name: a}\ndata: {day: 2026-01-01, flag: 'yes'}\n"
    answer = await api.call("POST", CONFIGMAPS, body, content_type="application/yaml")
    assert answer.data["data"] == {"day": "2026-01-01", "flag": "yes"}


async def test_a_body_beyond_the_bound_is_413(api: Api) -> None:
    answer = await api.call("POST", CONFIGMAPS, config_map("a", key="x" * (3 << 20)))
    assert (answer.status, answer.data["reason"]) == (413, "RequestEntityTooLarge")
    assert (await api.create(CONFIGMAPS, config_map("a", key="x" * (1 << 20))))["metadata"]["name"] == "a"


async def test_unknown_fields_are_refused_warned_of_or_ignored(api: Api) -> None:
    sent = deployment("web")
    sent["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    strict = await api.call("POST", DEPLOYMENTS, sent, fieldValidation="Strict")
    assert strict.status == 400
    expected = 'strict decoding error: unknown field "spec.template.spec.containers[0].imagee"'
    assert strict.data["message"].endswith(expected)
    warned = await api.call("POST", DEPLOYMENTS, sent, fieldValidation="Warn", dryRun="All")
    assert "spec.template.spec.containers[0].imagee" in warned.headers["Warning"]
    ignored = await api.call("POST", DEPLOYMENTS, sent, fieldValidation="Ignore")
    assert "Warning" not in ignored.headers
    assert "imagee" not in ignored.data["spec"]["template"]["spec"]["containers"][0]


async def test_a_field_of_the_wrong_type_is_refused_by_its_path(api: Api) -> None:
    sent = pod("a")
    sent["spec"]["containers"][0]["env"] = [{"name": "PORT", "value": 8080}]
    answer = await api.call("POST", PODS, sent)
    assert answer.status == 400
    assert "cannot unmarshal number into Go struct field Pod.spec.containers[0].env[0].value" in answer.data["message"]


async def test_logs_come_from_the_node(running: RunningApiServer, api: Api) -> None:
    asked: list[tuple[object, ...]] = []

    async def read_logs(
        namespace: str,
        pod: str,
        container: str,
        follow: bool,
        tail: int | None,
        since_s: float | None,
        timestamps: bool,
        *,
        previous: bool,
    ) -> AsyncIterator[bytes]:
        asked.append((namespace, pod, container, follow, tail, since_s, timestamps, previous))

        async def lines() -> AsyncIterator[bytes]:
            yield b"one\n"
            yield b"two\n"

        return lines()

    running.server.set_log_reader(read_logs)
    await api.create(PODS, pod("a"))
    answer = await api.get(f"{PODS}/a/log", follow="true", tailLines="5", sinceSeconds="60", container="app")
    assert (answer.status, answer.data) == (200, "one\ntwo\n")
    assert asked == [("default", "a", "app", True, 5, 60.0, False, False)]
    assert (await api.get(f"{PODS}/a/log")).data == "one\ntwo\n"
    assert (await api.get(f"{PODS}/a/log", container="none")).status == 400
    assert (await api.get(f"{PODS}/none/log")).status == 404


async def test_a_taken_port_is_told_at_start() -> None:
    port = unused_port()
    async with running_api_server(port=port) as running:
        assert running.server.port == port
        with pytest.raises(OSError, match="address already in use"):
            async with running_api_server(port=port):
                pass


async def test_the_kubeconfig_is_readable_by_its_owner_alone(running: RunningApiServer) -> None:
    assert os.stat(running.kubeconfig).st_mode & 0o777 == 0o600
