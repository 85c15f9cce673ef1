"""What a Knative pod is told differently when it shares the machine's network with all other pods.

In a cluster every pod has a network of its own, so every user container listens on the same port. Here all processes
share one network. Fixed ports of our own programs, queue-proxy's among them, are kept apart by the address: they bind
the pod's (`KNUV_BIND_ADDRESS`). A user's program binds 127.0.0.1 or every address, which we cannot change; so the port
is what must differ. It gets a free one as `$PORT`, which Knative's contract asks it to obey, and everything that names
the declared port is changed along: queue-proxy's `USER_PORT` and `SERVING_READINESS_PROBE`, and the kubelet's own
probes of that container.

A program that ignores `$PORT` works until a second pod needs the same port.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kube.models.core import Container, Pod

__all__ = ["QUEUE_PROXY", "PortRewrite", "rewrite_ports"]

QUEUE_PROXY = "queue-proxy"
"""Name of Knative's sidecar container; a pod that has it is a revision's."""
_USER_PORT_NAME = "user-port"
_DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True)
class PortRewrite:
    """The differences for one pod."""

    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Container name -> variables that replace or join those of the pod's spec."""
    serving_container: str = ""
    declared_port: int = 0
    port: int = 0
    """The port that stands for `declared_port`; 0 when the pod has no serving container."""

    def probe_address(self, container: str, pod_ip: str, port: int) -> tuple[str, int]:
        """Where a probe of `container` at `port` goes: the pod's address unless the port was replaced."""
        if self.port and container == self.serving_container and port == self.declared_port:
            return "127.0.0.1", self.port
        return pod_ip, port


def rewrite_ports(pod: Pod, pod_ip: str, take_port: Callable[[], int]) -> PortRewrite:
    """Decide the differences for `pod`; `take_port` is called at most once, and the caller gives that port back."""
    containers = pod.spec.containers
    queue_proxy = next((c for c in containers if c.name == QUEUE_PROXY), None)
    everyone = {"KNUV_BIND_ADDRESS": pod_ip}
    if queue_proxy is None:
        return PortRewrite({c.name: everyone for c in (*pod.spec.init_containers, *containers)})
    serving = _serving_container(containers)
    if serving is None:
        return PortRewrite({QUEUE_PROXY: everyone})
    declared = serving.ports[0].container_port if serving.ports else _DEFAULT_PORT
    port = take_port()
    env = {serving.name: {"PORT": str(port)}, QUEUE_PROXY: everyone | {"USER_PORT": str(port)}}
    readiness = next((v.value for v in queue_proxy.env if v.name == "SERVING_READINESS_PROBE"), "")
    if readiness:
        env[QUEUE_PROXY]["SERVING_READINESS_PROBE"] = _with_port(readiness, declared, port)
    return PortRewrite(env, serving.name, declared, port)


def _serving_container(containers: list[Container]) -> Container | None:
    """The user container that gets the traffic: it alone declares a port (spec control-plane.md 6.6)."""
    users = [c for c in containers if c.name != QUEUE_PROXY]
    named = (c for c in users if any(port.name == _USER_PORT_NAME for port in c.ports))
    return next(named, None) or next((c for c in users if c.ports), users[0] if users else None)


def _with_port(readiness: str, declared: int, port: int) -> str:
    """The probe text (one probe or a list, spec queue-proxy.md 13.1) with `declared` replaced by `port`."""
    try:
        probes = json.loads(readiness)
    except ValueError:
        return readiness  # queue-proxy itself reports what is wrong with it
    for probe in probes if isinstance(probes, list) else [probes]:
        if not isinstance(probe, dict):
            continue
        for kind in ("httpGet", "tcpSocket", "grpc"):
            handler: dict[str, Any] | None = probe.get(kind)
            if isinstance(handler, dict) and handler.get("port") in (declared, str(declared)):
                handler["port"] = port
    return json.dumps(probes, separators=(",", ":"))
