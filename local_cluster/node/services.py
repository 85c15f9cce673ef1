"""What Services mean on this node: which names they have, and where their addresses lead.

Pure: told about Services and Endpoints, asked by the name server (`dns.py`) and the forwarding (`service_proxy.py`).
Source: Kubernetes DNS-based service discovery specification 1.1; control-plane behaviour of kube-proxy for TCP ports.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kube.models.core import Endpoints, Service

__all__ = ["Found", "ServiceTable"]

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """What a name leads to: addresses, or another name."""

    addresses: tuple[str, ...] = ()
    alias: str = ""


@dataclass(slots=True)
class _Backends:
    """Ready addresses of one Service's port, taken in turn."""

    addresses: list[Address] = field(default_factory=list)
    next: int = 0


class ServiceTable:
    """All Services with their Endpoints. `domain` is the cluster's."""

    def __init__(self, domain: str) -> None:
        self._suffix = f".svc.{domain}"
        self.domain = domain
        self._services: dict[tuple[str, str], Service] = {}
        self._backends: dict[tuple[str, str], dict[str, _Backends]] = {}

    def set_service(self, key: tuple[str, str], service: Service | None) -> None:
        """A Service is there, or gone."""
        if service is None:
            self._services.pop(key, None)
        else:
            self._services[key] = service

    def set_endpoints(self, key: tuple[str, str], endpoints: Endpoints | None) -> None:
        """A Service's Endpoints, or None."""
        ports: dict[str, _Backends] = {}
        for subset in endpoints.subsets if endpoints is not None else ():
            for port in subset.ports:
                backends = ports.setdefault(port.name, _Backends())
                backends.addresses += [(address.ip, port.port) for address in subset.addresses]
        if ports:
            self._backends[key] = ports
        else:
            self._backends.pop(key, None)

    def listeners(self) -> Mapping[Address, tuple[tuple[str, str], str]]:
        """ClusterIP and port -> (the Service's key, its port's name)."""
        return {
            (service.spec.cluster_ip, port.port): (key, port.name)
            for key, service in self._services.items()
            if service.spec.cluster_ip not in ("", "None")
            for port in service.spec.ports
            if port.protocol in ("", "TCP")
        }

    def backend(self, key: tuple[str, str], port_name: str) -> Address | None:
        """The next ready backend of a Service's port, or None."""
        backends = self._backends.get(key, {}).get(port_name)
        if backends is None or not backends.addresses:
            return None
        backends.next = (backends.next + 1) % len(backends.addresses)
        return backends.addresses[backends.next]

    def find(self, name: str) -> Found | None:
        """What a lower-case name without its last dot leads to; None: no such name below the cluster's domain."""
        if not name.endswith(self._suffix):
            return None
        labels = name.removesuffix(self._suffix).split(".")
        if len(labels) < 2:
            return None
        namespace, service_name = labels[-1], labels[-2]
        service = self._services.get((namespace, service_name))
        if service is None:
            return None
        host = labels[:-2]
        if service.spec.type == "ExternalName":
            return Found(alias=service.spec.external_name.rstrip(".").lower()) if not host else None
        ready = self._backends.get((namespace, service_name), {}).values()
        headless = tuple(sorted({ip for backends in ready for ip, _ in backends.addresses}))
        if service.spec.cluster_ip == "None":
            named = tuple(ip for ip in headless if not host or host == [ip.replace(".", "-")])
            return Found(named) if named or not host else None
        return Found((service.spec.cluster_ip,)) if not host and service.spec.cluster_ip else None
