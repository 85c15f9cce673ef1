"""One event on its way to one subscriber: destination, reply, dead letter, each with the retries of the subscription.

    DESTINATION --2xx, no event in it------------------------------------> over: success
        |   \\--2xx with an event, reply address known--> REPLY --2xx-----> over: success
        |                                                  |
        +---- not 2xx, retries used up --> DEAD_LETTER <---+
                                             |   \\--2xx-------------------> over: success
                                             +-- not 2xx, or no sink -----> over: failure

`Flow` decides and does nothing: it says what is to be posted (`recipient`, `lines`, `body`), is told what came of it
(`answered`), and says how long to wait before the next post, or that it is over. `dispatching.Delivery` connects it to
a sender and a clock. A subscriber that has accepted the event is never called again, whatever becomes of its reply.

Source: spec eventing-channels.md 2, 3.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol
from urllib.parse import urlsplit

from eventing.error_extensions import NO_RESPONSE, Failure, unwrapped, with_error_extensions
from eventing.message import Message, looks_like_event, passed_lines
from eventing.retries import ONE_ATTEMPT, DeliverySettings, is_retried, retry_after_s
from proxies.fields import Field

__all__ = ["Flow", "Leg", "Outcome", "Parcel", "Recipient", "Subscription", "cleaned_url"]

_REPLY_BYTES_MAX: Final = 4 << 20
_ERROR_BYTES_MAX: Final = 64 << 10
_PREFER: Final = b"Prefer: reply\r\n"
_TRACE: Final = (b"traceparent:", b"tracestate:", b"baggage:")


class Leg(Enum):
    """Which of the three posts of a delivery."""

    DESTINATION = "destination"
    REPLY = "reply"
    DEAD_LETTER = "dead letter"


_DESTINATION: Final = Leg.DESTINATION
_DEAD_LETTER: Final = Leg.DEAD_LETTER


class Outcome(Protocol):
    """What came of one post: `proxies.calls.Call`."""

    @property
    def status(self) -> int:
        """Of the response; 0: there is none."""

    @property
    def reason(self) -> str:
        """Why there is no response, or not the whole of it; empty otherwise."""

    @property
    def is_cut(self) -> bool:
        """The response's body was larger than what was kept of it."""

    @property
    def fields(self) -> Iterable[Field]:
        """Header lines of the response."""

    @property
    def body(self) -> bytes:
        """The response's body, as far as it was kept."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Where one leg goes."""

    url: str
    """As `cleaned_url` has it."""
    ca_certs: str = ""
    """PEM that its certificate is checked against besides the system's."""
    audience: str = ""
    """Whom a token has to be for; empty: none is sent."""

    @classmethod
    def of(cls, url: str | None, ca_certs: str | None = None, audience: str | None = None) -> "Recipient | None":
        """Return the recipient of an address that may not be set."""
        return cls(cleaned_url(url), ca_certs or "", audience or "") if url else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Who gets the events of a channel, and how."""

    uid: str
    name: str = ""
    destination: Recipient | None = None
    """None: the event itself goes to the reply address."""
    reply: Recipient | None = None
    dead_letter: Recipient | None = None
    settings: DeliverySettings = ONE_ATTEMPT
    service_account: str = ""
    """In whose name tokens are had, where a recipient has an audience."""
    unwraps_errors: bool = False
    """The destination is the broker filter, whose answer tells of its subscriber's failure (spec 3.5)."""


class Parcel:
    """An event as it leaves, in binary mode: shared by all deliveries of one event. Every line has its end."""

    __slots__ = (
        "body",
        "channel",
        "destination_lines",
        "kind",
        "lines",
        "namespace",
        "namespace_line",
        "passed",
        "scheme",
    )

    def __init__(
        self,
        lines: bytes,
        passed: bytes,
        body: bytes,
        namespace: str,
        channel: str,
        kind: str,
        scheme: str = "http",
    ) -> None:
        """`passed`: header lines of the request that go on with the event. `kind`: the event's type.

        `scheme`: of the request; of what was read from where events are kept nobody knows it, and it counts as http.
        """
        self.namespace = namespace
        """The channel's."""
        self.channel = channel
        """Its name."""
        self.kind = kind
        self.scheme = scheme
        self.lines = lines
        """The event's attributes."""
        self.passed = passed
        self.body = body
        self.namespace_line = b"Kn-Namespace: %s\r\n" % namespace.encode()
        self.destination_lines = b"%s%s%s%s" % (lines, passed, self.namespace_line, _PREFER)

    @classmethod
    def of(cls, message: Message, namespace: str, channel: str) -> "Parcel":
        """Return the parcel of an event that a channel received."""
        passed = message.passed
        return cls(
            b"\r\n".join([*message.lines.values(), b""]),
            b"\r\n".join([*passed, b""]) if passed else b"",
            message.data,
            namespace,
            channel,
            str(message.attributes.get("type", "")),
            message.scheme,
        )


