"""From an event that a Trigger may want to what its subscriber made of it; without HTTP on the side it comes from.

    deliver   the passages left are noted, and not shown        400
              somebody to send to?                              404
              do the filters let it through?                    200, nothing sent
              one request to the subscriber
    outcome   no response                                       500 and why, as JSON
              a status beyond 2xx                               the same and why, as JSON
              2xx without an event                              the same; with other data 502
              2xx with an event                                 the same, and the event, its passages as they came

Source: spec eventing-broker.md 6.2 (11 to 15), 6.3, 6.4, 7; conformance statements 52 to 82.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from broker.role import Context
from broker.triggers import Recipient, Subscriber
from broker.ttl import TTL, ttl_of
from eventing.destinations import shown_url
from eventing.event import STRUCTURED, EventError
from eventing.event_journal import EventJournal
from eventing.filters.dialects import Attributes
from eventing.message import Message, looks_like_event, passed_lines, read_message
from eventing.sending import DestinationError
from proxies.calls import Call
from proxies.fields import Field

if TYPE_CHECKING:
    from broker.traces import Passing

__all__ = ["Attempt", "Outcome", "Subscribing"]

_PREFER: Final = b"Prefer: reply"
_CONTENT_TYPE: Final = b"Content-Type: " + STRUCTURED.encode()
_NONE: Final[Sequence[bytes]] = ()


class Outcome:
    """What became of one event at one Trigger."""

    __slots__ = ("body", "destination", "is_filtered", "passed", "reason", "reply", "status")

    def __init__(
        self,
        status: int,
        *,
        reason: str = "",
        body: bytes = b"",
        passed: Sequence[bytes] = _NONE,
        reply: Message | None = None,
        destination: str = "",
        is_filtered: bool = False,
    ) -> None:
        self.status = status
        """What the caller is answered."""
        self.reason = reason
        """For people, why it is no success; empty otherwise, and where `body` says it."""
        self.body = body
        """Of the subscriber's response that is no success, or why there is none."""
        self.passed = passed
        """Header lines of the subscriber's response that go on (spec 5.6)."""
        self.reply = reply
        self.destination = destination
        """The URL that failed; empty: nothing was sent, or not in vain."""
        self.is_filtered = is_filtered
        """The Trigger does not want the event."""

    def error_json(self) -> bytes:
        """Return the destination and the begin of its answer, as channels unpack them (spec 7.2)."""
        body = self.body[:_ERROR_BYTES_MAX] or None
        return msgspec.json.encode({"errdestination": self.destination, "errresponsebody": body})


_ERROR_BYTES_MAX: Final = 64 * 1024
"""Of a subscriber's answer; channels read all of it to tell the first 768 bytes (spec eventing-channels.md 3.4)."""
_EMPTY: Final[dict[int, Outcome]] = {}
_MEANINGLESS: Final = frozenset([b"content-length", b"date", b"server", b"connection", b"keep-alive", b"x-powered-by"])
"""Headers that make a response neither an event nor are passed on; most success has no others."""
_FILTERED: Final = Outcome(200, is_filtered=True)
_NO_TTL: Final = Outcome(400, reason=f"expected an extension {TTL} that is an integer")


class Attempt:
    """One event on its way to one subscriber."""

    __slots__ = ("attributes", "begun_s", "call", "done", "kind", "recipient", "scheme", "subscriber", "trace", "ttl")

    def __init__(self, subscriber: Subscriber, done: Callable[[Outcome], None], scheme: str) -> None:
        self.subscriber = subscriber
        self.done = done
        self.scheme = scheme
        self.recipient: Recipient
        self.call: Call | None = None
        self.ttl: str | None = None
        """The passages that are left, as they came; None: nobody asked."""
        self.kind = ""
        """The event's type."""
        self.begun_s = 0.0
        self.attributes: Attributes | None = None
        """The event's, for the journal."""
        self.trace: Passing | None = None

    def cancel(self) -> None:
        """Nobody waits for it any more: `done` is not called."""
        self.done = _nobody
        call, self.call = self.call, None
        if call is not None:
            call.cancel()


def _nobody(outcome: Outcome) -> None:
    """Who asked has left."""


