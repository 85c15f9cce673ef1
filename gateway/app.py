"""The gateway's control: informers in, xDS out, status back."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.certificates import Certificates, InvalidCertificate
from gateway.config import Config
from gateway.faces import EXTERNAL, EXTERNAL_TLS, INTERNAL, INTERNAL_TLS
from gateway.listeners import listener
from gateway.programmer import Programmer
from gateway.reconciler import IngressReconciler, RoutesState
from gateway.services import Authorization, Tracing
from gateway.settings import CONFIG_MAP, GatewaySettings, InvalidSettings
from gateway.trust import BUNDLE_LABEL, CA_SECRET, NETWORK_MAP, InvalidTrust, Trust, authorities, is_on
from gateway.xds import CLUSTER, LISTENER, ROUTES, Resources, XdsServer
from kube.client import Client
from kube.election.elector import Elector
from kube.election.settings import ElectionSettings, InvalidElectionSettings
from kube.errors import NotFound
from kube.exporting import start_exporting
from kube.informer import Informer
from kube.ingress.prober import Prober
from kube.models.coordination import Lease
from kube.models.core import ConfigMap, Secret, Service
from kube.models.discovery import SERVICE_NAME_LABEL, EndpointSlice
from kube.models.networking import Ingress
from proxies.environment import ConfigError
from proxies.logs import Logger

if TYPE_CHECKING:
    from kube.telemetry import Exporter
    from proxies.metrics.instruments import Registry

__all__ = ["App"]

LEASE = "knuv-gateway"
_ELECTION_MAP = "config-leader-election"
_SLICES_OF = "service"
_EXPIRE_EVERY_S = 5.0


class App:
    """One gateway. `start` returns when Envoys are answered."""

    def __init__(self, config: Config, log: Logger | None = None) -> None:
        self._config = config
        self._log = log or Logger("gateway")
        self._client = Client(config.api, user_agent="knuv-gateway")
        self._ingresses = Informer(self._client, Ingress, log=self._log)
        self._services = Informer(self._client, Service, log=self._log)
        self._slices = Informer(self._client, EndpointSlice, log=self._log)
        # Whatever else is secret is not the gateway's to know.
        self._secrets = Informer(self._client, Secret, field_selector="type=kubernetes.io/tls", log=self._log)
        namespace = config.system_namespace
        self._own_map = Informer(
            self._client, ConfigMap, namespace=namespace, field_selector=f"metadata.name={CONFIG_MAP}", log=self._log
        )
        self._authority = Informer(
            self._client, Secret, namespace=namespace, field_selector=f"metadata.name={CA_SECRET}", log=self._log
        )
        self._network = Informer(
            self._client, ConfigMap, namespace=namespace, field_selector=f"metadata.name={NETWORK_MAP}", log=self._log
        )
        self._bundles = Informer(self._client, ConfigMap, label_selector=BUNDLE_LABEL, log=self._log)
        self._leases = Informer(self._client, Lease, namespace=config.system_namespace, log=self._log)
        self._slices.add_index(_SLICES_OF, lambda piece: [_service_key(piece)])
        self._resources = Resources()
        self._certificates = Certificates(
            self._resources,
            faces={EXTERNAL_TLS: config.external_tls, INTERNAL_TLS: config.internal_tls},
            secret=self._secrets.get,
            access_log=config.access_log or None,
        )
        self._programmer = Programmer(
            self._resources,
            service=self._services.get,
            slices=lambda namespace, name: self._slices.by_index(_SLICES_OF, f"{namespace}/{name}"),
            faces={config.own_name: config.internal_probe},
            certificates=self._certificates,
            envoy_admin=config.envoy_admin,
            trust=self._trusted,
        )
        self._xds = XdsServer(
            self._resources,
            log=self._log,
            on_answer=lambda: self._reconciler.routes_answered(),
            on_nack=lambda _type, _text: self._reconciler.consider_unready(),
        )
        self._reconciler = IngressReconciler(
            self._client,
            config,
            self._ingresses,
            self._programmer,
            Prober(),
            push=self._xds.push,
            routes=lambda: RoutesState(self._resources.changes(ROUTES), self._xds.routes_answered),
            is_leading=lambda: self._elector is not None and self._elector.holds(LEASE),
            log=self._log,
        )
        self._elector: Elector | None = None
        self._trust: Trust | None = None
        self._expiring: asyncio.TimerHandle | None = None
        self._exporter: Exporter | None = None

    async def start(self) -> None:
        """Read everything, translate it once, then listen. Raises `OSError` when the xDS address cannot be bound."""
        await self._client.open()
        await self._start_metrics()
        await asyncio.gather(*(informer.start() for informer in self._informers()))
        try:
            self._put_faces(self._settings())
        except InvalidSettings as error:
            raise ConfigError([f"{CONFIG_MAP}: {error}"]) from error
        try:
            self._reconciler.prime()
        except InvalidTrust as error:
            raise ConfigError([str(error)]) from error
        self._own_map.on_change(lambda _old, _new: self._settings_changed())
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        self._secrets.on_change(self._secret_changed)
        for informer in self._of_trust():
            informer.on_change(lambda _old, _new: self._trust_changed())
        await self._xds.start(self._config.xds_address)
        self._reconciler.loop.start()
        self._elector = Elector(
            self._client,
            self._leases,
            namespace=self._config.system_namespace,
            names=[LEASE],
            # A container that is started anew in the same pod is the same candidate, and goes on at once.
            identity=self._config.pod_name or f"gateway-{uuid.uuid4()}",
            timing=(await self._election_settings()).timing,
            on_acquired=lambda _lease: self._reconciler.consider_all(),
            on_lost=lambda _lease: None,
            log=self._log,
        )
        await self._elector.start()
        self._expire()
        self._log.info("gateway_started", xds=self._config.xds_address, ingresses=len(self._ingresses.list()))

    async def drain(self) -> None:
        """Let another one report; Envoys keep what they have."""
        if self._elector is not None:
            await self._elector.stop()
            self._elector = None

    async def stop(self) -> None:
        """Stop reconciling and serving."""
        if self._expiring is not None:
            self._expiring.cancel()
        await self.drain()
        await self._reconciler.stop()
        await self._xds.stop()
        for informer in self._informers():
            await informer.stop()
        if self._exporter is not None:
            await self._exporter.stop()
        await self._client.close()

    def _informers(self) -> list[Informer[Any]]:
        return [
            self._ingresses,
            self._services,
            self._slices,
            self._secrets,
            *self._of_trust(),
            self._own_map,
            self._leases,
        ]

    def _of_trust(self) -> list[Informer[Any]]:
        return [self._authority, self._network, self._bundles]

    def _trusted(self) -> Trust | None:
        """Whom backends are believed by, or None where they are spoken to in plain text. Raises `InvalidTrust`."""
        if not is_on(self._network.get(self._config.system_namespace, NETWORK_MAP)):
            return None
        if self._trust is None:
            secret = self._authority.get(self._config.system_namespace, CA_SECRET)
            self._trust = authorities(
                secret, self._bundles.list(), lambda text: self._log.warning("trust_refused", error=text)
            )
        return self._trust

    def _trust_changed(self) -> None:
        self._trust = None
        try:
            if self._programmer.refresh_trust():
                self._xds.push()
        except InvalidTrust as error:
            self._log.error("trust_refused", error=str(error))
        self._reconciler.consider_all()

    def _settings(self) -> GatewaySettings:
        """What `config-kourier` says. Raises `InvalidSettings`."""
        found = self._own_map.get(self._config.system_namespace, CONFIG_MAP)
        return GatewaySettings.from_data(found.data if found is not None else {}, self._config.certificate)

    def _put_faces(self, settings: GatewaySettings) -> bool:
        """Offer the listeners, and the services that they ask; whether anything changed."""
        # The Secret may come later than its name, and the listener with it.
        changed = self._programmer.is_secured != (settings.certificate is not None)
        for service, name in ((settings.authorization, Authorization.CLUSTER), (settings.tracing, Tracing.CLUSTER)):
            if service is not None:  # one that is asked no longer stays: listeners change after clusters
                changed |= self._resources.put(CLUSTER, name, service.cluster())
        self._programmer.is_authorized = settings.authorization is not None
        self._programmer.is_secured = settings.certificate is not None
        for_all = {}
        if settings.certificate is not None:
            for_all[EXTERNAL_TLS] = settings.certificate
        if settings.local_certificate:
            for_all[INTERNAL_TLS] = self._config.system_namespace, settings.local_certificate
        changed |= self._certificates.set_settings(settings, for_all)
        for problem in self._certificates.problems():
            self._log.warning("certificate_refused", error=problem)
        for name, address in ((EXTERNAL, self._config.external), (INTERNAL, self._config.internal)):
            face = listener(name, address.host, address.port, self._config.access_log or None, settings)
            changed |= self._resources.put(LISTENER, name, face)
        return changed

    def _settings_changed(self) -> None:
        try:
            if self._put_faces(self._settings()):
                self._xds.push()
                self._reconciler.consider_all()
                self._log.info("settings_changed", config_map=CONFIG_MAP)
        except InvalidSettings as error:
            # What was in force stays.
            self._log.error("settings_refused", config_map=CONFIG_MAP, error=str(error))

    async def _election_settings(self) -> ElectionSettings:
        try:
            return ElectionSettings.from_data(await self._map_at_start(_ELECTION_MAP))
        except InvalidElectionSettings as error:
            raise ConfigError([f"{_ELECTION_MAP}: {error}"]) from error

    async def _map_at_start(self, name: str) -> Mapping[str, str]:
        """Data of a ConfigMap that is read once; none when it does not exist."""
        try:
            return (await self._client.get(ConfigMap, name, self._config.system_namespace)).data
        except NotFound:
            return {}

    async def _start_metrics(self) -> None:
        """Tell how it goes, when that is asked for."""
        config = self._config

        def add(registry: "Registry") -> None:
            from gateway.metrics import add_gateway_metrics
            from kube.queue_metrics import add_queue_metrics
            from kube.ready_metrics import add_ready_metrics

            unready = self._reconciler.unready_count
            add_gateway_metrics(registry, xds=self._xds, programmer=self._programmer, unready=unready)
            add_queue_metrics(registry, [self._reconciler.loop])
            add_ready_metrics(registry, [self._ingresses])

        self._exporter = await start_exporting(
            "gateway",
            await self._map_at_start(config.observability_config_map),
            config.telemetry,
            add,
            config_map=config.observability_config_map,
            namespace=config.system_namespace,
            pod_name=config.pod_name,
            bind_address=config.bind_address,
            log=self._log,
        )

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        if service is not None:
            self._backend_changed(service.namespace, service.name)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        piece = new or old
        if piece is None:
            return
        namespace, _, name = _service_key(piece).partition("/")
        self._backend_changed(namespace, name)

    def _backend_changed(self, namespace: str, name: str) -> None:
        if self._programmer.refresh(namespace, name):
            self._xds.push()
        self._reconciler.backend_changed(namespace, name)

    def _secret_changed(self, old: Secret | None, new: Secret | None) -> None:
        secret = new or old
        if secret is None:
            return
        try:
            if self._programmer.refresh_certificate(secret.namespace, secret.name):
                self._xds.push()
        except InvalidCertificate as error:
            self._log.warning("certificate_refused", error=str(error))
        self._reconciler.consider_unready()

    def _expire(self) -> None:
        if self._programmer.expire(time.monotonic()):
            self._xds.push()
        self._expiring = asyncio.get_running_loop().call_later(_EXPIRE_EVERY_S, self._expire)


def _service_key(piece: EndpointSlice) -> str:
    return f"{piece.namespace}/{piece.metadata.labels.get(SERVICE_NAME_LABEL, '')}"
