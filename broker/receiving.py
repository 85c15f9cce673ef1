"""The dispatcher's side towards those who send: one request, one event, one answer.

    receive --> channel? --> method? --> body --> event? --> may it be sent? --> Channel.accept --> 202, or why not
                404/500      200/405     413/503   400         401/403              202/500/503

Source: spec eventing-channels.md 5, 6.1.
"""

from collections.abc import Callable
from typing import Final

from broker.channel.backend import Accepting, Backend, Channel, Refusal
from eventing.event import EventError, problems_of
from eventing.message import Message, read_message
from proxies.exchange import Exchange
from proxies.intake import Gatherer, Unread
from proxies.messages import Answer
from proxies.timers import Timers

__all__ = ["Receiver"]

Accepted = Callable[[Channel, Message], None]

_ALLOW: Final = (b"Allow", b"POST, OPTIONS")
_ACCEPTED: Final = Answer(202, fields=[_ALLOW])
_OPTIONS: Final = Answer(200, fields=[_ALLOW, (b"WebHook-Allowed-Origin", b"*"), (b"WebHook-Allowed-Rate", b"*")])
_NOT_ALLOWED: Final = Answer(405, fields=[_ALLOW])
_UNREAD: Final = {Unread.TOO_LARGE: 413, Unread.NO_ROOM: 503, Unread.TOO_SLOW: 408}


def _refusal(status: int, reason: str) -> Answer:
    """Return an answer that says why."""
    fields = [_ALLOW, (b"Content-Type", b"text/plain; charset=utf-8")]
    return Answer(status, reason.encode("utf-8", "replace") + b"\n" if reason else b"", fields=fields)


class Receiver:
    """Receives for one backend. It is the part of `exchange.Policy` behind probes and gates."""

    def __init__(
        self,
        timers: Timers,
        backend: Backend,
        *,
        event_bytes_max: int,
        total_bytes_max: int,
        body_limit_s: float,
        accepted: Accepted | None = None,
    ) -> None:
        """`event_bytes_max`, `total_bytes_max`, `body_limit_s`: as `intake.Gatherer` has them.

        `accepted` is told of every event before its channel has it.
        """
        self._backend = backend
        self._accepted = accepted
        self._gatherer = Gatherer(
            timers,
            self._gathered,
            self._unread,
            bytes_max=event_bytes_max,
            total_max=total_bytes_max,
            limit_s=body_limit_s,
        )

    def receive(self, exchange: Exchange) -> None:
        """Answer a request, at once or later."""
        request = exchange.request
        channel = self._backend.find(request.host, request.target.partition(b"?")[0])
        if isinstance(channel, Refusal):
            exchange.answer(_refusal(channel.status, channel.reason))
        elif request.method == b"POST":
            exchange.context = _Receiving(exchange, channel)
            self._gatherer.gather(exchange)
        else:
            exchange.answer(_OPTIONS if request.method == b"OPTIONS" else _NOT_ALLOWED)

    def cancelled(self, exchange: Exchange) -> None:
        """The client has left: so do the deliveries that it waited for."""
        receiving = exchange.context
        if isinstance(receiving, _Receiving) and receiving.accepting is not None:
            receiving.accepting.cancel()

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self._gatherer.ended(exchange)
        exchange.context = None

    def _gathered(self, exchange: Exchange, body: bytes) -> None:
        try:
            message = read_message(exchange.request.fields, body)
        except EventError as error:
            exchange.answer(_refusal(400, str(error)))
            return
        problems = problems_of(message.attributes)
        if problems:
            exchange.answer(_refusal(400, "; ".join(problems)))
            return
        receiving = exchange.context
        assert isinstance(receiving, _Receiving)
        channel = receiving.channel
        if self._accepted is not None:
            self._accepted(channel, message)
        accepting = channel.accept(message, receiving.done)
        if exchange.is_held:
            receiving.accepting = accepting

    def _unread(self, exchange: Exchange, why: Unread) -> None:
        exchange.answer(_refusal(_UNREAD[why], f"the event's body was not read: {why.value}"))


class _Receiving:
    """One event whose sender waits."""

    __slots__ = ("accepting", "channel", "exchange")

    def __init__(self, exchange: Exchange, channel: Channel) -> None:
        self.exchange = exchange
        self.channel = channel
        self.accepting: Accepting | None = None

    def done(self, status: int, reason: str) -> None:
        """The channel has it, or says why not."""
        exchange = self.exchange
        if exchange.is_held:
            exchange.answer(_ACCEPTED if status == 202 else _refusal(status, reason))
