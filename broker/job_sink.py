"""`python -m broker job-sink`: makes a Job of each event that a JobSink is sent.

    receive    the method, the path, the JobSink           400, by the head alone
      POST     gather    the body                          413, 500, 503
               _read     who sends it, and may they?       401, 403, 500      only while OIDC is on
                         an event? valid?                  400
               _make     the Job, then its event           202, also when both are there already; 500
      GET      _look     what became of the Job            200, 202, 400, 500

The Job comes first, names its Secret, and the Secret with the event belongs to it, so that neither is left behind when
the other cannot be made. A sender that got no 202, because we were ended in between, sends again; what lacks is made
then.

Source: spec eventing-sources.md 9; conformance statements 52 to 55.
"""

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from broker.answers import Answers
from broker.jobs import COMPLETE, FAILED, end_of, event_text, is_ours, job_name, job_of, new_secret_name, secret_of
from broker.paths import EventPath, broker_of, event_of
from broker.role import Context
from eventing.event import EventError, problems_of
from eventing.message import Message, read_request
from kube.errors import AlreadyExists, ApiError, ApiUnreachable
from kube.informer import Informer
from kube.models.batch import Job
from kube.models.core import Secret
from kube.models.sinks import JobSink
from proxies.exchange import Exchange
from proxies.intake import Gatherer
from proxies.messages import Answer

if TYPE_CHECKING:
    from broker.metrics import JobSinkMetrics

__all__ = ["JobSinkRole"]

_EVENT_BYTES_MAX: Final = 1 << 20
"""As much as Kubernetes takes for the data of a Secret."""
_AT_ONCE_MAX: Final = 16
"""Requests that we ask the API about at the same time; more only wait for each other there."""
_HELD_MAX: Final = 256
"""Requests that wait for the API, each with its event; beyond them 503, which senders repeat."""
_EVENT_PATH: Final = "/namespaces/<namespace>/name/<jobsink>/sources/<source>/ids/<id>"
_REASON_MAX: Final = 400
_FAILING_MAX: Final = 1000
_LOCATION_MAX: Final = 4096
"""Bytes of a `Location`; a longer one, of a source and an id that are as long, would be more than peers take."""
_HEALTHY: Final = Answer(200)


class _Request:
    """One request, until it is answered."""

    __slots__ = ("scheme", "sink")

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.sink: JobSink


