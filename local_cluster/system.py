"""The objects of a Knative installation as the local stack makes them: namespaces, ConfigMaps, the system's pods.

System components are ordinary Deployments in `knative-serving`. So they are probed, restarted, logged and listed like
every other pod, and replacing one by another program is a change of its command.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from local_cluster import originals
from local_cluster.settings import SYSTEM_NAMESPACE

__all__ = [
    "COMPONENTS",
    "MANAGED",
    "PROGRAM",
    "QUEUE_PROXY_IMAGE",
    "SYSTEM_NAMESPACE",
    "Components",
    "SystemLayout",
    "config_maps",
    "namespace_of",
    "namespaces",
    "split_address",
    "workloads",
]

QUEUE_PROXY_IMAGE = "dev.local/knuv/queue-proxy"
INGRESS_CLASS = "knuv.ingress.networking.knative.dev"
COMPONENTS = ("controller", "autoscaler", "activator", "gateway", "envoy")
"""The stack's own pods, in the order in which they are created."""

MANAGED = {"app.kubernetes.io/managed-by": "knuv"}
"""Label of the Deployments that a stack makes for itself, and makes anew when it starts on kept state."""

PYTHON_FLAGS = ("-X", "frozen_modules=on", "-P", "-s")
"""Nothing but the environment's own packages on the path; a shorter path is a faster start."""

PROGRAM = (sys.executable, "-P", "-m")
"""How a component is started. Never one of the same name in the folder that the stack was started in."""

QUEUE_PROXY_COMMAND = (sys.executable, *PYTHON_FLAGS, "-m", "queue_proxy")

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemLayout:
    """Where the parts of one stack are: its subnet, its ports, its files."""

    subnet: IPv4Network
    """The stack's /16 of the loopback network. The first 256 addresses are the stack's own, the rest are pods'."""
    http_host: str
    http_port: int
    state_dir: Path
    envoy: Path
    """Envoy's binary."""
    pods_have_networks: bool = False
    """Each pod has a network of its own, and the in-cluster files, so that a program needs no kubeconfig."""
    domain: str = "127.0.0.1.sslip.io"
    """Suffix of every Route's host name; it resolves to 127.0.0.1 wherever public DNS answers."""

    def address(self, index: int) -> IPv4Address:
        """One of the stack's own addresses."""
        return self.subnet.network_address + index

    @property
    def service_cidr(self) -> IPv4Network:
        """Where ClusterIPs come from: the last sixteenth of the subnet."""
        return list(self.subnet.subnets(new_prefix=20))[-1]

    @property
    def autoscaler_debug(self) -> str:
        """host:port at which the autoscaler shows its decisions."""
        return f"{self.address(3)}:8090"

    @property
    def xds(self) -> str:
        """host:port at which Envoy finds its configuration."""
        return f"{self.address(5)}:18000"

    @property
    def envoy_admin(self) -> str:
        """host:port of Envoy's admin interface."""
        return f"{self.address(6)}:9901"

    @property
    def envoy_internal(self) -> str:
        """host:port of the gateway's cluster-local face."""
        return f"{self.address(6)}:8081"

    @property
    def access_log(self) -> Path:
        """The gateway's access log."""
        return self.state_dir / "logs" / "access.log"

    @property
    def envoy_bootstrap(self) -> Path:
        """Envoy's start configuration."""
        return self.state_dir / "envoy.json"

    def kubeconfig(self, component: str) -> Path:
        """The credentials of one component."""
        return self.state_dir / "kubeconfigs" / component


