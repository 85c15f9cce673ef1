"""What the gateway serves: the translations of all Ingresses, kept as resources for Envoy.

Pure state over look-ups that the caller supplies. An Ingress replaces its own translation; Services and endpoints
refresh the clusters that use them. A change costs what changed: the routes of a face, which are one resource, are put
together when they are about to be sent and not before (`Resources.compose`).

Clusters nobody uses any more stay offered for a while, because Envoy applies routes and clusters one after the other,
and a route must never point at nothing (spec ingress.md 5.6). An Ingress that would lead to somebody who is not there
keeps what it had, for the same reason (5.5).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gateway.certificates import Certificates, InvalidCertificate
from gateway.checks import check
from gateway.clusters import Backend, cluster, load_assignment, static_cluster
from gateway.faces import FACES, INTERNAL
from gateway.translate import (
    HEALTH_CLUSTER,
    HEALTH_HOST,
    Translation,
    health_host,
    route_configuration,
    speaks_http1_only,
    translate,
)
from gateway.trust import Trust
from gateway.xds import CLUSTER, ENDPOINTS, ROUTES, Resources
from kube.addresses import Address
from kube.ingress.spec import defaulted, with_probes
from kube.ingress.version_hash import version_hash
from kube.models.core import Service
from kube.models.discovery import EndpointSlice
from kube.models.networking import Ingress

__all__ = ["DomainConflict", "Programmer"]

Key = tuple[str, str]
UNUSED_CLUSTER_S = 15.0


class DomainConflict(Exception):
    """A host of the Ingress is served for another one; `args[0]` names both."""


class _Applied(NamedTuple):
    """Which state of an Ingress is served."""

    uid: str
    generation: int
    is_http1: bool
    trust: Trust | None
    labels: Mapping[str, str] | None
    """What whoever decides about requests is told; None when nobody does."""
    is_secured: bool


class Programmer:
    """All translations. Every method returns whether Envoys have something new to fetch.

    `faces`: names of Services that mean a face of this gateway, and where that is. `envoy_admin`: where Envoy answers
    for its own readiness, which the internal face passes on (5.7). `trust`: whom to believe, when TLS is spoken to
    backends; None when it is not.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        service: Callable[[str, str], Service | None],
        slices: Callable[[str, str], Iterable[EndpointSlice]],
        faces: Mapping[str, Address] | None = None,
        certificates: Certificates | None = None,
        envoy_admin: Address | None = None,
        trust: Callable[[], Trust | None] = lambda: None,
    ) -> None:
        self._resources = resources
        self._service = service
        self._slices = slices
        self._own_faces = faces or {}
        self._certificates = certificates
        self._trust = trust
        self.is_authorized = False
        """Whether somebody decides about requests; whoever changes it applies every Ingress again."""
        self.is_secured = False
        """Whether there is a certificate for public names without one of their own; likewise."""
        self._trusted: Trust | None = None
        """Whom backends are believed by as of the last time that this could be told."""
        self._translations: dict[Key, Translation] = {}
        self._applied: dict[Key, _Applied] = {}
        self._hosts: dict[str, dict[str, bytes]] = {face: {} for face in FACES}
        self._stale = set(FACES)
        self._owners: dict[str, Key] = {}
        self._used: dict[Backend, set[Key]] = {}
        self._by_service: dict[Key, set[Backend]] = {}
        self._unused_since: dict[Backend, float] = {}
        self._held_back: dict[Key, frozenset[Key]] = {}
        if envoy_admin is not None:
            resources.put(CLUSTER, HEALTH_CLUSTER, static_cluster(HEALTH_CLUSTER, envoy_admin))
            self._hosts[INTERNAL][HEALTH_HOST] = health_host()
            self._owners[HEALTH_HOST] = ("", "the gateway's own health")
        resources.compose(ROUTES, self._compose)

    def apply(self, ingress: Ingress, now_s: float, *, is_restored: bool = False) -> bool:
        """Serve `ingress`. `is_restored`: it may have been served before a restart, which has lost its certificates:
        without any that can be used, its plain faces go on.

        Raises `DomainConflict`, and then serves nothing of it; `InvalidIngress`, `InvalidCertificate` or
        `InvalidTrust`, and then it is served as it was before.
        """
        trust = self._trusted = self._trust()
        meta = ingress.metadata
        labels = dict(meta.labels) if self.is_authorized else None
        state = _Applied(meta.uid, meta.generation, speaks_http1_only(ingress), trust, labels, self.is_secured)
        # A generation says that the spec is the same only where the API counts it.
        if state.generation and self._applied.get(ingress.key) == state:
            return False
        spec = defaulted(ingress.spec)
        check(spec)
        version = version_hash(spec, ingress.namespace, ingress.name)
        translation = translate(
            ingress,
            with_probes(spec, version),
            is_secure=trust is not None,
            is_authorized=self.is_authorized,
            is_secured=self.is_secured,
        )
        for domain in sorted(translation.domains):
            owner = self._owners.get(domain, ingress.key)
            if owner != ingress.key:
                self.remove(ingress.key, now_s)
                raise DomainConflict(f"{domain} is served for {owner[0]}/{owner[1]}", domain)
        if self._certificates is not None:
            try:
                self._certificates.check(translation.certificates)
            except InvalidCertificate:
                if is_restored:
                    self._replace(ingress.key, translation.without_tls(), Translation(), now_s)
                raise
        previous = self._translations.get(ingress.key)
        if previous is not None and self._leads_to_nobody(ingress.key, translation, previous):
            return False
        self._held_back.pop(ingress.key, None)
        self._applied[ingress.key] = state
        return self._replace(ingress.key, translation, previous or Translation(), now_s)

    def remove(self, key: Key, now_s: float) -> bool:
        """Serve the Ingress no longer."""
        self._applied.pop(key, None)
        self._held_back.pop(key, None)
        previous = self._translations.get(key)
        return previous is not None and self._replace(key, None, previous, now_s)

    def refresh(self, namespace: str, service: str) -> bool:
        """A Service or its endpoints changed."""
        changed = False
        for backend in self._by_service.get((namespace, service), ()):
            changed |= self._put_backend(backend)
        return changed

    def refresh_trust(self) -> bool:
        """Others are believed from now on. Raises `InvalidTrust`."""
        self._trusted = self._trust()
        changed = False
        for backend in [backend for backend in self._used if backend.is_tls]:
            changed |= self._put_backend(backend)
        return changed

    def refresh_certificate(self, namespace: str, secret: str) -> bool:
        """A Secret changed."""
        return self._certificates is not None and self._certificates.refresh(namespace, secret)

    def waiting_for(self, namespace: str, service: str) -> list[Key]:
        """Ingresses that would be served otherwise if this Service had endpoints."""
        return [key for key, services in self._held_back.items() if (namespace, service) in services]

    def users_of(self, namespace: str, service: str) -> set[Key]:
        """Ingresses that lead to the Service."""
        backends = self._by_service.get((namespace, service), ())
        return {key for backend in backends for key in self._used.get(backend, ())}

    def is_owned(self, domain: str) -> bool:
        """Whether some Ingress has the host."""
        return domain in self._owners

    @property
    def ingress_count(self) -> int:
        """How many Ingresses are translated."""
        return len(self._translations)

    @property
    def backend_count(self) -> int:
        """How many backends are offered, those included that are about to go."""
        return len(self._used) + len(self._unused_since)

    def host_counts(self) -> dict[str, int]:
        """Virtual hosts of each face."""
        return {face: len(hosts) for face, hosts in self._hosts.items()}

    def expire(self, now_s: float) -> bool:
        """Withdraw clusters that have been unused for long enough."""
        expired = [b for b, since_s in self._unused_since.items() if now_s - since_s >= UNUSED_CLUSTER_S]
        for backend in expired:
            del self._unused_since[backend]
            self._forget(backend)
            self._resources.remove(CLUSTER, backend.cluster_name)
            self._resources.remove(ENDPOINTS, backend.cluster_name)
        return bool(expired)

    # Parts of a change.

    def _replace(self, key: Key, translation: Translation | None, previous: Translation, now_s: float) -> bool:
        wanted = translation or Translation()
        if translation is None:
            self._translations.pop(key, None)
        else:
            self._translations[key] = translation
        for domain in previous.domains - wanted.domains:
            del self._owners[domain]
        for domain in wanted.domains:
            self._owners[domain] = key
        changed = self._count(key, wanted.backends, previous.backends, now_s)
        for face in FACES:
            changed |= self._put_hosts(face, wanted.faces.get(face, {}), previous.faces.get(face, {}))
        if self._certificates is not None:
            changed |= self._certificates.replace(key, wanted.certificates)
        return changed

    def _put_hosts(self, face: str, wanted: Mapping[str, bytes], previous: Mapping[str, bytes]) -> bool:
        if wanted == previous:
            return False
        hosts = self._hosts[face]
        for host in previous.keys() - wanted.keys():
            del hosts[host]
        hosts.update(wanted)
        self._stale.add(face)
        self._resources.touch(ROUTES)
        return True

    def _compose(self) -> None:
        """Put the routes of the faces that changed together."""
        for face in sorted(self._stale):
            self._resources.put_bytes(ROUTES, face, route_configuration(face, self._hosts[face]))
        self._stale.clear()

    def _count(self, key: Key, wanted: frozenset[Backend], previous: frozenset[Backend], now_s: float) -> bool:
        changed = False
        for backend in wanted - previous:
            users = self._used.setdefault(backend, set())
            users.add(key)
            if len(users) == 1:
                self._unused_since.pop(backend, None)
                self._by_service.setdefault((backend.namespace, backend.service), set()).add(backend)
                changed |= self._put_backend(backend)
        for backend in previous - wanted:
            users = self._used[backend]
            users.discard(key)
            if not users:
                del self._used[backend]
                self._unused_since[backend] = now_s
        return changed

    def _forget(self, backend: Backend) -> None:
        service = (backend.namespace, backend.service)
        of_service = self._by_service[service]
        of_service.discard(backend)
        if not of_service:
            del self._by_service[service]

    def _leads_to_nobody(self, key: Key, wanted: Translation, previous: Translation) -> bool:
        """Whether some backend that comes new has no ready address; then the Ingress waits for it as it was."""
        absent = frozenset(
            (backend.namespace, backend.service)
            for backend in wanted.backends - previous.backends
            if not self._has_addresses(backend)
        )
        if absent:
            self._held_back[key] = absent
        return bool(absent)

    def _has_addresses(self, backend: Backend) -> bool:
        service = self._service(backend.namespace, backend.service)
        if service is not None and service.spec.type == "ExternalName":
            return True
        slices = self._slices(backend.namespace, backend.service)
        return bool(load_assignment(backend, service, slices).endpoints)

    def _put_backend(self, backend: Backend) -> bool:
        # A Service that is missing gets an empty cluster, so that its route answers 503 and the others are untouched.
        service = self._service(backend.namespace, backend.service)
        assignment = load_assignment(backend, service, self._slices(backend.namespace, backend.service))
        changed = self._resources.put(ENDPOINTS, backend.cluster_name, assignment)
        made = cluster(backend, service or Service(), self._own_faces, self._trusted)
        return self._resources.put(CLUSTER, backend.cluster_name, made) or changed
