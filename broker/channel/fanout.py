"""One event to all subscriptions of a channel that keeps nothing.

Synchronous unless the channel is annotated otherwise: whoever sent the event hears 202 when every delivery has ended
well (a dead letter that was accepted is one), 500 when one has not, and not before all have. When it leaves, they end.
All run at once, without an order and without a limit but for those of the sender.

Source: spec eventing-channels.md 4.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from broker.channel.backend import Owed, Whose
from broker.early_filters import EarlyFilters, Selection
from eventing.delivery import Flow, Parcel, Subscription
from eventing.dispatching import Courier, Delivery
from eventing.message import Message

__all__ = ["Fanout", "Round", "Rounds"]

_ACCEPTED = 202
_FAILED = 500
_BUSY = 503
STALLED_S = 900.0
"""Without a delivery that ends for so long, an event is given up; the original's 15 minutes."""
_DETACHED_BYTES_MAX = 64 << 20
"""Of the events of one channel that were accepted and are not delivered yet; beyond it none is accepted."""
_DELIVERY_BYTES = 2048
"""What a delivery takes beside the event."""


class Rounds:
    """The events under way in one process, and what they share."""

    __slots__ = ("_all_over", "active", "courier", "delivered", "early")

    def __init__(
        self,
        courier: Courier,
        delivered: Callable[[Delivery], None] | None = None,
        early: EarlyFilters | None = None,
    ) -> None:
        """`delivered` is told of every delivery that has ended, whether well or not.

        `early` knows what the broker filter would turn away; None: it is asked.
        """
        self.early = early
        self.courier = courier
        self.delivered = delivered
        self.active: set[Round] = set()
        self._all_over: asyncio.Future[None] | None = None

    def give_up_stalled(self, now_s: float) -> None:
        """End events that somebody waits for and of which no delivery has ended for too long; to be called often."""
        for stalled in [each for each in self.active if each.has_sender and now_s - each.moved_s > STALLED_S]:
            stalled.give_up("no subscription was delivered to for 15 minutes")

    def owed(self, now_s: float) -> Iterator[Owed]:
        """Tell of each delivery that is not over."""
        for each in self.active:
            for delivery in each.owed:
                parcel = delivery.parcel
                whose = Whose(parcel.namespace, parcel.channel, delivery.subscription.name)
                yield Owed(whose, 1, now_s - each.begun_s)

    def over(self, ended: "Round") -> None:
        """It has ended, in whatever way."""
        self.active.discard(ended)
        if self._all_over is not None and not self.active and not self._all_over.done():
            self._all_over.set_result(None)

    async def finish(self, limit_s: float) -> None:
        """Return when nothing is under way any more, or after `limit_s`: some of it may have been promised."""
        if self.active:
            self._all_over = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._all_over

    def close(self) -> None:
        """End everything."""
        for each in list(self.active):
            each.cancel()


class Fanout:
    """A channel in memory. `subscriptions` may be replaced at any time; events under way keep theirs."""

    __slots__ = ("_rounds", "_selection", "detached_bytes", "is_async", "name", "namespace", "subscriptions", "unclear")

    def __init__(self, rounds: Rounds, namespace: str, name: str, *, is_async: bool) -> None:
        """`is_async`: 202 comes before the dispatch. It never changes (spec 4)."""
        self._rounds = rounds
        self._selection = Selection(rounds.early) if rounds.early is not None else None
        self.namespace = namespace
        self.name = name
        self.is_async = is_async
        self.subscriptions: tuple[Subscription, ...] = ()
        self.unclear: frozenset[str] = frozenset()
        """Of no meaning here: nothing is owed to anybody."""
        self.detached_bytes = 0
        """Of events that nobody waits for."""

    def accept(self, message: Message, done: Callable[[int, str], None]) -> "Round | None":
        """Deliver an event to all; `done(status, reason)` as `backend.Channel` has it."""
        subscriptions: Sequence[Subscription] = self.subscriptions
        if self._selection is not None:
            subscriptions = self._selection.wanted(subscriptions, message)
        if not subscriptions:
            done(_ACCEPTED, "")
            return None
        parcel = Parcel.of(message, self.namespace, self.name)
        if self.is_async:
            size = len(parcel.body) + len(parcel.lines) + _DELIVERY_BYTES * len(subscriptions)
            if self.detached_bytes and self.detached_bytes + size > _DETACHED_BYTES_MAX:
                done(_BUSY, "too many events of this channel are not delivered yet; try again later")
                return None
            self.detached_bytes += size
            done(_ACCEPTED, "")
            Round(self._rounds, None, len(subscriptions), of=self, size=size).start(subscriptions, parcel)
            return None
        begun = Round(self._rounds, done, len(subscriptions))
        begun.start(subscriptions, parcel)
        return begun

    def remove(self) -> None:
        """The channel was deleted: what is under way goes on."""


class Round:
    """The deliveries of one event."""

    __slots__ = ("_deliveries", "_done", "_failure", "_of", "_pending", "_rounds", "_size", "begun_s", "moved_s")

    def __init__(
        self,
        rounds: Rounds,
        done: Callable[[int, str], None] | None,
        pending: int,
        *,
        of: Fanout | None = None,
        size: int = 0,
    ) -> None:
        """`of`: the channel that counts `size` bytes until this is over."""
        self._of = of
        self._size = size
        self._rounds = rounds
        self._done = done
        self._pending = pending
        self._failure = ""
        self._deliveries: list[Delivery] = []
        self.begun_s = self.moved_s = rounds.courier.now_s()
        """Loop times: of its beginning, and at which a delivery ended last."""

    def start(self, subscriptions: Sequence[Subscription], parcel: Parcel) -> None:
        """Begin all deliveries."""
        self._rounds.active.add(self)
        courier = self._rounds.courier
        self._deliveries = [
            Delivery(courier, Flow(subscription, parcel), parcel, self._delivered) for subscription in subscriptions
        ]
        for delivery in self._deliveries:
            delivery.start()

    @property
    def owed(self) -> list[Delivery]:
        """Deliveries that are not over."""
        return [each for each in self._deliveries if not each.is_over]

    @property
    def has_sender(self) -> bool:
        """Somebody waits for the end of all deliveries."""
        return self._done is not None

    def cancel(self) -> None:
        """Whoever sent the event has left."""
        self._end()
        self._done = None
        deliveries, self._deliveries = self._deliveries, []
        for delivery in deliveries:
            delivery.cancel()

    def give_up(self, reason: str) -> None:
        """End it as failed."""
        done = self._done
        self.cancel()
        if done is not None:
            done(_FAILED, reason)

    def _delivered(self, delivery: Delivery) -> None:
        rounds = self._rounds
        if rounds.delivered is not None:
            rounds.delivered(delivery)
        flow = delivery.flow
        if not flow.is_success:
            self._failure = f"subscription {flow.subscription.name or flow.subscription.uid}: {flow.status}"
        self._pending -= 1
        if self._pending:
            self.moved_s = rounds.courier.now_s()
            return
        self._end()
        # A round and its deliveries know each other, and would else wait for the collector.
        self._deliveries = []
        done = self._done
        if done is not None:
            self._done = None
            done(_FAILED if self._failure else _ACCEPTED, self._failure)

    def _end(self) -> None:
        self._rounds.over(self)
        if self._of is not None:
            self._of.detached_bytes -= self._size
            self._of = None
