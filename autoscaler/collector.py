"""The load of each revision, from the stats that activators push and the scraper fetches.

A collection holds windows of concurrency and of requests per second, each over the stable and the panic window, and of
a gauge of the app's own where the revision scales by one. What came through a proxy is subtracted before recording,
since the activator reports it already; so every request counts once. Unknown is not zero: a revision that is scraped
but has no samples has no load, and nothing is decided about it; seconds whose scrape is missing are left out of the
averages, and `Load.coverage` says how much was seen.

No clock, no I/O. Source: knative/serving `pkg/autoscaler/metrics/collector.go`; spec autoscaler.md 4; golden set
`collector`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from autoscaler.coverage import Coverage
from autoscaler.windows import AverageWindow, WeightedWindow
from kube.autoscaling.annotations import URL
from proxies.wire.stat import Stat

__all__ = ["Collection", "Load", "MetricSpec"]

_TRACE = 1e-6
"""Less than any target, more than nothing."""

WEIGHTED = frozenset({"weighted-exponential", "weightedExponential"})
"""Names of the weighted average in the annotation; every other value means the plain one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """How a revision's load is collected."""

    stable_window_s: float
    panic_window_s: float
    scrape_target: str
    """The Service whose pods are scraped; empty when activators alone see all traffic."""
    aggregation_algorithm: str = ""


class Load(NamedTuple):
    """Averages of one metric over both windows, for the whole revision."""

    stable: float
    panic: float
    coverage: float = 1.0
    """The share of the stable window's load that was seen, from 0 to 1."""


class Collection:
    """The windows of one revision. The algorithm is fixed at creation, as in the original."""

    __slots__ = (
        "_concurrency",
        "_coverage",
        "_gauge",
        "_gauge_coverage",
        "_rps",
        "spec",
    )

    def __init__(self, spec: MetricSpec) -> None:
        self.spec = spec
        self._concurrency = _Averages(spec)
        self._rps = _Averages(spec)
        self._coverage = Coverage()
        self._gauge: _Averages | None = None
        self._gauge_coverage = Coverage()

    def record(self, at_s: float, stat: Stat) -> None:
        """Add what one reporter saw in the second of `at_s` (Unix)."""
        self._concurrency.record(at_s, stat.average_concurrent_requests - stat.average_proxied_concurrent_requests)
        self._rps.record(at_s, stat.request_count - stat.proxied_request_count)

    def scrape_is_due(self, now_s: float) -> None:
        """The pods are to be asked: from now on `scraped` is expected each second."""
        self._coverage.begin(now_s)

    def scraped(self, at_s: float, stat: Stat | None, share: float = 1.0) -> None:
        """A scrape that began at `at_s` gave `stat`, from `share` (0 to 1) of its sample; None: there was no pod."""
        self._coverage.looked(at_s, share, self.spec.stable_window_s)
        if stat is not None:
            self.record(at_s, stat)

    def gauge_is_due(self, now_s: float) -> None:
        """The same for the gauge of the app's own, if the revision scales by one."""
        self._gauge_coverage.begin(now_s)

    def gauge_scraped(self, at_s: float, value: float | None, share: float = 1.0) -> None:
        """The gauge's value for the whole revision, as in `scraped`."""
        self._gauge_coverage.looked(at_s, share, self.spec.stable_window_s)
        if value is not None:
            if self._gauge is None:
                self._gauge = _Averages(self.spec)
            self._gauge.record(at_s, value)

    def load(self, scaling_metric: str, now_s: float) -> Load | None:
        """The load as of `now_s`; None when it is not known. Where nothing is scraped, silence means no load."""
        if scaling_metric == URL:
            return self._gauge_load(now_s)
        averages = self._rps if scaling_metric == "rps" else self._concurrency
        if self.spec.scrape_target and averages.stable.is_empty(now_s):
            return None
        return self._reported(averages, now_s)

    def update(self, now_s: float, spec: MetricSpec) -> None:
        """Take over new windows and a new target, keeping the samples that fit."""
        if spec == self.spec:
            return
        self.spec = spec
        for averages in (self._concurrency, self._rps, self._gauge):
            if averages is not None:
                averages.stable.resize(now_s, spec.stable_window_s)
                averages.panic.resize(now_s, spec.panic_window_s)

    def _gauge_load(self, now_s: float) -> Load | None:
        """The gauge, and a trace of load as long as there are requests.

        The trace is what one pod is wanted for: a queue is empty while the last request is being served, and nobody
        can say how long it is before there is a pod.
        """
        requests = self._reported(self._concurrency, now_s)
        gauge = self._gauge
        if gauge is not None and not gauge.stable.is_empty(now_s):
            stable, panic, coverage = self._load_of(gauge, self._gauge_coverage, now_s)
        elif requests.stable > 0:
            stable, panic, coverage = 0.0, 0.0, self._gauge_coverage.ratio(now_s, self.spec.stable_window_s)
        else:
            return None
        if requests.stable > 0:
            stable, panic = max(stable, _TRACE), max(panic, _TRACE)
        return Load(stable, panic, min(coverage, requests.coverage))

    def _reported(self, averages: "_Averages", now_s: float) -> Load:
        """The load that activators push, and pods tell where they are scraped."""
        if self.spec.scrape_target:
            return self._load_of(averages, self._coverage, now_s)
        return Load(averages.stable.average(now_s), averages.panic.average(now_s))

    def _load_of(self, averages: "_Averages", coverage: Coverage, now_s: float) -> Load:
        unseen = coverage.unseen(now_s)
        stable, panic = averages.stable.average(now_s, unseen), averages.panic.average(now_s, unseen)
        return Load(stable, panic, coverage.ratio(now_s, self.spec.stable_window_s))


class _Averages:
    """One figure over both windows."""

    __slots__ = ("panic", "stable")

    def __init__(self, spec: MetricSpec) -> None:
        window = WeightedWindow if spec.aggregation_algorithm in WEIGHTED else AverageWindow
        self.stable = window(spec.stable_window_s)
        self.panic = window(spec.panic_window_s)

    def record(self, at_s: float, value: float) -> None:
        """Add to the second of `at_s`."""
        self.stable.record(at_s, value)
        self.panic.record(at_s, value)
