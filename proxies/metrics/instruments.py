"""Counters, gauges and histograms, in OpenTelemetry's terms and without its SDK.

A `Registry` holds scopes (who counts), a scope holds instruments (what is counted), an instrument holds series (for
which attributes). Code that counts asks once for a series, keeps it, and then only adds to it:

    registry = Registry({"service.name": "hello"})
    scope = registry.scope("knative.dev/serving/pkg/queue")
    duration = scope.histogram("kn.serving.invocation.duration", (0.005, 0.01, 1.0), unit="s")
    series = duration.series({"http.response.status_code": 200})
    series.record(0.012)

What lives elsewhere is not copied at each change but looked up when somebody wants to know:

    scope.gauge("kn.revision.pods.count").observe(lambda: [({"kn.revision.name": "hello-1"}, 3)])

and where that is told of ten thousand things, whoever knows them keeps one series of each and lends it to every gauge:

    scope.gauge("kn.revision.pods.count").stream(lambda: (pods.with_value_of_now() for pods in revisions))

`exposition.render(registry)` gives Prometheus' text, `export.request(registry, ...)` OTLP's message; both bring the
registry up to date first. Names are OpenTelemetry's; the exporters translate them.

A histogram keeps what it is given in a list and counts it into its buckets in batches, by sorting and bisection: that
costs a tenth of looking for the bucket each time. Nothing grows without bound: such a list has at most `BATCH_MAX`
entries, and an instrument at most `series_max` series; what comes beyond goes to one series with the attribute
`otel.metric.overflow`, so that totals stay right.

Not for several threads: everything happens on the loop's.

Source: OpenTelemetry "Metrics Data Model" and "Metrics SDK" (cardinality limits).
"""

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, Generic, TypeAlias, TypeVar

__all__ = ["OVERFLOW", "Attributes", "Distribution", "Instrument", "Kind", "Number", "Registry", "Scope"]

Attributes: TypeAlias = Mapping[str, str | int | float | bool]
Observations: TypeAlias = Iterable[tuple[Attributes, float]]

SERIES_MAX: Final = 2000
"""OpenTelemetry's default cardinality limit."""
OVERFLOW: Final[Attributes] = {"otel.metric.overflow": True}
BATCH_MAX: Final = 256
"""Measurements that a series keeps until they are counted."""


class Kind(Enum):
    """What an instrument's numbers mean."""

    COUNTER = "counter"
    """A sum that only grows."""
    GAUGE = "gauge"
    """A value at this moment."""
    HISTOGRAM = "histogram"
    """How many measurements fell between which bounds, and their sum."""


class Number:
    """One series of a counter or gauge."""

    __slots__ = ("attributes", "encoded", "labels", "value")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.value: float = 0
        self.labels = ""
        self.encoded = b""
        """The attributes as the exporters write them; kept by these."""

    def add(self, amount: float = 1) -> None:
        """Count; a counter's amounts are not negative."""
        self.value += amount

    def set(self, value: float) -> None:
        """A gauge's value has changed."""
        self.value = value


