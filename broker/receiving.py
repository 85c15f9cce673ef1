"""The dispatcher's side towards those who send: one request, one event, one answer.

    receive     a channel? which method?      404, 500, 400; 200, 405      by the head alone
    gather      the body                      413, 500, 503
    _gathered   an event? valid?              400
    _check      who sends it, and may they?   401, 403, 500                only while OIDC is on
    _accept     Channel.accept                202, or why not

Source: spec eventing-channels.md 5, 6.1; eventing-broker.md 9.
"""

from collections.abc import Callable
from typing import Final

from broker.answers import Answers
from broker.channel.backend import Accepting, Backend, Channel, Refusal
from broker.role import Context
from eventing.event import EventError, problems_of
from eventing.message import Message, read_request
from proxies.exchange import Exchange
from proxies.intake import Gatherer

__all__ = ["Receiver"]

_ALLOW: Final = b"POST, OPTIONS"


class Receiver:
    """Receives for one backend. It is the part of `roles.Policy` behind probes and gates."""

    def __init__(
        self, context: Context, backend: Backend, accepted: Callable[[Channel, Message], None] | None = None
    ) -> None:
        """`accepted` is told of every event before its channel has it."""
        config = context.config
        self._context = context
        self._backend = backend
        self._accepted = accepted
        self._answers = answers = Answers(_ALLOW, config.event_bytes_max)
        self._options = answers.empty(200, (b"WebHook-Allowed-Origin", b"*"), (b"WebHook-Allowed-Rate", b"*"))
        self._gatherer = Gatherer(
            context.timers,
            self._gathered,
            answers.unread,
            bytes_max=config.event_bytes_max,
            total_max=config.held_bytes_max,
            limit_s=config.process.read_s,
        )

    def receive(self, exchange: Exchange) -> None:
        """Answer a request, at once or later."""
        request = exchange.request
        # What heads have in common is looked at once for all of them.
        host = (request.core or request).host
        channel = self._backend.find(host, request.target.partition(b"?")[0])
        if isinstance(channel, Refusal):
            exchange.answer(self._answers.refusal(channel.status, channel.reason))
        elif request.method == b"POST":
            exchange.context = _Receiving(exchange, channel, self._answers, self._context.scheme)
            self._gatherer.gather(exchange)
        else:
            exchange.answer(self._options if request.method == b"OPTIONS" else self._answers.empty(405))

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
            message = read_request(exchange.request, body)
        except EventError as error:
            exchange.answer(self._answers.refusal(400, f"not a CloudEvent: {error}"))
            return
        problems = problems_of(message.attributes)
        if problems:
            exchange.answer(self._answers.refusal(400, f"not a valid CloudEvent: {'; '.join(problems)}"))
            return
        receiving = exchange.context
        assert isinstance(receiving, _Receiving)
        if self._context.features.is_oidc_on:
            self._check(receiving, message)
        else:
            self._accept(receiving, message)

    def _check(self, receiving: "_Receiving", message: Message) -> None:
        """OIDC is on: who sends it, and may they?"""
        exchange, channel = receiving.exchange, receiving.channel
        access = self._context.access

        def identified(subject: str | int) -> None:
            if not exchange.is_held:
                return
            status = (
                subject
                if isinstance(subject, int)
                else access.verdict(subject, self._backend.policies(channel), channel.namespace, message.attributes)
            )
            if status:
                exchange.answer(self._answers.empty(status))
            else:
                self._accept(receiving, message)

        audience = f"messaging.knative.dev/{self._backend.resource}/{channel.namespace}/{channel.name}".lower()
        access.identify(exchange.request, audience, identified)

    def _accept(self, receiving: "_Receiving", message: Message) -> None:
        channel = receiving.channel
        message.scheme = receiving.scheme
        if self._accepted is not None:
            self._accepted(channel, message)
        accepting = channel.accept(message, receiving.done)
        if receiving.exchange.is_held:
            receiving.accepting = accepting


class _Receiving:
    """One event whose sender waits."""

    __slots__ = ("_answers", "accepting", "channel", "exchange", "scheme")

    def __init__(self, exchange: Exchange, channel: Channel, answers: Answers, scheme: str) -> None:
        self._answers = answers
        self.scheme = scheme
        self.exchange = exchange
        self.channel = channel
        self.accepting: Accepting | None = None

    def done(self, status: int, reason: str) -> None:
        """The channel has it, or says why not."""
        exchange = self.exchange
        if exchange.is_held:
            answers = self._answers
            exchange.answer(answers.refusal(status, reason) if reason else answers.empty(status))
