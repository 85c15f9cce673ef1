"""`knuv up --replace COMPONENT=COMMAND`: stand-ins find what Knative's own programs rely on, in both networks.

Environment, files, identities, ports and names. What is expected is the specifications': api-clients 2 (environment),
2.1 (names), 2.2 (ports), 3 (ConfigMaps); activator 2.1; autoscaler 8.3; queue-proxy 2.1 (environment), 3 (listeners).
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kube.models.core import Endpoints, Pod
from loadtests.scenario import until
from local_cluster.manifests import apply
from local_cluster.system import SYSTEM_NAMESPACE
from tests.system.conftest import System, running_system, service

STAND_IN = Path(__file__).with_name("stand_in.py")
EVENTING = "knative-eventing"
PORTS = {
    "activator": {8012, 8013, 8008, 9090},
    "autoscaler": {8080, 8008, 9090},
    "controller": {8080, 8008, 9090},
    "gateway": {8081},
    "broker-ingress": {8080, 8443, 9092},
    "broker-filter": {8080, 8443, 9092},
    "queue-proxy": {8012, 8022, 9090, 9091},
}
"""On which the originals listen. queue-proxy's 8013 is the main port of revisions that speak h2c."""
CONFIG_MAPS = {
    "activator": {"config-network", "config-logging", "config-observability"},
    "autoscaler": {
        *("config-network", "config-logging", "config-observability", "config-deployment", "config-autoscaler"),
        "config-leader-election",
    },
    "controller": {
        *("config-network", "config-logging", "config-observability", "config-features", "config-gc", "config-domain"),
        *("config-defaults", "config-deployment", "config-autoscaler", "config-leader-election"),
    },
    "gateway": {"config-network"},
    "broker-ingress": {"config-features", "config-logging", "config-observability"},
    "broker-filter": {"config-features", "config-logging", "config-observability"},
}
"""Without which the originals exit, and those that they read beside."""
NETWORKS = pytest.mark.parametrize("network", ["loopback", "netns"])