@dataclass(frozen=True, slots=True)
class Components:
    """Which of the system's programs run, and which are others'."""

    without: frozenset[str] = frozenset()
    """Left out."""
    replaced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name (of `originals.REPLACEABLE`) -> command that runs instead."""
    eventing: str = "none"
    """Where events wait (`local_cluster.eventing.CHANNELS`); `none`: Knative Eventing is left out."""

    @property
    def has_eventing(self) -> bool:
        """Whether a program of Knative Eventing runs, or may have to."""
        return self.eventing != "none" or any(
            namespace_of(name) == originals.EVENTING_NAMESPACE for name in self.replaced
        )

    @property
    def namespaces(self) -> list[str]:
        """Where they run."""
        return [SYSTEM_NAMESPACE, *([originals.EVENTING_NAMESPACE] if self.has_eventing else [])]

    @property
    def accounts(self) -> list[str]:
        """The components that have a service account."""
        return [*COMPONENTS, *(name for name in self.replaced if name.startswith("broker-"))]

    @property
    def awaited(self) -> list[str]:
        """The ones that must become ready, by the label `app` of their pods."""
        return [name for name in self.accounts if name not in self.without]

    @property
    def queue_proxy(self) -> tuple[str, ...]:
        """The command of the sidecar."""
        return tuple(self.replaced.get("queue-proxy", QUEUE_PROXY_COMMAND))


def split_address(address: str) -> tuple[str, int]:
    """`host:port` in two."""
    host, _, port = address.partition(":")
    return host, int(port)


def namespace_of(component: str) -> str:
    """Where a component runs."""
    return originals.EVENTING_NAMESPACE if component.startswith("broker-") else SYSTEM_NAMESPACE


def namespaces(components: Components | None = None) -> list[JsonObject]:
    """What a fresh cluster lacks, with a service account for each component."""
    components = components or Components()
    accounts = [_object("v1", "ServiceAccount", name, namespace_of(name)) for name in components.accounts]
    return [*(_object("v1", "Namespace", name, "") for name in components.namespaces), *accounts]


def config_maps(domain: str, components: Components | None = None) -> list[JsonObject]:
    """Knative's ConfigMaps with its own defaults, but for what a machine without a registry and DNS must set."""
    data: dict[str, dict[str, str]] = {
        "config-autoscaler": {},
        "config-defaults": {},
        "config-deployment": {"queue-sidecar-image": QUEUE_PROXY_IMAGE},
        "config-domain": {domain: ""},
        "config-features": {},
        "config-gc": {},
        "config-leader-election": {},
        "config-logging": {},
        "config-network": {"ingress-class": INGRESS_CLASS},
        "config-observability": {},
    }
    labels = {"app.kubernetes.io/name": SYSTEM_NAMESPACE}
    found = [_object("v1", "ConfigMap", name, SYSTEM_NAMESPACE, labels) | {"data": text} for name, text in data.items()]
    if components is not None and components.has_eventing and components.eventing == "none":
        namespace = originals.EVENTING_NAMESPACE
        found += [_object("v1", "ConfigMap", name, namespace) | {"data": {}} for name in originals.EVENTING_CONFIG_MAPS]
    return found


def workloads(layout: SystemLayout, components: Components) -> list[JsonObject]:
    """Services and Deployments of the system components."""
    found = []
    for manifest in _workloads(layout):
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "Deployment" and name in components.without:
            continue
        if manifest["kind"] == "Deployment" and name in components.replaced:
            manifest = _replaced(layout, name, components.replaced[name])
        found.append(manifest)
    for name in components.replaced:
        if name.startswith("broker-"):
            found.append(_service(name, name, {"http": (80, 8080)}, namespace=originals.EVENTING_NAMESPACE))
            found.append(_replaced(layout, name, components.replaced[name]))
    return found


def _workloads(layout: SystemLayout) -> list[JsonObject]:
    return [
        _service("activator-service", "activator", {"http": (80, 8012), "http2": (81, 8013)}),
        _service("autoscaler", "autoscaler", {"http": (8080, 8080)}),
        *_gateway_internal(layout),
        _deployment(layout, "controller"),
        _deployment(
            layout,
            "autoscaler",
            {"KNUV_DEBUG_ADDRESS": layout.autoscaler_debug},
            readiness={"httpGet": {"port": 8080, "path": "/"}},
        ),
        _deployment(
            layout,
            "activator",
            # Nothing drains slower than its clients here: the gateway is told before the process is.
            {"KNUV_DRAIN_SECONDS": "1"},
            readiness={"httpGet": {"port": 8012, "path": "/"}},
        ),
        _deployment(
            layout,
            "gateway",
            {
                "KNUV_GATEWAY_CLASS": INGRESS_CLASS,
                "KNUV_XDS_ADDRESS": layout.xds,
                "KNUV_GATEWAY_EXTERNAL_ADDRESS": f"{layout.http_host}:{layout.http_port}",
                "KNUV_GATEWAY_INTERNAL_ADDRESS": layout.envoy_internal,
                "KNUV_GATEWAY_ENVOY_ADMIN_ADDRESS": layout.envoy_admin,
                "KNUV_GATEWAY_ACCESS_LOG": str(layout.access_log),
            },
        ),
        _deployment(
            layout,
            "envoy",
            command=[
                *(str(layout.envoy), "-c", str(layout.envoy_bootstrap), "--log-level", "warn"),
                *("--disable-hot-restart", "--concurrency", "1", "--drain-time-s", "1"),
            ],
            readiness={
                "httpGet": {
                    "host": split_address(layout.envoy_admin)[0],
                    "port": split_address(layout.envoy_admin)[1],
                    "path": "/ready",
                }
            },
        ),
    ]


