"""The activator put together: revisions from the API, the stat push, the HTTP engine with its policy on two ports.

The way of a cold start: `ActivatorPolicy.admit` counts the request and holds it -> `StatReporter.push` tells the
autoscaler -> the private Endpoints appear, `Revisions.refresh` -> `PodProber` finds the pod healthy ->
`ActiveRevision.update` replaces the snapshot and forwards what waits. No timer and no queue with a delay lies on it,
but for the probe of a pod that does not listen yet.
"""

import asyncio
import gc
from typing import Any

from activator.active_revision import ActiveRevision
from activator.audit import Audit
from activator.config import PORTS, Config
from activator.debug_server import DebugServer
from activator.endpoints import TLS_PORT
from activator.internal_tls import InternalTls
from activator.loads import FIRST_CONCURRENCY, FIRST_COUNT, Load, Loads, RevisionKey
from activator.network_config import NAME, NetworkConfig
from activator.pod_states import ProbeSettings
from activator.policy import ActivatorPolicy
from activator.revisions import Revisions
from activator.stat_reporter import StatReporter
from activator.telemetry import Telemetry
from activator.waker import Waker
from kube.client import Client
from kube.errors import ApiUnreachable, NotFound
from kube.informer import Informer
from kube.log_level import LogLevel
from kube.models.core import ConfigMap
from kube.resolve import Resolver
from proxies.allocator import keep_heap_compact
from proxies.dialling import DIAL_ATTEMPTS
from proxies.environment import ConfigError
from proxies.logs import Logger
from proxies.messages import Answer
from proxies.pool import Pool
from proxies.server import Server
from proxies.wire.stat import Stat, StatMessage

__all__ = ["App"]

_REPORT_S = 1.0
_DIAL_ATTEMPTS = 8
"""About 2 s, the last one of half a second; then the pod is suspect and the request goes elsewhere."""
_API_RETRY_S = 1.0
_API_ATTEMPTS = 60
"""The original waits so long for an API server at start (spec 4)."""

_HEALTHY = Answer(200)
_DRAINING = Answer.error(500, "received SIGTERM from kubelet")
_NOT_CONNECTED = Answer.error(500, "connection has not yet been established")


