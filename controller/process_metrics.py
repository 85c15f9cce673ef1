"""Metrics of a process of controllers: one port or one push, whichever of them run in it.

The first that starts brings the ConfigMap that says whether and how; the others are told of in the same way. Nothing of
it is loaded while they are off.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from controller.collection import Collection
from kube.exporting import start_exporting
from kube.models.core import ConfigMap
from kube.reconcile import Loop
from proxies.logs import Logger

if TYPE_CHECKING:
    from kube.queue_metrics import QueueMetrics
    from kube.ready_metrics import ReadyMetrics
    from kube.telemetry import Exporter
    from proxies.metrics.instruments import Registry

__all__ = ["ProcessMetrics"]


class Told(Protocol):
    """What every controller is told at start about its metrics."""

    @property
    def system_namespace(self) -> str:
        """Where the ConfigMap is."""

    @property
    def pod_name(self) -> str:
        """Who reports."""

    @property
    def bind_address(self) -> str:
        """Where they are scraped, unless the ConfigMap says; empty: all addresses."""

    @property
    def observability_config_map(self) -> str:
        """The ConfigMap's name."""

    @property
    def telemetry(self) -> Mapping[str, str]:
        """Variables that override it."""


class ProcessMetrics:
    """One for all controllers of a process."""

    def __init__(self) -> None:
        self._is_decided = False
        self._exporter: Exporter | None = None
        self._queues: QueueMetrics | None = None
        self._ready: ReadyMetrics | None = None

    async def start(
        self,
        component: str,
        config: Told,
        maps: Collection[ConfigMap],
        *,
        loops: Iterable[Loop[Any]],
        kinds: Iterable[Collection[Any]],
        log: Logger,
    ) -> None:
        """Tell of `loops`, which do not work yet, and of how long objects of `kinds` take to become Ready.

        `maps` are there. Raises `ConfigError`, or `OSError` when the port cannot be had.
        """
        if not self._is_decided:
            self._is_decided = True
            found = maps.get(config.system_namespace, config.observability_config_map)
            self._exporter = await start_exporting(
                component,
                found.data if found is not None else {},
                config.telemetry,
                self._make,
                config_map=config.observability_config_map,
                namespace=config.system_namespace,
                pod_name=config.pod_name,
                bind_address=config.bind_address,
                log=log,
            )
        if self._queues is not None:
            self._queues.add(loops)
        if self._ready is not None:
            self._ready.add(kind.informer for kind in kinds)

    async def stop(self) -> None:
        """End, in any state; the first who stops ends it for all."""
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            await exporter.stop()

    def _make(self, registry: "Registry") -> None:
        from kube.queue_metrics import QueueMetrics
        from kube.ready_metrics import ReadyMetrics

        self._queues = QueueMetrics(registry)
        self._ready = ReadyMetrics(registry)
