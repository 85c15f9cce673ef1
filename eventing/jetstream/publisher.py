"""Publishes with an acknowledgement each: bounded in number and bytes, in order, over reconnections.

A publish is `STORED` only when JetStream has said so. While the connection is away, or the stream's server is still
starting, it waits and is made again, up to its timeout: the message id makes the second one no second event. After that
it has failed, although it may have been stored; whoever sent the event sends it again, with the same id.

Source: spec eventing-channels.md 9.3; NATS client protocol, JetStream `PubAck`.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from nats.aio.msg import Msg

from eventing.jetstream.link import Link

__all__ = ["Published", "Publisher", "Publishing"]

_TIMEOUT_S: Final = 5.0
_IN_FLIGHT_MAX: Final = 4096
_BYTES_MAX: Final = 64 << 20
_HEADERS_BYTES: Final = 64
"""Of the frame around headers."""


class Publishing(Enum):
    """What becomes of a publish."""

    STORED = "stored"
    """JetStream has it; as a duplicate of what it had already, perhaps."""
    BUSY = "busy"
    """Too much is under way; later there is room."""
    TOO_LARGE = "too large"
    FAILED = "failed"


class Published(NamedTuple):
    """The end of one publish."""

    how: Publishing
    reason: str = ""
    """Why it is not stored."""
    sequence: int = 0
    """In the stream."""
    is_duplicate: bool = False
    """The stream had it already, by its message id."""


class _Pending:
    __slots__ = ("deadline_s", "done", "headers", "is_waiting", "payload", "problem", "subject")

    def __init__(
        self, subject: str, payload: bytes, headers: dict[str, str] | None, done: Callable[[Published], None]
    ) -> None:
        self.subject = subject
        self.payload = payload
        self.headers = headers
        self.done = done
        self.deadline_s = 0.0
        self.is_waiting = False
        """Nobody took it; it is sent again at the next tick."""
        self.problem = ""


class Publisher:
    """Publishes over one link. `done` is never called from within `publish`, but for what cannot even begin."""

    def __init__(
        self,
        link: Link,
        *,
        in_flight_max: int = _IN_FLIGHT_MAX,
        bytes_max: int = _BYTES_MAX,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._link = link
        self._in_flight_max = in_flight_max
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, _Pending] = {}  # in the order of their deadlines
        self._bytes = 0
        self._last = 0
        self._inbox = link.open_inbox(self._answered)
        link.on_up(self._send_all)
        link.on_tick(self._expire)

    @property
    def in_flight(self) -> int:
        """Publishes that are not acknowledged yet."""
        return len(self._pending)

    def close(self) -> None:
        """End what is under way as failed."""
        self._link.forget(self._send_all)
        self._link.forget(self._expire)
        self._link.close_inbox(self._inbox)
        for number in list(self._pending):
            self._finish(number, Published(Publishing.FAILED, "the process is ending"))

    def publish(
        self,
        subject: str,
        payload: bytes,
        done: Callable[[Published], None],
        *,
        message_id: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish `payload`; `done` gets what became of it.

        `message_id`: a later publish with the same one, within the stream's duplicate window, is none.
        """
        sent = dict(headers or ())
        if message_id:
            sent["Nats-Msg-Id"] = message_id
        size = len(payload) + _HEADERS_BYTES + sum(len(name) + len(value.encode()) + 4 for name, value in sent.items())
        if size > self._link.payload_bytes_max:
            limit = self._link.payload_bytes_max
            done(Published(Publishing.TOO_LARGE, f"{size} bytes, NATS takes {limit} (max_payload)"))
            return
        if len(self._pending) >= self._in_flight_max or self._bytes + len(payload) > self._bytes_max:
            done(Published(Publishing.BUSY, f"{len(self._pending)} events wait for NATS to acknowledge them"))
            return
        pending = _Pending(subject, payload, sent or None, done)
        pending.deadline_s = self._loop.time() + self._timeout_s
        self._last += 1
        self._pending[self._last] = pending
        self._bytes += len(payload)
        self._send(self._last, pending)

    # What the link calls.

    def _send_all(self) -> None:
        for number, pending in self._pending.items():
            self._send(number, pending)

    def _expire(self, now_s: float) -> None:
        expired = []
        for number, pending in self._pending.items():
            if pending.deadline_s <= now_s:
                expired.append(number)
            elif pending.is_waiting:
                self._send(number, pending)
        for number in expired:
            reason = self._link.problem or self._pending[number].problem or "JetStream did not acknowledge the event"
            self._finish(number, Published(Publishing.FAILED, f"{reason}, within {self._timeout_s:g} s"))

    def _answered(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        pending = self._pending.get(number)
        if pending is None:
            return
        if not message.data:
            # Nobody listens on the subject: there is no such stream, or its server is starting.
            pending.is_waiting = True
            pending.problem = f"no stream takes {pending.subject}"
            return
        try:
            answer = json.loads(message.data)
            error = answer.get("error")
            sequence = int(answer.get("seq", 0))
        except (ValueError, AttributeError, TypeError) as problem:
            self._finish(number, Published(Publishing.FAILED, f"expected an acknowledgement of JetStream: {problem}"))
            return
        if error:
            self._finish(number, Published(Publishing.FAILED, str(error.get("description") or error)))
        else:
            self._finish(number, Published(Publishing.STORED, "", sequence, bool(answer.get("duplicate"))))

    # Inside.

    def _send(self, number: int, pending: _Pending) -> None:
        pending.is_waiting = False
        reply = self._inbox.subject(number)
        self._link.send(pending.subject, pending.payload, reply=reply, headers=pending.headers)

    def _finish(self, number: int, published: Published) -> None:
        pending = self._pending.pop(number)
        self._bytes -= len(pending.payload)
        pending.done(published)
