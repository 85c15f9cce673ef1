"""What a dispatcher tells of its deliveries. Imported only when metrics are on.

Source: spec eventing-channels.md 8.
"""

from typing import Final

from broker.metrics import BOUNDS_S
from eventing.dispatching import Delivery
from proxies.metrics.instruments import Distribution, Registry

__all__ = ["DispatchDuration"]

_SCOPE: Final = "knative.dev/eventing/pkg/channel/fanout"
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
