"""What the gateway serves: the translations of all Ingresses, kept as resources for Envoy.

Pure state over look-ups that the caller supplies. An Ingress replaces its own translation; Services and endpoints
refresh the clusters that use them. Clusters nobody uses any more stay offered for a while, because Envoy applies routes
and clusters one after the other, and a route must never point at nothing (spec ingress.md 5.6).
"""

from collections.abc import Callable, Iterable
from itertools import chain

from gateway.translate import (
    EXTERNAL,
    INTERNAL,
    Backend,
    Translation,
    cluster,
    defaulted,
    load_assignment,
    route_configuration,
    translate,
    with_probes,
)
from gateway.version_hash import version_hash
from gateway.xds import CLUSTER, ENDPOINTS, ROUTES, Resources
from kube.models.core import Service
from kube.models.discovery import EndpointSlice
from kube.models.networking import Ingress

__all__ = ["DomainConflict", "Programmer"]

Key = tuple[str, str]
UNUSED_CLUSTER_S = 15.0


class DomainConflict(Exception):
    """A host of the Ingress is served for another one; `args[0]` names both."""


class Programmer:
    """All translations. Every method returns whether Envoys have something new to fetch."""

    def __init__(
        self,
        resources: Resources,
        *,
        service: Callable[[str, str], Service | None],
        slices: Callable[[str, str], Iterable[EndpointSlice]],
    ) -> None:
        self._resources = resources
        self._service = service
        self._slices = slices
        self._translations: dict[Key, Translation] = {}
        self._owners: dict[str, Key] = {}
        self._used: dict[Backend, int] = {}
        self._unused_since: dict[Backend, float] = {}
        self._put_routes()

    def apply(self, ingress: Ingress, now_s: float) -> bool:
        """Serve `ingress`. Raises `DomainConflict`, and then serves nothing of it."""
        spec = defaulted(ingress.spec)
        version = version_hash(spec, ingress.namespace, ingress.name)
        translation = translate(ingress, with_probes(spec, version))
        for domain in sorted(translation.domains):
            owner = self._owners.get(domain, ingress.key)
            if owner != ingress.key:
                self.remove(ingress.key, now_s)
                raise DomainConflict(f"{domain} is served for {owner[0]}/{owner[1]}")
        previous = self._translations.get(ingress.key, Translation())
        self._translations[ingress.key] = translation
        for domain in previous.domains - translation.domains:
            del self._owners[domain]
        for domain in translation.domains:
            self._owners[domain] = ingress.key
        changed = self._count(translation.backends, previous.backends, now_s)
        return self._put_routes() or changed

    def remove(self, key: Key, now_s: float) -> bool:
        """Serve the Ingress no longer."""
        previous = self._translations.pop(key, None)
        if previous is None:
            return False
        for domain in previous.domains:
            del self._owners[domain]
        self._count(frozenset(), previous.backends, now_s)
        return self._put_routes()

    def refresh(self, namespace: str, service: str) -> bool:
        """A Service or its endpoints changed."""
        changed = False
        for backend in self._used:
            if (backend.namespace, backend.service) == (namespace, service):
                changed |= self._put_backend(backend)
        return changed

    def expire(self, now_s: float) -> bool:
        """Withdraw clusters that have been unused for long enough."""
        expired = [b for b, since_s in self._unused_since.items() if now_s - since_s >= UNUSED_CLUSTER_S]
        for backend in expired:
            del self._unused_since[backend]
            self._resources.remove(CLUSTER, backend.cluster_name)
            self._resources.remove(ENDPOINTS, backend.cluster_name)
        return bool(expired)

    def _count(self, added: Iterable[Backend], removed: Iterable[Backend], now_s: float) -> bool:
        changed = False
        for backend in added:
            self._used[backend] = self._used.get(backend, 0) + 1
            self._unused_since.pop(backend, None)
            if self._used[backend] == 1:
                changed |= self._put_backend(backend)
        for backend in removed:
            self._used[backend] -= 1
            if not self._used[backend]:
                del self._used[backend]
                self._unused_since[backend] = now_s
        return changed

    def _put_backend(self, backend: Backend) -> bool:
        # A Service that is missing gets an empty cluster, so that its route answers 503 and the others are untouched.
        service = self._service(backend.namespace, backend.service)
        assignment = load_assignment(backend, service, self._slices(backend.namespace, backend.service))
        changed = self._resources.put(ENDPOINTS, backend.cluster_name, assignment)
        return self._resources.put(CLUSTER, backend.cluster_name, cluster(backend, service or Service())) or changed

    def _put_routes(self) -> bool:
        translations = self._translations.values()
        external = route_configuration(EXTERNAL, chain.from_iterable(t.external for t in translations))
        internal = route_configuration(INTERNAL, chain.from_iterable(t.internal for t in translations))
        changed = self._resources.put(ROUTES, EXTERNAL, external)
        return self._resources.put(ROUTES, INTERNAL, internal) or changed
