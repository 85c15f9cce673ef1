"""One process of the broker around its role: the API, ports with and without TLS, probes, the drain, metrics, the log.

    admit   a probe?                          answered, whatever else holds
            a port that is shut?              404 (spec 3.2)
            otherwise                         the role's

Before a port is opened everything that requests may ask for is known: a request never meets a half-filled copy.

Source: spec eventing-broker.md 2.3, 3.
"""

import asyncio
import contextlib
import gc
import ssl
from typing import TYPE_CHECKING, Final

from broker.access import Access
from broker.config import Config
from broker.probes import DRAINING, Probe, probe_of
from broker.role import Context, Role
from broker.tls import ServerCertificate
from broker.tokens import Tokens
from eventing.authorities import Authorities
from eventing.bundles import Bundles
from eventing.features import CONFIG_MAP, Features, TransportEncryption
from eventing.sending import Sender
from kube.client import Client
from kube.informer import Informer
from kube.log_level import LogLevel
from kube.models.core import ConfigMap, Secret
from kube.resolve import Resolver
from kube.telemetry import Exporter, MetricsExport, resource_attributes
from kube.tracing_settings import TracingSettings
from proxies.allocator import keep_heap_compact
from proxies.drain import Drain
from proxies.environment import ConfigError
from proxies.exchange import Exchange
from proxies.logs import Logger
from proxies.messages import Answer
from proxies.server import Server
from proxies.timers import Timers

if TYPE_CHECKING:
    from broker.metrics import HttpMetrics
    from broker.traces import Traces
    from proxies.stdout import StdoutLines

__all__ = ["Shell"]

_STOP_S: Final = 60.0
"""How long running requests may take after the drain (spec 3)."""
_SHUT: Final = Answer(404)


