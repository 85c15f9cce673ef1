"""What the loops of a controller tell of their work, in the names of Knative's own controllers.

A loop that nobody observes costs nothing. Source: knative.dev/pkg `observability/metrics/k8s/workqueue.go`; the
duration of reconciles by result is ours, what was `reconcile_latency` and `reconcile_count` before OpenTelemetry.
"""

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from kube.reconcile import Loop, Outcome
from proxies.metrics.instruments import Distribution, Registry

__all__ = ["QueueMetrics", "add_queue_metrics"]

K = TypeVar("K", bound=Hashable)

_SCOPE = "knative.dev/pkg/observability/metrics/k8s"
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


def add_queue_metrics(
    registry: Registry, loops: Iterable[Loop[Any]], clock: Callable[[], float] = time.monotonic
) -> None:
    """Observe `loops` from now on. `clock`: seconds that only grow."""
    QueueMetrics(registry, clock).add(loops)


class QueueMetrics:
    """The instruments, for loops that come one after the other."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds that only grow."""
        scope = registry.scope(_SCOPE)
        self._depth = scope.gauge("kn.workqueue.depth", unit="{item}", description="Keys that wait for a worker.")
        self._adds = scope.counter("kn.workqueue.adds", unit="{item}", description="Keys that became due.")
        self._retries = scope.counter("kn.workqueue.retries", unit="{item}", description="Keys that are tried again.")
        self._waited = scope.histogram(
            "kn.workqueue.queue.duration", _BOUNDS, unit="s", description="From due to begun."
        )
        self._worked = scope.histogram(
            "kn.workqueue.process.duration", _BOUNDS, unit="s", description="From begun to ended."
        )
        self._unfinished = scope.gauge(
            "kn.workqueue.unfinished_work", unit="s", description="Age of what is under way, added up."
        )
        self._longest = scope.gauge(
            "kn.workqueue.longest_running_processor", unit="s", description="Age of the oldest of it."
        )
        self._reconciled = scope.histogram(
            "knuv.reconcile.duration", _BOUNDS, unit="s", description="From begun to ended, by how it ended."
        )
        self._clock = clock
        self._observers: list[tuple[Loop[Any], _Observer[Any]]] = []
        registry.before_collection(self._read)

    def add(self, loops: Iterable[Loop[Any]]) -> None:
        """Observe `loops` from now on; they do not work yet."""
        for loop in loops:
            name = {"name": loop.name}
            observer: _Observer[Any] = _Observer(
                self._clock,
                self._adds.series(name).add,
                self._retries.series(name).add,
                self._waited.series(name),
                self._worked.series(name),
                {outcome: self._reconciled.series({**name, "result": outcome.value}) for outcome in Outcome},
            )
            loop.observe(observer)
            self._observers.append((loop, observer))

    def _read(self) -> None:
        now_s = self._clock()
        for loop, observer in self._observers:
            name = {"name": loop.name}
            ages = [now_s - begun_s for begun_s in observer.begun_s.values()]
            self._depth.series(name).set(loop.depth)
            self._unfinished.series(name).set(sum(ages))
            self._longest.series(name).set(max(ages, default=0.0))


class _Observer(Generic[K]):
    """Takes the times of one loop's keys; holds those only that wait or are worked on."""

    def __init__(
        self,
        clock: Callable[[], float],
        count_add: Callable[[], None],
        count_retry: Callable[[], None],
        waited: Distribution,
        worked: Distribution,
        by_outcome: dict[Outcome, Distribution],
    ) -> None:
        self._clock = clock
        self._count_add = count_add
        self._count_retry = count_retry
        self._waited = waited
        self._worked = worked
        self._by_outcome = by_outcome
        self._due_s: dict[K, float] = {}
        self.begun_s: dict[K, float] = {}

    def due(self, key: K) -> None:
        """A key waits for a worker."""
        self._count_add()
        self._due_s[key] = self._clock()

    def begun(self, key: K) -> None:
        """A worker has taken it."""
        now_s = self.begun_s[key] = self._clock()
        # Keys that were due before anybody observed have waited for an unknown time.
        due_s = self._due_s.pop(key, None)
        if due_s is not None:
            self._waited.record(now_s - due_s)

    def ended(self, key: K, outcome: Outcome) -> None:
        """The worker is through with it."""
        duration_s = self._clock() - self.begun_s.pop(key)
        self._worked.record(duration_s)
        self._by_outcome[outcome].record(duration_s)
        if outcome in (Outcome.CONFLICT, Outcome.FAILURE):
            self._count_retry()
