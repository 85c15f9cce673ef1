"""The controller put together: one loop per kind, and which change wakes which object.

Everything is driven by events; the only timers are the steps of a gradual rollout and retries. `_follow` is the whole
map from "this changed" to "that must be looked at".
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from controller import keys
from controller.cluster import ACTIVATOR_SERVICE, TARGET_INDEX, Cluster
from controller.collection import Collection, Reconciler
from controller.config import Config
from controller.configuration import ConfigurationReconciler
from controller.labeler import Labeler
from controller.revision import RevisionReconciler
from controller.route import RouteReconciler
from controller.serverless_service import ServerlessServiceReconciler
from controller.service import ServiceReconciler
from controller.settings import InvalidConfig
from kube.client import Client
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
    """One controller. `start` returns when it follows the cluster; `ConfigError` when a ConfigMap cannot be used.

    One replica acts. Several would need a lease around `_start_loops`; reading goes on without it.
    """

    def __init__(self, config: Config, log: Logger | None = None) -> None:
        fields = {"pod": config.pod_name} if config.pod_name else {}
        self._log = log or Logger("controller", fields=fields)
        self._client = Client(config.api, user_agent="knuv-controller")
        self._cluster = Cluster(
            self._client,
            system_namespace=config.system_namespace,
            cluster_domain=config.cluster_domain,
            log=self._log,
        )
        self._services = self._loop("service", ServiceReconciler(self._cluster).reconciler())
        self._configurations = self._loop("configuration", ConfigurationReconciler(self._cluster).reconciler())
        self._revisions = self._loop("revision", RevisionReconciler(self._cluster).reconciler())
        self._routes = self._loop("route", RouteReconciler(self._cluster).reconciler())
        self._serverless = self._loop(
            "serverlessservice", ServerlessServiceReconciler(self._cluster).reconciler(), _ENDPOINT_WORKERS
        )
        self._labels: Loop[Key] = Loop("labeler", Labeler(self._cluster), workers=_WORKERS, log=self._log)
        self._follow()

    async def start(self) -> None:
        """Read the cluster, then act on it."""
        await self._client.open()
        try:
            await self._cluster.start()
        except InvalidConfig as error:
            raise ConfigError([f"ConfigMaps: {error}"]) from error
        self._start_loops()
        self._log.info("controller_started", revisions=len(self._cluster.revisions.informer.list()))

    async def drain(self) -> None:
        """Stop acting. What was under way is found half done by the next controller, which takes it from there."""
        for loop in self._loops():
            await loop.stop()

    async def stop(self) -> None:
        """End everything, in any state."""
        await self.drain()
        await self._cluster.stop()
        await self._client.close()

    # Set-up.

    def _loop(self, name: str, reconciler: Reconciler[Any], workers: int = _WORKERS) -> Loop[Key]:
        return Loop(name, reconciler, workers=workers, log=self._log)

    def _loops(self) -> Iterable[Loop[Key]]:
        return (self._services, self._configurations, self._revisions, self._routes, self._serverless, self._labels)

    def _start_loops(self) -> None:
        for loop in self._loops():
            loop.start()

    def _follow(self) -> None:
        """Who is woken by what."""
        cluster = self._cluster
        self._on(cluster.services, lambda obj: self._services.add(obj.key))
        self._on(cluster.configurations, self._configuration_changed)
        self._on(cluster.revisions, self._revision_changed)
        self._on(cluster.routes, self._route_changed)
        self._on(cluster.deployments, self._deployment_changed)
        self._on(cluster.pod_autoscalers, lambda obj: self._wake_owner(obj, "Revision", self._revisions))
        self._on(cluster.ingresses, lambda obj: self._wake_owner(obj, "Route", self._routes))
        self._on(cluster.serverless_services, lambda obj: self._serverless.add(obj.key))
        self._on(cluster.core_services, self._core_service_changed)
        self._on(cluster.endpoints, self._endpoints_changed)
        cluster.pods.informer.on_change(self._pod_changed)
        cluster.on_settings(self._settings_changed)

    def _on(self, collection: Collection[R], wake: Callable[[R], None]) -> None:
        def changed(old: R | None, new: R | None) -> None:
            obj = new or old
            if obj is not None:
                wake(obj)

        collection.informer.on_change(changed)

    # Events.

    def _configuration_changed(self, configuration: Configuration) -> None:
        self._configurations.add(configuration.key)
        self._wake_owner(configuration, "Service", self._services)
        self._wake_routes("Configuration", configuration.namespace, configuration.name)

    def _revision_changed(self, revision: Revision) -> None:
        self._revisions.add(revision.key)
        self._wake_owner(revision, "Configuration", self._configurations)
        self._wake_routes("Revision", revision.namespace, revision.name)
        self._wake_routes("Configuration", revision.namespace, revision.metadata.labels.get(keys.CONFIGURATION, ""))

    def _route_changed(self, route: Route) -> None:
        self._routes.add(route.key)
        self._labels.add(route.key)
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
        for revision in self._cluster.revisions.informer.list():
            self._revisions.add(revision.key)
        for route in self._cluster.routes.informer.list():
            self._routes.add(route.key)

    def _wake_owner(self, obj: Resource, kind: str, loop: Loop[Key]) -> None:
        owner = obj.metadata.controller()
        if owner is not None and owner.kind == kind:
            loop.add((obj.namespace, owner.name))