class Shell:
    """The service that `kube.service` runs. `start` returns when it listens."""

    def __init__(self, config: Config, role: Role, log: Logger | None = None) -> None:
        process = config.process
        self.config = config
        self._role = role
        self._log = log or Logger(process.component, fields={"pod": config.pod_name})
        self._client = Client(config.api, user_agent=f"knuv-broker-{process.name}")
        self._config_maps = Informer(self._client, ConfigMap, namespace=config.system_namespace, log=self._log)
        self._secrets = Informer(
            self._client,
            Secret,
            namespace=config.system_namespace,
            field_selector=f"metadata.name={process.tls_secret}",
            log=self._log,
        )
        self._authorities = Authorities(config.tls)
        self._bundles = Bundles(self._authorities, self._log)
        self._tokens = Tokens(self._client, self._log)
        self._access = Access(self._client, self._log)
        self._drain = Drain(config.drain_s)
        self._features = Features()
        self._context: Context | None = None
        self._sender: Sender | None = None
        self._timers: Timers | None = None
        self._servers: list[Server] = []
        self._plain = _Port(self, role, is_tls=False)
        self._secure = _Port(self, role, is_tls=True)
        self._opening: asyncio.Task[None] | None = None
        self._exporter: Exporter | None = None
        self._traces: Traces | None = None
        self._stdout: StdoutLines | None = None

    async def start(self) -> None:
        """Learn what there is, then listen. Raises `ConfigError`, `OSError` or an API error."""
        loop = asyncio.get_running_loop()
        config = self.config
        await self._client.open()
        level = LogLevel(self._log, component=config.process.component, config_map=config.logging_config_map)
        self._config_maps.on_change(level.take)
        await self._config_maps.start()
        self._features = self._first_features()
        self._bundles.take(self._config_maps.list())
        self._config_maps.on_change(self._config_map_changed)
        resolver = Resolver(
            self._client, by_endpoints=config.resolves_by_endpoints, cluster_domain=config.cluster_domain
        )
        self._sender = Sender(
            loop,
            resolver,
            authorities=self._authorities,
            idle_max=config.idle_connections_max[0],
            idle_per_host_max=config.idle_connections_max[1],
        )
        self._timers = Timers(loop)
        self._context = context = Context(
            loop=loop,
            config=config,
            client=self._client,
            log=self._log,
            sender=self._sender,
            timers=self._timers,
            tokens=self._tokens,
            access=self._access,
            clock=loop.time,
            features=self._features,
        )
        await self._start_metrics(context)
        self._start_traces(context)
        await self._access.start()
        await self._role.start(context)
        self._take_features(self._features)
        port = await self._listen(self._plain, config.port)
        self._secrets.on_change(ServerCertificate(config.tls, self._log, self._open_tls).take)
        await self._secrets.start()
        if self._opening is not None:
            await self._opening
        gc.collect()
        gc.freeze()
        keep_heap_compact()
        self._log.info("broker_started", process=config.process.name, port=port)

    async def drain(self) -> None:
        """Fail the kubelet's probe and serve on until no request has come for the drain time."""
        loop = asyncio.get_running_loop()
        self._drain.begin(loop.time())
        self._log.info("draining", quiet_s=self.config.drain_s)
        # Each request in between makes it longer.
        while left_s := self._drain.left_s(loop.time()):  # noqa: ASYNC110
            await asyncio.sleep(left_s)

    async def stop(self) -> None:
        """Stop listening, let running requests finish for a while, then end everything; in any state."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._secrets.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                for server in self._servers:
                    await server.stop()
        await self._role.stop()
        if self._exporter is not None:
            await self._exporter.stop()
        if self._traces is not None:
            await self._traces.stop()
        if self._stdout is not None:
            await self._stdout.close()
        await self._tokens.stop()
        await self._access.stop()
        if self._sender is not None:
            await self._sender.close()
        if self._timers is not None:
            self._timers.close()
        await self._config_maps.stop()
        await self._client.close()

    # What ports call.

    def health(self, *, is_tls: bool) -> Answer:
        """The answer to the kubelet."""
        if self._drain.is_draining:
            return DRAINING
        return Answer(200) if is_tls else self._role.readiness()

    def arrived(self, exchange: Exchange, scheme: str) -> None:
        """A request that is no probe came to a port that is open."""
        assert self._context is not None
        self._context.scheme = scheme
        if self._drain.is_draining:
            self._drain.request_arrived(exchange.arrived_s)
        self._role.receive(exchange)

    # Inside.

    async def _listen(self, port: "_Port", number: int, tls: ssl.SSLContext | None = None) -> int:
        server = Server(
            asyncio.get_running_loop(),
            port,
            self._log,
            head_timeout_s=self.config.process.read_s,
            takes_http2=tls is not None,
        )
        self._servers.append(server)
        return await server.listen(self.config.bind_address, number, tls=tls)

    def _open_tls(self, context: ssl.SSLContext) -> None:
        self._opening = asyncio.get_running_loop().create_task(self._listen_with(context))

    async def _listen_with(self, context: ssl.SSLContext) -> None:
        try:
            port = await self._listen(self._secure, self.config.tls_port, context)
        except OSError as error:
            self._log.error("tls_port_unavailable", port=self.config.tls_port, problem=str(error))
        else:
            self._log.info("tls_listening", port=port)

    def _first_features(self) -> Features:
        found = self._config_maps.get(self.config.system_namespace, CONFIG_MAP)
        try:
            return Features.read({} if found is None else found.data)
        except ValueError as error:
            raise ConfigError([f"ConfigMap {self.config.system_namespace}/{CONFIG_MAP}: {error}"]) from error

    def _config_map_changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        changed = new or old
        assert changed is not None
        if changed.name == CONFIG_MAP:
            try:
                features = Features.read({} if new is None else new.data)
            except ValueError as error:
                self._log.error("features_kept", config_map=CONFIG_MAP, problem=str(error))
            else:
                self._take_features(features)
                mode = features.transport_encryption.value
                self._log.info("features", transport_encryption=mode, authentication_oidc=features.is_oidc_on)
        elif any(each is not None and Bundles.is_one(each) for each in (old, new)):
            self._bundles.take(self._config_maps.list())

    def _take_features(self, features: Features) -> None:
        if self._context is not None:
            self._context.features = features
        mode = features.transport_encryption
        self._plain.is_open = mode is not TransportEncryption.STRICT
        self._secure.is_open = mode is not TransportEncryption.DISABLED
        self._access.take_features(features)

    async def _start_metrics(self, context: Context) -> None:
        config = self.config
        export = MetricsExport.read(
            self._observability(),
            config.telemetry,
            config_map=config.observability_config_map,
            default_port=config.process.metrics_port,
        )
        if export.missing_protocol:
            self._log.warning("metrics_off", protocol=export.missing_protocol, expected="prometheus or http/protobuf")
        if not export.is_on:
            return
        from broker.metrics import HttpMetrics
        from proxies.metrics.instruments import Registry
        from proxies.metrics.process import add_runtime_metrics

        context.registry = registry = Registry(self._resource())
        self._plain.metrics = HttpMetrics(registry, "http")
        self._secure.metrics = self._plain.metrics.of("https")
        add_runtime_metrics(registry)
        self._exporter = export.exporter(registry, bind_address=config.bind_address or "", log=self._log)
        await self._exporter.start()

    def _start_traces(self, context: Context) -> None:
        """Make spans if the ConfigMap says so, as it was at start. Raises `ConfigError`."""
        config = self.config
        name = config.observability_config_map
        settings = TracingSettings.read(self._observability(), config.telemetry, config_map=name)
        if settings.protocol == "grpc":
            self._log.warning("traces_off", protocol="grpc", expected="http/protobuf or stdout")
        if not settings.is_on:
            return
        from broker.traces import Traces

        context.traces = self._traces = Traces(
            context.loop,
            settings,
            self._log,
            destination=settings.otlp or self._stdout_lines(context),
            resource=self._resource(),
            scope=f"knuv/broker/{config.process.name}",
        )

    def _stdout_lines(self, context: Context) -> "StdoutLines":
        from proxies.stdout import StdoutLines

        self._stdout = StdoutLines(context.loop, self._log)
        return self._stdout

    def _observability(self) -> dict[str, str]:
        found = self._config_maps.get(self.config.system_namespace, self.config.observability_config_map)
        return {} if found is None else found.data

    def _resource(self) -> dict[str, str]:
        """Who tells, for metrics and spans."""
        config = self.config
        return resource_attributes(
            config.process.telemetry_name,
            namespace=config.system_namespace,
            pod_name=config.pod_name,
            variables=config.telemetry,
        )


class _Port:
    """The policy of one port."""

    def __init__(self, shell: Shell, role: Role, *, is_tls: bool) -> None:
        self._shell = shell
        self._role = role
        self._is_tls = is_tls
        self.is_open = False
        """Whether events are taken at it."""
        self.metrics: HttpMetrics | None = None

    def admit(self, exchange: Exchange) -> None:
        """A request is here."""
        probe = probe_of(exchange.request)
        if probe is not None:
            exchange.answer(self._shell.health(is_tls=self._is_tls) if isinstance(probe, Probe) else probe)
        elif not self.is_open:
            exchange.answer(_SHUT)
        else:
            self._shell.arrived(exchange, "https" if self._is_tls else "http")

    def cancelled(self, exchange: Exchange) -> None:
        """An exchange that was held has ended."""
        if exchange.context is not None:
            self._role.cancelled(exchange)

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over."""
        if exchange.context is not None:
            self._role.ended(exchange)
        if self.metrics is not None:
            self.metrics.ended(exchange)
