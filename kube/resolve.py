"""From a cluster host name and a Service port to addresses that can be dialled.

In a cluster DNS and kube-proxy do this, and the answer is the name itself. Where neither exists, as in a local stack
without privileges, `KNUV_SERVICE_RESOLUTION=endpoints` makes the API answer: the Service's port is mapped to the port
of the same name in its Endpoints, or in its EndpointSlices where somebody wrote only those, and the ready addresses are
returned.
"""

from collections.abc import Mapping
from typing import Final

from kube.client import Client
from kube.errors import NotFound
from kube.models.core import Endpoints, Service
from kube.models.discovery import SERVICE_NAME_LABEL, EndpointSlice
from proxies.environment import Environment

__all__ = ["Resolver", "service_of_host"]

_ALIASES_MAX: Final = 4


def service_of_host(host: str, cluster_domain: str) -> tuple[str, str] | None:
    """(namespace, name) of `name.namespace.svc[.cluster-domain]`, or None for any other host."""
    labels = host.rstrip(".").split(".")
    if len(labels) < 3 or labels[2] != "svc":
        return None
    domain = ".".join(labels[3:])
    return (labels[1], labels[0]) if domain in ("", cluster_domain) else None


class Resolver:
    """Resolves cluster names; every call to the API is one small GET, made only when a connection is opened."""

    def __init__(self, client: Client, *, by_endpoints: bool, cluster_domain: str = "cluster.local") -> None:
        self._client = client
        self._by_endpoints = by_endpoints
        self._cluster_domain = cluster_domain

    @classmethod
    def from_env(cls, client: Client, environ: Mapping[str, str]) -> "Resolver":
        """`KNUV_SERVICE_RESOLUTION` is `dns` (default) or `endpoints`; `CLUSTER_DOMAIN` defaults to cluster.local."""
        reading = Environment(environ)
        by_endpoints = reading.choice("KNUV_SERVICE_RESOLUTION", ("dns", "endpoints")) == "endpoints"
        cluster_domain = reading.text("CLUSTER_DOMAIN", "cluster.local")
        reading.finish()
        return cls(client, by_endpoints=by_endpoints, cluster_domain=cluster_domain)

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """Addresses to try, in order; empty when the Service has no ready endpoint. API errors pass through.

        A Service that is another name's (`ExternalName`) is what that name resolves to.
        """
        for _ in range(_ALIASES_MAX):
            alias = await self._addresses(host, port)
            if not isinstance(alias, str):
                return alias
            host = alias
        return []

    async def _addresses(self, host: str, port: int) -> list[tuple[str, int]] | str:
        service_key = service_of_host(host, self._cluster_domain) if self._by_endpoints else None
        if service_key is None:
            return [(host, port)]
        namespace, name = service_key
        try:
            service = await self._client.get(Service, name, namespace)
        except NotFound:
            return []
        if service.spec.type == "ExternalName":
            return service.spec.external_name
        port_name = next((p.name for p in service.spec.ports if p.port == port), None)
        if port_name is None:
            return []
        try:
            endpoints = await self._client.get(Endpoints, name, namespace)
        except NotFound:
            return await self._from_slices(namespace, name, port_name)
        return [
            (address.ip, endpoint_port.port)
            for subset in endpoints.subsets
            for endpoint_port in subset.ports
            if endpoint_port.name == port_name
            for address in subset.addresses
        ]

    async def _from_slices(self, namespace: str, name: str, port_name: str) -> list[tuple[str, int]]:
        slices = await self._client.list(EndpointSlice, namespace, label_selector=f"{SERVICE_NAME_LABEL}={name}")
        return [
            (address, port.port)
            for part in slices.items
            for port in part.ports
            if port.name == port_name
            for endpoint in part.endpoints
            if endpoint.conditions.ready is not False
            for address in endpoint.addresses
        ]
