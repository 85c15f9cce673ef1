"""`python -m broker ingress`: takes events in for every Broker and gives each to the channel behind its Broker.

    receive    OPTIONS, other methods, the path              answered from the head alone
    gather     the body                                      413, 503, 500
    _read      an event? valid? a Broker?                    400, 404
    _admitted  who sends it, and may they?                   401, 403, 500; only while OIDC is on
    _pass_on   time of arrival, passages that are left       400
               a channel to send it to                       500
    _sent      what the channel said                         2xx as it is; everything else is 500

The order is the original's, and so is what a caller can tell from it: an event that is none is 400 also where there is
no such Broker. Nothing is kept, nothing is sent twice.

Source: spec eventing-broker.md 5; conformance statements 1 to 46.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from broker.answers import Answers
from broker.brokers import Brokers, Target
from broker.channel.backend import Accepting
from broker.config import check_all
from broker.direct import DirectBrokers, check_settings
from broker.event_types import EventTypes
from broker.paths import broker_of
from broker.role import Context
from broker.ttl import ARRIVAL_TIME, TTL, ArrivalTimes, next_ttl, ttl_max_of
from eventing.debugging import Debugging
from eventing.event import EventError, problems_of
from eventing.filters.dialects import Attributes
from eventing.message import Message, read_request
from eventing.sending import DestinationError
from proxies.exchange import Exchange
from proxies.intake import Gatherer
from proxies.messages import Answer

if TYPE_CHECKING:
    from broker.metrics import DispatchMetrics
    from broker.traces import Passing
    from proxies.calls import Call

__all__ = ["IngressRole"]

_ALLOW: Final = b"POST, OPTIONS"
_TARGETS_MAX: Final = 4096
_PREFER: Final = b"Prefer: reply"
_ACCEPTED: Final = 202

_HEALTHY: Final = Answer(200)


class _Passage:
    """One event on its way through."""

    __slots__ = ("attributes", "begun_s", "exchange", "scheme", "sending", "target", "trace")

    def __init__(self, exchange: Exchange, scheme: str) -> None:
        self.exchange = exchange
        self.scheme = scheme
        self.target: Target
        self.sending: Call | Accepting | None = None
        self.begun_s = 0.0
        self.trace: Passing | None = None
        self.attributes: Attributes
        """The event's."""


