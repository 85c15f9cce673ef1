"""What queue-proxy decides about a request on the main port: *probe? -> drain -> timers -> stats -> breaker -> app*.

| # | request                                        | while serving                     | while draining        |
|---|------------------------------------------------|-----------------------------------|-----------------------|
| 1 | agent of kubelet, activator or autoscaler      | readiness: 200 `queue` or 503     | 503 `shutting down`   |
| 2 | `K-Network-Probe: probe`                       | 200 with the hash, or 400         | 503 `shutting down`   |
| 3 | `K-Kubelet-Probe`                              | forwarded past breaker and stats  | the same              |
| 4 | anything else                                  | counted, admitted, forwarded      | the same              |

Source: spec queue-proxy.md 5, 6, 9, 11; golden set `queue_http`.
"""

import time
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from proxies import fields, headers
from proxies.breaker import Admission, Breaker
from proxies.drain import Drain
from proxies.exchange import Exchange
from proxies.headers import Edits, HeadEdits, HostRule
from proxies.messages import Answer, RequestHead
from proxies.request_stats import RequestStats
from proxies.roles import Target
from proxies.timeouts import TimeoutLimits, Timer
from queue_proxy.readiness import Readiness

__all__ = ["APP_EDITS", "QueuePolicy", "RequestKind", "Telemetry"]

_REMOVED: Final = (headers.REVISION, headers.NAMESPACE)
APP_EDITS: Final = HeadEdits(remove=_REMOVED, host_rule=HostRule.RESTORE, add_forwarded=True)
_KUBELET_EDITS: Final = HeadEdits(remove=_REMOVED, add_forwarded=True)

_READY: Final = Answer(200, b"queue", content_type=b"text/plain; charset=utf-8")
_NOT_READY: Final = Answer(503)
_SHUTTING_DOWN: Final = Answer.error(503, "shutting down")
_QUEUE_FULL: Final = Answer.error(503, "pending request queue full")
_NO_HASH: Final = Answer.error(400, 'a probe request must contain a non-empty "K-Network-Hash" header')


class RequestKind(Enum):
    """Rows of the table above; `Derived.plan` of what this policy admitted."""

    READINESS = "readiness"
    NETWORK_PROBE = "network probe"
    KUBELET = "kubelet"
    DIRECT = "direct"
    PROXIED = "proxied"


_TELLING: Final = fields.KNATIVE | fields.PROBE_AGENT
"""A head with none of these marks is nobody's probe and did not come through an activator."""
_DIRECT: Final = RequestKind.DIRECT
_PROXIED: Final = RequestKind.PROXIED


class _Place(Enum):
    """Where a counted exchange is with regard to the breaker."""

    RUNNING = "running"
    WAITING = "waiting"
    REFUSED = "refused"


_RUNNING: Final = _Place.RUNNING
_RUN: Final = Admission.RUN


class Telemetry(Protocol):
    """What metrics, traces and the request log want to hear."""

    def edits(self, exchange: Exchange) -> Edits:
        """Return how the head of an exchange that goes to the app is edited: `APP_EDITS`, and what a trace adds."""

    def ended(self, exchange: Exchange, now_s: float) -> None:
        """A counted exchange is over. `now_s`: monotonic."""

    def probe_ended(self, exchange: Exchange, now_s: float) -> None:
        """A probe is over, or a kubelet's request to the app. `now_s`: monotonic."""


