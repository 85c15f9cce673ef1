"""One revision that requests may name: who of its requests runs and who waits, its time limits, its ways to pods.

The throttler decides, this acts: it forwards what may run, accounts for what is held, closes what leads to pods that
left, and finds another way for a request that could not be sent.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from activator.fallback import Fallback
from activator.load_balancing import LeastInFlight, Target
from activator.loads import RevisionKey
from activator.no_wake_paths import NO_WAKE_PATHS, NoWakePaths
from activator.objects import Revision
from activator.routes import Route, open_route
from activator.sse_keepalive import SseKeepalive
from activator.stat_reporter import Push
from activator.throttler import Passed, Snapshot, Throttler
from activator.waiting_page import WAITING_PAGE, wants_page
from proxies.dialling import Security
from proxies.exchange import Exchange
from proxies.logs import Logger
from proxies.messages import Answer
from proxies.pool import Pool
from proxies.timeouts import TimeoutLimits

if TYPE_CHECKING:
    from activator.traces import Traces

__all__ = ["ASLEEP", "QUEUE_FULL", "ActiveRevision", "ColdStart"]

T = TypeVar("T")

ASLEEP: Final = Answer.error(503, "the revision is scaled to zero, and this path does not wake it")
QUEUE_FULL: Final = Answer(
    503,
    b"pending request queue full\n",
    content_type=b"text/plain; charset=utf-8",
    fields=((b"X-Content-Type-Options", b"nosniff"), (b"Retry-After", b"1")),
)

_TIMEOUT_S: Final = 300.0
"""Knative's default of `timeoutSeconds`, for a Revision that defaulting never saw."""
_TIMEOUT_TEXT: Final = b"activator request timeout"
COLD_START_HEADER: Final = "serving.knuv.dev/cold-start-header"
"""Annotation of a Revision: `true` for a response header that says how long a request waited."""
WAITING_PAGE_ANNOTATION: Final = "serving.knuv.dev/waiting-page"
"""Annotation of a Revision: `true` for a page that browsers are shown until there is a pod."""
_RELEASED_PER_TURN: Final = 32
"""Requests that are forwarded before others have a turn. Each may need a new connection: were thousands dialled at
once, the first would be given up for late before the loop has looked at them."""
_REDIRECTED_PER_TURN: Final = 100
"""Requests that are sent elsewhere before others have a turn: some milliseconds."""
_EVEN: Final = LeastInFlight()
"""Remembers nothing, so that one serves all revisions."""
_HELD_REQUEST_BYTES: Final = 1024
_HELD_LINE_BYTES: Final = 64
"""What a held request and each of its header lines take beside their own bytes, roughly."""


class ColdStart(NamedTuple):
    """What became of the first request of a cold start."""

    phases_s: dict[str, float]
    """Seconds: `report` until the autoscaler was told, `capacity` until there was a pod, `response` from there to the
    first byte of its response, `total`: all of it."""


class Wakened(NamedTuple):
    """When the revision was woken last; monotonic times in seconds."""

    reported_s: float
    """The autoscaler was told of the first request; 0: it was not."""
    capacity_s: float
    """There was a pod."""


