"""The legs of a Trigger's delivery that need no HTTP between our own processes.

To `eventing.delivery.Flow` a Trigger is a subscription like every other. Its destination is posted to by the filter's
own path (`broker.subscribing`): passages, filters, one request to the subscriber, the look at its answer. Its reply
address is the stream: a reply passes as through the ingress, with one passage less, and is published. Dead letters go
over HTTP as ever.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from broker.channel.jetstream_broker import BrokerChannel
from broker.role import Context
from broker.subscribing import Attempt, Subscribing
from broker.subscribing import Outcome as FilterOutcome
from broker.triggers import Triggers
from broker.ttl import ARRIVAL_TIME, TTL, ArrivalTimes, next_ttl, ttl_max_of
from eventing.delivery import Outcome, Recipient, Subscription
from eventing.dispatching import Sends, Sent
from eventing.event import EventError, problems_of
from eventing.message import Message, read_message
from proxies.fields import Field
from proxies.timers import Timer

__all__ = ["DirectSends", "ReplyTo", "SubscriberOf"]

_NO_FIELDS: Final[Sequence[Field]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberOf(Recipient):
    """The subscriber of a Trigger, reached through its filters. Of one event when it has a message."""

    trigger: tuple[str, str]
    message: Message | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTo(Recipient):
    """The stream of a Broker."""

    channel: BrokerChannel


class _Made:
    """What came of a leg that was no post."""

    __slots__ = ("body", "fields", "is_cut", "reason", "status")

    def __init__(self, status: int, reason: str, fields: Sequence[Field] = _NO_FIELDS, body: bytes = b"") -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.body = body
        self.is_cut = False


class DirectSends:
    """The `dispatching.Sends` of a filter: its own legs, and everything else as `sends` does it."""

    def __init__(
        self,
        sends: Sends,
        context: Context,
        subscribing: Subscribing,
        triggers: Triggers,
        environ: Mapping[str, str],
    ) -> None:
        """`MAX_TTL` is the ingress's, for replies without one. Raises `ConfigError`."""
        self._ttl_max = ttl_max_of(environ)
        self._sends = sends
        self._context = context
        self._subscribing = subscribing
        self._triggers = triggers
        self._times = ArrivalTimes()

    def addressed(self, subscription: Subscription, message: Message) -> Subscription | None:
        """Return the subscription as that of one event; None while its Trigger is not known here as it is wanted.

        Of a Trigger that was made anew the former one's consumer may be served for a moment still.
        """
        destination = subscription.destination
        assert isinstance(destination, SubscriberOf)
        subscriber = self._triggers.subscribers.get(destination.trigger)
        if subscriber is None or subscriber.uid != subscription.uid or not subscriber.recipient.url:
            return None
        one = SubscriberOf(destination.url, trigger=destination.trigger, message=message)
        return replace(subscription, destination=one)

    def post(
        self,
        recipient: Recipient,
        lines: bytes,
        body: bytes,
        done: Callable[[Outcome], None],
        *,
        timeout_s: float,
        service_account: tuple[str, str],
        response_bytes_max: int,
    ) -> Sent:
        """Send an event, as `dispatching.Sends` has it."""
        if isinstance(recipient, SubscriberOf):
            return self._ask(recipient, done, timeout_s)
        if isinstance(recipient, ReplyTo):
            return self._reply(recipient, lines, body, done)
        return self._sends.post(
            recipient,
            lines,
            body,
            done,
            timeout_s=timeout_s,
            service_account=service_account,
            response_bytes_max=response_bytes_max,
        )

    def _ask(self, recipient: SubscriberOf, done: Callable[[Outcome], None], timeout_s: float) -> Sent:
        asking = _Asking(self._context, done, timeout_s)
        subscriber = self._triggers.subscribers.get(recipient.trigger)
        assert recipient.message is not None
        if subscriber is None:
            asking.end_soon(_Made(404, f"there is no Trigger {'/'.join(recipient.trigger)}"))
        else:
            asking.begin(self._subscribing.deliver(subscriber, recipient.message, asking.take))
        return asking

    def _reply(self, recipient: ReplyTo, lines: bytes, body: bytes, done: Callable[[Outcome], None]) -> Sent:
        """Pass a reply on as the ingress does (spec eventing-broker.md 5)."""
        asking = _Asking(self._context, done, math.inf)
        try:
            message = read_message(_fields(lines), body)
        except EventError as error:
            asking.end_soon(_Made(400, f"the reply is no CloudEvent: {error}"))
            return asking
        attributes = message.attributes
        problems = problems_of(attributes)
        ttl = next_ttl(attributes.get(TTL), self._ttl_max)
        if problems or not ttl:
            told = "; ".join(problems) or f"{TTL} {attributes.get(TTL)}: it has been around too often"
            asking.end_soon(_Made(400, told, body=told.encode()))
            return asking
        message.set(ARRIVAL_TIME, self._times.at(time.time_ns()))
        message.set(TTL, str(ttl))
        recipient.channel.accept(message, asking.published)
        return asking