class QueuePolicy:
    """The policy of the main port."""

    def __init__(
        self,
        *,
        target: Target,
        limits: TimeoutLimits,
        breaker: Breaker[Exchange] | None,
        stats: RequestStats,
        drain: Drain,
        readiness: Readiness,
        timed_out: Callable[[Exchange, Timer], None],
        telemetry: Telemetry | None = None,
        tells_timing: bool = False,
    ) -> None:
        """`timed_out` hears of counted exchanges that a timer ended. `tells_timing`: responses have `Server-Timing`."""
        self.queue_depth = 0
        """Exchanges inside the breaker, running and waiting, when one was admitted last."""
        self._timed_out = timed_out
        self._tells_timing = tells_timing
        self._telemetry = telemetry
        self._target = target
        self._limits = limits
        self._breaker = breaker
        self._stats = stats
        self._drain = drain
        self._readiness = readiness
        self._probing: dict[Exchange, None] = {}

    # What the engine calls.

    def admit(self, exchange: Exchange) -> None:
        """Probe, or admit and forward."""
        request = exchange.request
        derived = request.derived
        kind = derived.plan
        if kind.__class__ is not RequestKind:
            kind = derived.plan = _kind_of(request)
        if kind is not _DIRECT and kind is not _PROXIED:
            self._admit_probe(exchange, kind)
            return
        if self._drain.is_draining:
            self._drain.request_arrived(exchange.arrived_s)
        exchange.limit(self._limits)
        self._stats.request_in(exchange.arrived_s, proxied=kind is _PROXIED)
        breaker = self._breaker
        admission = _RUN if breaker is None else breaker.admit(exchange)
        if admission is _RUN:
            self._run(exchange)
        elif admission is Admission.WAIT:
            exchange.context = _Place.WAITING
        else:
            exchange.context = _Place.REFUSED
            exchange.answer(_QUEUE_FULL)

    def cancelled(self, exchange: Exchange) -> None:
        """A waiting request or a probe whose caller gave up."""
        if exchange.context is _Place.WAITING and self._breaker is not None:
            self._breaker.cancel(exchange)
        else:
            self._probing.pop(exchange, None)

    def ended(self, exchange: Exchange) -> None:
        """Count it out and hand its place on."""
        place = exchange.context
        now_s = time.monotonic()
        if place is None:
            if self._telemetry is not None:
                self._telemetry.probe_ended(exchange, now_s)
            return
        self._stats.request_out(now_s, proxied=exchange.request.derived.plan is _PROXIED)
        if exchange.timer is not None:
            self._timed_out(exchange, exchange.timer)
        if self._telemetry is not None:
            self._telemetry.ended(exchange, now_s)
        breaker = self._breaker
        if breaker is None or place is not _RUNNING:
            return
        waiter = breaker.release()
        if waiter is not None:
            self._run(waiter)

    # Inside.

    def _run(self, exchange: Exchange) -> None:
        """Hand an exchange that has its place to the app."""
        exchange.context = _RUNNING
        if self._breaker is not None:
            self.queue_depth = self._breaker.in_flight
        if self._tells_timing:
            exchange.response_lines = _server_timing
        telemetry = self._telemetry
        exchange.forward(self._target, APP_EDITS if telemetry is None else telemetry.edits(exchange))

    def _admit_probe(self, exchange: Exchange, kind: object) -> None:
        if kind is RequestKind.KUBELET:
            if self._drain.is_draining:
                self._drain.request_arrived(exchange.arrived_s)
            exchange.limit(self._limits)
            exchange.forward(self._target, _KUBELET_EDITS)
        elif self._drain.is_draining:
            exchange.answer(_SHUTTING_DOWN)
        elif kind is RequestKind.NETWORK_PROBE:
            exchange.answer(_network_answer(exchange.request))
        elif (marker := exchange.request.get(headers.PROBE)) != b"queue":
            exchange.answer(Answer.error(400, f"unexpected probe header value: {marker.decode('latin-1')}"))
        else:
            self._probe_readiness(exchange)

    def _probe_readiness(self, exchange: Exchange) -> None:
        """Join the readiness run that is under way, or start one."""
        if not self._readiness.has_probes:
            exchange.answer(_READY)
            return
        self._probing[exchange] = None
        if not self._readiness.is_running:
            self._readiness.run(self._readiness_known)

    def _readiness_known(self, is_ready: bool) -> None:
        probing, self._probing = self._probing, {}
        for exchange in probing:
            exchange.answer(_READY if is_ready else _NOT_READY)


def _kind_of(request: RequestHead) -> RequestKind:
    """Return the row of the table above that a request belongs to; it depends on the head alone."""
    if not request.marks & _TELLING:
        return _DIRECT
    if request.get(headers.USER_AGENT).startswith(headers.PROBE_AGENTS):
        return RequestKind.READINESS
    if request.get(headers.PROBE) == b"probe":
        return RequestKind.NETWORK_PROBE
    if request.get(headers.KUBELET_PROBE):
        return RequestKind.KUBELET
    return RequestKind.PROXIED if request.get(headers.PROXY_REQUEST) == b"activator" else RequestKind.DIRECT


def _server_timing(exchange: Exchange) -> bytes:
    """What the request waited here, and what the app took to answer, in ms (W3C Server Timing)."""
    queue_ms = (exchange.forwarded_s - exchange.arrived_s) * 1e3
    app_ms = (exchange.responded_s - exchange.forwarded_s) * 1e3
    return b"Server-Timing: queue;dur=%.1f, app;dur=%.1f\r\n" % (queue_ms, app_ms)


def _network_answer(request: RequestHead) -> Answer:
    probe_hash = request.get(headers.PROBE_HASH)
    return Answer(200, fields=((b"K-Network-Hash", probe_hash),)) if probe_hash else _NO_HASH
