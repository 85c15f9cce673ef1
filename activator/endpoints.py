"""What the activator reads from a revision's objects: addresses, our place among the activators, the cluster address.

Pure. Source: knative/serving `pkg/activator/net/{helpers,throttler}.go`; spec activator.md 8.6 and 9.1.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from activator.objects import Endpoints, Revision, Service
from activator.throttler import Snapshot, index_among
from kube.names import child_name

__all__ = [
    "TLS_CLUSTER_PORT",
    "TLS_PORT",
    "Addresses",
    "activator_addresses",
    "activators_changed",
    "addresses_of",
    "cluster_address_of",
    "join_address",
    "port_name_of",
    "private_service_name",
    "split_address",
    "trusts_not_ready",
]


TLS_PORT: Final = 8112
"""Ours, and that of every queue-proxy (spec activator.md 7.1)."""
TLS_CLUSTER_PORT: Final = 443
"""Of private Services."""


_NOBODY: Final[frozenset[str]] = frozenset()
"""An empty set takes as much as one of eight, and most revisions have one or two of them."""


class Addresses(NamedTuple):
    """Pods of a revision as `ip:port`, by what Kubernetes says of them."""

    ready: frozenset[str] = _NOBODY
    not_ready: frozenset[str] = _NOBODY


def port_name_of(revision: Revision) -> str:
    """Return the name of the port that leads to the revision's pods; ports are found by name, never by number."""
    ports = next((container.ports for container in revision.spec.containers if container.ports), None)
    return "http2" if ports is not None and ports[0].name == "h2c" else "http"


def addresses_of(endpoints: Endpoints | None, port_name: str) -> Addresses:
    """Return the addresses behind the port of that name. An address in both lists is ready."""
    ready: set[str] = set()
    not_ready: set[str] = set()
    for subset in endpoints.subsets if endpoints is not None else ():
        for port in subset.ports:
            if port.name == port_name:
                ready.update(join_address(address.ip, port.port) for address in subset.addresses)
                not_ready.update(join_address(address.ip, port.port) for address in subset.not_ready_addresses)
                break
    return Addresses(frozenset(ready) or _NOBODY, frozenset(not_ready - ready) or _NOBODY)


def activators_changed(snapshot: Snapshot, activators: Sequence[str], own: str) -> Snapshot:
    """Return `snapshot` with our place among `activators`, their addresses in any order.

    While we are not among them nothing changes, not even what is out of date: that is also the case while the public
    Endpoints list pods.
    """
    index = index_among(sorted(activators), own)
    if index < 0:
        return snapshot
    return replace(snapshot, activator_index=index, activator_count=len(activators))


def activator_addresses(endpoints: Endpoints, port_name: str) -> list[str]:
    """Return the ready addresses of the public Endpoints, without ports."""
    return [
        address.ip
        for subset in endpoints.subsets
        if any(port.name == port_name for port in subset.ports)
        for address in subset.addresses
    ]


def cluster_address_of(service: Service | None, port_name: str) -> str:
    """Return the `ip:port` of the private Service; empty when there is none."""
    if service is None or service.spec.cluster_ip in ("", "None"):
        return ""
    port = next((port.port for port in service.spec.ports if port.name == port_name), None)
    return "" if port is None else join_address(service.spec.cluster_ip, port)


def private_service_name(revision: str) -> str:
    """Return the name of the Service that leads to the revision's pods and nowhere else."""
    return child_name(revision, "-private")


def trusts_not_ready(revision: Revision) -> bool:
    """Whether a passed probe is enough for a pod that Kubernetes does not call ready.

    It is, unless there are checks that queue-proxy does not make: an exec readiness probe of the serving container, or
    a startup probe of any (spec 9.4).
    """
    containers = revision.spec.containers
    if any(container.startup_probe is not None for container in containers):
        return False
    serving = next((container for container in containers if container.ports), None)
    if serving is None and len(containers) == 1:
        serving = containers[0]
    readiness = serving.readiness_probe if serving is not None else None
    return readiness is None or readiness.exec is None


def join_address(host: str, port: int) -> str:
    """Return `host:port`, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Undo `join_address`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
