"""Who hears of requests: metrics, traces and the request log, each imported only when it is on.

ConfigMap `config-observability` chooses. Metrics and traces follow it as it was at start, the request log as it is at
any moment; a log setting that cannot be read changes nothing.

Source: spec activator.md 2.3, 13 to 15.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from activator.active_revision import ActiveRevision
from activator.config import Config
from activator.loads import Load
from activator.revisions import Revisions
from activator.stat_reporter import StatReporter
from kube.client import Client
from kube.informer import Informer
from kube.models.core import ConfigMap
from kube.telemetry import Exporter, MetricsExport, resource_attributes
from kube.tracing_settings import TracingSettings
from proxies.exchange import Exchange
from proxies.gotext import parse_bool
from proxies.logs import Logger

if TYPE_CHECKING:
    from activator.metrics import ActivatorMetrics
    from activator.request_log import RequestLog
    from activator.traces import Traces
    from proxies.stdout import StdoutLines

__all__ = ["Observer", "Telemetry"]

_LOG_ENABLED: Final = "logging.enable-request-log"
_LOG_TEMPLATE: Final = "logging.request-log-template"

Observer = Callable[[Exchange, ActiveRevision | None, float], None]
"""Told of an exchange that has ended, its revision if that is known, and when (monotonic)."""


class Telemetry:
    """`observers` is for the policy: whoever is on at this moment."""

    def __init__(self, client: Client, config: Config, log: Logger) -> None:
        self.observers: list[Observer] = []
        self._client = client
        self._config = config
        self._log = log
        self._metrics: ActivatorMetrics | None = None
        self._exporter: Exporter | None = None
        self._traces: Traces | None = None
        self._request_log: RequestLog | None = None
        self._log_settings: tuple[bool, str | None] = (False, None)
        self._stdout: StdoutLines | None = None
        self._config_maps = Informer(
            client,
            ConfigMap,
            namespace=config.system_namespace,
            field_selector=f"metadata.name={config.observability_config_map}",
            log=log,
        )

    async def start(self, revisions: Revisions, reporter: StatReporter) -> None:
        """Begin, before `revisions` starts. Raises `ConfigError`, or `OSError` when a port cannot be had."""
        config = self._config
        self._config_maps.on_change(self._follow)
        await self._config_maps.start()
        found = self._config_maps.get(config.system_namespace, config.observability_config_map)
        data = {} if found is None else found.data
        await self._start_metrics(data, revisions, reporter)
        self._start_traces(data, revisions)

    async def stop(self) -> None:
        """Send what waits, within a few seconds each."""
        await self._config_maps.stop()
        if self._exporter is not None:
            await self._exporter.stop()
        if self._traces is not None:
            await self._traces.stop()
        if self._stdout is not None:
            await self._stdout.close()

    def reported(self, loads: Iterable[Load]) -> None:
        """These loads go to the autoscaler."""
        if self._metrics is not None:
            self._metrics.reported(loads)

    async def _start_metrics(self, data: Mapping[str, str], revisions: Revisions, reporter: StatReporter) -> None:
        config = self._config
        export = MetricsExport.read(data, config.telemetry, config_map=config.observability_config_map)
        if export.missing_protocol:
            self._log.warning("metrics_off", protocol=export.missing_protocol, expected="prometheus or http/protobuf")
        if not export.is_on:
            return
        from activator.metrics import ActivatorMetrics
        from proxies.metrics.instruments import Registry
        from proxies.metrics.process import add_runtime_metrics

        registry = Registry(self._resource())
        self._metrics = metrics = ActivatorMetrics(registry, revisions=revisions.by_key, reporter=reporter)
        self.observers.append(metrics.ended)
        revisions.cold_started = metrics.cold_started
        add_runtime_metrics(registry)
        self._exporter = export.exporter(registry, bind_address=config.bind_address or "", log=self._log)
        await self._exporter.start()

    def _start_traces(self, data: Mapping[str, str], revisions: Revisions) -> None:
        config = self._config
        settings = TracingSettings.read(data, config.telemetry, config_map=config.observability_config_map)
        if settings.protocol == "grpc":
            self._log.warning("traces_off", protocol="grpc", expected="http/protobuf or stdout")
        if not settings.is_on:
            return
        from activator.traces import Traces

        self._traces = traces = Traces(
            asyncio.get_running_loop(),
            settings,
            self._log,
            destination=settings.otlp or self._shared_stdout(),
            resource=self._resource(),
        )
        self.observers.append(traces.ended)
        revisions.traces = traces

    def _follow(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        """Log requests as the ConfigMap says now; None: it does not exist."""
        data = {} if new is None else new.data
        try:
            settings = (parse_bool(data.get(_LOG_ENABLED) or "false"), data.get(_LOG_TEMPLATE))
            if settings != self._log_settings:
                self._set_log(*settings)
                self._log_settings = settings
        except ValueError as error:
            self._log.warning(
                "request_log_unreadable", config_map=self._config.observability_config_map, problem=str(error)
            )

    def _set_log(self, enabled: bool, template: str | None) -> None:
        """Raises `ValueError` before anything has changed."""
        before = self._request_log
        if enabled:
            if template == "":
                raise ValueError(f"{_LOG_TEMPLATE}: expected a template, got nothing")
            from activator.request_log import RequestLog

            self._request_log = RequestLog(template, self._shared_stdout(), self._log)
            self.observers.append(self._request_log.ended)
        else:
            self._request_log = None
        if before is not None:
            self.observers.remove(before.ended)
        if enabled or before is not None:
            self._log.info("request_log", enabled=enabled)

    def _resource(self) -> dict[str, str]:
        config = self._config
        return resource_attributes(
            "activator", namespace=config.system_namespace, pod_name=config.pod_name, variables=config.telemetry
        )

    def _shared_stdout(self) -> "StdoutLines":
        """Two writers with a buffer each would mix their lines."""
        if self._stdout is None:
            from proxies.stdout import StdoutLines

            self._stdout = StdoutLines(asyncio.get_running_loop(), self._log)
        return self._stdout