class Distribution:
    """One series of a histogram."""

    __slots__ = ("_pending", "attributes", "bounds", "counts", "encoded", "labels", "least", "most", "total")

    def __init__(self, attributes: Attributes, bounds: Sequence[float]) -> None:
        self.attributes = attributes
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Measurements per bucket: those not above the bound and above the one before; the last one has no bound."""
        self.total: float = 0
        """Sum of all measurements."""
        self.least: float = 0
        self.most: float = 0
        """The smallest and the largest measurement; meaningless before the first."""
        self.labels = ""
        self.encoded = b""
        """The attributes as the exporters write them; kept by these."""
        self._pending: list[float] = []

    @property
    def count(self) -> int:
        """Number of all measurements that are in buckets."""
        return sum(self.counts)

    def record(self, value: float) -> None:
        """Take one measurement."""
        pending = self._pending
        pending.append(value)
        if len(pending) >= BATCH_MAX:
            self.settle()

    def record_all(self, values: Iterable[float]) -> None:
        """Take many measurements at once, none of them NaN: O(n log n), and O(n) when they are equal."""
        ordered = sorted(values)
        if not ordered:
            return
        counts = self.counts
        if not any(counts):
            self.least, self.most = ordered[0], ordered[-1]
        self.least = min(self.least, ordered[0])
        self.most = max(self.most, ordered[-1])
        self.total += sum(ordered)
        below = 0
        for index, bound in enumerate(self.bounds):
            end = bisect_right(ordered, bound, below)
            counts[index] += end - below
            below = end
        counts[-1] += len(ordered) - below

    def settle(self) -> None:
        """Count what was recorded into the buckets."""
        pending = self._pending
        if pending:
            self._pending = []
            self.record_all(pending)


Series = TypeVar("Series", Number, Distribution)


class Instrument(Generic[Series]):
    """Something that is counted or measured. Made by a `Scope`."""

    def __init__(
        self,
        scope: "Scope",
        name: str,
        kind: Kind,
        new_series: Callable[[Attributes], Series],
        *,
        unit: str,
        description: str,
        series_max: int,
    ) -> None:
        self.scope = scope
        self.name = name
        """In OpenTelemetry's spelling, `http.server.request.duration`; in a plain scope exactly as it is exported."""
        self.kind = kind
        self.unit = unit
        """UCUM: `s`, `By`, `{request}`; empty: a bare number."""
        self.description = description
        self._new_series: Callable[[Attributes], Series] = new_series
        self._series: dict[object, Series] = {}
        self._series_max = series_max
        self._observe: Callable[[], Observations] | None = None
        self._stream: Callable[[], Iterable[Series]] | None = None

    def series(self, attributes: Attributes | None = None) -> Series:
        """Return the series of `attributes`, a new one if need be; beyond the bound the one for overflow."""
        attributes = attributes or {}
        key = frozenset(attributes.items())
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= self._series_max - 1 and attributes is not OVERFLOW:
                return self.series(OVERFLOW)
            series = self._series[key] = self._new_series(dict(attributes))
        return series

    def keep_only(self, series: Container[Series]) -> None:
        """Forget every other series: what they told of is gone."""
        self._series = {key: known for key, known in self._series.items() if known in series}

    def observe(self, observe: Callable[[], Observations]) -> None:
        """Let `observe` tell (attributes, value) of every series whenever somebody reads them.

        For counters and gauges. A series that it does not tell any more is gone.
        """
        assert self.kind is not Kind.HISTOGRAM, "measurements are recorded, not observed"
        self._observe = observe

    def stream(self, series: Callable[[], Iterable[Series]]) -> None:
        """Let the caller keep the series: whenever somebody reads them `series` yields each with its value of now.

        One series is read before the next is asked for, and may then stand for another instrument of the same scope.
        No bound applies here.
        """
        self._stream = series

    def all_series(self) -> Iterable[Series]:
        """Return every series, in the order in which they came; complete after `Registry.collect`."""
        # A copy, since reading may be interrupted by code that counts.
        return tuple(self._series.values()) if self._stream is None else self._stream()

    def collect(self) -> None:
        """Bring the series up to date."""
        if self._observe is not None:
            known, self._series = self._series, {}
            for attributes, value in self._observe():
                series = self.series(attributes)
                assert isinstance(series, Number)
                series.value += value
                kept = known.get(frozenset(series.attributes.items()))
                series.labels = kept.labels if kept is not None else ""
        for series in self._series.values():
            if isinstance(series, Distribution):
                series.settle()


class Scope:
    """Whose instruments they are: a library or a part of a service, by its name."""

    def __init__(self, name: str, version: str, *, is_plain: bool) -> None:
        self.name = name
        self.version = version
        self.is_plain = is_plain
        """Names are exported as they are, without suffixes and without labels that name the scope."""
        self.instruments: list[Instrument[Number] | Instrument[Distribution]] = []

    def counter(
        self, name: str, *, unit: str = "", description: str = "", series_max: int = SERIES_MAX
    ) -> Instrument[Number]:
        """Something that is added up."""
        return self._number(name, Kind.COUNTER, unit, description, series_max)

    def gauge(
        self, name: str, *, unit: str = "", description: str = "", series_max: int = SERIES_MAX
    ) -> Instrument[Number]:
        """A value that goes up and down."""
        return self._number(name, Kind.GAUGE, unit, description, series_max)

    def histogram(
        self,
        name: str,
        bounds: Sequence[float],
        *,
        unit: str = "",
        description: str = "",
        series_max: int = SERIES_MAX,
    ) -> Instrument[Distribution]:
        """A distribution over buckets with these upper bounds, in ascending order."""
        assert list(bounds) == sorted(set(bounds)), "bounds ascend"

        def new_series(attributes: Attributes) -> Distribution:
            return Distribution(attributes, bounds)

        instrument = Instrument(
            self, name, Kind.HISTOGRAM, new_series, unit=unit, description=description, series_max=series_max
        )
        self.instruments.append(instrument)
        return instrument

    def _number(self, name: str, kind: Kind, unit: str, description: str, series_max: int) -> Instrument[Number]:
        instrument = Instrument(self, name, kind, Number, unit=unit, description=description, series_max=series_max)
        self.instruments.append(instrument)
        return instrument


class Registry:
    """All that one process tells."""

    def __init__(self, resource: Attributes | None = None) -> None:
        """`resource`: attributes that say who reports."""
        self.resource: Attributes = dict(resource or {})
        self.scopes: list[Scope] = []
        self._before: list[Callable[[], None]] = []

    def scope(self, name: str, *, version: str = "", is_plain: bool = False) -> Scope:
        """Return a new scope."""
        scope = Scope(name, version, is_plain=is_plain)
        self.scopes.append(scope)
        return scope

    def before_collection(self, callback: Callable[[], None]) -> None:
        """Call `callback` before each reading: whoever keeps measurements back hands them over then."""
        self._before.append(callback)

    def collect(self) -> None:
        """Bring every series up to date; exporters call it."""
        for callback in self._before:
            callback()
        for scope in self.scopes:
            for instrument in scope.instruments:
                instrument.collect()