pytestmark = [
    pytest.mark.system,
    pytest.mark.xdist_group("stack-stand-ins"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the in-cluster files need a mount namespace, and that needs root"),
]


def replaced(*components: str) -> list[str]:
    """The options that put stand-ins in the places of `components`."""
    words = []
    for name in components:
        ports = " ".join(map(str, sorted(PORTS[name])))
        words += ["--replace", f"{name}={sys.executable} {STAND_IN} {ports}"]
    return words


async def told(system: System, selector: str, namespace: str, container: str = "") -> dict[str, Any]:
    """What the stand-in in the pod of `selector` found, and the pod; waits until its probe has met it."""

    async def line() -> dict[str, Any] | None:
        pods = (await system.client.list(Pod, namespace, label_selector=selector)).items
        if not pods or not pods[0].is_ready():
            return None
        path = Pod.RESOURCE.path(namespace, pods[0].name, "log")
        text = await system.client.raw("GET", path, params={"container": container} if container else None)
        return {**json.loads(text.splitlines()[0]), "pod": pods[0]} if text else None

    return await until(line, 90, f"the stand-in of {selector} to tell")


def check_surroundings(app: str, seen: dict[str, Any], network: str) -> None:
    """What every program of the system finds."""
    namespace = EVENTING if app.startswith("broker-") else SYSTEM_NAMESPACE
    env, pod = seen["env"], seen["pod"]
    expected = {
        "SYSTEM_NAMESPACE": namespace,
        "POD_NAME": pod.name,
        "POD_IP": pod.status.pod_ip,
        "CONFIG_LOGGING_NAME": "config-logging",
        "CONFIG_OBSERVABILITY_NAME": "config-observability",
    }
    assert expected.items() <= env.items()
    assert env["KUBERNETES_SERVICE_PORT"].isdigit()
    assert set(seen["files"]) == {"token", "ca.crt", "namespace"}
    assert seen["namespace"] == namespace
    assert seen["user"] == f"system:serviceaccount:{namespace}:{app}"
    assert CONFIG_MAPS[app] <= set(seen["config_maps"])
    if app != "gateway":  # whose ports are its programmer's
        (container,) = pod.spec.containers
        assert {port.container_port for port in container.ports} == PORTS[app]
    if app.startswith("broker-"):
        assert (env["NAMESPACE"], env["CONTAINER_NAME"]) == (namespace, app.removeprefix("broker-"))
        assert env["INGRESS_PORT" if app == "broker-ingress" else "FILTER_PORT"] == "8080"
    else:
        assert "NAMESPACE" not in env  # which narrows programs of eventing
    assert env["METRICS_DOMAIN"] == f"knative.dev/internal/{'eventing' if namespace == EVENTING else 'serving'}"
    assert app != "activator" or env["GOGC"] == "500"  # as its manifest says
    if network == "netns":
        assert pod.status.pod_ip.startswith("10.244.")
        assert "KUBECONFIG" not in env
        assert env["KUBERNETES_SERVICE_HOST"] == "10.244.0.1"
        assert f"search {namespace}.svc.cluster.local svc.cluster.local cluster.local" in seen["resolver"]
        assert seen["hostname"] == pod.name
        assert app not in ("activator", "autoscaler") or seen["autoscaler"].startswith("10.96.")
    else:
        assert env["KUBERNETES_SERVICE_HOST"] == "127.0.0.1"
        assert env["KNUV_BIND_ADDRESS"] == pod.status.pod_ip
        assert seen["kubeconfig_names_a_server"]


def check_sidecar(seen: dict[str, Any], network: str) -> None:
    """What the controller tells queue-proxy of the revision `app-00001`."""
    env, pod = seen["env"], seen["pod"]
    expected = {
        "CONTAINER_CONCURRENCY": "0",
        "QUEUE_SERVING_PORT": "8012",
        "QUEUE_SERVING_TLS_PORT": "8112",
        "REVISION_TIMEOUT_SECONDS": "10",
        "REVISION_RESPONSE_START_TIMEOUT_SECONDS": "0",
        "REVISION_IDLE_TIMEOUT_SECONDS": "0",
        "ENABLE_HTTP_FULL_DUPLEX": "false",
        "ENABLE_HTTP2_AUTO_DETECTION": "false",
        "ENABLE_MULTI_CONTAINER_PROBES": "false",
        "SERVING_LOGGING_CONFIG": "",
        "SERVING_LOGGING_LEVEL": "",
        "SERVING_NAMESPACE": "default",
        "SERVING_SERVICE": "app",
        "SERVING_CONFIGURATION": "app",
        "SERVING_REVISION": "app-00001",
        "SERVING_POD": pod.name,
        "SERVING_POD_IP": pod.status.pod_ip,
        "SYSTEM_NAMESPACE": SYSTEM_NAMESPACE,
        "HOST_IP": pod.status.host_ip,
        "ROOT_CA": "",
    }
    assert expected.items() <= env.items()
    observability = json.loads(env["OBSERVABILITY_CONFIG"])
    assert {"tracing", "metrics", "runtime", "requestMetrics"} <= observability.keys()
    assert json.loads(env["SERVING_READINESS_PROBE"])["tcpSocket"] == {
        "port": int(env["USER_PORT"]),
        "host": "127.0.0.1",
    }
    # Where all pods share the machine's ports, the app has one of its own.
    assert (env["USER_PORT"] == "8080") == (network == "netns")


@NETWORKS
async def test_data_planes_programs_find_what_knatives_own_find(tmp_path: Path, network: str) -> None:
    apps = ("activator", "autoscaler", "broker-ingress", "broker-filter")
    async with running_system(tmp_path, "--network", network, *replaced("queue-proxy", *apps)) as system:
        app = service("app")
        app["spec"]["template"]["metadata"] = {"annotations": {"autoscaling.knative.dev/min-scale": "1"}}
        await apply(system.client, system.kinds, app, "default")
        for name in apps:
            namespace = EVENTING if name.startswith("broker-") else SYSTEM_NAMESPACE
            check_surroundings(name, await told(system, f"app={name}", namespace), network)
        sidecar = await told(system, "serving.knative.dev/service=app", "default", "queue-proxy")
        check_sidecar(sidecar, network)
        for name, ports in (("activator-service", {8012, 8013}), ("autoscaler", {8080})):
            pod = (await told(system, f"app={name.removesuffix('-service')}", SYSTEM_NAMESPACE))["pod"]
            (subset,) = (await system.client.get(Endpoints, name, SYSTEM_NAMESPACE)).subsets
            assert [address.ip for address in subset.addresses] == [pod.status.pod_ip]
            assert {port.port for port in subset.ports} == ports


@NETWORKS
async def test_control_planes_programs_find_what_knatives_own_find(tmp_path: Path, network: str) -> None:
    without = ("--without", "activator,autoscaler,envoy", "--eventing", "none")
    options = replaced("controller", "gateway")
    async with running_system(tmp_path, "--network", network, *without, *options) as system:
        for name in ("controller", "gateway"):
            check_surroundings(name, await told(system, f"app={name}", SYSTEM_NAMESPACE), network)
