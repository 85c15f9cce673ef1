"""One subscription at work: messages of its consumer become deliveries, and what comes of those settles the messages.

    message --> event? --> Flow (destination once, reply, dead letter, each with its HTTP retries) --> ack
                 |             \\--failed, again later------------------------------------------> nak with a delay
                 |             \\--failed for good, no dead letter sink-----> letter kept ------> term
                 |             \\--failed for good, and the sink failed-----------------------> nak: a letter is owed
                 \\--no event-----------------------------------------------------------------> term, and it is logged

Acknowledged is only what is over: after the reply was taken, or the dead letter. What is owed to a sink that does not
take it comes again until it does, and goes to the sink alone. What is not settled comes again by itself. What failed
for good is kept (`jetstream_dead_letters`), also when a sink has it, before it is settled.

Source: spec eventing-channels.md 3, 9.4.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from broker.channel import jetstream_verdict as verdict
from broker.channel.backend import Whose
from broker.channel.dead import Dead
from broker.channel.deliveries import Deliveries
from broker.channel.jetstream_dead_letters import DeadLetters, subject_of
from broker.channel.jetstream_message import unpack
from broker.channel.jetstream_settings import Place
from eventing.delivery import Flow, Outcome, Parcel, Subscription
from eventing.dispatching import Delivery
from eventing.error_extensions import Failure, with_error_extensions
from eventing.event import EventError
from eventing.jetstream.link import Link
from eventing.jetstream.publisher import Publishing
from eventing.jetstream.pull import ByteBudget, Delivered, Pull
from eventing.message import Message
from eventing.retries import DeliverySettings, retry_after_s
from proxies.logs import Logger

__all__ = ["Subscriber", "end_all", "timed"]

_CREDIT_MAX: Final = 256
"""Events of one subscription under way in one process, whatever its consumer allows."""
_UNADDRESSED_AGAIN_S: Final = 1.0
_OWED_FIRST_S: Final = 1.0
_OWED_LAST_S: Final = 60.0
_OWED_MAX: Final = 1024
_DRAIN_S: Final = 3.0


class Subscriber:
    """A subscription of one channel. `start` it when its consumer is there."""

    def __init__(
        self,
        link: Link,
        deliveries: Deliveries,
        budget: ByteBudget,
        letters: DeadLetters,
        *,
        namespace: str,
        name: str,
        stream: str,
        subscription: Subscription,
        place: Place,
        missing: Callable[[], None],
        now_s: Callable[[], float],
        log: Logger,
        addressed: Callable[[Subscription, Message], Subscription | None] | None = None,
    ) -> None:
        """`namespace`, `name`: the channel's. `missing` hears that something is not there that should be.

        `addressed`: makes of the subscription that of one event, whose message it may use up; None: not at this moment.
        """
        self._link = link
        self._deliveries = deliveries
        self._budget = budget
        self._letters = letters
        self._namespace = namespace
        self._name = name
        self._missing = missing
        self._now_s = now_s
        self._addressed = addressed
        self._log = log
        self.stream = stream
        self.place = place
        self.subscription = timed(subscription, place)
        self._pull: Pull | None = None
        self._under_way: dict[Delivery, Delivered] = {}
        self._keeping: set[Delivered] = set()
        """Messages that are settled as soon as their dead letter is kept."""
        self._owed: dict[tuple[int, str], _Owed] = {}
        """Dead letters that their sink did not take, or that could not be kept."""
        self.all_settled: Callable[[], None] | None = None
        """Told when nothing is under way any more."""

    @property
    def under_way(self) -> int:
        """Messages that are not settled."""
        return len(self._under_way) + len(self._keeping)

    @property
    def whose(self) -> Whose:
        """Whose deliveries these are, for the metrics."""
        return Whose(self._namespace, self._name, self.subscription.name)

    @property
    def channel(self) -> str:
        """Of which channel or Broker, for people."""
        return f"{self._namespace}/{self._name}"

    @property
    def told(self) -> str:
        """Whose deliveries these are, for people."""
        return f"{self._namespace}/{self.subscription.name or self.subscription.uid}"

    def start(self) -> None:
        """Take messages, if it does not yet."""
        if self._pull is None:
            self._pull = Pull(
                self._link,
                self.stream,
                self.place.consumer,
                self._take,
                credit=self._credit,
                ack_wait_s=self.place.ack_wait_s,
                budget=self._budget,
                now_s=self._now_s,
                missing=self._missing,
            )

    def change(self, subscription: Subscription, place: Place) -> None:
        """The subscription has changed, its consumer's name has not. What is under way ends as it began."""
        self.subscription = timed(subscription, place)
        self.place = place
        if self._pull is not None:
            self._pull.tune(credit=self._credit, ack_wait_s=place.ack_wait_s)

    def stop(self) -> None:
        """Take no more."""
        if self._pull is not None:
            self._pull.stop()
            self._pull = None

    def give_back(self) -> None:
        """End what is under way; another replica has it next."""
        for delivery, message in list(self._under_way.items()):
            delivery.cancel()
            message.nak(0.0)
        for message in self._keeping:
            message.nak(0.0)
        self._under_way.clear()

    def deliver_anew(self, event: Message, done: Callable[[Delivery], None]) -> Delivery | None:
        """Deliver a dead letter's event as every other, with its retries made here. None: not at this moment."""
        parcel = Parcel.of(event, self._namespace, self._name)
        subscription = self.subscription
        if self._addressed is not None:
            one = self._addressed(subscription, event)
            if one is None:
                return None
            subscription = one

        def ended(delivery: Delivery) -> None:
            self._deliveries.delivered(delivery)
            done(delivery)

        delivery = Delivery(self._deliveries.courier, Flow(subscription, parcel), parcel, ended)
        delivery.start()
        return delivery

    @property
    def _credit(self) -> int:
        return min(self.place.ack_pending_max, _CREDIT_MAX)

    # What the pull calls.

    def _take(self, message: Delivered) -> None:
        try:
            event = unpack(message.data, message.headers)
        except EventError as error:
            # Published by somebody else: no delivery makes an event of it.
            self._log.warning("message_is_no_event", stream=self.stream, sequence=message.sequence, problem=str(error))
            message.term()
            return
        parcel = Parcel.of(event, self._namespace, self._name)
        subscription = self.subscription
        owed = self._owed.get((message.sequence, message.stored_at))
        if owed is None and verdict.is_poisonous(subscription.settings, message.deliveries):
            reason = f"dispatch error: {message.deliveries} deliveries ended with their dispatcher"
            url = subscription.destination.url if subscription.destination is not None else ""
            owed = _Owed(Failure(url, 500, reason.encode()))
        if owed is not None:
            self._send_owed(message, parcel, owed)
            return
        if self._addressed is not None:
            one = self._addressed(subscription, event)
            if one is None:
                message.nak(_UNADDRESSED_AGAIN_S)
                return
            subscription = one
        judge = _Judge(subscription.settings, message.deliveries)
        flow = Flow(subscription, parcel, destination_retries=0, after_failure=judge)
        self._deliver(message, flow, parcel, judge)

    def _send_owed(self, message: Delivered, parcel: Parcel, owed: "_Owed") -> None:
        """The subscriber is not asked again: this goes to the dead letter sink alone."""
        sink = self.subscription.dead_letter
        if sink is None:
            self._end(message, owed, was_sunk=False)
            return
        lines = with_error_extensions(parcel.lines, owed.failure)
        letter = Parcel(lines, parcel.passed, parcel.body, self._namespace, self._name, parcel.kind)
        # Posted as a reply is: with the settings' retries, and without asking for one.
        alone = replace(self.subscription, destination=None, reply=sink, dead_letter=None)
        self._deliver(message, Flow(alone, letter), letter, owed)

    def _deliver(self, message: Delivered, flow: Flow, parcel: Parcel, tag: object) -> None:
        delivery = Delivery(self._deliveries.courier, flow, parcel, self._done, tag)
        self._under_way[delivery] = message
        delivery.start()

    # What a delivery calls.

    def _done(self, delivery: Delivery) -> None:
        message = self._under_way.pop(delivery)
        flow, judged = delivery.flow, delivery.tag
        is_again = isinstance(judged, _Judge) and judged.delay_s is not None
        if flow.is_success and flow.failure is None and not isinstance(judged, _Owed):
            message.ack()
        elif isinstance(judged, _Judge) and judged.delay_s is not None:
            message.nak(judged.delay_s)
            self._deliveries.retried(delivery, judged.status)
        elif flow.is_success or self.subscription.dead_letter is None:
            self._end(message, _owed_of(flow, judged), was_sunk=flow.is_success)
        else:
            message.nak(self._owe(message, _owed_of(flow, judged)))
        if not is_again:
            self._deliveries.delivered(delivery)
        self._tell_if_settled()

    def _tell_if_settled(self) -> None:
        if not self.under_way and self.all_settled is not None:
            self.all_settled()

    def _end(self, message: Delivered, owed: "_Owed", *, was_sunk: bool) -> None:
        """It has failed for good, and either a sink has it or there is none: settle it when its letter is kept."""
        settle = message.ack if was_sunk else message.term
        key = (message.sequence, message.stored_at)
        if not self._letters.is_on:
            self._owed.pop(key, None)
            settle()
            self._deliveries.died(*self.whose, "sent" if was_sunk else "lost")
            return

        def kept(how: Publishing) -> None:
            self._keeping.discard(message)
            # A sink that has it has it: the copy here is not worth asking it twice. What is too large stays so.
            if was_sunk or how in (Publishing.STORED, Publishing.TOO_LARGE):
                self._owed.pop(key, None)
                settle()
                result = "sent" if was_sunk else "kept" if how is Publishing.STORED else "lost"
                self._deliveries.died(*self.whose, result)
            else:
                message.nak(self._owe(message, owed))
                self._missing()  # somebody may have removed the stream of letters
            self._tell_if_settled()

        self._keeping.add(message)
        subject = subject_of(self.stream, self.place.consumer)
        dead = Dead.of(owed.failure, time.time(), was_sunk=was_sunk)
        message_id = f"{subject}:{message.sequence}:{message.stored_at}"
        self._letters.keep(subject, message.data, message.headers, dead, kept, message_id=message_id)

    def _owe(self, message: Delivered, owed: "_Owed") -> float:
        """Its sink did not take a letter, or it could not be kept: remember it, and return when to try again."""
        owed.tries += 1
        self._owed[message.sequence, message.stored_at] = owed
        if len(self._owed) > _OWED_MAX:
            del self._owed[next(iter(self._owed))]
        return min(_OWED_FIRST_S * (1 << min(owed.tries - 1, 16)), _OWED_LAST_S)