def _deployment(
    layout: SystemLayout,
    name: str,
    env: dict[str, str] | None = None,
    *,
    command: list[str] | None = None,
    readiness: JsonObject | None = None,
) -> JsonObject:
    variables: list[JsonObject] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    fixed = {
        "SYSTEM_NAMESPACE": SYSTEM_NAMESPACE,
        "KUBECONFIG": str(layout.kubeconfig(name)),
        "CLUSTER_DOMAIN": "cluster.local",
        "KNUV_SERVICE_RESOLUTION": "endpoints",
        **(env or {}),
    }
    variables += [{"name": key, "value": value} for key, value in fixed.items()]
    container: JsonObject = {
        "name": name,
        "image": f"dev.local/knuv/{name}",
        "command": command or [*PROGRAM, name],
        "env": variables,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if readiness is not None:
        container["readinessProbe"] = {**readiness, "periodSeconds": 1, "failureThreshold": 3}
    return _deployed(name, SYSTEM_NAMESPACE, container, hostNetwork=layout.pods_have_networks)


def _replaced(layout: SystemLayout, name: str, command: tuple[str, ...]) -> JsonObject:
    kubeconfig = "" if layout.pods_have_networks else str(layout.kubeconfig(name))
    container = originals.container(name, list(command), kubeconfig)
    volumes: list[JsonObject] = []
    if kubeconfig and os.geteuid() == 0:
        # Its token is a volume, so that it has a root of its own, in which the state directory is empty but for this.
        volumes = [{"name": "kubeconfig", "hostPath": {"path": kubeconfig, "type": "File"}}]
        container["volumeMounts"] = [{"name": "kubeconfig", "mountPath": kubeconfig, "readOnly": True}]
    return _deployed(name, namespace_of(name), container, automountServiceAccountToken=True, volumes=volumes)


def _deployed(name: str, namespace: str, container: JsonObject, **spec: Any) -> JsonObject:
    labels = {"app": name}
    pod = {"containers": [container], "serviceAccountName": name, "terminationGracePeriodSeconds": 5, **spec}
    return _object("apps/v1", "Deployment", name, namespace, labels | MANAGED) | {
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
    }


def _gateway_internal(layout: SystemLayout) -> list[JsonObject]:
    """The Service that cluster-local names of Routes lead to: Envoy's internal face."""
    host, port = split_address(layout.envoy_internal)
    ports = [{"name": "http2", "port": 80, "targetPort": port}]
    service = _object("v1", "Service", "gateway-internal", SYSTEM_NAMESPACE) | {"spec": {"ports": ports}}
    subsets = [{"addresses": [{"ip": host}], "ports": [{"name": "http2", "port": port}]}]
    return [service, _object("v1", "Endpoints", "gateway-internal", SYSTEM_NAMESPACE) | {"subsets": subsets}]


def _service(
    name: str, app: str, ports: dict[str, tuple[int, int]], *, namespace: str = SYSTEM_NAMESPACE
) -> JsonObject:
    return _object("v1", "Service", name, namespace, {"app": app}) | {
        "spec": {
            "selector": {"app": app},
            "ports": [{"name": key, "port": port, "targetPort": target} for key, (port, target) in ports.items()],
        }
    }


def _object(api_version: str, kind: str, name: str, namespace: str, labels: dict[str, str] | None = None) -> JsonObject:
    metadata: JsonObject = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
