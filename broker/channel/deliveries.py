"""What is told of deliveries, whatever kind of channel they are of: metrics, failures in the log, notes for developers.

Source: spec eventing-channels.md 8.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from broker.channel.backend import Owed, Whose
from broker.posting import Posting
from broker.role import Context
from eventing.debugging import Debugging
from eventing.delivery import Leg, Outcome, Subscription
from eventing.destinations import shown_url
from eventing.dispatching import Courier, Delivery, Sends

if TYPE_CHECKING:
    from broker.channel.metrics import DispatchDuration, OwedMetrics
    from proxies.metrics.instruments import Registry

__all__ = ["Deliveries", "attributes_of"]

_FAILURES_LOGGED_S: Final = 1.0
"""Of the failures within so long one is logged, with the number of those that are not."""


class Deliveries:
    """The courier of one process, and who listens to it."""

    def __init__(self, context: Context, debugging: Debugging, *, unsunk: str = "") -> None:
        """`unsunk`: what becomes of an event that failed for good and that no sink took, as `died` has it.

        Empty: whoever knows what becomes of events calls that.
        """
        sends: Sends = Posting(context.loop, context.sender, context.tokens)
        if context.traces is not None:
            from broker.traces import TracedSends

            sends = TracedSends(sends, context.traces)
        self.courier = Courier(context.loop, sends, context.timers)
        self._log = context.log
        self._journal = debugging.journal
        self._metrics: DispatchDuration | None = None
        self._owed: OwedMetrics | None = None
        if context.registry is not None:
            self._metrics, self._owed = _metrics_of(context.registry)
        self._unsunk = unsunk
        self._clock = context.clock
        self._logged_s = -_FAILURES_LOGGED_S
        self._unlogged = 0
        if self._journal is not None or self._owed is not None:
            self.courier.attempted = self._attempted

    def watch(self, owed: Callable[[], Iterable[Owed]]) -> None:
        """Ask `owed` whenever metrics are read; never while they are off."""
        if self._owed is not None:
            self._owed.watch(owed)

    def delivered(self, delivery: Delivery) -> None:
        """A delivery has ended."""
        flow = delivery.flow
        if self._metrics is not None:
            self._metrics.dispatched(delivery)
        if self._unsunk and flow.failure is not None:
            parcel = delivery.parcel
            result = "sent" if flow.is_success else self._unsunk
            self.died(parcel.namespace, parcel.channel, flow.subscription.name, result)
        if not flow.is_success:
            self._log_failure(delivery)

    def retried(self, delivery: Delivery, status: int) -> None:
        """Another attempt follows one that was answered with `status`; 0: not at all."""
        if self._owed is not None:
            parcel = delivery.parcel
            self._owed.retried(Whose(parcel.namespace, parcel.channel, delivery.subscription.name), status)

    def died(self, namespace: str, channel: str, subscription: str, result: str) -> None:
        """An event failed for good: it was `sent` to its sink, or is `kept` to be driven anew, or `lost`."""
        if self._owed is not None:
            self._owed.died(Whose(namespace, channel, subscription), result)

    def _log_failure(self, delivery: Delivery) -> None:
        now_s = self._clock()
        if now_s - self._logged_s < _FAILURES_LOGGED_S:
            self._unlogged += 1
            return
        flow = delivery.flow
        failure = flow.failure
        self._log.warning(
            "delivery_failed",
            subscription=f"{delivery.parcel.namespace}/{flow.subscription.name or flow.subscription.uid}",
            destination=shown_url(failure.destination if failure is not None else flow.recipient.url),
            status=flow.status,
            reason=failure.body[:200].decode("utf-8", "replace") if failure is not None else "",
            not_logged=self._unlogged,
        )
        self._logged_s, self._unlogged = now_s, 0

    def _attempted(self, delivery: Delivery, leg: Leg, outcome: Outcome, wait_s: float | None) -> None:
        if wait_s is not None and delivery.flow.leg is leg:
            self.retried(delivery, outcome.status)
        if self._journal is None:
            return
        self._journal.note(
            attributes_of(delivery.parcel.lines),
            f"sent to {leg.value}",
            subscription=f"{delivery.parcel.namespace}/{delivery.subscription.name or delivery.subscription.uid}",
            host=_host_of(delivery.subscription, leg),
            status=outcome.status,
            reason=outcome.reason,
            again_in_s=wait_s if delivery.flow.leg is leg else None,
            result=None if wait_s is not None else "delivered" if delivery.flow.is_success else "failed",
        )


def _metrics_of(registry: "Registry") -> "tuple[DispatchDuration, OwedMetrics]":
    # Only now: they are off by default.
    from broker.channel.metrics import DispatchDuration, OwedMetrics

    return DispatchDuration(registry), OwedMetrics(registry)


def _host_of(subscription: Subscription, leg: Leg) -> str:
    """Return whom a leg asks; the delivery may be on its next one already, to an address that is none."""
    recipients = {
        Leg.DESTINATION: subscription.destination,
        Leg.REPLY: subscription.reply,
        Leg.DEAD_LETTER: subscription.dead_letter,
    }
    recipient = recipients[leg]
    return shown_url(recipient.url).partition("://")[2].partition("/")[0] if recipient is not None else ""


def attributes_of(lines: bytes) -> dict[str, str]:
    """Return the attributes of an event from its header lines."""
    parts = (line.partition(":") for line in lines.decode("utf-8", "replace").split("\r\n"))
    return {name[3:].lower(): value.strip() for name, _, value in parts if name[:3].lower() == "ce-"}
