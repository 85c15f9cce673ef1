"""What all reconcilers share: the kinds they read and write, the settings in force, the clock."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from controller import keys
from controller.collection import Collection
from controller.live_settings import LiveSettings
from controller.settings import Settings
from kube.client import Client
from kube.events import EventRecorder
from kube.models import core, serving
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.meta import Resource
from kube.models.networking import Certificate, ClusterDomainClaim, Ingress, ServerlessService
from proxies.logs import Logger

__all__ = ["Cluster"]

ACTIVATOR_SERVICE = "activator-service"
CONFIGURATION_INDEX = "configuration"
TARGET_INDEX = "target"
LABEL_INDEX = "route"
POD_INDEX = "revision"
ROUTES_INDEX = "routes"
REFERENCE_INDEX = "reference"
CERTIFICATE_INDEX = "owner"
WILDCARD_INDEX = "wildcard"


class Cluster:
    """Local copies of every kind involved, and the settings. `start` returns when all copies are complete."""

    def __init__(
        self,
        client: Client,
        *,
        system_namespace: str = "knative-serving",
        cluster_domain: str = "cluster.local",
        host: str = "",
        log: Logger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.client = client
        self.system_namespace = system_namespace
        self.cluster_domain = cluster_domain
        self.log = log or Logger("controller")
        self.now_s = clock
        self.events = EventRecorder(client, component="controller", clock=clock, host=host, log=log)
        self.services = Collection(client, serving.Service)
        self.configurations = Collection(client, serving.Configuration)
        self.revisions = Collection(client, serving.Revision)
        self.routes = Collection(client, serving.Route)
        self.deployments = Collection(client, Deployment, label_selector=keys.REVISION_UID)
        self.pods = Collection(client, core.Pod, label_selector=keys.REVISION_UID)
        self.pod_autoscalers = Collection(client, PodAutoscaler)
        self.serverless_services = Collection(client, ServerlessService)
        self.ingresses = Collection(client, Ingress)
        self.core_services = Collection(client, core.Service)
        self.endpoints = Collection(client, core.Endpoints)
        self.domain_mappings = Collection(client, serving.DomainMapping)
        self.claims = Collection(client, ClusterDomainClaim)
        self.certificates = Collection(client, Certificate)
        self.namespaces = Collection(client, core.Namespace)
        self.config_maps = Collection(client, core.ConfigMap, namespace=system_namespace)
        self._settings = LiveSettings(
            self.config_maps,
            namespace=system_namespace,
            names=Settings.names(),
            read=lambda maps: Settings.from_maps(maps, cluster_domain),
            log=self.log,
        )
        self.revisions.informer.add_index(CONFIGURATION_INDEX, _configuration_of)
        self.routes.informer.add_index(TARGET_INDEX, _targets_of)
        self.revisions.informer.add_index(ROUTES_INDEX, _routes_of)
        self.configurations.informer.add_index(ROUTES_INDEX, _routes_of)
        self.core_services.informer.add_index(LABEL_INDEX, _route_of)
        self.domain_mappings.informer.add_index(REFERENCE_INDEX, _reference_of)
        self.certificates.informer.add_index(CERTIFICATE_INDEX, _owner_of)
        self.certificates.informer.add_index(WILDCARD_INDEX, _wildcard_of)
        self.pods.informer.add_index(POD_INDEX, _revision_uid_of)

    @property
    def settings(self) -> Settings:
        """What is in force. Only after `start`."""
        return self._settings.current

    def on_settings(self, callback: Callable[[], None]) -> None:
        """Call when any setting changed."""
        self._settings.on_change(callback)

    async def start(self) -> None:
        """Read everything. Raises `InvalidConfig` when a ConfigMap cannot be used."""
        await self._settings.start()
        await asyncio.gather(*(collection.informer.start() for collection in self._collections()))
        await self.events.start()

    async def stop(self) -> None:
        """End all watches."""
        await self.events.stop()
        await asyncio.gather(self._settings.stop(), *(collection.informer.stop() for collection in self._collections()))

    def _collections(self) -> list[Collection[Any]]:
        return [
            self.services,
            self.configurations,
            self.revisions,
            self.routes,
            self.deployments,
            self.pods,
            self.pod_autoscalers,
            self.serverless_services,
            self.ingresses,
            self.core_services,
            self.endpoints,
            self.domain_mappings,
            self.claims,
            self.certificates,
            self.namespaces,
        ]


def _configuration_of(revision: serving.Revision) -> list[str]:
    return [f"{revision.namespace}/{revision.metadata.labels.get(keys.CONFIGURATION, '')}"]


def _targets_of(route: serving.Route) -> list[str]:
    """`kind:namespace/name` of everything that the Route's traffic names, now or wanted."""
    return [
        f"{kind}:{route.namespace}/{name}"
        for target in (*route.spec.traffic, *route.status.traffic)
        for kind, name in (("Configuration", target.configuration_name), ("Revision", target.revision_name))
        if name
    ]


def _routes_of(obj: serving.Revision | serving.Configuration) -> list[str]:
    """`namespace/name` of every Route that is marked on it."""
    return [f"{obj.namespace}/{name}" for name in keys.listed(obj.metadata.annotations.get(keys.ROUTES, ""))]


def _route_of(service: Resource) -> list[str]:
    name = service.metadata.labels.get(keys.ROUTE)
    return [f"{service.namespace}/{name}"] if name else []


def _reference_of(mapping: serving.DomainMapping) -> list[str]:
    """What it leads to, as `reference_key` writes it."""
    ref = mapping.spec.ref
    return [reference_key(ref.api_version, ref.kind, ref.namespace or mapping.namespace, ref.name)]


def reference_key(api_version: str, kind: str, namespace: str, name: str) -> str:
    """An object as DomainMappings refer to it, whatever the version of its API."""
    return f"{api_version.partition('/')[0]} {kind} {namespace}/{name}"


def _owner_of(certificate: Certificate) -> list[str]:
    owner = certificate.metadata.controller()
    return [owner.uid] if owner is not None else []


def _wildcard_of(certificate: Certificate) -> list[str]:
    domain = certificate.metadata.labels.get(keys.WILDCARD_DOMAIN)
    return [f"{certificate.namespace}/{domain}"] if domain else []


def _revision_uid_of(pod: core.Pod) -> list[str]:
    return [pod.metadata.labels.get(keys.REVISION_UID, "")]
