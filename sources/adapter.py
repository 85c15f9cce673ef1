"""The base of every source: an event and where it goes in, the sink's answer or the loss of the event out.

    outcome = await adapter.deliver(target, event)

completes the event (id, time, overrides), posts it in binary mode, tries again what is worth it, measures, and tells in
the log when a sink begins to lose events and when it is well again. A source that reads from a queue hands over many
at once (`deliver_all`) and settles each by its outcome; one that must keep an order waits for each.

Nothing is bounded by time unless `K_SINK_TIMEOUT` says so, as in the original: the caller bounds how many it has under
way. Source: spec eventing-sources.md 1.3-1.5.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from eventing.destinations import shown_url
from eventing.event import Event, EventError
from eventing.sending import Destination, Sender
from kube.models.meta import Resource
from kube.timestamps import format_micro_time
from proxies.calls import Call
from proxies.logs import Logger
from sources.metrics import SourceMetrics
from sources.overrides import Overrides
from sources.retrying import is_delivered, wait_s
from sources.tokens import TokenError
from sources.tracing import Tracing

__all__ = ["Adapter", "Outcome", "Target", "TokenProvider"]

_RESPONSE_BYTES_MAX: Final = 64 << 10
"""What a sink answers is not looked at; a connection is worth reading so much for."""
_LOSING_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the events of one source go."""

    url: str
    """The sink."""
    namespace: str
    name: str
    """Of the source."""
    ca_certs: str = ""
    """Authorities (PEM) to trust for the sink, besides those that are trusted anyway."""
    audience: str = ""
    """Who the sink is to tokens; empty: none is sent."""
    service_account: str = ""
    """Who we are to the sink."""
    overrides: Overrides = field(default_factory=Overrides)
    about: Resource | None = None
    """The source itself, for events about it."""

    @property
    def path(self) -> str:
        """`namespace/name` of the source, for the log."""
        return f"{self.namespace}/{self.name}"


class Outcome(NamedTuple):
    """What became of one event."""

    status: int
    """Of the last answer; 0: there was none."""
    reason: str
    """Why there was none, or why nothing was sent; empty otherwise."""
    attempts: int

    @property
    def is_delivered(self) -> bool:
        """Whether the sink took it."""
        return is_delivered(self.status)

    def __str__(self) -> str:
        what = self.reason or f"status {self.status}"
        return f"{what} after {self.attempts} attempt{'' if self.attempts == 1 else 's'}"


class TokenProvider(Protocol):
    """Who gets tokens: `sources.tokens.Tokens`."""

    async def get(self, namespace: str, account: str, audience: str) -> str:
        """A token. Raises `TokenError`."""


class Adapter:
    """Delivers events of any number of sources of one process; the `sender` is the caller's to close."""

    def __init__(
        self,
        sender: Sender,
        *,
        tokens: TokenProvider,
        metrics: SourceMetrics,
        log: Logger,
        tracing: Tracing | None = None,
        timeout_s: float = math.inf,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_lost: Callable[[Target, Outcome], None] = lambda _target, _outcome: None,
    ) -> None:
        """`timeout_s`: of each attempt. `sleep` waits between attempts. `on_lost` is told of lost events."""
        self._sender = sender
        self._tokens = tokens
        self._metrics = metrics
        self.tracing = tracing or Tracing()
        self._log = log
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._on_lost = on_lost
        self._losing: dict[tuple[str, str, str], int] = {}
        """Targets that do not take events, and how many each has lost since it last took one."""

    async def deliver(self, target: Target, event: Event) -> Outcome:
        """Send an event until the sink has taken it, or it is lost. Raises nothing but cancellation."""
        attributes = event.attributes
        attributes.setdefault("specversion", "1.0")
        attributes.setdefault("id", str(uuid.uuid4()))
        attributes.setdefault("time", format_micro_time(time.time()))
        target.overrides.apply(event)
        try:
            if target.overrides.problem:
                raise EventError(target.overrides.problem)
            fields, body = event.binary()
            destination = self._sender.destination(target.url, target.ca_certs)
        except ValueError as error:  # an event or a URL that cannot be
            return self._ended(target, Outcome(0, str(error), 0))
        head = b"".join(b"%b: %b\r\n" % pair for pair in fields) + b"Kn-Namespace: %b\r\n" % target.namespace.encode()
        head += self.tracing.line()
        attempts = 0
        while True:
            attempts += 1
            started_s = time.monotonic()
            status, reason = await self._attempt(target, destination, head, body)
            self._metrics.attempted(
                target.namespace, target.name, str(attributes["type"]), status, time.monotonic() - started_s
            )
            again_s = wait_s(attempts, status)
            if again_s is None:
                return self._ended(target, Outcome(status, reason, attempts))
            await self._sleep(again_s)

    async def deliver_all(self, target: Target, events: Iterable[Event], *, at_once: int = 32) -> list[Outcome]:
        """Send events, `at_once` of them at a time and in no order; their outcomes, in the order given."""
        gate = asyncio.Semaphore(at_once)

        async def one(event: Event) -> Outcome:
            async with gate:
                return await self.deliver(target, event)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(event)) for event in events]
        return [task.result() for task in tasks]

    async def _attempt(self, target: Target, destination: Destination, head: bytes, body: bytes) -> tuple[int, str]:
        """Status and reason of one attempt; 0: there was no answer."""
        lines = head
        if target.audience and target.service_account:
            try:
                token = await self._tokens.get(target.namespace, target.service_account, target.audience)
            except TokenError as error:
                return 0, str(error)
            lines += b"Authorization: Bearer %b\r\n" % token.encode()
        ended: asyncio.Future[Call] = asyncio.get_running_loop().create_future()

        def end(call: Call) -> None:
            if not ended.done():  # given up, and not yet told
                ended.set_result(call)

        call = self._sender.post(
            destination,
            lines,
            body,
            end,
            timeout_s=self._timeout_s,
            response_bytes_max=_RESPONSE_BYTES_MAX,
        )
        try:
            await ended
        except asyncio.CancelledError:
            call.cancel()
            raise
        # An answer that breaks off has been given: the sink knows the event.
        return call.status, "" if call.status else call.reason or "no answer"

    def _ended(self, target: Target, outcome: Outcome) -> Outcome:
        """Tell of the first event that is lost, and of the first that arrives again."""
        key = (target.namespace, target.name, target.url)
        lost = self._losing.pop(key, 0)
        if outcome.is_delivered:
            if lost:
                self._log.info("sink_takes_events_again", source=target.path, sink=shown_url(target.url), lost=lost)
            return outcome
        self._on_lost(target, outcome)
        if not lost:
            self._log.error("event_lost", source=target.path, sink=shown_url(target.url), outcome=str(outcome))
        self._losing[key] = lost + 1
        if len(self._losing) > _LOSING_MAX:
            self._losing.pop(next(iter(self._losing)))
        return outcome
