"""Takes messages from a durable pull consumer, as many as may be under way, and settles each.

Theory of operation. `credit` bounds what is under way plus what was asked for. Each message counts until it is settled:
acknowledged, given back (`nak`, to come again after a while) or ended (`term`). A pull request asks for what credit is
left once half of it is; it says of itself when it ends (`Nats-Pending-Messages`), and a heartbeat that stays away means
that it was lost. Whatever is not settled within the consumer's `ack_wait` comes again, to any replica, so what is still
under way tells the server in time (`+WPI`).

What was delivered over a lost connection can still be settled over the next one. What the server delivers again all the
same, because it was killed before it had written down what it heard, is settled again and given to nobody.

Source: NATS JetStream API (`CONSUMER.MSG.NEXT`, acknowledgement verbs, metadata in the reply subject).
"""

import json
from collections.abc import Callable
from typing import Final, Protocol

from nats.aio.msg import Msg

from eventing.jetstream.link import Link

__all__ = ["ByteBudget", "Delivered", "Pull"]

_EXPIRES_S: Final = 30
_HEARTBEAT_S: Final = 10
_LOST_S: Final = 2 * _HEARTBEAT_S + 1
_RETRY_S: Final = 1.0
_BYTES_PER_PULL: Final = 4 << 20
_NANOSECONDS: Final = 1_000_000_000
_ACK: Final = b"+ACK"
_TERM: Final = b"+TERM"
_FINAL: Final = (_ACK, _TERM)


class Delivered:
    """One message until it is settled, once."""

    __slots__ = ("_pull", "data", "deliveries", "headers", "heard_s", "reply", "sequence", "stored_at", "subject")

    def __init__(self, pull: "Pull", message: Msg, now_s: float) -> None:
        tokens = message.reply.split(".")
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>; with a domain two
        # tokens more in front and one behind.
        first = 4 if len(tokens) == 9 else 6
        self._pull: Pull | None = pull
        self.reply = message.reply
        """Where it is settled."""
        self.subject = message.subject
        """Under which it was published."""
        self.data: bytes = message.data
        self.headers: dict[str, str] = message.headers or {}
        self.deliveries = int(tokens[first])
        """How often the server has delivered it, from 1."""
        self.sequence = int(tokens[first + 1])
        """In the stream."""
        self.stored_at = tokens[first + 3]
        """Unix time in nanoseconds, as text; with `sequence` it tells a message from one of a stream made anew."""
        self.heard_s = now_s
        """When the server last heard that it is under way."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing more can be said of it."""
        return self._pull is None

    def ack(self) -> None:
        """It is done."""
        self._settle(_ACK)

    def nak(self, delay_s: float) -> None:
        """It is to come again, after `delay_s` at the earliest."""
        self._settle(b'-NAK {"delay": %d}' % int(delay_s * _NANOSECONDS) if delay_s > 0 else b"-NAK")

    def term(self) -> None:
        """It is never to come again."""
        self._settle(_TERM)

    def _settle(self, verb: bytes) -> None:
        pull = self._pull
        if pull is not None:
            self._pull = None
            pull.settle(self, verb)


