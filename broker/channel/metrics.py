"""What a dispatcher tells of its deliveries. Imported only when metrics are on.

    kn.eventing.dispatch.duration       one sample for each event and subscription, when its delivery is over
    knuv.eventing.delivery.retries      attempts beyond the first, by what came of the one before
    knuv.eventing.dead_letters          events that failed for good, by what became of them
    knuv.eventing.backlog, .age         events that are owed to a subscription, and how long the oldest has been

The last two are looked up when somebody reads them. Source: spec eventing-channels.md 8; those of `knuv` are ours.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from broker.channel.backend import Owed, Whose
from broker.metrics import BOUNDS_S
from eventing.dispatching import Delivery
from proxies.metrics.instruments import SERIES_MAX, Attributes, Distribution, Number, Registry

__all__ = ["DispatchDuration", "OwedMetrics", "add_journal_metrics"]

_SCOPE: Final = "knative.dev/eventing/pkg/channel/fanout"
_OWN_SCOPE: Final = "knuv.dev/eventing"
_CLASSES_MAX: Final = 5000
"""Combinations that are remembered; then all are looked up anew."""


class DispatchDuration:
    """`kn.eventing.dispatch.duration`: one sample for each subscription and event, of the last leg with its retries."""

    def __init__(self, registry: Registry) -> None:
        self._histogram = registry.scope(_SCOPE).histogram(
            "kn.eventing.dispatch.duration", BOUNDS_S, unit="s", description="From sending an event to the response."
        )
        self._series: dict[tuple[str, str, str, str, str, int], Distribution] = {}

    def dispatched(self, delivery: Delivery) -> None:
        """A delivery has ended, well or not."""
        parcel, flow = delivery.parcel, delivery.flow
        key = (parcel.namespace, parcel.channel, flow.subscription.name, parcel.kind, parcel.scheme, flow.status)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= _CLASSES_MAX:
                self._series.clear()
            series = self._series[key] = self._histogram.series(
                {
                    "messaging.destination.name": f"subscription:{flow.subscription.name}.{parcel.namespace}",
                    "messaging.system": "knative",
                    "messaging.operation.name": "send",
                    "kn.channel.name": parcel.channel,
                    "kn.channel.namespace": parcel.namespace,
                    "cloudevents.type": parcel.kind,
                    "url.scheme": parcel.scheme,
                    "http.response.status_code": flow.status,
                }
            )
        series.record(delivery.leg_s)


class OwedMetrics:
    """What was not delivered at once: retries, dead letters, and the backlog."""

    def __init__(self, registry: Registry) -> None:
        scope = registry.scope(_OWN_SCOPE)
        self._retries = scope.counter(
            "knuv.eventing.delivery.retries", unit="{attempt}", description="Attempts beyond the first."
        )
        self._dead_letters = scope.counter(
            "knuv.eventing.dead_letters", unit="{event}", description="Events that failed for good."
        )
        self._backlog = scope.gauge(
            "knuv.eventing.backlog", unit="{event}", description="Events that are owed to a subscription."
        )
        self._age = scope.gauge(
            "knuv.eventing.backlog.age", unit="s", description="How long the oldest of these has been owed."
        )
        self._series: dict[tuple[Whose, str], Number] = {}
        """Of both counters: their words differ."""
        self._registry = registry

    def retried(self, whose: Whose, status: int) -> None:
        """Another attempt follows one that was answered with `status`; 0: not at all."""
        reason = f"{status // 100}xx" if status else "no_response"
        series = self._series.get((whose, reason))
        if series is None:
            series = self._remember(whose, reason, self._retries.series({**_attributes(whose), "reason": reason}))
        series.add()

    def died(self, whose: Whose, result: str) -> None:
        """An event failed for good, and was `sent` to its sink, or is `kept` to be driven anew, or `lost`."""
        series = self._series.get((whose, result))
        if series is None:
            series = self._remember(whose, result, self._dead_letters.series({**_attributes(whose), "result": result}))
        series.add()

    def watch(self, owed: Callable[[], Iterable[Owed]]) -> None:
        """Ask `owed` whenever somebody reads the registry; once for both gauges."""
        events: dict[Whose, int] = {}
        ages: dict[Whose, float] = {}

        def read() -> None:
            events.clear()
            ages.clear()
            for whose, count, oldest_s in owed():
                events[whose] = events.get(whose, 0) + count
                if oldest_s is not None:
                    ages[whose] = max(ages.get(whose, 0.0), oldest_s)

        def observed(values: Mapping[Whose, float]) -> list[tuple[Attributes, float]]:
            return [(_attributes(whose), value) for whose, value in values.items()]

        self._registry.before_collection(read)
        self._backlog.observe(lambda: observed(events))
        # A sum of ages has no meaning, so none of them goes to the series for overflow.
        self._age.observe(lambda: observed(dict(islice(ages.items(), SERIES_MAX - 1))))

    def _remember(self, whose: Whose, word: str, series: Number) -> Number:
        if len(self._series) >= _CLASSES_MAX:
            self._series.clear()
        self._series[whose, word] = series
        return series


def add_journal_metrics(registry: Registry, damages: Callable[[], int]) -> None:
    """Tell of a journal how many places of its files were damaged."""
    counter = registry.scope(_OWN_SCOPE).counter(
        "knuv.eventing.journal.damages", unit="{place}", description="Damaged places in the files of the journal."
    )
    counter.observe(lambda: [({}, damages())])


def _attributes(whose: Whose) -> dict[str, str | int | float | bool]:
    """Return those by which `DispatchDuration` tells of a subscription."""
    return {
        "messaging.destination.name": f"subscription:{whose.name}.{whose.namespace}",
        "messaging.system": "knative",
        "kn.channel.name": whose.channel,
        "kn.channel.namespace": whose.namespace,
    }
