"""One request and its response across two connections, and the policy that a service supplies for it.

The engine reads a request's head and asks the service's policy *admit this exchange*. The policy then says, at once or
later, what becomes of it:

    answer   `exchange.answer(answer)`            our own response; the request goes no further
    forward  `exchange.forward(endpoint, edits)`  to a peer, with the head edited, the body spliced
    hold     neither, for now                     the body is not read; answer or forward it later

and hears exactly once that it is over:

                       +--------- answer ----------------------------------+
    admit(exchange) ---+                                                   +--> ended(exchange)
                       +--------- forward ---------------------------------+
                       +-- hold --+-- answer or forward later -------------+
                                  +-- client left, timer fired: cancelled -+

Everything runs on the loop's thread, in callbacks; no call of this interface awaits or raises for what a peer did.

An exchange knows neither sockets nor HTTP versions. It stands between a `Downstream` and an `Upstream`, the two halves
that a connection (or a stream of one) offers it, and goes through these phases:

    HELD --forward--> SENT --head of the response--> RESPONDING --last byte--> ENDED
      ^                 |                                                        ^
      +--- unreached ---+--101--> TUNNEL ----------------------------------------+

Every way out ends in `_end`, which runs once: the upstream half is given back or abandoned, the policy told, and the
downstream half released, in this order.
"""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from proxies.fields import Field
from proxies.headers import Edits
from proxies.messages import Answer, RequestHead, ResponseHead
from proxies.roles import Body, Downstream, Intake, Policy, Target, Upstream
from proxies.timeouts import TimeoutLimits, Timer

if TYPE_CHECKING:
    from proxies.begun import Rest

__all__ = ["Exchange", "Outcome"]


class Outcome(Enum):
    """How an exchange ended."""

    COMPLETE = "complete"
    """The upstream's response reached the client whole; for a tunnel: one side closed it."""
    ANSWERED = "answered"
    """The policy's own answer was given."""
    CLIENT_GONE = "client-gone"
    """The client left before the response was complete; nobody reads an answer."""
    TIMED_OUT = "timed-out"
    """A timer fired; `exchange.timer` says which."""
    UNREACHABLE = "unreachable"
    """The upstream refused, broke or talked nonsense before its response began; the client got 502."""
    ABORTED = "aborted"
    """The upstream, or the client's framing, broke while the exchange was under way; it was cut off."""


class _Phase(Enum):
    HELD = "held"
    SENT = "sent"
    RESPONDING = "responding"
    TUNNEL = "tunnel"
    ENDED = "ended"


# Members as globals: the hot path looks them up a dozen times per exchange.
_HELD: Final = _Phase.HELD
_SENT: Final = _Phase.SENT
_RESPONDING: Final = _Phase.RESPONDING
_TUNNEL: Final = _Phase.TUNNEL
_ENDED: Final = _Phase.ENDED

_HELD_BODY_BYTES: Final = 4096
"""Read of the body of a request that is held; beyond it the client waits (TCP's own back-pressure)."""
_FAILURES_MAX: Final = 4
"""Attempts to send one request that may fail, before its client hears of it."""
_REPLAYABLE_METHODS: Final = frozenset([b"GET", b"HEAD", b"OPTIONS", b"TRACE"])


