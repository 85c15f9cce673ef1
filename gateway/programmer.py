"""What the gateway serves: the translations of all Ingresses, kept as resources for Envoy.

Pure state over look-ups that the caller supplies. An Ingress replaces its own translation; Services and endpoints
refresh the clusters that use them. Two rules keep a route from ever pointing at nothing (spec ingress.md 5.5, 5.6):
clusters nobody uses any more stay offered for a while, because Envoy applies routes and clusters one after the other;
and a translation that is served stays until every backend of the next one has endpoints.

Clusters and endpoints are offered at once. Routes are one resource per face, so they are made by `publish`, once for
all changes before it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

from gateway.translate import (
    EXTERNAL,
    INTERNAL,
    Backend,
    Translation,
    cluster,
    defaulted,
    is_external,
    load_assignment,
    route_configuration,
    translate,
    with_probes,
)
from gateway.validation import problems
from gateway.version_hash import version_hash
from gateway.xds import CLUSTER, ENDPOINTS, ROUTES, Resources
from kube.models.core import Service
from kube.models.discovery import EndpointSlice
from kube.models.networking import Ingress

__all__ = ["Applied", "DomainConflict", "InvalidIngress", "Key", "Programmer"]

Key = tuple[str, str]
"""Namespace and name of an Ingress."""
UNUSED_CLUSTER_S = 15.0


class DomainConflict(Exception):
    """A host of the Ingress is served for another one; the text names both."""


class InvalidIngress(Exception):
    """The Ingress cannot be served as it is written; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an Ingress."""

    has_changed: bool
    """Envoys will have something to fetch for it."""
    waits_for: frozenset[Backend]
    """Its backends without endpoints. While there are any, what was served for it before stays, if there was something."""


class Programmer:
    """All translations. After changes, `publish` makes the routes."""

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
        self._waiting: dict[Key, frozenset[Backend]] = {}
        self._used: dict[Backend, int] = {}
        self._ports: dict[tuple[str, str], set[Backend]] = {}
        """Namespace and name of a Service -> its backends that are used."""
        self._unused_since: dict[Backend, float] = {}
        self._routes_are_stale = True
        self.publish()

    def apply(self, ingress: Ingress, now_s: float) -> Applied:
        """Serve `ingress`.

        Raises `InvalidIngress`, and what was served for it stays; or `DomainConflict`, and nothing of it is served.
        """
        spec = defaulted(ingress.spec)
        if found := problems(spec, ingress.namespace):
            raise InvalidIngress("; ".join(found))
        translation = translate(ingress, with_probes(spec, version_hash(spec, ingress.namespace, ingress.name)))
        for domain in sorted(translation.domains):
            owner = self._owners.get(domain, ingress.key)
            if owner != ingress.key:
                self.remove(ingress.key, now_s)
                raise DomainConflict(f"{domain} is served for {owner[0]}/{owner[1]}")
        absent = frozenset(backend for backend in translation.backends if not self._has_endpoints(backend))
        if absent:
            self._waiting[ingress.key] = absent
        else:
            self._waiting.pop(ingress.key, None)
        previous = self._translations.get(ingress.key)
        if translation == previous or (absent and previous is not None):
            return Applied(has_changed=False, waits_for=absent)
        self._replace(ingress.key, previous or Translation(), translation, now_s)
        return Applied(has_changed=True, waits_for=absent)

    def remove(self, key: Key, now_s: float) -> bool:
        """Serve the Ingress no longer; whether it was."""
        self._waiting.pop(key, None)
        previous = self._translations.get(key)
        if previous is None:
            return False
        self._replace(key, previous, Translation(), now_s)
        del self._translations[key]
        return True

    def publish(self) -> bool:
        """Offer the routes as they are after all changes; whether they differ from those offered before."""
        if not self._routes_are_stale:
            return False
        self._routes_are_stale = False
        translations = self._translations.values()
        external = route_configuration(EXTERNAL, chain.from_iterable(t.external for t in translations))
        internal = route_configuration(INTERNAL, chain.from_iterable(t.internal for t in translations))
        changed = self._resources.put(ROUTES, EXTERNAL, external)
        return self._resources.put(ROUTES, INTERNAL, internal) or changed

    def refresh(self, namespace: str, service: str) -> bool:
        """A Service or its endpoints changed; whether Envoys have something to fetch."""
        changed = False
        for backend in self._ports.get((namespace, service), ()):
            changed |= self._put_backend(backend)
        return changed

    def waiting_for(self, namespace: str, service: str) -> list[Key]:
        """Ingresses that wait for endpoints of the Service; to be applied again when it has some."""
        return [
            key
            for key, absent in self._waiting.items()
            if any((backend.namespace, backend.service) == (namespace, service) for backend in absent)
        ]

    def expire(self, now_s: float) -> bool:
        """Withdraw clusters that have been unused for long enough; whether there were any."""
        expired = [b for b, since_s in self._unused_since.items() if now_s - since_s >= UNUSED_CLUSTER_S]
        for backend in expired:
            del self._unused_since[backend]
            self._resources.remove(CLUSTER, backend.cluster_name)
            self._resources.remove(ENDPOINTS, backend.cluster_name)
        return bool(expired)

    def _replace(self, key: Key, previous: Translation, translation: Translation, now_s: float) -> None:
        self._translations[key] = translation
        for domain in previous.domains - translation.domains:
            del self._owners[domain]
        for domain in translation.domains:
            self._owners[domain] = key
        for backend in translation.backends - previous.backends:
            self._use(backend)
        for backend in previous.backends - translation.backends:
            self._release(backend, now_s)
        self._routes_are_stale = True

    def _use(self, backend: Backend) -> None:
        self._used[backend] = self._used.get(backend, 0) + 1
        self._unused_since.pop(backend, None)
        if self._used[backend] == 1:
            self._ports.setdefault((backend.namespace, backend.service), set()).add(backend)
            self._put_backend(backend)

    def _release(self, backend: Backend, now_s: float) -> None:
        self._used[backend] -= 1
        if not self._used[backend]:
            del self._used[backend]
            self._unused_since[backend] = now_s
            service = (backend.namespace, backend.service)
            self._ports[service].discard(backend)
            if not self._ports[service]:
                del self._ports[service]

    def _has_endpoints(self, backend: Backend) -> bool:
        service = self._service(backend.namespace, backend.service)
        if service is not None and is_external(service):
            return True
        return bool(load_assignment(backend, service, self._slices(backend.namespace, backend.service)).endpoints)

    def _put_backend(self, backend: Backend) -> bool:
        # A Service that is missing gets an empty cluster, so that its route answers 503 and the others are untouched.
        service = self._service(backend.namespace, backend.service)
        assignment = load_assignment(backend, service, self._slices(backend.namespace, backend.service))
        changed = self._resources.put(ENDPOINTS, backend.cluster_name, assignment)
        return self._resources.put(CLUSTER, backend.cluster_name, cluster(backend, service or Service())) or changed
