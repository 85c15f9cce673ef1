"""How long objects take to become Ready, as their informers show it: from a generation's appearance to Ready at it."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from kube.informer import Informer
from kube.models.meta import Resource
from proxies.metrics.instruments import Registry

__all__ = ["add_ready_metrics"]

_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


def add_ready_metrics(
    registry: Registry, informers: Iterable[Informer[Any]], clock: Callable[[], float] = time.monotonic
) -> None:
    """Follow `informers` of kinds with Knative's status from now on. What is there already counts from now on, too."""
    ReadyMetrics(registry, clock).add(informers)


class ReadyMetrics:
    """The instrument, for informers that come one after the other."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds that only grow."""
        self._clock = clock
        self._durations = registry.scope("knuv.dev/control-plane").histogram(
            "knuv.ready.duration",
            _BOUNDS,
            unit="s",
            description="From the appearance of a generation until it is Ready.",
        )

    def add(self, informers: Iterable[Informer[Any]]) -> None:
        """Follow them from now on."""
        for informer in informers:
            series = self._durations.series({"kind": informer.kind.RESOURCE.kind})
            informer.on_change(_Clock(series.record, self._clock).changed)


class _Clock:
    """Times the objects of one kind; holds those only that are not Ready at their generation."""

    def __init__(self, record: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._record = record
        self._clock = clock
        self._since: dict[str, tuple[int, float]] = {}

    def changed(self, old: Resource | None, new: Resource | None) -> None:
        """An object came, changed or went."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._since.pop(old.metadata.uid, None)
            old = None  # a successor of the same name begins anew
        if new is None:
            return
        uid, generation = new.metadata.uid, new.metadata.generation
        known = self._since.get(uid)
        if not _is_ready(new):
            is_new = old is None or old.metadata.generation != generation
            if is_new or (known is None and old is not None and _is_ready(old)):
                self._since[uid] = generation, self._clock()
        elif known is not None:
            del self._since[uid]
            if known[0] == generation:
                self._record(self._clock() - known[1])


def _is_ready(obj: Any) -> bool:
    is_current = obj.status.observed_generation == obj.metadata.generation
    return is_current and any(c.type == "Ready" and c.status == "True" for c in obj.status.conditions)