class IngressRole:
    """One for all connections. An exchange's context is its `_Passage`."""

    name = "ingress"

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises `ConfigError`."""
        check_all(environ, check_settings, ttl_max_of, lambda environ: Debugging.from_env(environ, self.name))
        self._ttl_max = ttl_max_of(environ)
        self._debugging = Debugging.from_env(environ, self.name)
        self._journal = self._debugging.journal
        self._times = ArrivalTimes()
        self._paths: dict[bytes, tuple[str, str] | Answer] = {}
        self._metrics: DispatchMetrics | None = None
        self._event_types: EventTypes | None = None
        self._context: Context
        self._answers: Answers
        self._brokers: Brokers | None = None
        self._environ = environ
        self._direct: DirectBrokers | None = None
        self._gatherer: Gatherer

    async def start(self, context: Context) -> None:
        """Learn which Brokers there are."""
        config = context.config
        self._context = context
        self._answers = answers = Answers(_ALLOW, config.event_bytes_max)
        self._options = answers.empty(200, (b"WebHook-Allowed-Origin", b"*"), (b"WebHook-Allowed-Rate", b"*"))
        self._gatherer = Gatherer(
            context.timers,
            self._read,
            answers.unread,
            bytes_max=config.event_bytes_max,
            total_max=config.held_bytes_max,
            limit_s=config.process.read_s,
        )
        if context.registry is not None:
            from broker.metrics import INGRESS_SCOPE, DispatchMetrics

            self._metrics = DispatchMetrics(context.registry, INGRESS_SCOPE)
        self._event_types = EventTypes(context.client, context.log)
        self._brokers = Brokers(context.client, context.log)
        self._direct = DirectBrokers(context, self._environ, self._brokers.informer)
        await self._brokers.start()
        if port := await self._debugging.start():
            context.log.info("debug_listening", port=port)

    async def stop(self) -> None:
        """Know of no Brokers any more."""
        await self._debugging.stop()
        if self._brokers is not None:
            await self._brokers.stop()
        if self._direct is not None:
            await self._direct.stop()
        if self._event_types is not None:
            await self._event_types.stop()

    def readiness(self) -> Answer:
        """Always well."""
        return _HEALTHY

    # What the shell calls for requests.

    def receive(self, exchange: Exchange) -> None:
        """Decide by the head, then read the body."""
        head = exchange.request
        if head.method != b"POST":
            exchange.answer(self._options if head.method == b"OPTIONS" else self._answers.empty(405))
            return
        found = self._paths.get(head.target) or self._path(head.target)
        if isinstance(found, Answer):
            exchange.answer(found)
            return
        exchange.context = _Passage(exchange, self._context.scheme)
        self._gatherer.gather(exchange)

    def cancelled(self, exchange: Exchange) -> None:
        """The client has left."""
        passage = exchange.context
        assert isinstance(passage, _Passage)
        sending, passage.sending = passage.sending, None
        if sending is not None:
            sending.cancel()

    def ended(self, exchange: Exchange) -> None:
        """Give back what its body held."""
        self._gatherer.ended(exchange)
        exchange.context = None  # which knows the exchange: the two would wait for the collector

    # The way of an event.

    def _path(self, target: bytes) -> tuple[str, str] | Answer:
        found: tuple[str, str] | Answer | None = broker_of(target)
        if target == b"/":
            found = self._answers.refusal(404, "expected /<namespace>/<broker>")
        elif found is None:
            found = self._answers.refusal(400, f"expected /<namespace>/<broker>, got {target[:200]!r}")
        if len(target) <= 256:
            if len(self._paths) >= _TARGETS_MAX:
                self._paths.clear()
            self._paths[target] = found
        return found

    def _read(self, exchange: Exchange, body: bytes) -> None:
        try:
            message = read_request(exchange.request, body)
        except EventError as error:
            exchange.answer(self._answers.refusal(400, f"not a CloudEvent: {error}"))
            return
        problems = problems_of(message.attributes)
        if problems:
            exchange.answer(self._answers.refusal(400, f"not a valid CloudEvent: {'; '.join(problems)}"))
            return
        key = self._paths.get(exchange.request.target) or self._path(exchange.request.target)
        assert self._brokers is not None
        assert isinstance(key, tuple)
        target = self._brokers.targets.get(key)
        if target is None:
            exchange.answer(self._answers.refusal(404, f"there is no Broker {key[0]}/{key[1]}"))
            return
        passage = exchange.context
        assert isinstance(passage, _Passage)
        passage.target = target
        if self._context.features.is_oidc_on:
            self._check(passage, message)
        else:
            self._pass_on(passage, message)

    def _check(self, passage: _Passage, message: Message) -> None:
        """OIDC is on: who sends it, and may they?"""
        exchange, target = passage.exchange, passage.target

        def identified(subject: str | int) -> None:
            if not exchange.is_held:
                return
            status = (
                subject
                if isinstance(subject, int)
                else access.verdict(subject, target.policies, target.namespace, message.attributes)
            )
            if status:
                exchange.answer(self._answers.empty(status))
            else:
                self._pass_on(passage, message)

        access = self._context.access
        access.identify(exchange.request, target.audience, identified)

    def _pass_on(self, passage: _Passage, message: Message) -> None:
        exchange, target = passage.exchange, passage.target
        attributes = message.attributes
        ttl = next_ttl(attributes.get(TTL), self._ttl_max)
        if not ttl:
            exchange.answer(self._answers.refusal(400, f"{TTL} {attributes.get(TTL)}: it has been around too often"))
            return
        message.set(ARRIVAL_TIME, self._times.at(time.time_ns()))
        message.set(TTL, str(ttl))
        passage.attributes = attributes
        passage.begun_s = self._context.clock()
        if self._context.traces is not None:
            passage.trace = self._context.traces.begin(message, exchange.arrived_s)
        if not target.channel_url:
            self._publish(passage, message)
            return
        if target.channel_audience:
            self._send_with_token(passage, message)
        else:
            self._send(passage, message, _PREFER)

    def _publish(self, passage: _Passage, message: Message) -> None:
        """There is no channel: the Broker may be of the class that has a stream instead."""
        exchange, target = passage.exchange, passage.target
        channel = self._direct.find(target.namespace, target.name) if self._direct is not None else None
        if channel is None:
            exchange.answer(self._answers.refusal(500, f"{target.broker} has no channel"))
            return

        def published(status: int, reason: str) -> None:
            if exchange.is_held:
                self._finish(passage, status if status == _ACCEPTED else 0, reason)

        sending = channel.accept(message, published)
        if exchange.is_held:
            passage.sending = sending

    def _send_with_token(self, passage: _Passage, message: Message) -> None:
        exchange, config = passage.exchange, self._context.config

        def shown(line: bytes | None) -> None:
            if not exchange.is_held:
                return
            if line is None:
                exchange.answer(self._answers.refusal(500, "no token for the channel; the log says why"))
            else:
                self._send(passage, message, _PREFER, line)

        self._context.tokens.line(
            config.system_namespace, config.process.service_account, passage.target.channel_audience, shown
        )

    def _send(self, passage: _Passage, message: Message, *lines: bytes) -> None:
        sender, target = self._context.sender, passage.target
        try:
            destination = sender.destination(target.channel_url, target.channel_ca_certs)
        except DestinationError as error:
            passage.exchange.answer(self._answers.refusal(500, f"{target.broker}: channel: {error}"))
            return
        call = sender.post(destination, message.header_lines(*lines), message.data, self._sent)
        call.context = passage
        passage.sending = call

    def _sent(self, call: "Call") -> None:
        """The channel has answered, or has not."""
        passage = call.context
        assert isinstance(passage, _Passage)
        self._finish(passage, call.status, call.reason)

    def _finish(self, passage: _Passage, status: int, reason: str) -> None:
        passage.sending = None
        target, context = passage.target, self._context
        if context.traces is not None and passage.trace is not None:
            kind, url = (
                str(passage.attributes["type"]),
                target.channel_url or f"jetstream:{target.namespace}/{target.name}",
            )
            name = f"broker:{target.name}.{target.namespace}"
            context.traces.ended(passage.trace, name, target.place, kind, passage.scheme, url, status)
        if self._journal is not None:
            step = "accepted" if 200 <= status < 300 else "not accepted"
            self._journal.note(passage.attributes, step, broker=target.broker, status=status, reason=reason)
        if not 200 <= status < 300:
            said = f"answered {status}" if status else reason
            passage.exchange.answer(self._answers.refusal(500, f"{target.broker}: its channel: {said}"))
            return
        if self._metrics is not None:
            kind = str(passage.attributes["type"])
            self._metrics.dispatched(target.place, kind, passage.scheme, status, context.clock() - passage.begun_s)
        passage.exchange.answer(self._answers.empty(status))
        if context.features.has_event_type_auto_create and self._event_types is not None:
            self._event_types.saw(target.namespace, target.name, passage.attributes)
