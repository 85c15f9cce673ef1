"""The autoscaler put together: informers, the ticker, the stat server, the reconcile loop.

The way of a stat for a revision at zero: `StatServer` reads the frame -> `Ownership.take` -> `App._take_stat` ->
`MultiScaler.record` decides at once -> `_announce` wakes the reconcile loop -> `Reconciler` patches the scale. No queue
with a delay lies on it.
"""

import asyncio
import time
from typing import Any

from autoscaler.activator_probe import ActivatorProber
from autoscaler.clock import SteadyClock
from autoscaler.cluster_settings import NETWORK, ClusterSettings
from autoscaler.config import Config
from autoscaler.debug_server import DebugServer
from autoscaler.envelope import Envelope
from autoscaler.failures import Failures
from autoscaler.garbage import GarbageKeeper
from autoscaler.hpa import HpaReconciler
from autoscaler.multiscaler import MultiScaler, Outcome, RevisionKey
from autoscaler.outcome_log import OutcomeLog
from autoscaler.owned import OwnedObjects
from autoscaler.ownership import Ownership
from autoscaler.reconciler import Reconciler
from autoscaler.revision_pods import REVISION_LABEL, RevisionPods
from autoscaler.scrape_client import ScrapeClient
from autoscaler.scraper import MeshMode
from autoscaler.scraping import Scraping
from autoscaler.stat_server import StatServer
from autoscaler.ticker import Ticker
from kube.client import Client
from kube.election.settings import ElectionSettings, InvalidElectionSettings
from kube.events import WARNING, EventRecorder
from kube.informer import Informer
from kube.log_level import LogLevel
from kube.models.apps import Deployment
from kube.models.autoscaling import Metric, PodAutoscaler
from kube.models.core import ConfigMap, Pod
from kube.models.horizontal_autoscaling import HorizontalPodAutoscaler
from kube.models.meta import Resource
from kube.models.networking import ServerlessService
from kube.reconcile import Loop
from kube.resolve import Resolver
from kube.telemetry import Exporter, MetricsExport, resource_attributes
from proxies.environment import ConfigError
from proxies.gotext import parse_bool
from proxies.logs import Logger
from proxies.wire.stat import StatMessage

__all__ = ["App"]

_WORKERS = 32
"""Reconciles at once: a cold start must not wait behind others that wait for the API."""
_HPA_WORKERS = 4
"""Of class hpa, where nobody waits for one; apart from the others, should its part of the API not answer."""
_STAT_SERVER_STOP_S = 5.0