class Subscribing:
    """Delivers for one process."""

    def __init__(self, context: Context, journal: EventJournal | None = None) -> None:
        """`journal` hears what is matched and filtered, and what subscribers answer."""
        self._context = context
        self._journal = journal
        self._metrics = None
        if context.registry is not None:
            from broker.metrics import FILTER_SCOPE, DispatchMetrics

            self._metrics = DispatchMetrics(context.registry, FILTER_SCOPE)

    def deliver(
        self,
        subscriber: Subscriber,
        message: Message,
        done: Callable[[Outcome], None],
        *,
        arrived_s: float = 0.0,
        scheme: str = "http",
    ) -> Attempt | None:
        """Send an event to a Trigger's subscriber if the Trigger wants it. The message is used up.

        `done` is called once, at once or later, unless the attempt is cancelled. None: there is nothing to cancel.
        `arrived_s`: monotonic time at which the event came; 0: now.
        """
        ttl = message.attributes.get(TTL)
        if ttl_of(ttl) is None:
            done(_NO_TTL)
            return None
        recipient = subscriber.recipient
        if not recipient.url:
            done(Outcome(404, reason=f"{subscriber.trigger} has no subscriber"))
            return None
        message.remove(TTL)
        if subscriber.matches is not None and not subscriber.matches(message.attributes):
            if self._journal is not None:
                self._journal.note(message.attributes, "filtered", trigger=subscriber.trigger)
            done(_FILTERED)
            return None
        attempt = Attempt(subscriber, done, scheme)
        if self._journal is not None:
            attempt.attributes = message.attributes
            self._journal.note(message.attributes, "matched", trigger=subscriber.trigger)
        attempt.ttl = str(ttl)
        attempt.kind = str(message.attributes.get("type", ""))
        if self._context.traces is not None:
            attempt.trace = self._context.traces.begin(message, arrived_s)
        data = message.data
        if subscriber.is_structured:
            lines = [_CONTENT_TYPE, *message.passed, subscriber.namespace_line, _PREFER]
            data = message.event().structured()
        else:
            lines = [*message.lines.values(), *message.passed, subscriber.namespace_line, _PREFER]
        self.send(attempt, recipient, lines, data, arrived_s)
        return attempt

    def send(
        self, attempt: Attempt, recipient: Recipient, lines: list[bytes], data: bytes, arrived_s: float = 0.0
    ) -> None:
        """Make the one request; `lines`: its headers, without their ends."""
        attempt.recipient = recipient
        attempt.begun_s = self._context.clock()
        if self._metrics is not None:
            waited_s = attempt.begun_s - arrived_s if arrived_s else 0.0
            self._metrics.processed(attempt.subscriber.place, attempt.kind, attempt.scheme, waited_s)
        if not (recipient.audience and recipient.account):
            self._post(attempt, lines, data)
            return

        def shown(line: bytes | None) -> None:
            if line is not None:
                self._post(attempt, [*lines, line], data)
            else:
                attempt.done(Outcome(500, reason=f"no token for {recipient.url}; the log says why"))

        self._context.tokens.line(recipient.namespace, recipient.account, recipient.audience, shown)

    def _post(self, attempt: Attempt, lines: list[bytes], data: bytes) -> None:
        if attempt.done is _nobody:
            return
        sender, recipient = self._context.sender, attempt.recipient
        try:
            destination = sender.destination(recipient.url, recipient.ca_certs)
        except DestinationError as error:
            attempt.done(Outcome(500, reason=f"{attempt.subscriber.trigger}: {error}"))
            return
        lines.append(b"")
        attempt.call = sender.post(destination, b"\r\n".join(lines), data, self._answered)
        attempt.call.context = attempt

    def _answered(self, call: Call) -> None:
        attempt = call.context
        assert isinstance(attempt, Attempt)
        attempt.call = None
        if self._context.traces is not None and attempt.trace is not None:
            place, url = attempt.subscriber.place, attempt.recipient.url
            self._context.traces.ended(
                attempt.trace, place.destination, place, attempt.kind, attempt.scheme, url, call.status
            )
        if self._metrics is not None:
            self._metrics.dispatched(
                attempt.subscriber.place,
                attempt.kind,
                attempt.scheme,
                call.status,
                self._context.clock() - attempt.begun_s,
            )
        outcome = _outcome(call, attempt)
        if self._journal is not None and attempt.attributes is not None:
            self._journal.note(
                attempt.attributes,
                "answered" if call.status else "not answered",
                trigger=attempt.subscriber.trigger,
                destination=shown_url(attempt.recipient.url),
                status=call.status,
                reason=outcome.reason or call.reason,
                reply=str(outcome.reply.attributes.get("type", "")) if outcome.reply is not None else None,
            )
        attempt.done(outcome)


def _outcome(call: Call, attempt: Attempt) -> Outcome:
    status, url = call.status, attempt.recipient.url
    if not status:
        return Outcome(500, body=f"dispatch error: {call.reason}".encode(), destination=url)
    fields = call.fields
    if 200 <= status < 300 and not call.body and not call.reason and _says_nothing(fields):
        return _nothing(status)
    if not 200 <= status < 300:
        return Outcome(status, body=call.body, passed=passed_lines(fields), destination=url)
    if call.reason:
        return Outcome(500, reason=f"{url}: {call.reason}", passed=passed_lines(fields))
    if call.is_cut:
        return Outcome(502, reason=f"{url}: the reply is too large", passed=passed_lines(fields))
    if looks_like_event(fields):
        try:
            reply = read_message(fields, call.body)
        except EventError as error:
            return Outcome(502, reason=f"{url}: the reply is no CloudEvent: {error}", passed=passed_lines(fields))
        if attempt.ttl is not None:
            reply.set(TTL, attempt.ttl)
        return Outcome(status, passed=passed_lines(fields), reply=reply)
    if call.body:
        return Outcome(502, reason=f"{url}: expected a CloudEvent or nothing as a reply", passed=passed_lines(fields))
    return Outcome(status, passed=passed_lines(fields))


def _says_nothing(fields: Iterable[Field]) -> bool:
    for field in fields:  # noqa: SIM110 - `all` costs three times as much, for each event
        if field.name not in _MEANINGLESS:
            return False
    return True


def _nothing(status: int) -> Outcome:
    """Return success without a reply. There are no more than a hundred."""
    outcome = _EMPTY.get(status)
    if outcome is None:
        outcome = _EMPTY[status] = Outcome(status)
    return outcome