class JobSinkRole:
    """One for all connections. An exchange's context is its `_Request`."""

    name = "job-sink"

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Nothing of the environment is for this process alone."""
        self._context: Context
        self._sinks: Informer[JobSink] | None = None
        self._answers: Answers
        self._gatherer: Gatherer
        self._metrics: JobSinkMetrics | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE_MAX)
        self._failing: set[tuple[str, str]] = set()
        """JobSinks of which the last Job could not be made."""

    async def start(self, context: Context) -> None:
        """Learn which JobSinks there are."""
        self._context = context
        bytes_max = min(context.config.event_bytes_max, _EVENT_BYTES_MAX)
        # The original names no methods that it takes (spec 9).
        self._answers = answers = Answers(b"", bytes_max)
        self._gatherer = Gatherer(
            context.timers,
            self._read,
            answers.unread,
            bytes_max=bytes_max,
            total_max=context.config.held_bytes_max,
            limit_s=context.config.process.read_s,
        )
        if context.registry is not None:
            from broker.metrics import JobSinkMetrics

            self._metrics = JobSinkMetrics(context.registry)
        self._sinks = Informer(context.client, JobSink, log=context.log)
        self._sinks.on_change(self._changed)
        await self._sinks.start()

    async def stop(self) -> None:
        """Ask nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sinks is not None:
            await self._sinks.stop()

    def readiness(self) -> Answer:
        """Always well."""
        return _HEALTHY

    # What the informer calls.

    def _changed(self, old: JobSink | None, new: JobSink | None) -> None:
        if new is None:
            assert old is not None
            self._failing.discard(old.key)

    # What the shell calls for requests.

    def receive(self, exchange: Exchange) -> None:
        """Decide by the head, then read the body, or ask."""
        head = exchange.request
        exchange.context = request = _Request(self._context.scheme)
        if head.method == b"POST":
            key = broker_of(head.target)
            if key is None:
                exchange.answer(self._refusal(f"expected /<namespace>/<jobsink>, got {head.target[:200]!r}"))
            elif self._find(request, *key) is None:
                exchange.answer(self._refusal(f"there is no JobSink {key[0]}/{key[1]}"))
            else:
                self._gatherer.gather(exchange)
        elif head.method == b"GET":
            path = event_of(head.target)
            if path is None:
                exchange.answer(self._refusal(f"expected {_EVENT_PATH}, got {head.target[:200]!r}"))
            elif self._find(request, path.namespace, path.name) is None:
                exchange.answer(self._refusal(f"there is no JobSink {path.namespace}/{path.name}"))
            else:
                self._begin(exchange, self._look(path))
        else:
            exchange.answer(self._refusal("expected POST of an event, or GET of what became of it"))

    def cancelled(self, exchange: Exchange) -> None:
        """The client has left. What was begun is finished: half of it would be of use to nobody."""

    def ended(self, exchange: Exchange) -> None:
        """Give back what its body held."""
        request = exchange.context
        assert isinstance(request, _Request)
        self._gatherer.ended(exchange)
        if self._metrics is not None:
            seconds = self._context.clock() - exchange.arrived_s
            self._metrics.answered(request.scheme, exchange.status, seconds)

    # The way of an event.

    def _find(self, request: _Request, namespace: str, name: str) -> JobSink | None:
        assert self._sinks is not None
        found = self._sinks.get(namespace, name)
        if found is not None:
            request.sink = found
        return found

    def _read(self, exchange: Exchange, body: bytes) -> None:
        request = exchange.context
        assert isinstance(request, _Request)
        sink = request.sink
        try:
            message = read_request(exchange.request, body)
            problems = problems_of(message.attributes)
            found = message if not problems else EventError(f"not a valid CloudEvent: {'; '.join(problems)}")
        except EventError as error:
            found = EventError(f"not a CloudEvent: {error}")
        if self._context.features.is_oidc_on:
            self._check(exchange, sink, found)
        else:
            self._accept(exchange, sink, found)

    def _check(self, exchange: Exchange, sink: JobSink, found: Message | EventError) -> None:
        """OIDC is on: who sends it, and may they? Nobody else is told what is wrong with an event."""
        access, address = self._context.access, sink.status.address
        attributes = found.attributes if isinstance(found, Message) else {}

        def identified(subject: str | int) -> None:
            if not exchange.is_held:
                return
            status = (
                subject
                if isinstance(subject, int)
                else access.verdict(subject, sink.status.policies, sink.namespace, attributes)
            )
            if status:
                exchange.answer(self._answers.empty(status))
            else:
                self._accept(exchange, sink, found)

        # Of one without an address: no token is for it.
        access.identify(exchange.request, "" if address is None else address.audience, identified)

    def _accept(self, exchange: Exchange, sink: JobSink, found: Message | EventError) -> None:
        if isinstance(found, EventError):
            exchange.answer(self._refusal(str(found)))
            return
        event = event_text(found.event(), found.passed)
        if len(event) > _EVENT_BYTES_MAX:
            text = f"expected an event of at most {_EVENT_BYTES_MAX} bytes in the JSON format, got {len(event)}"
            exchange.answer(self._answers.refusal(413, text))
            return
        path = EventPath(sink.namespace, sink.name, str(found.attributes["source"]), str(found.attributes["id"]))
        self._begin(exchange, self._make(sink, path, event))

    # What takes time.

    def _begin(self, exchange: Exchange, work: Coroutine[Any, Any, Answer]) -> None:
        if len(self._tasks) >= _HELD_MAX:
            work.close()
            exchange.answer(self._answers.refusal(503, "too many events are under way; try again later"))
            return
        task = self._context.loop.create_task(self._answer(exchange, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, exchange: Exchange, work: Coroutine[Any, Any, Answer]) -> None:
        try:
            answer = await work
        except Exception as error:  # nobody else would answer its sender
            self._context.log.exception("request_failed", error)
            answer = self._answers.refusal(500, f"internal error: {error}")
        if exchange.is_held:
            exchange.answer(answer)

    async def _make(self, sink: JobSink, path: EventPath, event: bytes) -> Answer:
        name = job_name(sink.name, path.source, path.id)
        try:
            async with self._turns:
                await self._provide(sink, name, event)
        except (ApiError, ApiUnreachable, ValueError) as error:
            self._note_failure(sink, str(error))
            return self._answers.refusal(500, str(error), (b"Reason", _header_text(str(error))))
        if sink.key in self._failing:
            self._failing.discard(sink.key)
            self._context.log.info("jobs_made_again", job_sink=f"{sink.namespace}/{sink.name}")
        return self._accepted(path)

    def _note_failure(self, sink: JobSink, problem: str) -> None:
        assert self._sinks is not None
        is_there = self._sinks.get(*sink.key) is not None  # it may have been deleted meanwhile
        if is_there and sink.key not in self._failing and len(self._failing) < _FAILING_MAX:
            self._failing.add(sink.key)
            self._context.log.error("jobs_not_made", job_sink=f"{sink.namespace}/{sink.name}", problem=problem)

    async def _provide(self, sink: JobSink, name: str, event: bytes) -> None:
        """Make the Job and its event. Raises `ValueError` where no Job can be made, and what the API raises."""
        client, namespace = self._context.client, sink.namespace
        body = json.dumps(job_of(sink, name, new_secret_name(name))).encode()
        try:
            job = msgspec.json.decode(await client.raw("POST", Job.RESOURCE.path(namespace), body=body), type=Job)
        except AlreadyExists:
            job = await client.get(Job, name, namespace)
            if not is_ours(job, sink):
                raise ValueError(f"Job {namespace}/{name} exists and is not of JobSink {sink.name}") from None
        secret = json.dumps(secret_of(sink, job, event)).encode()
        with contextlib.suppress(AlreadyExists):  # the event came before
            await client.raw("POST", Secret.RESOURCE.path(namespace), body=secret)

    async def _look(self, path: EventPath) -> Answer:
        name = job_name(path.name, path.source, path.id)
        try:
            async with self._turns:
                job = await self._context.client.get(Job, name, path.namespace)
        except (ApiError, ApiUnreachable) as error:
            return self._answers.refusal(500, str(error))
        end = end_of(job)
        if not end:
            return self._accepted(path)
        return self._answers.empty({COMPLETE: 200, FAILED: 400}[end], (b"Reason", end.encode()))

    def _accepted(self, path: EventPath) -> Answer:
        location = path.target.encode()
        return self._answers.empty(202, *([(b"Location", location)] if len(location) <= _LOCATION_MAX else []))

    def _refusal(self, reason: str) -> Answer:
        return self._answers.refusal(400, reason)


def _header_text(text: str) -> bytes:
    """What a header line can hold of it."""
    return "".join(each if " " <= each <= "~" else " " for each in text[:_REASON_MAX]).strip().encode()
