"""The load of each revision, from the stats that activators push and the scraper fetches.

A collection holds four windows: concurrency and requests per second, each over the stable and the panic window. What
came through a proxy is subtracted before recording, since the activator reports it already; so every request counts
once. Unknown is not zero: a revision that is scraped but has no samples has no load, and nothing is decided about it;
seconds whose scrape is missing are left out of the averages, and `Load.coverage` says how much was seen.

No clock, no I/O. Source: knative/serving `pkg/autoscaler/metrics/collector.go`; spec autoscaler.md 4; golden set
`collector`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from autoscaler.coverage import Coverage
from autoscaler.windows import AverageWindow, WeightedWindow
from proxies.wire.stat import Stat

__all__ = ["Collection", "Load", "MetricSpec"]

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

    __slots__ = ("_coverage", "_panic_concurrency", "_panic_rps", "_stable_concurrency", "_stable_rps", "spec")

    def __init__(self, spec: MetricSpec) -> None:
        window = WeightedWindow if spec.aggregation_algorithm in WEIGHTED else AverageWindow
        self.spec = spec
        self._stable_concurrency = window(spec.stable_window_s)
        self._panic_concurrency = window(spec.panic_window_s)
        self._stable_rps = window(spec.stable_window_s)
        self._panic_rps = window(spec.panic_window_s)
        self._coverage = Coverage()

    def record(self, at_s: float, stat: Stat) -> None:
        """Add what one reporter saw in the second of `at_s` (Unix)."""
        concurrency = stat.average_concurrent_requests - stat.average_proxied_concurrent_requests
        rps = stat.request_count - stat.proxied_request_count
        self._stable_concurrency.record(at_s, concurrency)
        self._panic_concurrency.record(at_s, concurrency)
        self._stable_rps.record(at_s, rps)
        self._panic_rps.record(at_s, rps)

    def scrape_is_due(self, now_s: float) -> None:
        """The pods are to be asked: from now on `scraped` is expected each second."""
        self._coverage.begin(now_s)

    def scraped(self, at_s: float, stat: Stat | None, share: float = 1.0) -> None:
        """A scrape that began at `at_s` gave `stat`, from `share` (0 to 1) of its sample; None: there was no pod."""
        self._coverage.looked(at_s, share, self.spec.stable_window_s)
        if stat is not None:
            self.record(at_s, stat)

    def load(self, scaling_metric: str, now_s: float) -> Load | None:
        """The load as of `now_s`; None when it is not known. Where nothing is scraped, silence means no load."""
        if scaling_metric == "rps":
            stable, panic = self._stable_rps, self._panic_rps
        else:
            stable, panic = self._stable_concurrency, self._panic_concurrency
        if not self.spec.scrape_target:
            return Load(stable.average(now_s), panic.average(now_s))
        if stable.is_empty(now_s):
            return None
        unseen = self._coverage.unseen(now_s)
        coverage = self._coverage.ratio(now_s, self.spec.stable_window_s)
        return Load(stable.average(now_s, unseen), panic.average(now_s, unseen), coverage)

    def update(self, now_s: float, spec: MetricSpec) -> None:
        """Take over new windows and a new target, keeping the samples that fit."""
        if spec == self.spec:
            return
        self.spec = spec
        for window in (self._stable_concurrency, self._stable_rps):
            window.resize(now_s, spec.stable_window_s)
        for window in (self._panic_concurrency, self._panic_rps):
            window.resize(now_s, spec.panic_window_s)