class Flow:
    """The delivery of one parcel to one subscription. `recipient`, `lines`, `body` say what is to be posted first."""

    __slots__ = (
        "_after_failure",
        "_parcel",
        "_reply_passed",
        "_retries",
        "body",
        "failure",
        "is_success",
        "leg",
        "lines",
        "recipient",
        "retry",
        "status",
        "subscription",
    )

    def __init__(
        self,
        subscription: Subscription,
        parcel: Parcel,
        *,
        retry: int = 0,
        destination_retries: int | None = None,
        after_failure: Callable[[Outcome], bool] | None = None,
    ) -> None:
        """`retry`: attempts at the destination that were made already, by whoever resumes a delivery.

        `destination_retries`: instead of the settings' for the first leg. `after_failure` is asked when that leg has
        failed for good: False ends the delivery as a failure without a dead letter.
        """
        self.subscription = subscription
        self._parcel = parcel
        self._after_failure = after_failure
        retries = subscription.settings.retries
        self._retries = retries if destination_retries is None else destination_retries
        self._reply_passed: bytes | None = None
        self.retry = retry
        """Retries of this leg that were begun."""
        self.leg = _DESTINATION
        self.failure: Failure | None = None
        """Of the destination or the reply, if one of them failed for good: what the dead letter tells of."""
        self.is_success = False
        self.status = 0
        """Final status of the last leg that was posted; 500 where there was no response."""
        recipient = subscription.destination
        if recipient is None:
            recipient = subscription.reply
            assert recipient is not None, "admission wants a subscriber or a reply"
            self.leg = Leg.REPLY
            self.lines = parcel.lines + parcel.passed + parcel.namespace_line
        else:
            self.lines = parcel.destination_lines
        self.recipient: Recipient = recipient
        self.body = parcel.body

    @property
    def response_bytes_max(self) -> int:
        """How much of the response to the next post is of use: of a reply all, of a failure what dead letters tell."""
        subscription = self.subscription
        may_reply = subscription.reply is not None or subscription.unwraps_errors
        return _REPLY_BYTES_MAX if self.leg is _DESTINATION and may_reply else _ERROR_BYTES_MAX

    def answered(self, outcome: Outcome, now_unix_s: float) -> float | None:
        """Take what came of the post; return the seconds to wait before the next one, or None when it is over."""
        status = outcome.status
        self.status = status or NO_RESPONSE
        if 200 <= status < 300:
            if self.leg is not _DESTINATION:
                self.is_success = True
                return None
            return self._accepted(outcome)
        if self.retry < self._retries and is_retried(status):
            settings = self.subscription.settings
            asked_s = 0.0
            if settings.retry_after_max_s:
                asked_s = retry_after_s(_first(outcome.fields, b"retry-after"), now_unix_s)
            wait_s = settings.wait_s(self.retry, status, asked_s)
            self.retry += 1
            return wait_s
        return self._failed(outcome, status or NO_RESPONSE, outcome.body if status else None)

    def refused(self, reason: str) -> float | None:
        """The post could not even be built: no retry helps. Returns as `answered`."""
        self.status = NO_RESPONSE
        return self._failed(_Unbuilt(reason), -1, None)

    def _accepted(self, outcome: Outcome) -> float | None:
        """The destination took the event; is there a reply in its response, and where does it go?"""
        reply = self.subscription.reply
        # What broke off counts as accepted without a reply (spec 2.4).
        is_over = reply is None or (outcome.reason and not outcome.is_cut)
        if is_over or not looks_like_event(outcome.fields):
            self.is_success = True
            return None
        assert reply is not None
        if outcome.is_cut:
            # Kept in part only: asking for it once more would not make it smaller.
            return self._failed(outcome, NO_RESPONSE, None)
        self._reply_passed = self._passed_of(outcome)
        self._begin(Leg.REPLY, reply, _event_lines(outcome.fields), outcome.body)
        return 0.0

    def _failed(self, outcome: Outcome, code: int, body: bytes | None) -> float | None:
        """This leg has failed for good."""
        subscription = self.subscription
        if body is None:
            reason = outcome.reason or "no response"
            body = f"dispatch error: {reason}".encode()
        leg = self.leg
        failure = Failure(self.recipient.url, code, body)
        if leg is _DEAD_LETTER:
            return None
        told: Failure | None = failure
        if leg is _DESTINATION:
            if self._after_failure is not None and not self._after_failure(outcome):
                self.failure = failure
                return None
            if subscription.unwraps_errors:
                told = unwrapped(failure)
        self.failure = told or failure
        if subscription.dead_letter is None:
            return None
        lines = self._parcel.lines
        if told is not None:
            lines = with_error_extensions(lines, told)
        self._begin(_DEAD_LETTER, subscription.dead_letter, lines, self._parcel.body)
        return 0.0

    def _begin(self, leg: Leg, recipient: Recipient, lines: bytes, body: bytes) -> None:
        parcel = self._parcel
        self.leg = leg
        self.recipient = recipient
        # After the reply the headers of the subscriber's response go on, not those of the request (spec 3.3).
        passed = parcel.passed if self._reply_passed is None else self._reply_passed
        self.lines = lines + passed + parcel.namespace_line
        self.body = body
        self.retry = 0
        self._retries = self.subscription.settings.retries

    def _passed_of(self, outcome: Outcome) -> bytes:
        """Return what goes on from the response; the trace stays the event's."""
        trace = [line for line in self._parcel.passed.split(b"\r\n") if line.lower().startswith(_TRACE)]
        return b"".join(b"%s\r\n" % line for line in [*passed_lines(outcome.fields), *trace])


class _Unbuilt:
    """The outcome of a post that could not be made."""

    status = 0
    is_cut = False
    fields: tuple[Field, ...] = ()
    body = b""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def cleaned_url(url: str) -> str:
    """Return a URL as it is posted to: of one that is neither http nor https only the host counts (spec 3.1)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return url if parts.scheme in ("http", "https") else f"http://{parts.netloc}/"


def _event_lines(fields: Iterable[Field]) -> bytes:
    """Return the lines of a response that are its event, as they came: structured it stays, and binary."""
    kept: dict[bytes, bytes] = {}
    for field in fields:
        if field.name == b"content-type" or field.name.startswith(b"ce-"):
            kept.setdefault(field.name, field.line)
    return b"\r\n".join([*kept.values(), b""])


def _first(fields: Iterable[Field], name: bytes) -> bytes:
    return next((field.value for field in fields if field.name == name), b"")
