"""The manifests, as kubectl renders them and as an API server takes them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from broker.config import _DRAIN_S as DRAIN_S
from broker.shell import _STOP_S as STOP_S
from deploy.images.components import COMPONENTS, USER
from deploy.manifests.__main__ import FOLDER, rendered
from kube.client import Client
from kube.models.apps import Deployment
from kube.models.core import ConfigMap
from tests.deploy.manifests import KUBECTL, MANIFESTS, OVERLAYS, rendered_objects
from tests.deploy.originals import original
from tests.deploy.rights import rights_of
from tests.support.api import RunningApiServer, running_api_server

JsonObject = dict[str, Any]
DROP_INS = [overlay for overlay in OVERLAYS if overlay.startswith("drop-in/")]
SYSTEM = "knative-serving"


def pod_specs(overlay: str) -> list[tuple[str, JsonObject]]:
    return [
        (each["metadata"]["name"], each["spec"]["template"]["spec"])
        for each in rendered_objects(overlay)
        if each["kind"] == "Deployment"
    ]


def whole() -> list[JsonObject]:
    return [*rendered_objects("full"), *rendered_objects("full/jetstream")]


def containers() -> list[tuple[str, JsonObject, JsonObject]]:
    specs = [*pod_specs("full"), *pod_specs("full/jetstream")]
    return [(name, spec, each) for name, spec in specs for each in spec["containers"]]


def test_what_is_made_of_the_code_is_fresh() -> None:
    stale = [str(path) for path, text in rendered().items() if (FOLDER / path).read_text() != text]
    assert stale == [], "run `python -m deploy.manifests`"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_is_named_in_one_place(overlay: str) -> None:
    text = json.dumps(rendered_objects(overlay))
    images = set(re.findall(r'"(?:image|queue-sidecar-image)": "([^"]+)"', text))
    assert all(image.startswith("registry.example/") for image in images), images
    ours = {component.name for component in COMPONENTS}
    assert {image.split("/")[-1].split(":")[0] for image in images} <= ours | {"envoy"}


def test_secrets_of_the_whole_cluster_are_changed_by_the_controller_of_eventing_alone() -> None:
    """Which renews the tokens that SinkBindings hand out."""
    changing = {"update", "patch", "delete", "deletecollection", "*"}
    found = {
        right.account
        for right in rights_of(whole())
        if (right.group, right.resource, right.namespace, right.name) == ("", "secrets", "", "")
        and right.verb in changing
    }
    assert found == {"eventing-controller"}


def test_pods_run_without_privileges_on_a_read_only_file_system() -> None:
    found = containers()
    assert len({name for name, _, _ in found}) == 13
    for name, spec, container in found:
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"requests", "limits"} == set(container["resources"]), name
    # Envoy's image has another user of its own, and both share a socket.
    (gateway,) = [spec for name, spec in pod_specs("full") if name == "gateway"]
    assert f"{gateway['securityContext']['runAsUser']}:{gateway['securityContext']['runAsGroup']}" == USER


def test_pods_that_drain_are_given_the_time_that_they_take() -> None:
    """The kubelet kills what has not ended by then, and with it what it holds."""
    given = {name: spec.get("terminationGracePeriodSeconds", 30) for name, spec, _ in containers()}
    of_broker = DRAIN_S + STOP_S
    for name in ("mt-broker-ingress", "mt-broker-filter", "imc-dispatcher", "jetstream-ch-dispatcher", "job-sink"):
        assert given[name] > of_broker, name
    assert given["activator"] >= 600
    (drain,) = [
        float(each["args"][each["args"].index("--drain-time-s") + 1])
        for name, _, each in containers()
        if name == "gateway" and "--drain-time-s" in each.get("args", ())
    ]
    assert given["gateway"] > drain


def test_ports_of_services_are_ports_of_the_containers_behind_them() -> None:
    offered: dict[str, set[int]] = {}
    for name, _, container in containers():
        offered.setdefault(name, set()).update(port["containerPort"] for port in container.get("ports", ()))
    services = [each for each in whole() if each["kind"] == "Service"]
    assert len(services) == 13
    for service in services:
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert targets <= offered[service["spec"]["selector"]["app"]], service["metadata"]["name"]


def test_ports_that_pods_offer_are_opened_by_the_network_policy() -> None:
    policies = {each["metadata"]["name"]: each for each in whole() if each["kind"] == "NetworkPolicy"}
    offered: dict[str, set[int]] = {}
    for name, _, container in containers():
        offered.setdefault(name, set()).update(port["containerPort"] for port in container.get("ports", ()))
    assert set(policies) == set(offered)
    for name, policy in policies.items():
        assert policy["spec"]["podSelector"] == {"matchLabels": {"app": name}}
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == offered[name]


def test_what_can_have_more_than_one_replica_has_with_a_budget_for_disruptions() -> None:
    objects = whole()
    budgets = {each["metadata"]["name"] for each in objects if each["kind"] == "PodDisruptionBudget"}
    scaled = {each["metadata"]["name"]: each for each in objects if each["kind"] == "HorizontalPodAutoscaler"}
    # What waits in memory waits in one place; and of clocks one is enough, and none without a PingSource.
    single = {"imc-dispatcher": 1, "pingsource-mt-adapter": 0}
    for deployment in (each for each in objects if each["kind"] == "Deployment"):
        name = deployment["metadata"]["name"]
        if name in single:
            assert deployment["spec"]["replicas"] == single[name]
            continue
        assert name in budgets
        # A count in a Deployment that is scaled would be put back by every apply.
        assert ("replicas" in deployment["spec"]) is (name not in scaled)
        assert deployment["spec"].get("replicas", 0) >= 2 or scaled[name]["spec"]["minReplicas"] >= 2


# -- against an API server ---------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api() -> AsyncIterator[RunningApiServer]:
    async with running_api_server() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def existing() -> AsyncIterator[RunningApiServer]:
    """A cluster with the originals."""
    async with running_api_server() as running:
        yield running


async def kubectl(api: RunningApiServer, *arguments: str, stdin: str = "") -> tuple[int, str]:
    cache = api.kubeconfig.parent / "kubectl-cache"
    process = await asyncio.create_subprocess_exec(
        *(KUBECTL, "--kubeconfig", api.kubeconfig, "--cache-dir", cache, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_bare_cluster_takes_the_whole_installation_and_its_kinds(api: RunningApiServer) -> None:
    for overlay in ("full", "full/jetstream"):
        code, out = await kubectl(api, "apply", "--server-side", "-k", str(MANIFESTS / overlay))
        assert code == 0, out
        assert out.count("serverside-applied") == len(rendered_objects(overlay))

    # Kinds are served as the definitions have them, schema included.
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello"},
        "spec": {"template": {"spec": {"containers": [{"image": "hello"}], "timeoutSecond": 5}}},
    }
    code, out = await kubectl(api, "apply", "--server-side", "-f", "-", stdin=json.dumps(service))
    assert code != 0
    assert "timeoutSecond" in out


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("overlay", DROP_INS)
async def test_a_drop_in_changes_the_image_alone_and_can_be_taken_back(
    overlay: str, existing: RunningApiServer
) -> None:
    name = f"knuv-{overlay.removeprefix('drop-in/')}"
    before = original(overlay)
    namespaces = {each["metadata"]["namespace"] for each in before}
    async with Client(existing.config) as client:
        for namespace in namespaces:
            await kubectl(existing, "create", "namespace", namespace)
        installed = "\n---\n".join(json.dumps(each) for each in before)
        command = ("apply", "--server-side", "--force-conflicts", "--field-manager")
        code, out = await kubectl(existing, *command, "original", "-f", "-", stdin=installed)
        assert code == 0, out
        kept = [await described(client, each) for each in before]

        code, out = await kubectl(existing, *command, name, "-k", str(MANIFESTS / overlay))
        assert code == 0, out
        for each, was in zip(before, kept, strict=True):
            is_ = await described(client, each)
            assert "registry.example/knuv/" in json.dumps(is_)
            assert without_image(is_) == without_image(was)

        code, out = await kubectl(existing, *command, "original", "-f", "-", stdin=installed)
        assert code == 0, out
        for each in before:
            if "args" in await described(client, each):
                # What the original has no opinion on stays ours, and is taken away by hand (docs/drop-in/broker.md).
                operation = '[{"op": "remove", "path": "/spec/template/spec/containers/0/args"}]'
                where = ("-n", each["metadata"]["namespace"], "deployment", each["metadata"]["name"])
                code, out = await kubectl(existing, "patch", *where, "--type", "json", "--patch", operation)
                assert code == 0, out
        assert [await described(client, each) for each in before] == kept


async def described(client: Client, each: JsonObject) -> JsonObject:
    """What matters of an object: a ConfigMap's data, a Deployment's only container with its account."""
    namespace, name = each["metadata"]["namespace"], each["metadata"]["name"]
    model, path = (ConfigMap, "data") if each["kind"] == "ConfigMap" else (Deployment, "spec")
    found = json.loads(await client.raw("GET", model.RESOURCE.path(namespace, name)))[path]
    if path == "data":
        return dict(found)
    pod = found["template"]["spec"]
    return {**pod["containers"][0], "serviceAccountName": pod["serviceAccountName"]}


def without_image(described: JsonObject) -> JsonObject:
    return {key: value for key, value in described.items() if key not in ("image", "args", "queue-sidecar-image")}


def test_what_has_metrics_is_scraped() -> None:
    ports = {
        each["metadata"]["labels"]["app"]
        for each in whole()
        if each["kind"] == "Service" and any(port["name"] == "http-metrics" for port in each["spec"]["ports"])
    }
    monitors = [each for each in rendered_objects("monitoring") if each["kind"] == "ServiceMonitor"]
    scraped = [name for each in monitors for name in each["spec"]["selector"]["matchExpressions"][0]["values"]]
    assert sorted(scraped) == sorted(ports)
