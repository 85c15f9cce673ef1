"""What the process of every adapter has: the API, the way to sinks, tokens, metrics, probes, a Lease.

    class App:                              one source's program, as `kube.service.run_service` runs it
        shell = Shell(config, "pingsource-mt-adapter")
        start: shell.start(); ...           drain: shell.drain()            stop: shell.stop()

`shell.adapter.deliver(target, event)` is all that a source needs to send.
"""

import asyncio
import time
import uuid
from collections.abc import Callable

from aiohttp import web

from eventing.authorities import Authorities
from eventing.bundles import BUNDLES, Bundles
from eventing.destinations import shown_url
from eventing.sending import Sender
from kube.client import Client
from kube.events import WARNING, EventRecorder
from kube.informer import Informer
from kube.models.core import ConfigMap
from kube.resolve import Resolver
from kube.telemetry import Exporter, MetricsExport, resource_attributes
from proxies.logs import Logger
from proxies.metrics.instruments import Registry
from sources.adapter import Adapter, Outcome, Target
from sources.config import AdapterConfig
from sources.election import Leadership
from sources.metrics import SourceMetrics
from sources.tokens import Tokens
from sources.tracing import Tracing

__all__ = ["Shell"]

_BUNDLES_S = 5.0
_REPORTS_LOSSES = "sink-event-error-reporting.enable"


class Shell:
    """One process's surroundings. Create it where a loop runs."""

    def __init__(self, config: AdapterConfig, component: str, log: Logger | None = None) -> None:
        self.config = config
        self.component = component
        self.log = log or Logger(component, fields={"pod": config.pod_name} if config.pod_name else {})
        self.client = Client(config.api, user_agent=f"knuv-{component}")
        resolver = Resolver(
            self.client, by_endpoints=config.resolves_by_endpoints, cluster_domain=config.cluster_domain
        )
        self._authorities = Authorities()
        self.sender = Sender(asyncio.get_running_loop(), resolver, authorities=self._authorities)
        self._registry = Registry(
            resource_attributes(
                component, namespace=config.system_namespace, pod_name=config.pod_name, variables=config.telemetry
            )
        )
        self.adapter = Adapter(
            self.sender,
            tokens=Tokens(self.client, time.time),
            metrics=SourceMetrics(self._registry),
            log=self.log,
            timeout_s=config.sink_timeout_s,
            on_lost=self._tell_of_loss,
        )
        self._bundles: Informer[ConfigMap] | None = None
        self._events: EventRecorder | None = None
        self._exporter: Exporter | None = None
        self._leadership: Leadership | None = None
        self._probes: web.AppRunner | None = None
        self._is_ready = False
        self.port = 0
        """Where probes are answered, once they are."""

    async def start(self) -> None:
        """Open the way to the API, and answer probes. Raises `ConfigError` and `OSError`."""
        await self.client.open()
        self.adapter.tracing = Tracing.read(self.config.observability, self.config.telemetry)
        export = MetricsExport.read(self.config.observability, self.config.telemetry, config_map="config-observability")
        if export.missing_protocol:
            self.log.warning("metrics_protocol_not_spoken", protocol=export.missing_protocol)
        if export.is_on:
            bind_address = self.config.bind_address or "0.0.0.0"  # noqa: S104 - as the originals
            self._exporter = export.exporter(self._registry, bind_address=bind_address, log=self.log)
            await self._exporter.start()
        if self.config.observability.get(_REPORTS_LOSSES) == "true":
            self._events = EventRecorder(
                self.client, component=self.component, clock=time.time, host=self.config.pod_name, log=self.log
            )
            await self._events.start()
        app = web.Application(client_max_size=0)
        app.router.add_get("/health", self._health)
        app.router.add_get("/readiness", self._readiness)
        self._probes = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._probes.setup()
        await web.TCPSite(self._probes, self.config.bind_address, self.config.health_port).start()
        self.port = self._probes.addresses[0][1]

    async def trust_cluster(self) -> None:
        """Follow the trust bundles of the cluster; for adapters that may read ConfigMaps of the system namespace.

        One that may not, by an older role, waits for a moment and goes on without.
        """
        bundles = Bundles(self._authorities, self.log)
        self._bundles = informer = Informer(
            self.client,
            ConfigMap,
            namespace=self.config.system_namespace,
            label_selector=BUNDLES,
            log=self.log,
        )
        informer.on_change(lambda _old, _new: bundles.take(informer.list()))
        try:
            async with asyncio.timeout(_BUNDLES_S):
                await informer.start()
        except TimeoutError:
            self.log.warning("trust_bundles_unknown", namespace=self.config.system_namespace)

    async def lead(self, on_change: Callable[[bool], None]) -> None:
        """Contend for the Lease of this component; returns when it was looked at."""
        self._leadership = Leadership(
            self.client,
            namespace=self.config.system_namespace,
            name=self.component,
            identity=self.config.pod_name or f"{self.component}-{uuid.uuid4()}",
            timing=self.config.lease,
            on_change=on_change,
            log=self.log,
        )
        await self._leadership.start()

    @property
    def leads(self) -> bool:
        """Whether we may act at this moment; always when nobody contends."""
        return self._leadership is None or self._leadership.is_held

    def ready(self) -> None:
        """Let the readiness probe succeed."""
        self._is_ready = True

    async def drain(self) -> None:
        """Let others act."""
        self._is_ready = False
        if self._leadership is not None:
            await self._leadership.stop()

    async def stop(self) -> None:
        """End everything, in any state."""
        await self.drain()
        if self._exporter is not None:
            await self._exporter.stop()
        if self._probes is not None:
            await self._probes.cleanup()
        await self.sender.close()
        if self._bundles is not None:
            await self._bundles.stop()
        if self._events is not None:
            await self._events.stop()
        await self.client.close()

    def _tell_of_loss(self, target: Target, outcome: Outcome) -> None:
        """With `sink-event-error-reporting.enable` in `config-observability`: an event about the source."""
        if self._events is not None and target.about is not None:
            self._events.report(target.about, WARNING, "SinkSendFailed", f"{shown_url(target.url)}: {outcome}")

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readiness(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok") if self._is_ready else web.Response(status=503, text="starting or draining")