class App:
    """One activator. `start` returns when it listens; `ConfigError`, `OSError` or an API error says why it cannot."""

    def __init__(self, config: Config, log: Logger | None = None) -> None:
        self.config = config
        self._log = log or Logger("activator", fields={"pod": config.pod_name})
        self._client = Client(config.api, user_agent="knuv-activator")
        self._loads = Loads()
        self._is_draining = False
        self._reporter: StatReporter | None = None
        self._revisions: Revisions | None = None
        self._server: Server | None = None
        self._pool: Pool | None = None
        self._waker: Waker | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._logging: Informer[ConfigMap] | None = None
        self._audit: Audit | None = None
        self._tls: InternalTls | None = None
        self._telemetry = Telemetry(self._client, config, self._log)
        self._debug: DebugServer | None = None

    async def start(self) -> None:
        """Learn what exists, then listen: whoever can connect meets someone who knows the revisions."""
        loop = asyncio.get_running_loop()
        config = self.config
        await self._client.open()
        network = await self._network_config()
        await self._follow_log_level(config.logging_config_map)
        if network.internal_tls:
            self._tls = InternalTls(self._client, config.system_namespace, config.tls, self._log)
            await self._tls.start()
        self._pool = Pool(
            loop,
            idle_max=config.idle_connections_max,
            idle_per_endpoint_max=config.idle_connections_per_pod_max,
            dial_attempts=DIAL_ATTEMPTS if config.is_strict else _DIAL_ATTEMPTS,
        )
        self._revisions = Revisions(
            loop,
            self._client,
            self._pool,
            own_address=config.pod_ip,
            probe_settings=ProbeSettings(
                mesh_mode=network.mesh_mode, passthrough=network.passthrough, frequency_s=config.probe_frequency_s
            ),
            probe_timeout_s=config.probe_timeout_s,
            held_max=config.held_requests_max,
            held_bytes_max=config.held_bytes_max,
            retries=not config.is_strict,
            spreads=not config.is_strict,
            check_s=0.0 if config.is_strict else config.check_s,
            tls=self._tls,
            log=self._log,
        )
        resolver = Resolver(
            self._client, by_endpoints=config.resolves_by_endpoints, cluster_domain=config.cluster_domain
        )
        host = f"autoscaler.{config.system_namespace}.svc.{config.cluster_domain}"
        self._reporter = StatReporter(resolver, host, self._log, connected=self._report_stuck)
        await self._telemetry.start(self._revisions, self._reporter)
        await self._revisions.start()
        self._reporter.start()
        if config.wake_s and not config.is_strict:
            self._waker = Waker(self._client, self._log, after_s=config.wake_s)
        self._tick_timer = loop.call_later(_REPORT_S, self._tick)
        self._audit = Audit(self._revisions, self._log, period_s=config.audit_s)
        self._audit.start()
        if config.debug_address is not None:
            self._debug = DebugServer(loop, self._state)
            port = await self._debug.start(*config.debug_address)
            self._log.info("debug_listening", host=config.debug_address[0], port=port)
        policy = ActivatorPolicy(
            self._revisions.by_key,
            self._loads,
            cluster_domain=config.cluster_domain,
            report_first=self._report_first,
            health=self._health,
            observers=self._telemetry.observers,
        )
        self._server = Server(loop, policy, takes_http2=True)
        for port in PORTS:
            await self._server.listen(config.bind_address, port)
        if self._tls is not None:
            await self._server.listen(config.bind_address, TLS_PORT, tls=self._tls.context)
        gc.collect()
        gc.freeze()
        keep_heap_compact()
        self._log.info("activator_started", ports=list(PORTS), revisions=len(self._revisions.by_key))

    async def drain(self) -> None:
        """Fail the kubelet's probe and serve on for the drain time, while ingresses turn away from us."""
        self._is_draining = True
        self._log.info("draining", for_s=self.config.drain_s)
        await asyncio.sleep(self.config.drain_s)

    async def stop(self) -> None:
        """Stop listening, let running requests finish, then end everything; in any state."""
        if self._server is not None:
            # Tunnels are not waited for, as in the original.
            await self._server.stop(tunnel_grace_s=0.0)
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        if self._waker is not None:
            await self._waker.stop()
        await self._telemetry.stop()
        if self._debug is not None:
            await self._debug.stop()
        if self._audit is not None:
            await self._audit.stop()
        if self._reporter is not None:
            await self._reporter.stop()
        if self._revisions is not None:
            await self._revisions.stop()
        if self._logging is not None:
            await self._logging.stop()
        if self._tls is not None:
            await self._tls.stop()
        if self._pool is not None:
            await self._pool.close()
        await self._client.close()

    async def _follow_log_level(self, name: str) -> None:
        """Return when the ConfigMap was read, or is known not to exist."""
        self._logging = Informer(
            self._client,
            ConfigMap,
            namespace=self.config.system_namespace,
            field_selector=f"metadata.name={name}",
            log=self._log,
        )
        self._logging.on_change(LogLevel(self._log, component="activator", config_map=name).take)
        await self._logging.start()

    async def _network_config(self) -> NetworkConfig:
        for attempt in range(_API_ATTEMPTS):
            try:
                found = await self._client.get(ConfigMap, NAME, self.config.system_namespace)
            except NotFound as error:
                raise ConfigError([f"ConfigMap {self.config.system_namespace}/{NAME} does not exist"]) from error
            except ApiUnreachable as error:
                if attempt == _API_ATTEMPTS - 1:
                    raise
                self._log.warning("api_unreachable", error=str(error))
                await asyncio.sleep(_API_RETRY_S)
            else:
                return NetworkConfig.from_data(found.data)
        raise AssertionError("unreachable")

    def _health(self) -> Answer:
        if self._is_draining:
            return _DRAINING
        if self.config.is_strict and (self._reporter is None or not self._reporter.is_connected):
            return _NOT_CONNECTED
        return _HEALTHY

    def _state(self) -> dict[str, Any]:
        assert self._revisions is not None
        assert self._reporter is not None
        assert self._audit is not None
        return {
            "pod": self.config.pod_name,
            "draining": self._is_draining,
            "autoscaler_connected": self._reporter.is_connected,
            "audit": {"runs": self._audit.runs, "differences": self._audit.differences},
            "revisions": self._revisions.state(),
        }

    def _report_first(self, revision: ActiveRevision) -> None:
        assert self._reporter is not None
        load = Load(revision.key, FIRST_CONCURRENCY, FIRST_COUNT)
        self._telemetry.reported([load])
        revision.first_push = self._reporter.push([self._message(load)])

    def _report_stuck(self) -> None:
        """The autoscaler is there: tell it at once who waits for a first pod. It may never have heard of them."""
        stuck = [] if self.config.is_strict else self._stuck()
        if not stuck:
            return
        assert self._revisions is not None
        assert self._reporter is not None
        push = self._reporter.push([self._message(Load(key, FIRST_CONCURRENCY, FIRST_COUNT)) for key in stuck])
        for key in stuck:
            self._revisions.by_key[key].first_push = push

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._reporter is not None
        self._tick_timer = loop.call_later(_REPORT_S, self._tick)
        loads = self._loads.report(loop.time())
        self._telemetry.reported(loads)
        if loads:
            self._reporter.push([self._message(load) for load in loads])
        assert self._revisions is not None
        self._revisions.check_pods(self._loads.tracked, loop.time())
        if self._waker is not None:
            self._waker.tick(() if self._reporter.is_connected else self._stuck(), loop.time())

    def _stuck(self) -> list[RevisionKey]:
        """The revisions whose requests wait without a pod."""
        assert self._revisions is not None
        found = ((key, self._revisions.by_key.get(key)) for key in self._loads.tracked)
        return [key for key, revision in found if revision is not None and revision.is_stuck]

    def _message(self, load: Load) -> StatMessage:
        stat = Stat(
            pod_name=self.config.pod_name,
            average_concurrent_requests=load.concurrency,
            request_count=load.request_count,
        )
        return StatMessage(load.key.namespace.decode(), load.key.name.decode(), stat)
