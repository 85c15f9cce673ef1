"""`python -m broker filter`: gives events to the subscribers of Triggers that want them, and their replies back.

    receive     the method, the path, the Trigger and its uid      405, 400, 404; from the head alone
    gather      the body                                           413, 503, 500
    _read       an event?                                          400
    _checked    its Subscription's token?                          401, 403, 404, 500; only while OIDC is on
    deliver     to the subscriber (`broker.subscribing`), or
    _relay      to the Broker or to the dead letter sink           404, 500, 200
    _done       what came of it

One attempt: it is the channel that tries again.

Source: spec eventing-broker.md 6, 7; conformance statements 47 to 68.
"""

from collections.abc import Mapping
from typing import Final

from broker.answers import Answers
from broker.brokers import Brokers
from broker.config import check_all
from broker.direct import DirectTriggers, check_settings
from broker.paths import Leg, TriggerPath, trigger_of
from broker.role import Context
from broker.subscribing import Attempt, Outcome, Subscribing
from broker.triggers import Recipient, Subscriber, Triggers
from broker.ttl import ttl_max_of
from eventing.debugging import Debugging
from eventing.event import EventError
from eventing.message import Message, read_request
from kube.informer import Informer
from kube.models.messaging import Subscription
from proxies.exchange import Exchange
from proxies.fields import DROPPED, HOST, LENGTH
from proxies.intake import Gatherer
from proxies.messages import Answer, RequestHead

__all__ = ["FilterRole"]

_ALLOW: Final = b"POST"
_TARGETS_MAX: Final = 4096
_AUDIENCE: Final = "mt-broker-filter"
_ACCOUNT: Final = "system:serviceaccount"
_PREFER: Final = b"Prefer: reply"
_OWN: Final = frozenset([b"authorization", b"kn-namespace", b"prefer", b"expect", b"user-agent"])
"""Headers of a request that is passed on whole which we write anew, or which are nobody else's business."""

_HEALTHY: Final = Answer(200)


class _Passage:
    """One event on its way through."""

    __slots__ = ("attempt", "exchange", "leg", "outcome", "role", "scheme", "subscriber")

    def __init__(self, role: "FilterRole", exchange: Exchange, subscriber: Subscriber, leg: Leg, scheme: str) -> None:
        self.role = role
        self.exchange = exchange
        self.subscriber = subscriber
        self.leg = leg
        self.scheme = scheme
        self.attempt: Attempt | None = None

    def done(self, outcome: Outcome) -> None:
        """It has been to the subscriber, or need not go there."""
        self.attempt = None
        self.role.finish(self.exchange, outcome)


