"""The gateway's control: informers in, xDS out, status back."""

import asyncio
import time

from gateway.config import Config
from gateway.prober import Prober
from gateway.programmer import Programmer
from gateway.reconciler import IngressReconciler
from gateway.translate import EXTERNAL, INTERNAL, listener
from gateway.xds import LISTENER, Resources, XdsServer
from kube.client import Client
from kube.informer import Informer
from kube.models.core import Service
from kube.models.discovery import SERVICE_NAME_LABEL, EndpointSlice
from kube.models.networking import Ingress
from proxies.logs import Logger

__all__ = ["App"]

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
        self._slices.add_index(_SLICES_OF, lambda piece: [_service_key(piece)])
        self._resources = Resources()
        for name, address in ((EXTERNAL, config.external), (INTERNAL, config.internal)):
            face = listener(name, address.host, address.port, config.access_log or None)
            self._resources.put(LISTENER, name, face)
        self._programmer = Programmer(
            self._resources,
            service=self._services.get,
            slices=lambda namespace, name: self._slices.by_index(_SLICES_OF, f"{namespace}/{name}"),
        )
        self._xds = XdsServer(self._resources, log=self._log)
        self._prober = Prober()
        self._reconciler = IngressReconciler(
            self._client,
            config,
            self._ingresses,
            self._programmer,
            self._prober,
            push=self._xds.push,
            log=self._log,
        )
        self._expiring: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Read everything, translate it once, then listen. Raises `OSError` when the xDS address cannot be bound."""
        await self._client.open()
        await asyncio.gather(self._services.start(), self._slices.start(), self._ingresses.start())
        self._reconciler.prime()
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        await self._xds.start(self._config.xds_address)
        self._reconciler.loop.start()
        for ingress in self._ingresses.list():
            self._reconciler.consider(ingress)
        self._expire()
        self._log.info("gateway_started", xds=self._config.xds_address, ingresses=len(self._ingresses.list()))

    async def drain(self) -> None:
        """Nothing to wait for: Envoys keep what they have."""

    async def stop(self) -> None:
        """Stop reconciling and serving."""
        if self._expiring is not None:
            self._expiring.cancel()
        await self._reconciler.stop()
        await self._prober.close()
        await self._xds.stop()
        for informer in (self._ingresses, self._services, self._slices):
            await informer.stop()
        await self._client.close()

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        if service is not None and self._programmer.refresh(service.namespace, service.name):
            self._xds.push()

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        piece = new or old
        if piece is None:
            return
        namespace, _, name = _service_key(piece).partition("/")
        if self._programmer.refresh(namespace, name):
            self._xds.push()

    def _expire(self) -> None:
        if self._programmer.expire(time.monotonic()):
            self._xds.push()
        self._expiring = asyncio.get_running_loop().call_later(_EXPIRE_EVERY_S, self._expire)


def _service_key(piece: EndpointSlice) -> str:
    return f"{piece.namespace}/{piece.metadata.labels.get(SERVICE_NAME_LABEL, '')}"
