"""Metrics of one queue-proxy, switched on: what is measured and where it goes. Imported only then.

Source: spec queue-proxy.md 17.
"""

import asyncio
import time
from collections.abc import Callable

from proxies.logs import Logger
from proxies.metrics.instruments import Registry
from proxies.metrics.process import add_process_series, add_runtime_metrics
from proxies.server import Server
from queue_proxy.config import Config
from queue_proxy.metric_names import OpenCensusNames, OpenTelemetryNames
from queue_proxy.observability import Protocol, resource_attributes
from queue_proxy.request_metrics import Names, RequestMetrics

__all__ = ["Metrics"]


class Metrics:
    """`requests` measures; `start` and `stop` are for the port that is scraped, or for pushing."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: Config, logger: Logger, queue_depth: Callable[[], int]
    ) -> None:
        """`queue_depth`: requests inside the breaker when one was admitted last; 0 before that, or without one."""
        self._settings = config.observability.request_metrics
        is_scraped = self._settings.protocol is Protocol.PROMETHEUS
        self._registry = Registry(
            resource_attributes(
                config.observability,
                namespace=config.serving_namespace,
                service=config.serving_service,
                configuration=config.serving_configuration,
                revision=config.serving_revision,
            )
        )
        names: list[Names] = []
        if self._settings.has_opentelemetry_names:
            names.append(OpenTelemetryNames(self._registry, user_port=config.user_port, queue_depth=queue_depth))
            add_runtime_metrics(self._registry)
        if self._settings.has_opencensus_names:
            names.append(OpenCensusNames(self._registry, labels=_pod_labels(config), queue_depth=queue_depth))
        if is_scraped:
            add_process_series(self._registry)
        self.requests = RequestMetrics(self._registry, names)
        self._exporter: _Port | _Push = (
            _Port(loop, config, self._registry) if is_scraped else _Push(loop, config, self._registry, logger)
        )

    async def start(self) -> None:
        """Begin to export. Raises `OSError` when the port cannot be had or a certificate cannot be used."""
        await self._exporter.start()

    async def stop(self) -> None:
        """Export for the last time, within a few seconds."""
        await self._exporter.stop()


class _Port:
    """Prometheus scrapes us."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: Config, registry: Registry) -> None:
        from queue_proxy.prometheus import HEAD_TIMEOUT_S, ScrapePolicy

        self._server = Server(loop, ScrapePolicy(registry), head_timeout_s=HEAD_TIMEOUT_S)
        self._bind_address = config.bind_address
        self._listener = config.observability.request_metrics.listener

    async def start(self) -> None:
        from queue_proxy.prometheus import tls_context

        tls = self._listener.tls
        host = self._listener.host or self._bind_address
        await self._server.listen(host, self._listener.port, tls=None if tls is None else tls_context(tls))

    async def stop(self) -> None:
        await self._server.stop()


class _Push:
    """We push to a collector."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: Config, registry: Registry, logger: Logger) -> None:
        from proxies.metrics import export
        from proxies.otlp import Pusher

        settings = config.observability.request_metrics
        assert settings.otlp is not None, "metrics are pushed only where there is an endpoint"
        self._loop = loop
        self._registry = registry
        self._interval_s = settings.interval_s
        self._encode = export.request
        self._pusher = Pusher(loop, settings.otlp, logger, bodies_max=1)
        self._started_unix_ns = time.time_ns()
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        self._timer = self._loop.call_later(self._interval_s, self._push)

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._push_once()
        await self._pusher.close()

    def _push(self) -> None:
        self._timer = self._loop.call_later(self._interval_s, self._push)
        self._push_once()

    def _push_once(self) -> None:
        self._pusher.push(
            self._encode(self._registry, started_unix_ns=self._started_unix_ns, now_unix_ns=time.time_ns())
        )


def _pod_labels(config: Config) -> dict[str, str]:
    """Which pod this is, in the labels of before OpenTelemetry."""
    labels = {
        "namespace_name": config.serving_namespace,
        "service_name": config.serving_service,
        "configuration_name": config.serving_configuration,
        "revision_name": config.serving_revision,
        "pod_name": config.serving_pod,
        "container_name": "queue-proxy",
    }
    return {name: value or "unknown" for name, value in labels.items()}
