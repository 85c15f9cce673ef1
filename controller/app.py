"""The controller put together: one loop per kind, and which change wakes which object.

Everything is driven by events; the only timers are the steps of a gradual rollout, garbage that grows old, and retries.
`_follow` is the whole map from "this changed" to "that must be looked at".

Of several replicas one acts (`controller.leading`). Who takes over looks at everything.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from controller import keys
from controller.cluster import ACTIVATOR_SERVICE, REFERENCE_INDEX, TARGET_INDEX, Cluster, reference_key
from controller.collection import Collection, Reconciler
from controller.config import Config
from controller.configuration import ConfigurationReconciler
from controller.digests import DigestResolver
from controller.domain_mapping import DomainMappingReconciler
from controller.garbage import GarbageCollector
from controller.labeler import Labeler
from controller.leading import Leading
from controller.namespace_certificates import NamespaceCertificates
from controller.process_metrics import ProcessMetrics
from controller.registry import Registry
from controller.revision import RevisionReconciler
from controller.route import RouteReconciler
from controller.serverless_service import ServerlessServiceReconciler
from controller.service import ServiceReconciler
from controller.settings import InvalidConfig
from kube.client import Client
from kube.events import WARNING
from kube.models.core import Endpoints, Pod
from kube.models.meta import Resource
from kube.models.serving import Configuration, Revision, Route
from kube.reconcile import Loop
from proxies.environment import ConfigError
from proxies.logs import Logger

__all__ = ["App"]

R = TypeVar("R", bound=Resource)
Key = tuple[str, str]

_WORKERS = 8
_ENDPOINT_WORKERS = 32
"""Rewiring a route must not wait behind others that wait for the API."""


class App:
    """One controller. `start` returns when it follows the cluster, and acts if nobody else does.

    Raises `ConfigError` when a ConfigMap cannot be used. `metrics` are those of the process, if others run in it.
    """

    def __init__(self, config: Config, log: Logger | None = None, metrics: ProcessMetrics | None = None) -> None:
        fields = {"pod": config.pod_name} if config.pod_name else {}
        self._log = log or Logger("controller", fields=fields)
        self._client = Client(config.api, user_agent="knuv-controller")
        self._cluster = Cluster(
            self._client,
            system_namespace=config.system_namespace,
            cluster_domain=config.cluster_domain,
            host=config.pod_name,
            log=self._log,
        )
        self._config = config
        self._leading = Leading(
            self._client,
            name="controller",
            namespace=config.system_namespace,
            pod_name=config.pod_name,
            begin=self._start_loops,
            end=self._stop_loops,
            log=self._log,
        )
        self._metrics = metrics or ProcessMetrics()
        cluster = self._cluster
        self._services = self._loop("service", ServiceReconciler(cluster).reconciler())
        self._configurations = self._loop("configuration", ConfigurationReconciler(cluster).reconciler())
        self._registry = Registry()
        self._digests = DigestResolver(self._client, self._registry, wake=lambda key: self._revisions.add(key))
        resolver = self._digests if config.resolves_tags else None
        self._revisions = self._loop("revision", RevisionReconciler(cluster, resolver).reconciler())
        self._routes = self._loop("route", RouteReconciler(cluster).reconciler())
        self._serverless = self._loop(
            "serverlessservice", ServerlessServiceReconciler(cluster).reconciler(), _ENDPOINT_WORKERS
        )
        self._mappings = self._loop("domainmapping", DomainMappingReconciler(cluster).reconciler())
        self._labels = self._plain_loop("labeler", Labeler(cluster))
        self._garbage = self._plain_loop("garbage", GarbageCollector(cluster))
        self._wildcards = self._plain_loop("namespacecertificate", NamespaceCertificates(cluster))
        self._follow()

    async def start(self) -> None:
        """Read the cluster, then act on it."""
        await self._client.open()
        try:
            await self._cluster.start()
        except InvalidConfig as error:
            raise ConfigError([f"ConfigMaps: {error}"]) from error
        await self._start_metrics()
        await self._leading.start(self._cluster.config_maps)
        self._log.info("controller_started", revisions=len(self._cluster.revisions.informer.list()))

    async def drain(self) -> None:
        """Stop acting. What was under way is found half done by the next controller, which takes it from there."""
        await self._leading.drain()

    async def stop(self) -> None:
        """End everything, in any state."""
        await self._leading.stop()
        await self._digests.stop()
        await self._registry.close()
        await self._metrics.stop()
        await self._cluster.stop()
        await self._client.close()

    # Acting.

    async def _start_loops(self) -> None:
        """Look at everything, whatever was noticed before."""
        for loop in self._loops():
            loop.start()
        cluster = self._cluster
        for collection, loops in (
            (cluster.services, (self._services,)),
            (cluster.configurations, (self._configurations, self._garbage)),
            (cluster.revisions, (self._revisions,)),
            (cluster.routes, (self._routes, self._labels)),
            (cluster.serverless_services, (self._serverless,)),
            (cluster.domain_mappings, (self._mappings,)),
            (cluster.namespaces, (self._wildcards,)),
        ):
            for obj in collection.informer.list():
                for loop in loops:
                    loop.add(obj.key)

    async def _stop_loops(self) -> None:
        await asyncio.gather(*(loop.stop() for loop in self._loops()))

    # Set-up.

    async def _start_metrics(self) -> None:
        """Tell how it goes, when that is asked for."""
        cluster = self._cluster
        kinds = cluster.services, cluster.configurations, cluster.revisions, cluster.routes, cluster.domain_mappings
        await self._metrics.start(
            "controller", self._config, cluster.config_maps, loops=self._loops(), kinds=kinds, log=self._log
        )

    def _loop(self, name: str, reconciler: Reconciler[Any], workers: int = _WORKERS) -> Loop[Key]:
        telling = dataclasses.replace(reconciler, on_failure=self._failed)
        return self._plain_loop(name, telling, workers)

    def _plain_loop(
        self, name: str, reconcile: Callable[[Key], Awaitable[float | None]], workers: int = _WORKERS
    ) -> Loop[Key]:
        async def while_leading(key: Key) -> float | None:
            # The clock is asked, not only the Lease's events: a process that was suspended must not act on.
            return await reconcile(key) if self._leading.is_acting() else None

        return Loop(name, while_leading, workers=workers, forgets=True, log=self._log)

    def _failed(self, obj: Resource, error: Exception) -> None:
        self._cluster.events.report(obj, WARNING, "InternalError", str(error))

    def _loops(self) -> Iterable[Loop[Key]]:
        return (
            self._services,
            self._configurations,
            self._revisions,
            self._routes,
            self._serverless,
            self._mappings,
            self._labels,
            self._garbage,
            self._wildcards,
        )

    def _follow(self) -> None:
        """Who is woken by what."""
        cluster = self._cluster
        self._on(cluster.services, self._service_changed)
        self._on(cluster.configurations, self._configuration_changed)
        self._on(cluster.revisions, self._revision_changed)
        self._on(cluster.routes, self._route_changed)
        self._on(cluster.deployments, self._deployment_changed)
        self._on(cluster.pod_autoscalers, lambda obj: self._wake_owner(obj, "Revision", self._revisions))
        self._on(cluster.ingresses, self._ingress_changed)
        self._on(cluster.certificates, self._ingress_changed)
        self._on(cluster.domain_mappings, lambda obj: self._mappings.add(obj.key))
        self._on(cluster.namespaces, lambda obj: self._wildcards.add(obj.key))
        self._on(cluster.claims, self._claim_changed)
        self._on(cluster.serverless_services, lambda obj: self._serverless.add(obj.key))
        self._on(cluster.core_services, self._core_service_changed)
        self._on(cluster.endpoints, self._endpoints_changed)
        cluster.pods.informer.on_change(self._pod_changed)
        cluster.revisions.informer.on_change(
            lambda old, new: self._digests.forget(old.key) if old and not new else None
        )
        cluster.on_settings(self._settings_changed)

    def _on(self, collection: Collection[R], wake: Callable[[R], None]) -> None:
        def changed(old: R | None, new: R | None) -> None:
            if new is not None:
                wake(new)
            # Whom an object belonged to misses it when it is gone, and when it changes hands.
            if old is not None and (new is None or _ties(old) != _ties(new)):
                wake(old)

        collection.informer.on_change(changed)

    # Events.

    def _service_changed(self, service: Resource) -> None:
        self._services.add(service.key)
        self._wake_mappings(service)

    def _ingress_changed(self, obj: Resource) -> None:
        """An Ingress or a Certificate."""
        self._wake_owner(obj, "Route", self._routes)
        self._wake_owner(obj, "DomainMapping", self._mappings)
        if obj.metadata.labels.get(keys.WILDCARD_DOMAIN):
            self._wildcards.add(("", obj.namespace))
            for route in self._cluster.routes.informer.list(obj.namespace):
                self._routes.add(route.key)

    def _claim_changed(self, claim: Resource) -> None:
        for mapping in self._cluster.domain_mappings.informer.list():
            if mapping.name == claim.name:
                self._mappings.add(mapping.key)

    def _wake_mappings(self, target: Resource) -> None:
        key = reference_key(target.api_version, target.kind, target.namespace, target.name)
        for mapping in self._cluster.domain_mappings.informer.by_index(REFERENCE_INDEX, key):
            self._mappings.add(mapping.key)

    def _configuration_changed(self, configuration: Configuration) -> None:
        self._configurations.add(configuration.key)
        self._garbage.add(configuration.key)
        self._wake_owner(configuration, "Service", self._services)
        self._wake_routes("Configuration", configuration.namespace, configuration.name)

    def _revision_changed(self, revision: Revision) -> None:
        self._revisions.add(revision.key)
        self._wake_owner(revision, "Configuration", self._configurations)
        self._wake_owner(revision, "Configuration", self._garbage)
        self._wake_routes("Revision", revision.namespace, revision.name)
        self._wake_routes("Configuration", revision.namespace, revision.metadata.labels.get(keys.CONFIGURATION, ""))

    def _route_changed(self, route: Route) -> None:
        self._routes.add(route.key)
        self._labels.add(route.key)
        self._wake_mappings(route)
        self._wake_owner(route, "Service", self._services)

    def _wake_routes(self, kind: str, namespace: str, name: str) -> None:
        for route in self._cluster.routes.informer.by_index(TARGET_INDEX, f"{kind}:{namespace}/{name}"):
            self._routes.add(route.key)
            self._labels.add(route.key)

    def _deployment_changed(self, deployment: Resource) -> None:
        self._wake_owner(deployment, "Revision", self._revisions)
        # A ServerlessService that came first waits for the Deployment's selector.
        self._serverless.add((deployment.namespace, deployment.metadata.labels.get(keys.REVISION, "")))

    def _core_service_changed(self, service: Resource) -> None:
        self._wake_mappings(service)
        self._wake_owner(service, "Route", self._routes)
        self._wake_owner(service, "ServerlessService", self._serverless)

    def _endpoints_changed(self, endpoints: Endpoints) -> None:
        if endpoints.key == (self._cluster.system_namespace, ACTIVATOR_SERVICE):
            for sks in self._cluster.serverless_services.informer.list():
                self._serverless.add(sks.key)
            return
        sks_name = endpoints.metadata.labels.get(keys.SERVERLESS_SERVICE)
        if sks_name:
            self._serverless.add((endpoints.namespace, sks_name))
        self._wake_owner(endpoints, "Route", self._routes)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A pod that fails says why; one that is fine is heard of through its Deployment."""
        if new is None or new.is_ready() or (old is not None and old.status == new.status):
            return
        self._revisions.add((new.namespace, new.metadata.labels.get(keys.REVISION, "")))

    def _settings_changed(self) -> None:
        cluster = self._cluster
        for collection, loop in (
            (cluster.revisions, self._revisions),
            (cluster.routes, self._routes),
            (cluster.domain_mappings, self._mappings),
            (cluster.configurations, self._garbage),
            (cluster.namespaces, self._wildcards),
        ):
            for obj in collection.informer.list():
                loop.add(obj.key)

    def _wake_owner(self, obj: Resource, kind: str, loop: Loop[Key]) -> None:
        owner = obj.metadata.controller()
        if owner is not None and owner.kind == kind:
            loop.add((obj.namespace, owner.name))


def _ties(obj: Resource) -> object:
    """What says whose an object is."""
    return obj.metadata.owner_references, obj.metadata.labels