class _Asking(Timer):
    """One leg under way. Its end is told from the loop, never from within the call that began it."""

    __slots__ = ("_attempt", "_context", "_done", "_has_begun", "_made", "_timeout_s")

    def __init__(self, context: Context, done: Callable[[Outcome], None], timeout_s: float) -> None:
        super().__init__()
        self._context = context
        self._done: Callable[[Outcome], None] | None = done
        self._timeout_s = timeout_s
        self._attempt: Attempt | None = None
        self._has_begun = False
        self._made: _Made | None = None
        if timeout_s != math.inf:
            context.timers.arm(self, context.loop.time() + timeout_s)

    def begin(self, attempt: Attempt | None) -> None:
        """It is under way, or over already."""
        self._attempt = attempt
        self._has_begun = True
        if self._made is not None:
            self.end_soon(self._made)

    def take(self, outcome: FilterOutcome) -> None:
        """The filter's path has ended."""
        made = _made_of(outcome)
        if self._has_begun:
            self._end(made)
        else:
            self._made = made

    def published(self, status: int, reason: str) -> None:
        """The stream has the reply, or not."""
        self.end_soon(_Made(status, reason, body=reason.encode()))

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._done = None
        self._context.timers.disarm(self)
        if self._attempt is not None:
            self._attempt.cancel()

    def on_timer(self, now_s: float) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        self._end(_Made(0, f"no response within {self._timeout_s:g} s"))

    def end_soon(self, made: _Made) -> None:
        """It has ended."""
        self._context.loop.call_soon(self._end, made)

    def _end(self, made: _Made) -> None:
        done, self._done = self._done, None
        self._context.timers.disarm(self)
        if done is not None:
            done(made)


def _made_of(outcome: FilterOutcome) -> _Made:
    """Return the filter's outcome as that of a post to the subscriber."""
    passed = [_field(line) for line in outcome.passed]
    if outcome.reply is not None:
        reply = outcome.reply
        return _Made(outcome.status, "", [*passed, *map(_field, reply.lines.values())], reply.data)
    if outcome.destination:
        body = outcome.body
        # There was no response, which is retried as such, and its text is the one that the dead letter tells.
        reason = body.decode("utf-8", "replace").removeprefix("dispatch error: ")
        if body.startswith(b"dispatch error: "):
            return _Made(0, reason, passed)
        return _Made(outcome.status, "", passed, body)
    return _Made(outcome.status, "", passed, outcome.reason.encode())


def _field(line: bytes) -> Field:
    name, _, value = line.partition(b":")
    return Field(name.strip().lower(), value.strip(b" \t"), line)


def _fields(lines: bytes) -> list[Field]:
    return [_field(line) for line in lines.split(b"\r\n") if line]