class Exchange:
    """One request and its response. Created by the server; a policy may keep it until `Policy.ended`."""

    __slots__ = (
        "_downstream",
        "_is_half_closed",
        "_is_request_paused",
        "_is_response_paused",
        "_limits",
        "_pending",
        "_phase",
        "_policy",
        "_response_bytes",
        "_target",
        "_upstream",
        "_wrote_s",
        "arrived_s",
        "clock",
        "context",
        "edits",
        "failures",
        "forwarded_s",
        "held_more",
        "intake",
        "is_repeatable",
        "outcome",
        "peer",
        "request",
        "request_body",
        "request_done",
        "request_trailers",
        "responded_s",
        "response_body",
        "response_lines",
        "response_trailers",
        "span",
        "status",
        "timer",
        "unreached",
    )

    def __init__(
        self,
        downstream: Downstream,
        policy: Policy,
        request: RequestHead,
        *,
        peer: bytes,
        clock: Callable[[], float],
        data: bytes,
        body: Body | None,
        request_done: bool,
    ) -> None:
        """`body`: what is received of the body, if any; `data`: its first bytes; `request_done`: they are all."""
        self._downstream = downstream
        self._policy = policy
        self._phase = _HELD
        self._pending = data
        self._limits: TimeoutLimits | None = None
        self._wrote_s = 0.0
        self._target: Target | None = None
        self._upstream: Upstream | None = None
        self._is_request_paused = False
        self._is_response_paused = False
        self._is_half_closed = False
        self.clock = clock
        self.request = request
        """The request's head as received. Shared between equal requests: never changed."""
        self.peer = peer
        """Address of the client's end of the connection, without port; empty for a unix socket."""
        self.arrived_s = clock()
        """Monotonic time at which the request's head was complete."""
        self.context: object = None
        """The policy's own; None at first."""
        self.edits: Edits | None = None
        """How the head is edited; None before `forward`."""
        self.failures = 0
        """Attempts to send it that failed, of which the client knows nothing."""
        self.held_more: Callable[[Exchange, int], None] | None = None
        """Told, while the exchange is held, of so many bytes more that wait with it; may answer it."""
        self.intake: Intake | None = None
        """Takes the request's body while the exchange is held (`intake.Gatherer`); None: a little of it waits."""
        self.is_repeatable = False
        """The request may be sent twice, whatever its method, and all of it is in what `edits` gives."""
        self.unreached: Callable[[Exchange, str], bool] | None = None
        """Asked, with the reason, before a 502 because the target was not reached and nothing of the request was lost.

        True: the policy has it again, held as at first, and answers or forwards it, at once or later.
        """
        self.forwarded_s = 0.0
        """Monotonic time of the hand-over to the target; 0 before."""
        self.responded_s = 0.0
        """Monotonic time at which the target's final head came; 0 before."""
        self.response_lines: Callable[[Exchange], bytes] | None = None
        """Header lines that the policy adds to the target's response, each with its end; asked for when it comes."""
        self.span: object = None
        """What a tracer keeps with the exchange."""
        self.request_body = body
        self.request_done = request_done
        """The whole request was received."""
        self.request_trailers: list[Field] | None = None
        """Known before the last bytes of the request are; only in HTTP/2."""
        self.response_body: Body | None = None
        """What is received of the response's body, unless it came in one piece with its head."""
        self.response_trailers: list[Field] | None = None
        """Known before the last bytes of the response are; only in HTTP/2."""
        self._response_bytes = 0
        self.status = 0
        """Final status that the client was sent; 0 before that."""
        self.outcome: Outcome | None = None
        """None until the exchange ends."""
        self.timer: Timer | None = None
        """The timer that ended the exchange, if one did."""

    # What a policy calls.

    def limit(self, limits: TimeoutLimits) -> None:
        """Start the timers of `limits`; once, in `Policy.admit`.

        Max duration counts from `arrived_s`; response start and idle from `forward`, so waiting does not consume them.
        They run from the moment at which `Policy.admit` returns.
        """
        self._limits = limits

    def answer(self, answer: Answer) -> None:
        """Give the client `answer` and end the exchange. Body that the client still sends is dropped."""
        assert self._phase is _HELD, "only a held exchange can be answered"
        self.status = answer.status
        self._downstream.give_answer(answer)
        self._end(Outcome.ANSWERED)

    def forward(self, target: Target, edits: Edits) -> None:
        """Send the request to `target` with its head edited by `edits`, and relay the response.

        A pooled connection is used when there is one. When the target cannot be reached the client gets 502.
        """
        assert self._phase is _HELD, "only a held exchange can be forwarded"
        self._phase = _SENT
        self._target = target
        self.edits = edits
        self.forwarded_s = now_s = self.clock()
        limits = self._limits
        if limits is not None:
            self._downstream.wake_at(min(self.arrived_s + limits.max_duration_s, now_s + limits.peer_s))
        target.carry(self)

    def begin(self, head: ResponseHead, rest: "Rest") -> Callable[[bytes], None] | None:
        """Begin the response while the exchange is held; return what writes bytes of its body.

        `head` has no length, and `Transfer-Encoding: chunked`, which HTTP/2 leaves out. `rest` says what becomes of the
        body when there is a response, or none. None, and nothing happens, where a body cannot be left open: HTTP/1.0,
        HEAD. What `response_lines` would add is not added.
        """
        assert self._phase is _HELD, "only a held exchange can be begun"
        if not self.request.minor or self.request.method == b"HEAD":
            return None
        from proxies.begun import Begun  # few exchanges need it

        self.response_lines = None
        self.status = head.status
        self._downstream.respond(head, b"", False)
        self._downstream = begun = Begun(self, self._downstream, rest)
        return begun.write

    def inform(self, head: ResponseHead) -> None:
        """Send the client of a held exchange an informational response of our own."""
        self._downstream.inform(head)

    @property
    def is_full(self) -> bool:
        """The client reads slowly, and what it was sent waits."""
        return self._is_response_paused

    @property
    def peer_port(self) -> int:
        """Port of the client's end of the connection; 0 for a unix socket."""
        return self._downstream.peer_port

    @property
    def is_held(self) -> bool:
        """Neither answered nor forwarded nor ended."""
        return self._phase is _HELD

    @property
    def is_tunnel(self) -> bool:
        """The peer accepted an upgrade; bytes go both ways until one side ends it."""
        return self._phase is _TUNNEL

    @property
    def pending_bytes(self) -> int:
        """Bytes of the request's body that wait to be sent on."""
        return len(self._pending)

    @property
    def request_bytes(self) -> int:
        """Bytes of the request's body that were received, without their framing."""
        return 0 if self.request_body is None else self.request_body.size

    @property
    def response_bytes(self) -> int:
        """Bytes of the target's response that were relayed, without their framing."""
        return self._response_bytes if self.response_body is None else self.response_body.size

    # What the downstream half calls.

    def stop(self) -> None:
        """The client has all that it will get of a response that still comes."""
        self._end(Outcome.COMPLETE)

    @property
    def is_request_paused(self) -> bool:
        """The request's body has nowhere to go for now."""
        return self._is_request_paused

    def request_data(self, data: bytes, is_done: bool) -> None:
        """More of the request's body; `is_done`: the last of it."""
        self.request_done = is_done
        upstream = self._upstream
        if upstream is not None:
            upstream.send(data, is_done)
            return
        if self.intake is not None and self._phase is _HELD:
            self.intake.take(data, is_done)
            return
        self._pending += data
        self.hold_body()
        self.read_ahead(len(data))

    def read_ahead(self, size: int) -> None:
        """So many bytes were read that nobody can take yet: of the body, or of requests behind this one."""
        if self.held_more is not None and self._phase is _HELD:
            self.held_more(self, size)

    def wait(self) -> None:
        """If the policy neither answered nor forwarded it, its timers must run without."""
        if self._phase is _HELD and self._limits is not None:
            self._downstream.wake_at(self.arrived_s + self._limits.max_duration_s)

    def hold_body(self) -> None:
        """Read no more of the body while enough of it has nowhere to go.

        Not from the first byte on: a connection that is not read does not tell that its client has left.
        """
        if self.request_done or self.intake is not None or len(self._pending) < _HELD_BODY_BYTES:
            return
        if self._upstream is None and not self._is_request_paused:
            self._is_request_paused = True
            self._downstream.pause_request()

    def tunnel_request_data(self, data: bytes) -> None:
        """Bytes of a tunnel from the client."""
        assert self._upstream is not None
        self._note_write()
        self._upstream.send(data, False)

    def client_eof(self) -> bool:
        """The client will send no more. True when the connection stays open for the other direction (tunnel)."""
        if self._phase is not _TUNNEL or self._upstream is None:
            return False
        self._upstream.send_eof()
        self._tunnel_ended_one_way()
        return True

    def client_gone(self) -> None:
        """The client's connection is lost."""
        self._end(Outcome.COMPLETE if self._phase is _TUNNEL else Outcome.CLIENT_GONE)

    def client_broke_framing(self, answer: Answer) -> None:
        """The request's body is malformed; what was sent on of it is incomplete for the peer, too."""
        if self._phase is _RESPONDING:
            self._downstream.abort()
        else:
            self.status = answer.status
            self._downstream.give_answer(answer)
        self._end(Outcome.ABORTED)

    def downstream_is_full(self) -> None:
        """The client reads slowly: read no more of the response."""
        self._is_response_paused = True
        if self._upstream is not None:
            self._upstream.pause_response()

    def downstream_has_room(self) -> None:
        """The client took what was waiting."""
        self._is_response_paused = False
        if self._upstream is not None:
            self._upstream.resume_response()

    def check_timers(self, now_s: float) -> float | None:
        """End the exchange if a timer has fired; return when to call this again, or None."""
        limits = self._limits
        if limits is None or self._phase is _ENDED:
            return None
        due_s, timer = limits.next(self.arrived_s, self.forwarded_s, self._wrote_s)
        if due_s > now_s:
            return due_s
        self._time_out(timer, limits)
        return None

    # What the target and the upstream half call.

    def take_body(self) -> bytes:
        """Return the bytes of the body that came before there was a connection; `request_done` says if they are all."""
        data = self._pending
        if data:
            self._pending = b""
        return data

    def connected(self, upstream: Upstream) -> None:
        """The request's head and `take_body` were sent over `upstream`."""
        self._upstream = upstream
        if self._is_response_paused:
            upstream.pause_response()
        if self._is_request_paused:
            self._is_request_paused = False
            self._downstream.resume_request()

    @property
    def is_over(self) -> bool:
        """Nobody waits for a connection or for bytes any more."""
        return self._phase is _ENDED

    def unreachable(self, reason: str) -> None:
        """The target could not be connected to: 502 with `reason`, unless the policy knows another way.

        Nothing happens when the exchange is over: an attempt to connect may outlive it.
        """
        if self._phase is _ENDED:
            return
        self.failures += 1
        if self.unreached is not None and self.failures < _FAILURES_MAX:
            self._phase = _HELD
            self.forwarded_s = 0.0
            if self.unreached(self, reason):
                return
            self._phase = _SENT
        self._give_up(reason)

    def upstream_lost(self, reason: str, *, is_stale: bool, is_unprocessed: bool = False) -> None:
        """The upstream's connection or stream ended, or its framing broke, before the response did.

        `is_stale`: it was a pooled connection on which no byte came. The request is then sent once more, if it may be.
        `is_unprocessed`: the peer says that it did nothing with the request: then whatever its method.
        """
        self._upstream = None
        if self._phase is _TUNNEL:
            self._end(Outcome.COMPLETE)
        elif self._phase is _RESPONDING:
            self._downstream.abort()
            self._end(Outcome.ABORTED)
        elif self.failures < _FAILURES_MAX and (
            (is_stale and self._may_replay()) or (is_unprocessed and not self.request_bytes)
        ):
            self.failures += 1
            assert self._target is not None
            self._target.carry(self, fresh=True)
        else:
            self._give_up(reason)

    def informational(self, head: ResponseHead) -> None:
        """A response with a status below 200, other than 101."""
        self._downstream.inform(head)

    def response(self, head: ResponseHead, data: bytes, is_done: bool) -> None:
        """The final head and the first bytes of the body; with `is_done` the upstream half has released itself."""
        self.status = head.status
        self.responded_s = now_s = self.clock()
        if is_done:
            self._upstream = None
            self._response_bytes = len(data)
            self._downstream.respond(head, data, True)
            self._end(Outcome.COMPLETE)
            return
        self._phase = _RESPONDING
        self._wrote_s = now_s
        self._downstream.respond(head, data, False)

    def response_data(self, data: bytes, is_done: bool) -> None:
        """More of the body; with `is_done` the upstream half has released itself."""
        if is_done:
            self._upstream = None
            self._downstream.respond_data(data, True)
            self._end(Outcome.COMPLETE)
            return
        self._note_write()
        self._downstream.respond_data(data, False)

    def upgraded(self, head: ResponseHead, data: bytes) -> None:
        """The peer switched protocols as the client asked."""
        self._phase = _TUNNEL
        self.status = 101
        self.responded_s = self._wrote_s = self.clock()
        self._downstream.respond_tunnel(head, data)

    def tunnel_response_data(self, data: bytes) -> None:
        """Bytes of a tunnel from the peer."""
        self._note_write()
        self._downstream.tunnel_data(data)

    def tunnel_response_eof(self) -> None:
        """The peer will send no more."""
        self._downstream.tunnel_eof()
        self._tunnel_ended_one_way()

    def upstream_is_full(self) -> None:
        """The peer reads slowly: read no more of the request."""
        if not self._is_request_paused:
            self._is_request_paused = True
            self._downstream.pause_request()

    def upstream_has_room(self) -> None:
        """The peer took what was waiting."""
        if self._is_request_paused:
            self._is_request_paused = False
            self._downstream.resume_request()

    # Inside.

    def _give_up(self, reason: str) -> None:
        self.status = 502
        self._downstream.give_answer(Answer.error(502, reason))
        self._end(Outcome.UNREACHABLE)

    def _note_write(self) -> None:
        if self._limits is not None and self._limits.has_peer_limits:
            self._wrote_s = self.clock()

    def _tunnel_ended_one_way(self) -> None:
        if self._is_half_closed:
            self._end(Outcome.COMPLETE)
        self._is_half_closed = True

    def _may_replay(self) -> bool:
        """The request may be sent twice: nothing of a body is lost and the method promises it (RFC 9110 9.2.2)."""
        return self.is_repeatable or (not self.request.has_body and self.request.method in _REPLAYABLE_METHODS)

    def _time_out(self, timer: Timer, limits: TimeoutLimits) -> None:
        self.timer = timer
        if self._phase is _RESPONDING:
            assert self._upstream is not None
            self._downstream.cut_short(self._upstream.ending(limits.text))
        elif self._phase is not _TUNNEL:
            answer = limits.answer(timer)
            self.status = answer.status
            self._downstream.give_answer(answer)
        self._end(Outcome.TIMED_OUT)

    def _end(self, outcome: Outcome) -> None:
        phase = self._phase
        if phase is _ENDED:
            return
        self._phase = _ENDED
        self.outcome = outcome
        self._pending = b""
        upstream = self._upstream
        if upstream is not None:
            self._upstream = None
            upstream.abandon()
        if phase is _HELD and outcome is not Outcome.ANSWERED:
            self._policy.cancelled(self)
        self._policy.ended(self)
        self._downstream.release(self)
