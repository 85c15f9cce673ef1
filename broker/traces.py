"""Spans of events that are sent on, and the trace's way to whoever gets them. Loaded only when tracing is on.

    ingress     server  broker:<name>.<namespace>      from the event's arrival to the answer
                +- client  send <url>                  the channel sees this one as its parent
    filter      server  trigger:<name>.<namespace>     the same, of events that the Trigger wants
                +- client  send <url>
    dispatcher     client  send <url>                  each attempt on each leg

Events that are refused, or not wanted, have none. One that is not sampled goes on in its trace, too, with a span id
that is told to nobody. URLs are told without their query: sinks have secrets there.

Source: spec eventing-broker.md 10.2, 10.3; eventing-channels.md 8; W3C Trace Context.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

from broker.brokers import Place as Addressed
from eventing.delivery import Outcome, Recipient
from eventing.destinations import shown_url
from eventing.dispatching import Sends, Sent
from eventing.message import Message
from kube.tracing_settings import TracingSettings
from proxies.logs import Logger
from proxies.otlp import Endpoint
from proxies.spans import Place, Span, SpanKind, SpanQueue, new_span_id, parse_traceparent
from proxies.stdout import StdoutLines

__all__ = ["Passing", "TracedSends", "Traces"]

_PARENT: Final = b"traceparent"
_STATE: Final = b"tracestate"
_LINE: Final = re.compile(rb"(?:^|(?<=\n))traceparent:[^\r]*\r\n", re.IGNORECASE)
_TEXT_MAX: Final = 256


class Passing:
    """The place of one event in its trace, while it passes."""

    __slots__ = ("begun_s", "client_id", "is_kept", "place", "sent_s", "server_id", "state")

    def __init__(self, place: Place, begun_s: float, *, is_kept: bool, state: str) -> None:
        self.place = place
        """Of whoever sent it to us."""
        self.is_kept = is_kept
        self.state = state
        self.begun_s = begun_s
        """Monotonic."""
        self.sent_s = begun_s
        self.server_id = new_span_id()
        self.client_id = new_span_id()

    @property
    def line(self) -> bytes:
        """The header line that says to the next one where it is, without its end."""
        place = Place(self.place.trace_id, self.place.span_id, self.is_kept)
        return b"Traceparent: %s" % place.traceparent(self.client_id)


class Traces:
    """Those of one process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: TracingSettings,
        log: Logger,
        *,
        destination: Endpoint | StdoutLines,
        resource: Mapping[str, str],
        scope: str,
    ) -> None:
        """`destination`: of the spans; `scope`: the instrumentation's name."""
        self._sampler = settings.sampling(log)
        self._queue = SpanQueue(loop, log, resource, destination, scope=scope)

    async def stop(self) -> None:
        """Send what waits, within a few seconds."""
        await self._queue.close()

    def begin(self, message: Message, begun_s: float = 0.0) -> Passing:
        """An event is about to be sent on: its trace goes on through us. `begun_s`: monotonic; 0: now."""
        values: dict[bytes, bytes] = {}
        kept: list[bytes] = []
        for line in message.passed:
            name, _, value = line.partition(b":")
            key = name.lower()
            if key in (_PARENT, _STATE):
                values[key] = value.strip()
            if key != _PARENT:
                kept.append(line)
        passing = self._place(values.get(_PARENT, b""), values.get(_STATE, b""), begun_s)
        message.passed = [*kept, passing.line]
        return passing

    def begin_post(self, lines: bytes) -> tuple[Passing, bytes]:
        """The same for the header lines of one post, each with its end; return them as they are to be sent."""
        found = _LINE.search(lines)
        value = found[0].partition(b":")[2].strip() if found is not None else b""
        passing = self._place(value, b"", 0.0)
        rest = lines if found is None else lines[: found.start()] + lines[found.end() :]
        return passing, b"%s%s\r\n" % (rest, passing.line)

    def ended(
        self, passing: Passing, name: str, place: Addressed, kind: str, scheme: str, url: str, status: int
    ) -> None:
        """It was sent on and answered with `status`; 0: not at all. `name`: of the server's span; `url`: where to."""
        if not passing.is_kept:
            return
        attributes: dict[str, str | int] = {
            "kn.broker.name": place.broker,
            "kn.broker.namespace": place.namespace,
            "messaging.system": "knative",
            "messaging.destination.name": shown_url(place.destination),
            "messaging.operation.name": "send",
            "cloudevents.type": kind[:_TEXT_MAX],
            "url.scheme": scheme,
        }
        if status:
            attributes["http.response.status_code"] = status
        parent = Place(passing.place.trace_id, passing.server_id, True)
        server = self._span(
            passing, passing.place, passing.server_id, name, SpanKind.SERVER, passing.begun_s, attributes, status
        )
        self._queue.add([server, self._client(passing, parent, url, status)])

    def posted(self, passing: Passing, url: str, status: int) -> None:
        """One post has ended, without a server's span of ours around it."""
        if passing.is_kept:
            self._queue.add([self._client(passing, passing.place, url, status)])

    # Inside.

    def _place(self, parent: bytes, state: bytes, begun_s: float) -> Passing:
        place = parse_traceparent(parent) if parent else None
        has_parent = place is not None
        place = place or Place.root()
        is_kept = self._sampler.keeps(place, has_parent=has_parent)
        passing = Passing(place, time.monotonic(), is_kept=is_kept, state=state.decode("latin-1") if has_parent else "")
        if begun_s:
            passing.begun_s = begun_s
        return passing

    def _client(self, passing: Passing, parent: Place, url: str, status: int) -> Span:
        shown = shown_url(url)[:_TEXT_MAX]
        attributes: dict[str, str | int] = {"http.request.method": "POST", "url.full": shown}
        if status:
            attributes["http.response.status_code"] = status
        name = f"send {shown}"
        return self._span(passing, parent, passing.client_id, name, SpanKind.CLIENT, passing.sent_s, attributes, status)

    def _span(
        self,
        passing: Passing,
        parent: Place,
        span_id: str,
        name: str,
        kind: int,
        begun_s: float,
        attributes: Mapping[str, str | int],
        status: int,
    ) -> Span:
        # On the clock of the moment, so that its steps do no harm. Not the loop's time: that is the turn's beginning.
        now_ns = time.time_ns()
        begun_ns = now_ns - int((time.monotonic() - begun_s) * 1e9)
        is_error = not 200 <= status < 300
        return Span(parent, span_id, name, kind, begun_ns, now_ns, attributes, is_error, passing.state)


class TracedSends:
    """`dispatching.Sends` that gives each post a span."""

    __slots__ = ("_sends", "_traces")

    def __init__(self, sends: Sends, traces: Traces) -> None:
        self._sends = sends
        self._traces = traces

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
        traces = self._traces
        passing, traced = traces.begin_post(lines)

        def ended(outcome: Outcome) -> None:
            traces.posted(passing, recipient.url, outcome.status)
            done(outcome)

        return self._sends.post(
            recipient,
            traced,
            body,
            ended,
            timeout_s=timeout_s,
            service_account=service_account,
            response_bytes_max=response_bytes_max,
        )
