"""Statements that no dialogue can show: others' work, load, time, whole objects; and that none is left out."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kube.client import Client
from local_cluster.apiserver import watching
from local_cluster.workloads.app import Workloads
from tests.conformance.apiserver.encoding import envelope
from tests.conformance.apiserver.tables import CASES
from tests.local_cluster.apiserver.raw import CONFIGMAPS, DEPLOYMENTS, PODS, SERVICES, Api, config_map, connected
from tests.local_cluster.apiserver.raw import deployment as deployment_of
from tests.support.api import RunningApiServer, running_api_server

_ENDPOINTS = "/api/v1/namespaces/default/endpoints"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_NUMBERED = re.compile(r"^(?:async )?def test_((?:\d\d_(?:and_)?)+)", re.MULTILINE)


@pytest.fixture
async def running() -> AsyncIterator[RunningApiServer]:
    async with running_api_server() as running:
        yield running


@pytest.fixture
async def api(running: RunningApiServer) -> AsyncIterator[Api]:
    async with connected(running.config) as api:
        yield api


@pytest.fixture
async def workloads(running: RunningApiServer) -> AsyncIterator[None]:
    """The stack's controllers, without a node."""
    async with Client(running.config) as client:
        workloads = Workloads(client)
        await workloads.start()
        yield
        await workloads.stop()


async def until(api: Api, path: str, **params: str) -> Any:
    """The list at `path` once it has items."""
    async with asyncio.timeout(10):
        while not (items := (await api.get(path, **params)).data["items"]):
            pass
    return items


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8012}]
    labels = {"serving.knative.dev/revision": "r"}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"ports": ports, **spec}}


@pytest.mark.usefixtures("workloads")
async def test_52_53_54_a_deployment_gets_pods_and_its_service_endpoints_with_its_labels_and_ports(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment_of("web"))
    await api.create(SERVICES, service("web", selector={"app": "web"}))
    [pod] = await until(api, PODS, labelSelector="app=web")
    [replica_set] = (await api.get("/apis/apps/v1/namespaces/default/replicasets")).data["items"]
    assert pod["metadata"]["ownerReferences"][0]["uid"] == replica_set["metadata"]["uid"]
    status = {"phase": "Running", "podIP": "127.80.1.1", "conditions": [{"type": "Ready", "status": "True"}]}
    await api.patch(f"{PODS}/{pod['metadata']['name']}/status", {"status": status})
    async with asyncio.timeout(10):
        while not (subsets := (await api.get(f"{_ENDPOINTS}/web")).data.get("subsets")):
            pass
    endpoints = (await api.get(f"{_ENDPOINTS}/web")).data
    assert endpoints["metadata"]["labels"].items() >= {"serving.knative.dev/revision": "r"}.items()
    assert [address["ip"] for address in subsets[0]["addresses"]] == ["127.80.1.1"]
    assert [(port["name"], port["port"]) for port in subsets[0]["ports"]] == [("http", 8012)]
    slices = await until(
        api,
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        labelSelector="kubernetes.io/service-name=web",
    )
    assert slices[0]["endpoints"][0]["addresses"] == ["127.80.1.1"]


@pytest.mark.usefixtures("workloads")
async def test_55_endpoints_of_a_service_without_selector_are_its_owners(api: Api) -> None:
    await api.create(SERVICES, service("public"))
    await api.create(SERVICES, service("later", selector={"app": "web"}))
    subsets = [{"addresses": [{"ip": "127.80.0.9"}], "ports": [{"name": "http", "port": 8012}]}]
    written = await api.create(_ENDPOINTS, {"metadata": {"name": "public"}, "subsets": subsets})
    async with asyncio.timeout(10):
        while (await api.get(f"{_ENDPOINTS}/later")).status != 200:  # the controller has seen both
            pass
    assert (await api.get(f"{_ENDPOINTS}/public")).data == written


async def test_61_whoever_is_told_to_slow_down_is_told_until_when(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "WATCHES_MAX", 0)
    refused = await api.get(CONFIGMAPS, watch="true")
    assert (refused.status, refused.data["reason"]) == (429, "TooManyRequests")
    assert int(refused.headers["Retry-After"]) == refused.data["details"]["retryAfterSeconds"] > 0


async def test_62_leases_are_renewed_beside_the_real_load(api: Api) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    await api.create(CONFIGMAPS, config_map("busy"))
    for number in range(5):
        await api.create(leases, {"metadata": {"name": f"l{number}"}, "spec": {"holderIdentity": "a"}})
    is_over = asyncio.Event()

    async def load() -> int:
        count = 0
        while not is_over.is_set():
            count += 1
            await api.patch(f"{CONFIGMAPS}/busy", {"data": {"n": str(count)}})
        return count

    others = [asyncio.create_task(load()) for _ in range(4)]
    slowest_s = 0.0
    for turn in range(10):
        for number in range(5):
            renewed = {"metadata": {"name": f"l{number}"}, "spec": {"holderIdentity": "a", "leaseTransitions": turn}}
            began_s = time.monotonic()
            assert (await api.call("PUT", f"{leases}/l{number}", renewed)).status == 200
            slowest_s = max(slowest_s, time.monotonic() - began_s)
    is_over.set()
    assert sum(await asyncio.gather(*others)) > 20
    assert slowest_s < 5.0  # client-go renews every 10 s and gives up after 40


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "All that a schema can say.",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "count": {"type": "integer", "format": "int32", "minimum": 0.0, "maximum": 9.0, "default": 3},
                "name": {"type": "string", "pattern": "^a+$", "maxLength": 7, "enum": ["a", "aa"], "nullable": True},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "either": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
                "any": {"type": "object", "additionalProperties": True},
                "list": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["id"],
                    "items": {"type": "object", "properties": {"id": {"type": "string"}}},
                },
                "refs": {"type": "object", "default": {"deep": [1, {"a": None}]}},
            },
        },
    },
}


async def test_64_a_definition_put_in_protobuf_loses_no_part_of_its_schema(api: Api) -> None:
    definition: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "wholes.test.example"},
        "spec": {
            "group": "test.example",
            "scope": "Namespaced",
            "names": {"plural": "wholes", "kind": "Whole", "shortNames": ["wh"], "categories": ["all"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _SCHEMA},
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.count", "statusReplicasPath": ".status.count"},
                    },
                    "additionalPrinterColumns": [{"name": "N", "type": "integer", "jsonPath": ".spec.count"}],
                }
            ],
        },
    }
    created = await api.create(_DEFINITIONS, definition)
    # As the webhook programs do: the whole object with one part more.
    conversion = {"strategy": "None"}
    created["spec"]["conversion"] = conversion
    created["metadata"]["labels"] = {"webhook": "was-here"}
    answer = await api.call("PUT", f"{_DEFINITIONS}/wholes.test.example", envelope(created), content_type=_PROTOBUF)
    assert answer.status == 200, answer.data
    assert answer.data["spec"] == created["spec"]
    assert answer.data["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == _SCHEMA
    assert answer.data["metadata"]["labels"] == {"webhook": "was-here"}


def test_every_statement_has_a_test_or_a_case() -> None:
    told = {number for _, case in CASES for number in case.statements}
    root = Path(__file__).parents[2]
    for folder in ("conformance/apiserver", "local_cluster/apiserver"):
        for path in (root / folder).glob("test_*.py"):
            for numbers in _NUMBERED.findall(path.read_text(encoding="utf-8")):
                told |= {int(number) for number in re.findall(r"\d\d", numbers)}
    assert set(range(1, 66)) - told == set()