class ByteBudget:
    """Bytes of messages under way in this process, of all consumers together."""

    __slots__ = ("_waiting", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: set[Pull] = set()

    def has_room(self, pull: "Pull") -> bool:
        """Whether more may be asked for; if not, `pull` is told when."""
        if self.used < self.limit:
            return True
        self._waiting.add(pull)
        return False

    def take(self, size: int) -> None:
        """A message came."""
        self.used += size

    def give_back(self, size: int) -> None:
        """It was settled."""
        self.used -= size
        if self._waiting and self.used < self.limit:
            waiting, self._waiting = self._waiting, set()
            for pull in waiting:
                pull.ask()

    def leave(self, pull: "Pull") -> None:
        """It wants no more."""
        self._waiting.discard(pull)


class _Clock(Protocol):
    def __call__(self) -> float:
        """Monotonic seconds."""


class Pull:
    """Messages of one consumer. `taken` gets each; `missing` hears that the server knows no such consumer."""

    def __init__(
        self,
        link: Link,
        stream: str,
        consumer: str,
        taken: Callable[[Delivered], None],
        *,
        credit: int,
        ack_wait_s: float,
        budget: ByteBudget,
        now_s: _Clock,
        missing: Callable[[], None],
    ) -> None:
        self._link = link
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._taken = taken
        self._missing = missing
        self._credit = credit
        self._ack_wait_s = ack_wait_s
        self._budget = budget
        self._now_s = now_s
        self._inbox = link.open_inbox(self._answered)
        self._round = 0
        self._asked = 0
        """Messages that were asked for and did not come yet."""
        self._heard_s = 0.0
        self._retry_s = 0.0
        """Not to ask before then; 0: at any time."""
        self._under_way: dict[int, Delivered] = {}
        self._settled: dict[tuple[int, str], bytes] = {}
        """How the last ones ended: a server that was killed does not know, and delivers them again."""
        self._is_open = True
        link.on_down(self._down)
        link.on_tick(self._tick)
        link.on_up(self._up)

    @property
    def under_way(self) -> int:
        """Messages that are not settled."""
        return len(self._under_way)

    def tune(self, *, credit: int, ack_wait_s: float) -> None:
        """The consumer's settings have changed."""
        self._credit = credit
        self._ack_wait_s = ack_wait_s
        self.ask()

    def stop(self) -> None:
        """Ask for no more. What is under way may still be settled."""
        if self._is_open:
            self._is_open = False
            self._budget.leave(self)
            self._link.forget(self._up)
            self._link.forget(self._down)
            self._link.close_inbox(self._inbox)
            if not self._under_way:
                self._link.forget(self._tick)

    def ask(self) -> None:
        """Ask for as much as there is credit for, if that is worth a request."""
        if not self._is_open or self._retry_s or not self._link.is_up:
            return
        room = self._credit - len(self._under_way) - self._asked
        if room <= 0 or (self._asked and room * 2 < self._credit) or not self._budget.has_room(self):
            return
        self._asked += room
        self._heard_s = self._now_s()
        request = {
            "batch": room,
            "expires": _EXPIRES_S * _NANOSECONDS,
            "idle_heartbeat": _HEARTBEAT_S * _NANOSECONDS,
            "max_bytes": max(_BYTES_PER_PULL, 2 * self._link.payload_bytes_max),
        }
        reply = self._inbox.subject(self._round)
        self._link.send(self._subject, json.dumps(request).encode(), reply=reply)

    # What a message calls.

    def settle(self, message: Delivered, verb: bytes) -> None:
        """Tell the server, now or when there is a connection again."""
        del self._under_way[message.sequence]
        if verb in _FINAL:
            self._settled[message.sequence, message.stored_at] = verb
            if len(self._settled) > 2 * self._credit:
                del self._settled[next(iter(self._settled))]
        self._link.send(message.reply, verb, keep=True)
        self._budget.give_back(len(message.data))
        if self._is_open:
            self.ask()
        elif not self._under_way:
            self._link.forget(self._tick)

    # What the link calls.

    def _up(self) -> None:
        self._begin_anew()
        self.ask()

    def _down(self) -> None:
        self._asked = 0

    def _begin_anew(self) -> None:
        """Requests that were made are as if they had not been."""
        self._round += 1
        self._asked = 0
        self._retry_s = 0.0

    def _tick(self, now_s: float) -> None:
        if not self._link.is_up:
            return
        limit_s = self._ack_wait_s / 3
        for message in self._under_way.values():
            if now_s - message.heard_s >= limit_s:
                message.heard_s = now_s
                self._link.send(message.reply, b"+WPI")
        if not self._is_open:
            return
        if self._retry_s and now_s >= self._retry_s:
            self._retry_s = 0.0
            self.ask()
        elif self._asked and now_s - self._heard_s > _LOST_S:
            self._begin_anew()
            self.ask()

    def _answered(self, message: Msg) -> None:
        if not self._is_open:
            return  # it comes again, to others
        # What comes with somewhere to settle it is a message of the stream, under its own subject.
        if message.reply:
            self._came(message)
        else:
            self._told(message.subject.rpartition(".")[2], message)

    def _came(self, message: Msg) -> None:
        now_s = self._heard_s = self._now_s()
        self._asked = max(self._asked - 1, 0)
        delivered = Delivered(self, message, now_s)
        verb = self._settled.get((delivered.sequence, delivered.stored_at))
        if verb is not None:
            self._link.send(delivered.reply, verb, keep=True)
            self.ask()
            return
        held = self._under_way.get(delivered.sequence)
        if held is not None:
            # It came again while it is under way here: after a time without a connection. The last delivery is settled.
            held.reply = delivered.reply
            held.heard_s = now_s
            return
        self._under_way[delivered.sequence] = delivered
        self._budget.take(len(delivered.data))
        self._taken(delivered)
        self.ask()

    def _told(self, number: str, message: Msg) -> None:
        """A status: of the request that it ends, or a heartbeat."""
        if number != str(self._round):
            return  # of a request that counts no more
        now_s = self._heard_s = self._now_s()
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == "100":
            return
        unused = headers.get("Nats-Pending-Messages", "")
        self._asked = max(self._asked - int(unused), 0) if unused.isdigit() else 0
        description = headers.get("Description", "")
        if status == "408" or description == "Batch Completed":
            self.ask()  # it has waited its time, or has brought as many bytes as it may
            return
        # 409: limits, another leader, a shutdown; 404 and 503: nobody knows the consumer.
        self._retry_s = now_s + _RETRY_S
        if status in ("404", "503") or "Deleted" in description:
            self._missing()