class FilterRole:
    """One for all connections. An exchange's context is its `_Passage`."""

    name = "filter"

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises `ConfigError`."""
        check_all(environ, check_settings, ttl_max_of, lambda environ: Debugging.from_env(environ, self.name))
        self._debugging = Debugging.from_env(environ, self.name)
        self._paths: dict[bytes, TriggerPath | Answer] = {}
        self._context: Context
        self._answers: Answers
        self._gatherer: Gatherer
        self._subscribing: Subscribing
        self._triggers: Triggers | None = None
        self._brokers: Brokers | None = None
        self._subscriptions: Informer[Subscription] | None = None
        self._environ = environ
        self._direct: DirectTriggers | None = None

    async def start(self, context: Context) -> None:
        """Learn of Triggers, Brokers and Subscriptions."""
        config = context.config
        self._context = context
        self._answers = answers = Answers(_ALLOW, config.event_bytes_max)
        self._filtered = answers.empty(200)
        self._gatherer = Gatherer(
            context.timers,
            self._read,
            answers.unread,
            bytes_max=config.event_bytes_max,
            total_max=config.held_bytes_max,
            limit_s=config.process.read_s,
        )
        self._subscribing = Subscribing(context, self._debugging.journal)
        self._triggers = Triggers(context.client, context.log)
        self._brokers = Brokers(context.client, context.log)
        self._subscriptions = Informer(context.client, Subscription, log=context.log)
        self._direct = DirectTriggers(
            context,
            self._environ,
            self._subscribing,
            self._triggers,
            self._debugging,
            brokers=self._brokers.informer,
        )
        await self._triggers.start()
        await self._brokers.start()
        await self._subscriptions.start()
        if port := await self._debugging.start():
            context.log.info("debug_listening", port=port)

    async def stop(self) -> None:
        """Know of nothing any more."""
        await self._debugging.stop()
        for each in (self._triggers, self._brokers, self._subscriptions):
            if each is not None:
                await each.stop()
        if self._direct is not None:
            await self._direct.stop()

    def readiness(self) -> Answer:
        """Always well."""
        return _HEALTHY

    # What the shell calls for requests.

    def receive(self, exchange: Exchange) -> None:
        """Decide by the head, then read the body."""
        head = exchange.request
        if head.method != b"POST":
            exchange.answer(self._answers.empty(405))
            return
        path = self._paths.get(head.target) or self._path(head.target)
        if isinstance(path, Answer):
            exchange.answer(path)
            return
        assert self._triggers is not None
        subscriber = self._triggers.subscribers.get((path.namespace, path.name))
        if subscriber is None:
            exchange.answer(self._answers.refusal(404, f"there is no Trigger {path.namespace}/{path.name}"))
        elif subscriber.uid != path.uid:
            exchange.answer(self._answers.refusal(400, f"{subscriber.trigger} has another uid than {path.uid[:64]!r}"))
        else:
            exchange.context = _Passage(self, exchange, subscriber, path.leg, self._context.scheme)
            self._gatherer.gather(exchange)

    def cancelled(self, exchange: Exchange) -> None:
        """The channel has left."""
        passage = exchange.context
        assert isinstance(passage, _Passage)
        attempt, passage.attempt = passage.attempt, None
        if attempt is not None:
            attempt.cancel()

    def ended(self, exchange: Exchange) -> None:
        """Give back what its body held."""
        self._gatherer.ended(exchange)
        exchange.context = None  # which knows the exchange: the two would wait for the collector

    def finish(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answer with what came of it (spec 7.1)."""
        if not exchange.is_held:
            return
        status, answers = outcome.status, self._answers
        if outcome.is_filtered:
            exchange.answer(self._filtered)
            return
        fields = [*answers.allow, *[_field(line) for line in outcome.passed]]
        if outcome.destination:
            exchange.answer(
                Answer(status, outcome.error_json(), content_type=b"text/plain; charset=utf-8", fields=fields)
            )
        elif outcome.reply is not None:
            fields += [_field(line) for line in outcome.reply.lines.values()]
            exchange.answer(Answer(status, outcome.reply.data, fields=fields))
        elif outcome.reason:
            answer = answers.refusal(status, outcome.reason)
            exchange.answer(Answer(status, answer.body, fields=[*answer.fields, *fields[1:]]))
        else:
            exchange.answer(answers.empty(status, *fields[1:]))

    # The way of an event.

    def _path(self, target: bytes) -> TriggerPath | Answer:
        found: TriggerPath | Answer | None = trigger_of(target)
        if found is None:
            wanted = "/triggers/<namespace>/<name>/<uid>"
            found = self._answers.refusal(400, f"expected {wanted}, got {target[:200]!r}")
        if len(target) <= 512:
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
        passage = exchange.context
        assert isinstance(passage, _Passage)
        if self._context.features.is_oidc_on:
            self._check(passage, message, body)
        else:
            self._pass_on(passage, message, body)

    def _check(self, passage: _Passage, message: Message, body: bytes) -> None:
        """OIDC is on: it has to be this Trigger's Subscription that sends (spec 9.3)."""
        exchange, subscriber = passage.exchange, passage.subscriber
        assert self._subscriptions is not None
        found = self._subscriptions.get(subscriber.namespace, subscriber.subscription)
        if found is None:
            exchange.answer(self._answers.refusal(404, f"{subscriber.trigger} has no Subscription"))
            return
        auth = found.status.auth
        if auth is None or not auth.service_account_name:
            exchange.answer(self._answers.refusal(500, f"the Subscription of {subscriber.trigger} has no identity"))
            return
        wanted = f"{_ACCOUNT}:{found.namespace}:{auth.service_account_name}"

        def identified(subject: str | int) -> None:
            if not exchange.is_held:
                return
            if isinstance(subject, int):
                exchange.answer(self._answers.empty(subject))
            elif subject != wanted:
                exchange.answer(self._answers.empty(403))
            else:
                self._pass_on(passage, message, body)

        self._context.access.identify(exchange.request, _AUDIENCE, identified)

    def _pass_on(self, passage: _Passage, message: Message, body: bytes) -> None:
        exchange, subscriber = passage.exchange, passage.subscriber
        if passage.leg is Leg.SUBSCRIBER:
            attempt = self._subscribing.deliver(
                subscriber, message, passage.done, arrived_s=exchange.arrived_s, scheme=passage.scheme
            )
            if exchange.is_held:
                passage.attempt = attempt
        else:
            self._relay(passage, message, body)

    def _relay(self, passage: _Passage, message: Message, body: bytes) -> None:
        """Send the request on as it came (spec 6.5), but for who sent it to us."""
        exchange, subscriber = passage.exchange, passage.subscriber
        assert self._brokers is not None
        broker = self._brokers.targets.get(subscriber.broker)
        if broker is None:
            exchange.answer(self._answers.refusal(404, f"there is no Broker {'/'.join(subscriber.broker)}"))
            return
        namespace, account = subscriber.namespace, subscriber.account
        if passage.leg is Leg.REPLY:
            address = broker.address
            if address is None:
                exchange.answer(self._answers.refusal(500, f"{broker.broker} has no address"))
                return
            recipient = Recipient(address.url, address.ca_certs or "", address.audience or "", namespace, account)
        elif subscriber.dead_letter.url:
            recipient = subscriber.dead_letter
        elif broker.dead_letter_url:
            recipient = Recipient(
                broker.dead_letter_url, broker.dead_letter_ca_certs, broker.dead_letter_audience, namespace, account
            )
        else:
            exchange.answer(self._answers.empty(200))
            return
        attempt = passage.attempt = Attempt(subscriber, passage.done, passage.scheme)
        attempt.kind = str(message.attributes.get("type", ""))
        lines = [*_relayed(exchange.request), subscriber.namespace_line, _PREFER]
        self._subscribing.send(attempt, recipient, lines, body, exchange.arrived_s)


def _relayed(head: RequestHead) -> list[bytes]:
    drop = HOST | LENGTH | DROPPED
    options = head.connection_options
    return [
        field.line
        for field in head.fields
        if not field.marks & drop and field.name not in _OWN and field.name not in options
    ]


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip(b" \t")
