"""What one autoscaler tells of its revisions, for dashboards: gauges that are looked up when somebody reads them.

Nothing is kept or counted as decisions are made: each reading goes once over the revisions that are decided here, and
a revision that has gone is gone from the next reading. Only the duration of scrapes is recorded as it happens. Source:
knative/serving `pkg/autoscaler/scaling/metrics.go`, `pkg/reconciler/autoscaling/kpa/metrics.go`; spec autoscaler.md 12.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from autoscaler.multiscaler import MultiScaler, Revision, RevisionKey
from autoscaler.pods import PodCounts
from kube.informer import Informer
from kube.models.autoscaling import PodAutoscaler
from proxies.metrics.instruments import Distribution, Number, Registry

__all__ = ["RevisionMetrics"]

_SCOPE = "knative.dev/serving/pkg/autoscaler"
_CONFIGURATIONS_MAX = 20_000
"""Series of the histogram; what is beyond them is counted together."""
_SCRAPE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_CONCURRENCY, _RPS, _POD = "{concurrency}", "{request}/s", "{pod}"


class _Row(NamedTuple):
    """One revision at the time of a reading, and the series that stands for it in every gauge."""

    series: Number
    revision: Revision
    autoscaler: PodAutoscaler
    pods: PodCounts


class RevisionMetrics:
    """Adds its instruments to a registry. `pods(key)` counts a revision's pods."""

    def __init__(
        self,
        registry: Registry,
        *,
        scalers: MultiScaler,
        autoscalers: Informer[PodAutoscaler],
        pods: Callable[[RevisionKey], PodCounts],
    ) -> None:
        self._scalers = scalers
        self._autoscalers = autoscalers
        self._pods = pods
        self._rows: list[_Row] = []
        self._durations: dict[RevisionKey, Distribution] = {}
        registry.before_collection(self._read)
        scope = registry.scope(_SCOPE)

        def gauge(name: str, unit: str, description: str, value: Callable[[_Row], float | None]) -> None:
            scope.gauge(name, unit=unit, description=description).stream(lambda: self._series(value))

        gauge("kn.revision.pods.desired", "{item}", "Pods that the decider wants.", _desired)
        gauge(
            "kn.revision.capacity.excess",
            _CONCURRENCY,
            "Room for more load in the ready pods beyond the burst that is kept free.",
            lambda row: row.revision.excess_burst_capacity if row.revision.last is not None else None,
        )
        gauge(
            "kn.revision.panic.mode", "", "1 while the revision panics.", lambda row: row.revision.decider.is_panicking
        )
        for name, unit, is_rps in (("concurrency", _CONCURRENCY, False), ("rps", _RPS, True)):
            gauge(f"kn.revision.{name}.stable", unit, "Average load over the stable window.", _stable(is_rps))
            gauge(f"kn.revision.{name}.panic", unit, "Average load over the panic window.", _panic(is_rps))
            gauge(f"kn.revision.{name}.target", unit, "Load that one pod aims at.", _target(is_rps))
        gauge("kn.revision.pods.requested", _POD, "Pods that were asked of Kubernetes.", _requested)
        for name, description, count in (
            ("count", "Pods that are ready.", lambda row: row.pods.ready),
            ("not_ready.count", "Pods that are not ready.", lambda row: row.pods.not_ready),
            ("pending.count", "Pods that are pending.", lambda row: row.pods.pending),
            ("terminating.count", "Pods that are terminating.", lambda row: row.pods.terminating),
        ):
            gauge(f"kn.revision.pods.{name}", _POD, description, count)
        self._scrapes = scope.histogram(
            "kn.autoscaler.scrape.duration",
            _SCRAPE_BOUNDS,
            unit="s",
            description="How long it took to ask a revision's pods.",
            series_max=_CONFIGURATIONS_MAX,
        )

    def scraped(self, key: RevisionKey, duration_s: float) -> None:
        """A revision's pods were asked."""
        series = self._durations.get(key)
        if series is None:
            autoscaler = self._autoscalers.get(*key)
            if autoscaler is None:
                return
            if len(self._durations) > 2 * len(self._scalers):
                self._forget_gone()  # nobody reads
            attributes = _attributes(autoscaler)
            del attributes["kn.revision.name"]
            series = self._durations[key] = self._scrapes.series(attributes)
        series.record(duration_s)

    def _forget_gone(self) -> None:
        """Drop the histogram's series of configurations without any revision that was scraped here."""
        self._durations = {key: series for key, series in self._durations.items() if self._scalers.get(key) is not None}
        self._scrapes.keep_only(set(self._durations.values()))

    def _read(self) -> None:
        self._forget_gone()
        known = {row.revision.key: row.series for row in self._rows}
        rows = []
        for revision in self._scalers:
            autoscaler = self._autoscalers.get(*revision.key)
            if autoscaler is not None:
                attributes = _attributes(autoscaler)
                series = known.get(revision.key)
                if series is None or series.attributes != attributes:
                    series = Number(attributes)
                rows.append(_Row(series, revision, autoscaler, self._pods(revision.key)))
        self._rows = rows

    def _series(self, value: Callable[[_Row], float | None]) -> Iterator[Number]:
        for row in self._rows:
            found = value(row)
            if found is not None:
                row.series.value = found
                yield row.series


def _attributes(autoscaler: PodAutoscaler) -> dict[str, str]:
    labels = autoscaler.metadata.labels
    return {
        "k8s.namespace.name": autoscaler.namespace,
        "kn.service.name": labels.get("serving.knative.dev/service", ""),
        "kn.configuration.name": labels.get("serving.knative.dev/configuration", ""),
        "kn.revision.name": autoscaler.name,
    }


def _desired(row: _Row) -> float | None:
    return row.revision.desired if row.revision.last is not None else None


def _requested(row: _Row) -> float | None:
    # The status keeps the last known wish while a new one is unknown, which is what is asked for here.
    scale = row.autoscaler.status.desired_scale
    return scale if scale is not None and scale >= 0 else None


def _stable(is_rps: bool) -> Callable[[_Row], float | None]:
    return lambda row: row.revision.last.stable if row.revision.last is not None and _is_rps(row) is is_rps else None


def _panic(is_rps: bool) -> Callable[[_Row], float | None]:
    return lambda row: row.revision.last.panic if row.revision.last is not None and _is_rps(row) is is_rps else None


def _target(is_rps: bool) -> Callable[[_Row], float | None]:
    return lambda row: row.revision.decider.spec.target_value if _is_rps(row) is is_rps else None


def _is_rps(row: _Row) -> bool:
    return row.revision.decider.spec.scaling_metric == "rps"