class ActiveRevision:
    """One revision that requests may name."""

    __slots__ = (
        "_fallback",
        "_fallback_timer",
        "_has_page",
        "_held_more",
        "_is_releasing",
        "_labels",
        "_log",
        "_passthrough_host",
        "_pool",
        "_reported_s",
        "_routes",
        "_security",
        "_suspect",
        "_tells_clients",
        "_unreached",
        "cold_started",
        "first_push",
        "keepalive",
        "key",
        "limits",
        "no_wake",
        "throttler",
        "traces",
        "uid",
        "wakened",
    )

    def __init__(
        self,
        revision: Revision,
        *,
        pool: Pool,
        held_max: int,
        held_bytes_max: int,
        passthrough_host: bytes,
        suspect: Callable[[RevisionKey, str, str], None],
        retries: bool,
        spreads: bool,
        security: Security | None,
        log: Logger,
    ) -> None:
        """`passthrough_host`: `Host` of every request, where a mesh passes them on to single pods; else empty.

        `suspect`: told of an address of this revision to which a request could not be sent, and why. `retries`: it
        then goes elsewhere.
        `spreads`: the pod with the fewest requests gets the next one; otherwise as the original chooses.
        `security`: of the TLS that pods are spoken to over; None: in plaintext.
        """
        namespace, name = revision.key
        self.key = RevisionKey(namespace.encode(), name.encode())
        self.uid = revision.metadata.uid
        self.limits = TimeoutLimits(
            max_duration_s=revision.spec.timeout_s or _TIMEOUT_S,
            response_start_s=revision.spec.response_start_timeout_s,
            idle_s=revision.spec.idle_timeout_s,
            text=_TIMEOUT_TEXT,
        )
        self.first_push: Push | None = None
        """The message about the first request, the last time that there was one."""
        snapshot = Snapshot(container_concurrency=revision.spec.container_concurrency)
        self.throttler: Throttler[Exchange] = Throttler(
            snapshot, waiting_max=held_max, bytes_max=held_bytes_max, policy=_EVEN if spreads else None
        )
        self._pool = pool
        self._security = security
        self._passthrough_host = passthrough_host
        self._routes: dict[str, Route] = {}
        self._suspect = suspect
        # Bound once, not for each request.
        self._held_more = self._hold_more
        self._unreached = self._send_elsewhere if retries else None
        self._log = log
        self._labels = revision.metadata.labels
        annotations = revision.metadata.annotations or {}
        self._tells_clients = annotations.get(COLD_START_HEADER) == "true"
        self._has_page = annotations.get(WAITING_PAGE_ANNOTATION) == "true"
        self.no_wake = NoWakePaths.read(annotations.get(NO_WAKE_PATHS, ""))
        self._fallback = self._read(Fallback.read, annotations)
        self._fallback_timer: asyncio.TimerHandle | None = None
        """Runs only while requests wait that may be sent elsewhere."""
        self.keepalive = self._read(SseKeepalive.read, annotations)
        """For clients of event streams; None unless asked for."""
        self.cold_started: Callable[[ColdStart], None] | None = None
        """Told of each cold start."""
        self._reported_s = 0.0
        self._is_releasing = False
        self.traces: Traces | None = None
        """Told of what is forwarded, if requests are traced."""
        self.wakened: Wakened | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """What metrics call it."""
        return {
            "kn.service.name": self._labels.service,
            "kn.configuration.name": self._labels.configuration,
            "kn.revision.name": self.key.name.decode(),
            "k8s.namespace.name": self.key.namespace.decode(),
        }

    @property
    def is_stuck(self) -> bool:
        """Whether requests wait and there is no pod."""
        return self.throttler.waiting > 0 and not self.throttler.snapshot.capacity

    def sleeps_through(self, target: bytes) -> bool:
        """Whether there is no pod, and a request for `target` is not to ask for one."""
        return self.no_wake is not None and not self.throttler.snapshot.capacity and self.no_wake.matches(target)

    def forward(self, exchange: Exchange, target: Target) -> None:
        """Send an exchange that has a place on `target` there."""
        route = self._routes.get(target.address) or self._open(target.address)
        exchange.unreached = self._unreached
        edits = route.edits
        if self.keepalive is not None and self.keepalive.pass_on(exchange):
            edits = route.edits_of_begun
        traces = self.traces
        exchange.forward(route.endpoint, edits if traces is None else traces.edits(exchange, route.traced(edits)))

    def hold(self, exchange: Exchange) -> None:
        """An exchange waits: account for what it holds, from here on with all that is read of it.

        A person who waits for the first pod is given a page instead, if the revision says so.
        """
        if self._has_page and not self.throttler.snapshot.capacity and wants_page(exchange.request):
            self.throttler.leave(exchange)
            exchange.answer(WAITING_PAGE)
            return
        exchange.held_more = self._held_more
        if self._tells_clients and not self.throttler.snapshot.capacity:
            exchange.response_lines = _cold_start_line
        if self._fallback is not None and self._fallback_timer is None:
            self._redirect_after(exchange.arrived_s + self._fallback.after_s)
        if self.keepalive is not None:
            self.keepalive.hold(exchange)
        request = exchange.request
        lines = sum(2 * len(field.line) + _HELD_LINE_BYTES for field in request.fields)
        self._hold_more(exchange, _HELD_REQUEST_BYTES + len(request.target) + lines + exchange.pending_bytes)

    def _read(self, read: Callable[[Mapping[str, str]], T | None], annotations: Mapping[str, str]) -> T | None:
        """What annotations ask for; what is wrong with them is said, and counts as absent."""
        try:
            return read(annotations)
        except ValueError as error:
            namespace, name = self.key.namespace.decode(), self.key.name.decode()
            self._log.warning("annotation_ignored", namespace=namespace, revision=name, error=str(error))
            return None

    def _redirect_after(self, due_s: float) -> None:
        """Look at what waits at `due_s`, or at once when that is over."""
        delay_s = max(due_s - time.monotonic(), 0.0)
        self._fallback_timer = asyncio.get_running_loop().call_later(delay_s, self._redirect)

    def _redirect(self) -> None:
        """Send elsewhere who has waited too long."""
        self._fallback_timer = None
        assert self._fallback is not None
        throttler, fallback = self.throttler, self._fallback
        now_s = time.monotonic()
        for _ in range(_REDIRECTED_PER_TURN):
            exchange = throttler.first_waiting
            if exchange is None or exchange.arrived_s + fallback.after_s > now_s:
                break
            throttler.leave(exchange)
            exchange.answer(fallback.answer(exchange.request))
        first = throttler.first_waiting
        if first is not None and self._fallback_timer is None:
            self._redirect_after(first.arrived_s + fallback.after_s)

    def failed(self, exchange: Exchange) -> None:
        """An exchange ended with 502: its pod broke off before it responded, or could not be reached."""
        target = self.throttler.target_of(exchange)
        if target is not None:
            self._suspect(self.key, target.address, "broke off before its response")

    def _send_elsewhere(self, exchange: Exchange, reason: str) -> bool:
        """An exchange could not be sent to its target: find it another, or let it wait until there is one."""
        target = self.throttler.target_of(exchange)
        assert target is not None, "what was forwarded has a target"
        self._suspect(self.key, target.address, reason)
        other = self.throttler.requeue(exchange)
        if other is not None:
            self.forward(exchange, other)
        else:
            self.hold(exchange)
        return True

    def _first_response(self, exchange: Exchange) -> bytes:
        """The first response of a cold start begins."""
        if self.cold_started is not None:
            phases_s = _phases_s(exchange)
            if self._reported_s >= 0:
                phases_s["report"] = self._reported_s
            self.cold_started(ColdStart(phases_s))
        return _cold_start_line(exchange) if self._tells_clients else b""

    def _hold_more(self, exchange: Exchange, size: int) -> None:
        if not self.throttler.hold(exchange, size):
            self.throttler.leave(exchange)
            exchange.answer(QUEUE_FULL)

    def update(self, snapshot: Snapshot) -> None:
        """Replace the throttler's snapshot and send on what may run."""
        throttler = self.throttler
        if snapshot == throttler.snapshot:
            return
        had_capacity = throttler.snapshot.capacity > 0
        # Both clocks at once: to send on takes time, which nobody waited.
        changed_at, changed_s = time.time(), time.monotonic()
        passed = throttler.update(snapshot, _RELEASED_PER_TURN)
        self._forward_all(passed)
        targets = {target.address for target in throttler.targets}
        for address in self._routes.keys() - targets:
            self._routes.pop(address).endpoint.close()
        if passed and not had_capacity and not passed[0].request.failures:
            first = passed[0].request
            first.response_lines = self._first_response
            arrived_at = changed_at - (changed_s - first.arrived_s)
            sent_at = self.first_push.sent_at if self.first_push is not None else None
            self._reported_s = max(sent_at - arrived_at, 0.0) if sent_at is not None else -1.0
            reported_s = first.arrived_s + self._reported_s if sent_at is not None else 0.0
            self.wakened = Wakened(reported_s, first.forwarded_s)
            self._log.info(
                "cold_start_released",
                namespace=self.key.namespace.decode(),
                revision=self.key.name.decode(),
                first_arrived=round(arrived_at, 6),
                stat_sent=sent_at,
                capacity_at=changed_at,
                released=len(passed) + throttler.releasable,
            )

    def _release(self) -> None:
        self._is_releasing = False
        self._forward_all(self.throttler.release(_RELEASED_PER_TURN))

    def _forward_all(self, passed: Sequence[Passed[Exchange]]) -> None:
        """Forward a turn's requests; in the next one follow those for which there are places, too."""
        for request, target in passed:
            self.forward(request, target)
        if len(passed) == _RELEASED_PER_TURN and not self._is_releasing:
            self._is_releasing = True
            asyncio.get_running_loop().call_soon(self._release)

    def state(self) -> dict[str, Any]:
        """Return what is known, as what can be written as JSON."""
        throttler = self.throttler
        return {
            **asdict(throttler.snapshot),
            "capacity": throttler.snapshot.capacity,
            "targets": {target.address: [target.in_flight, target.capacity] for target in throttler.targets},
            "running": throttler.running,
            "waiting": throttler.waiting,
            "waiting_bytes": throttler.waiting_bytes,
        }

    def retire(self) -> None:
        """The revision was deleted: keep no connections. Requests inside go on; who waits may use what frees up."""
        for route in self._routes.values():
            route.endpoint.close()

    def _open(self, address: str) -> Route:
        route = self._routes[address] = open_route(
            self._pool,
            address,
            is_cluster=address == self.throttler.snapshot.cluster_address,
            security=self._security,
            passthrough_host=self._passthrough_host,
        )
        return route


def _phases_s(exchange: Exchange) -> dict[str, float]:
    return {
        "total": exchange.responded_s - exchange.arrived_s,
        "capacity": exchange.forwarded_s - exchange.arrived_s,
        "response": exchange.responded_s - exchange.forwarded_s,
    }


def _cold_start_line(exchange: Exchange) -> bytes:
    """How long a request waited, as in `Server-Timing` (milliseconds)."""
    phases = ", ".join(f"{phase};dur={seconds * 1000:.1f}" for phase, seconds in _phases_s(exchange).items())
    return b"x-knuv-cold-start: %s\r\n" % phases.encode()
