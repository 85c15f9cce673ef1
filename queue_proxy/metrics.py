"""Metrics of one queue-proxy, switched on: what is measured and where it goes. Imported only then.

Source: spec queue-proxy.md 17.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxies.logs import Logger
from proxies.metrics.instruments import Registry
from proxies.metrics.process import add_process_series, add_runtime_metrics
from queue_proxy.config import Config
from queue_proxy.metric_names import OpenCensusNames, OpenTelemetryNames
from queue_proxy.observability import resource_attributes
from queue_proxy.request_metrics import Names, RequestMetrics

__all__ = ["Metrics"]


class Exporter(Protocol):
    """A port that is scraped, or a push at an interval."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End."""


class Metrics:
    """`requests` measures; `start` and `stop` begin and end the export."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: Config, logger: Logger, queue_depth: Callable[[], int]
    ) -> None:
        """`queue_depth`: requests inside the breaker when one was admitted last; 0 before that, or without one."""
        settings = config.observability.request_metrics
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
        if settings.has_opentelemetry_names:
            names.append(OpenTelemetryNames(self._registry, user_port=config.user_port, queue_depth=queue_depth))
            add_runtime_metrics(self._registry)
        if settings.has_opencensus_names:
            names.append(OpenCensusNames(self._registry, labels=_pod_labels(config), queue_depth=queue_depth))
        self.requests = RequestMetrics(self._registry, names)
        self._exporter: Exporter
        if settings.listener is not None:
            from proxies.metrics.scraped import ScrapedPort

            add_process_series(self._registry)
            self._exporter = ScrapedPort(loop, self._registry, settings.listener, bind_address=config.bind_address)
        else:
            from proxies.metrics.pushed import PeriodicPush

            assert settings.otlp is not None, "metrics that are on are scraped or pushed"
            self._exporter = PeriodicPush(
                loop, self._registry, settings.otlp, interval_s=settings.interval_s, logger=logger
            )

    async def start(self) -> None:
        """Export from here on. Raises `OSError` when the port cannot be had or a certificate cannot be used."""
        await self._exporter.start()

    async def stop(self) -> None:
        """Export for the last time, within a few seconds."""
        await self._exporter.stop()


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