class App:
    """One autoscaler. `start` returns when it follows the cluster and listens; errors of the API or the address
    raise, and `ConfigError` when a ConfigMap cannot be used."""

    def __init__(self, config: Config, log: Logger | None = None) -> None:
        self.config = config
        self._log = log or Logger("autoscaler", fields={"pod": config.pod_name})
        self._clock = SteadyClock()
        self._client = Client(config.api, user_agent="knuv-autoscaler")
        client = self._client
        self._resolver = Resolver(
            client, by_endpoints=config.resolves_by_endpoints, cluster_domain=config.cluster_domain
        )
        self._config_maps = Informer(client, ConfigMap, namespace=config.system_namespace, log=self._log)
        self._autoscalers = Informer(client, PodAutoscaler, log=self._log)
        self._services = Informer(client, ServerlessService, log=self._log)
        self._horizontal = Informer(client, HorizontalPodAutoscaler, log=self._log)
        self._metrics = Informer(client, Metric, log=self._log)
        self._deployments = Informer(client, Deployment, label_selector=REVISION_LABEL, log=self._log)
        self._pod_informer = Informer(client, Pod, label_selector=REVISION_LABEL, log=self._log)
        self._pods = RevisionPods(self._pod_informer, self._wake)
        failures = Failures("decision_failed", clock=self._clock, log=self._log)
        self._scalers = MultiScaler(self._pods.ready_count, is_strict=config.strict_compat, on_failure=failures.note)
        self._outcome_log = OutcomeLog(self._log, failures)
        self._events = EventRecorder(client, component="autoscaler", clock=time.time, log=self._log)
        self._settings = ClusterSettings(self._wake_all, self._refuse_config, self._log)
        self._prober = ActivatorProber(self._resolver)
        self._loop: Loop[RevisionKey] = Loop("autoscaler", self._reconcile, workers=_WORKERS, log=self._log)
        self._hpa_loop: Loop[RevisionKey] = Loop(
            "autoscaler-hpa", self._reconcile_hpa, workers=_HPA_WORKERS, log=self._log
        )
        self._ownership = Ownership(
            client,
            self._resolver,
            config,
            accept=self._take_stat,
            on_gained=self._wake_all,
            on_lost=self._forget_lost,
            clock=self._clock,
            log=self._log,
        )
        self._stat_server = StatServer(self._ownership.take, owns_bucket=self._ownership.owns_bucket, log=self._log)
        self._debug = DebugServer(self.debug_state, self.debug_decisions)
        self._scrape_client: ScrapeClient | None = None
        self._scraping: Scraping | None = None
        self._reconciler: Reconciler | None = None
        self._hpa_reconciler: HpaReconciler | None = None
        self._exporter: Exporter | None = None
        self._ticker: Ticker | None = None
        self._garbage = GarbageKeeper()

    @property
    def stat_port(self) -> int:
        """Where the stat server listens."""
        return self._stat_server.port

    @property
    def debug_port(self) -> int:
        """Where the debug pages are served; only when it is configured."""
        return self._debug.port

    async def start(self) -> None:
        """Read the cluster, begin to decide, then listen: whoever can connect meets someone who knows the revisions."""
        await self._client.open()
        log_level = LogLevel(self._log, component="autoscaler", config_map=self.config.logging_config_map)
        self._config_maps.on_change(log_level.take)
        self._config_maps.on_change(self._settings.take)
        await self._config_maps.start()
        if self._settings.problems:
            raise ConfigError(self._settings.problems)
        await self._events.start()
        await self._start_scraping()
        await self._start_metrics()
        self._follow()
        informers = (self._autoscalers, self._services, self._metrics, self._deployments, self._pod_informer)
        await asyncio.gather(*(informer.start() for informer in informers), self._ownership.follow())
        await self._ownership.contend(self._election_settings())
        self._loop.start()
        self._hpa_loop.start()
        assert self._ticker is not None
        self._ticker.start()
        self._garbage.start()
        await self._stat_server.start(self.config.bind_address, self.config.stat_port)
        if self.config.debug_address is not None:
            await self._debug.start(*self.config.debug_address)
        self._log.info("autoscaler_started", port=self.stat_port, revisions=len(self._autoscalers.list()))

    async def drain(self) -> None:
        """Leave the revisions to other replicas, then send the activators there as well."""
        await self._ownership.hand_over()
        await self._stat_server.stop(_STAT_SERVER_STOP_S)

    async def stop(self) -> None:
        """End everything, in any state."""
        await self._stat_server.stop(0.0)
        self._garbage.stop()
        if self._ticker is not None:
            self._ticker.stop()
        await self._ownership.stop()
        await self._debug.stop()
        await self._loop.stop()
        await self._hpa_loop.stop()
        if self._scraping is not None:
            await self._scraping.stop()
        for informer in (self._autoscalers, self._services, self._metrics, self._deployments, self._pod_informer):
            await informer.stop()
        if self._hpa_reconciler is not None:
            await self._hpa_reconciler.stop()
        await self._events.stop()
        if self._exporter is not None:
            await self._exporter.stop()
        await self._config_maps.stop()
        await self._prober.close()
        if self._scrape_client is not None:
            await self._scrape_client.close()
        await self._client.close()

    def debug_state(self) -> dict[str, Any]:
        """The figures of every revision."""
        return {
            "revisions": [self._figures(revision.key) for revision in self._scalers],
            "buckets": self._ownership.held_buckets,
        }

    def debug_decisions(self, key: RevisionKey) -> dict[str, Any] | None:
        """One revision's figures and its last decisions; None when it is not decided here."""
        revision = self._scalers.get(key)
        if revision is None:
            return None
        planned = self._reconciler.planned(key) if self._reconciler is not None else None
        plan = {"scale": planned[0].scale, "applies": planned[0].applies, "why": planned[1]} if planned else None
        return {**self._figures(key), "plan": plan, **revision.decisions.rendered()}

    # Set-up.

    async def _start_scraping(self) -> None:
        """Mesh settings are read once, as in the original: changing them needs a restart."""
        network = self._config_maps.get(self.config.system_namespace, NETWORK)
        data = network.data if network is not None else {}
        mode, passthrough = self._mesh_settings(data)
        self._scrape_client = ScrapeClient(
            self._resolver, cluster_domain=self.config.cluster_domain, passthrough=passthrough
        )
        await self._scrape_client.open()
        self._scraping = Scraping(
            self._scrape_client,
            self._scalers,
            ready_pods=self._pods.ready,
            clock=self._clock,
            mode=mode,
            passthrough=passthrough,
            is_strict=self.config.strict_compat,
            own_address=self.config.pod_ip,
            on_error_change=self._wake,
            log=self._log,
        )
        envelope = Envelope(self._client, self._autoscalers, self._events.report)
        owned = OwnedObjects(self._client, self._metrics, self._services)
        self._hpa_reconciler = HpaReconciler(
            self._client,
            on_following=self._wake_all,
            autoscalers=self._autoscalers,
            horizontal=self._horizontal,
            owned=owned,
            envelope=envelope,
            settings=self._settings,
        )
        self._ticker = Ticker(self._scalers, self._scraping, clock=self._clock, announce=self._announce)
        ticker = self._ticker
        self._reconciler = Reconciler(
            self._client,
            autoscalers=self._autoscalers,
            services=self._services,
            deployments=self._deployments,
            owned=owned,
            envelope=envelope,
            pods=self._pods,
            scalers=self._scalers,
            scraping=self._scraping,
            settings=self._settings,
            prober=self._prober,
            cluster_domain=self.config.cluster_domain,
            is_strict=self.config.strict_compat,
            clock=self._clock,
            phase=lambda: ticker.phase,
            again_after=self._loop.add_after,
            log=self._log,
        )

    async def _start_metrics(self) -> None:
        """Export metrics if that is asked for; until then nothing of it is loaded."""
        name = self.config.observability_config_map
        config_map = self._config_maps.get(self.config.system_namespace, name)
        variables = self.config.telemetry
        export = MetricsExport.read(config_map.data if config_map is not None else {}, variables, config_map=name)
        if export.missing_protocol:
            self._log.warning("metrics_off", protocol=export.missing_protocol, expected="prometheus or http/protobuf")
        if not export.is_on:
            return
        from autoscaler.metrics import RevisionMetrics
        from proxies.metrics.instruments import Registry
        from proxies.metrics.process import add_runtime_metrics

        registry = Registry(
            resource_attributes(
                "autoscaler",
                namespace=self.config.system_namespace,
                pod_name=self.config.pod_name,
                variables=variables,
            )
        )
        metrics = RevisionMetrics(
            registry, scalers=self._scalers, autoscalers=self._autoscalers, pods=self._pods.counts
        )
        add_runtime_metrics(registry)
        assert self._scraping is not None
        self._scraping.on_look = metrics.scraped
        exporter = export.exporter(registry, bind_address=self.config.bind_address or "", log=self._log)
        await exporter.start()
        self._exporter = exporter

    def _mesh_settings(self, data: dict[str, str]) -> tuple[MeshMode, bool]:
        try:
            mode = MeshMode(data.get("mesh-compatibility-mode", MeshMode.AUTO.value).lower())
            passthrough = parse_bool(data.get("enable-mesh-pod-addressability", "false"))
        except ValueError as error:
            self._log.error("config_invalid", config_map=NETWORK, problem=str(error))
            return MeshMode.AUTO, False
        return mode, passthrough

    def _election_settings(self) -> ElectionSettings:
        """Read once, as in the original: replicas must agree about the number of buckets."""
        name = self.config.election_config_map
        config_map = self._config_maps.get(self.config.system_namespace, name)
        try:
            return ElectionSettings.from_data(config_map.data if config_map is not None else {})
        except InvalidElectionSettings as error:
            raise ConfigError([f"ConfigMap {self.config.system_namespace}/{name}: {error}"]) from error

    def _follow(self) -> None:
        """Whatever belongs to a revision wakes its PodAutoscaler, which has the same name."""

        def by_name(old: Resource | None, new: Resource | None) -> None:
            changed = new or old
            if changed is not None:
                self._wake(changed.key)

        self._autoscalers.on_change(by_name)
        self._services.on_change(by_name)
        self._metrics.on_change(by_name)
        self._horizontal.on_change(by_name)

    # Events.

    def _refuse_config(self, config_map: ConfigMap, problem: str) -> None:
        message = f"{problem}; the last good values stay in force"
        self._events.report(config_map, WARNING, "InvalidConfig", message)

    def _wake(self, key: RevisionKey) -> None:
        if self._ownership.owns(key):
            self._loop.add(key)
            if self._hpa_reconciler is not None and self._hpa_reconciler.concerns(key):
                self._hpa_loop.add(key)

    def _wake_all(self) -> None:
        for autoscaler in self._autoscalers.list():
            self._wake(autoscaler.key)

    def _forget_lost(self) -> None:
        assert self._reconciler is not None
        for key in [revision.key for revision in self._scalers]:
            if not self._ownership.owns(key):
                self._reconciler.forget(key)

    async def _reconcile(self, key: RevisionKey) -> float | None:
        reconciler = self._reconciler
        assert reconciler is not None
        again_s = await self._ownership.while_owned(key, lambda: reconciler.reconcile(key))
        if not self._ownership.owns(key):
            # Lost meanwhile: the last step of a cancelled reconcile may have made the revision anew.
            reconciler.forget(key)
        return again_s

    async def _reconcile_hpa(self, key: RevisionKey) -> None:
        reconciler = self._hpa_reconciler
        assert reconciler is not None
        await self._ownership.while_owned(key, lambda: reconciler.reconcile(key))

    def _take_stat(self, message: StatMessage) -> None:
        outcome = self._scalers.record((message.namespace, message.name), message.stat, self._clock())
        if outcome is not None:
            self._announce(outcome)

    def _announce(self, outcome: Outcome) -> None:
        if outcome.is_worth_telling:
            self._loop.add(outcome.revision.key)
        self._outcome_log.tell(outcome)

    def _figures(self, key: RevisionKey) -> dict[str, Any]:
        revision = self._scalers.get(key)
        assert revision is not None
        service = self._services.get(*key)
        last = revision.last
        return {
            "namespace": key[0],
            "name": key[1],
            "stable": last.stable if last is not None else None,
            "panic": last.panic if last is not None else None,
            "panicking": revision.decider.is_panicking,
            "desired": revision.desired,
            "ready": self._pods.ready_count(key),
            "excess_burst_capacity": revision.excess_burst_capacity,
            "mode": service.spec.mode.lower() if service is not None else None,
        }