class _Owed:
    """A dead letter, and how often its sink did not take it, or it could not be kept."""

    __slots__ = ("failure", "tries")

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        self.tries = 0


def _owed_of(flow: Flow, judged: object) -> _Owed:
    """Return what is owed after a delivery that failed: what it was, or the failure of this one."""
    return judged if isinstance(judged, _Owed) else _Owed(flow.failure or Failure(flow.recipient.url, 500, b""))


class _Judge:
    """Decides after the one attempt of a delivery, and remembers how long to wait for the next."""

    __slots__ = ("_deliveries", "_settings", "delay_s", "status")

    def __init__(self, settings: DeliverySettings, deliveries: int) -> None:
        self._settings = settings
        self._deliveries = deliveries
        self.delay_s: float | None = None
        """None: no further attempt follows."""
        self.status = 0
        """Of the attempt; 0: there was no response."""

    def __call__(self, outcome: Outcome) -> bool:
        """Whether the dead letter sink is next."""
        settings, status = self._settings, outcome.status
        self.status = status
        if verdict.after_failure(settings, status, self._deliveries) is verdict.Failed.DEAD_LETTER:
            return True
        asked_s = 0.0
        if settings.retry_after_max_s:
            value = next((field.value for field in outcome.fields if field.name == b"retry-after"), b"")
            asked_s = retry_after_s(value, time.time())
        self.delay_s = verdict.delay_s(settings, status, self._deliveries, asked_s)
        return False


def timed(subscription: Subscription, place: Place) -> Subscription:
    """Return a subscription whose attempts have the limit of its place."""
    return replace(subscription, settings=replace(subscription.settings, timeout_s=place.attempt_s))


async def end_all(subscribers: list[Subscriber]) -> None:
    """Take no more, wait a little for what is under way, and leave the rest to others."""
    done = asyncio.Event()

    def look() -> None:
        if not any(each.under_way for each in subscribers):
            done.set()

    for subscriber in subscribers:
        subscriber.stop()
        subscriber.all_settled = look
    look()
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            await done.wait()
    for subscriber in subscribers:
        subscriber.give_back()
