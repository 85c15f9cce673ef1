"""What the reconcilers of eventing see of the cluster: local copies, settings, references."""

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from controller.collection import Collection
from controller.eventing import keys
from controller.eventing.channel_templates import is_channel_kind
from controller.eventing.ducks import AddressableDuck, ChannelDuck, Ducks
from controller.eventing.resolving import References
from controller.eventing.settings import EventingSettings
from controller.eventing.sources.collections import SourceCollections
from controller.live_settings import LiveSettings
from kube.client import Client
from kube.events import EventRecorder
from kube.models import core, eventing, flows, messaging, sinks
from kube.models.apps import Deployment
from kube.models.eventpolicy import EventPolicy
from kube.models.meta import Resource
from proxies.logs import Logger

__all__ = ["CA_KEY", "EventingCluster"]

_SEEN_S = 600.0
"""How long what was there is taken to be there."""
_SEEN_MAX = 20_000

CA_KEY = "ca.crt"
"""In the Secret of a TLS server: who signed its certificate."""


class Seen:
    """Objects that are not followed, and were there a while ago. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at_s: OrderedDict[tuple[str, str], float] = OrderedDict()

    def note(self, key: tuple[str, str]) -> None:
        """It is there now."""
        self._at_s.pop(key, None)
        self._at_s[key] = self._clock()
        if len(self._at_s) > _SEEN_MAX:
            self._at_s.popitem(last=False)

    def is_known(self, key: tuple[str, str]) -> bool:
        """Whether it need not be looked for."""
        return 0 <= self._clock() - self._at_s.get(key, -_SEEN_S) < _SEEN_S


class EventingCluster:
    """Local copies of every kind involved, and the settings. `start` returns when all copies are complete."""

    def __init__(
        self,
        client: Client,
        *,
        system_namespace: str = "knative-eventing",
        cluster_domain: str = "cluster.local",
        host: str = "",
        log: Logger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.client = client
        self.system_namespace = system_namespace
        self.cluster_domain = cluster_domain
        self.log = log or Logger("eventing-controller")
        self.now_s = clock
        self.events = EventRecorder(client, component="eventing-controller", clock=clock, host=host, log=log)
        self.brokers = Collection(client, eventing.Broker)
        self.triggers = Collection(client, eventing.Trigger)
        self.event_types = Collection(client, eventing.EventType)
        self.event_policies = Collection(client, EventPolicy)
        self.channels = Collection(client, messaging.Channel)
        self.in_memory_channels = Collection(client, messaging.InMemoryChannel)
        self.jetstream_channels = Collection(client, messaging.NatsJetStreamChannel)
        self.subscriptions = Collection(client, messaging.Subscription)
        self.sequences = Collection(client, flows.Sequence)
        self.parallels = Collection(client, flows.Parallel)
        self.job_sinks = Collection(client, sinks.JobSink)
        self.sources = SourceCollections(client)
        self.services = Collection(client, core.Service)
        self.dispatcher_endpoints = Collection(
            client, core.Endpoints, field_selector=f"metadata.name={keys.IMC_DISPATCHER}"
        )
        """Of InMemoryChannels, which may have dispatchers in their own namespaces."""
        self.endpoints = Collection(client, core.Endpoints, namespace=system_namespace)
        self.deployments = Collection(client, Deployment, namespace=system_namespace)
        self.secrets = Collection(client, core.Secret, namespace=system_namespace)
        self.accounts = Seen(clock)
        """Identities that were there when they were looked for."""
        self._told: dict[str, str] = {}
        """Secrets that cannot be used: the version of which that was said."""
        self.config_maps = Collection(client, core.ConfigMap)
        self._settings = LiveSettings(
            self.config_maps,
            namespace=system_namespace,
            names=EventingSettings.names(),
            read=EventingSettings.from_maps,
            log=self.log,
        )
        self.guarded: list[Collection[Any]] = [
            self.brokers,
            self.channels,
            self.in_memory_channels,
            self.jetstream_channels,
            self.sequences,
            self.parallels,
            self.job_sinks,
        ]
        """Kinds that have addresses, and policies about who may send there."""
        self.addressables = Ducks(client, AddressableDuck, self.log, _by_kind(self.guarded))
        self.channelables = Ducks(client, ChannelDuck, self.log, _by_kind(self.guarded[2:4]), is_channel_kind)
        self.references = References(self.addressables, self.services, cluster_domain=cluster_domain)

    @property
    def settings(self) -> EventingSettings:
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
        await asyncio.gather(
            self.addressables.stop(),
            self.channelables.stop(),
            self._settings.stop(),
            *(collection.informer.stop() for collection in self._collections()),
        )

    def host_of(self, service: str) -> str:
        """The cluster name of a Service of the system namespace."""
        return f"{service}.{self.system_namespace}.svc.{self.cluster_domain}"

    def ca_of(self, secret: str) -> str | None:
        """The certificate, as PEM, that signed a server's; from a Secret of the system namespace."""
        found = self.secrets.get(self.system_namespace, secret)
        text = found.data.get(CA_KEY) if found is not None else None
        if found is None or not text:
            return None
        try:
            return base64.b64decode(text).decode()
        except ValueError as error:
            version = found.metadata.resource_version
            if self._told.get(secret) != version:
                self._told[secret] = version
                self.log.error("certificate_refused", secret=secret, error=f"{CA_KEY}: expected PEM: {error}")
            return None

    def _collections(self) -> list[Collection[Any]]:
        return [
            self.brokers,
            self.triggers,
            self.event_types,
            self.event_policies,
            self.channels,
            self.in_memory_channels,
            self.jetstream_channels,
            self.subscriptions,
            self.sequences,
            self.parallels,
            self.job_sinks,
            *self.sources.all(),
            self.services,
            self.dispatcher_endpoints,
            self.endpoints,
            self.deployments,
            self.secrets,
        ]


def _by_kind(collections: Iterable[Collection[Any]]) -> dict[tuple[str, str], Collection[Any]]:
    def info(kind: type[Resource]) -> tuple[str, str]:
        return kind.RESOURCE.group, kind.RESOURCE.kind

    return {info(collection.kind): collection for collection in collections}
