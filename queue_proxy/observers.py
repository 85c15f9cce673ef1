"""Who hears of requests: metrics, traces and the request log, each imported only if it is on.

Source: spec queue-proxy.md 2.3, 17, 18, 19.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from proxies.logs import Logger
from queue_proxy.config import Config
from queue_proxy.observability import Protocol, resource_attributes
from queue_proxy.policy import Telemetry
from queue_proxy.telemetry import combined

if TYPE_CHECKING:
    from proxies.stdout import StdoutLines
    from queue_proxy.metrics import Metrics
    from queue_proxy.request_log import RequestLog
    from queue_proxy.traces import Traces

__all__ = ["Observers"]


class Observers:
    """`telemetry` is for the policy; `start` when the ports are open, `stop` when the last request has ended."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: Config, logger: Logger, queue_depth: Callable[[], int]
    ) -> None:
        """`queue_depth`: requests inside the breaker when one was admitted last."""
        self._loop = loop
        self._config = config
        self._logger = logger
        self._stdout: StdoutLines | None = None
        self._metrics = self._metrics_if_on(queue_depth)
        self._traces = self._traces_if_on()
        metrics = None if self._metrics is None else self._metrics.requests
        others: list[Telemetry] = [each for each in (metrics, self._request_log_if_on()) if each is not None]
        self.telemetry = combined(*others, tracer=self._traces)
        """None when nothing is on."""

    async def start(self) -> None:
        """Let metrics be scraped or pushed. Raises `OSError` when their port cannot be had."""
        if self._metrics is not None:
            await self._metrics.start()

    async def stop(self) -> None:
        """Send what waits, within a few seconds each."""
        if self._metrics is not None:
            await self._metrics.stop()
        if self._traces is not None:
            await self._traces.stop()
        if self._stdout is not None:
            await self._stdout.close()

    def _metrics_if_on(self, queue_depth: Callable[[], int]) -> "Metrics | None":
        settings = self._config.observability.request_metrics
        if settings.protocol is Protocol.GRPC:
            self._logger.warning(
                "metrics_not_exported",
                protocol=settings.protocol.value,
                endpoint=settings.endpoint,
                problem="OTLP over gRPC is not supported, so no metrics are recorded",
                remedy="set request-metrics-protocol in config-observability to http/protobuf or prometheus",
            )
        if settings.protocol in (Protocol.NONE, Protocol.GRPC):
            return None
        from queue_proxy.metrics import Metrics

        return Metrics(self._loop, self._config, self._logger, queue_depth)

    def _traces_if_on(self) -> "Traces | None":
        config = self._config
        tracing = config.observability.tracing
        if tracing.protocol is Protocol.GRPC:
            self._logger.warning(
                "traces_not_exported",
                protocol=tracing.protocol.value,
                endpoint=tracing.endpoint,
                problem="OTLP over gRPC is not supported, so no traces are recorded",
                remedy="set tracing-protocol in config-observability to http/protobuf",
            )
        if tracing.protocol in (Protocol.NONE, Protocol.GRPC):
            return None
        from queue_proxy.traces import Traces

        return Traces(
            self._loop,
            tracing,
            self._logger,
            destination=tracing.otlp or self._shared_stdout(),
            resource=resource_attributes(
                config.observability,
                namespace=config.serving_namespace,
                service=config.serving_service,
                configuration=config.serving_configuration,
                revision=config.serving_revision,
            ),
            user_port=config.user_port,
            has_breaker=config.container_concurrency > 0,
        )

    def _request_log_if_on(self) -> "RequestLog | None":
        config = self._config
        settings = config.observability
        if not settings.request_log:
            return None
        from proxies.request_log.logged_exchange import LoggedRevision
        from queue_proxy.request_log import RequestLog, writer_of

        writer = writer_of(settings.request_log_template, self._shared_stdout(), self._logger)
        if writer is None:
            return None
        revision = LoggedRevision(
            config.serving_revision,
            config.serving_namespace,
            config.serving_service,
            config.serving_configuration,
            config.serving_pod,
            config.serving_pod_ip,
        )
        return RequestLog(writer, revision, logs_probes=settings.probe_request_log)

    def _shared_stdout(self) -> "StdoutLines":
        """Two writers with a buffer each would mix their lines."""
        if self._stdout is None:
            from proxies.stdout import StdoutLines

            self._stdout = StdoutLines(self._loop, self._logger)
        return self._stdout
