"""Requests of our own, sent through the engine's pools: what a service posts somewhere and wants the whole answer to.

    call = caller.begin(done, timeout_s=...)     nothing is sent yet; the time runs
    call.send(endpoint, request)                 head and body in one write
    call.cancel()                                nobody wants it any more; `done` is not called

`done(call)` is called exactly once unless the call was cancelled, and never from within `begin`. It finds `status`,
`fields` and `body` of the response, or `reason`, which says why there is none. Redirects are not followed.

A call is an `Exchange` without a client: everything about connections, what is stale, dialled or broken, is the
engine's. No task and no timer handle is made for one.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Final

from proxies.exchange import Exchange, Outcome
from proxies.fields import Field
from proxies.messages import Answer, RequestHead, ResponseHead
from proxies.pool import Endpoint
from proxies.roles import Ending
from proxies.timeouts import TimeoutLimits
from proxies.timers import Timer, Timers

__all__ = ["Call", "Caller"]

_KEPT_MAX: Final = 256 << 20
_SMALL_BYTES: Final = 64 << 10
"""Kept of a response however much others take: peers that send much and never end harm only those like them."""
_NO_FIELDS: Final[tuple[Field, ...]] = ()


def _bare(method: bytes) -> RequestHead:
    """A head that stands for ours: what is sent is rendered already. Of a version whose peers get no chunks relayed."""
    head = RequestHead(method, b"/", [], 0)
    head.minor = 0
    return head


_POST: Final = _bare(b"POST")
_BARE: Final = {method: _bare(method) for method in (b"GET", b"HEAD", b"PUT", b"DELETE")} | {b"POST": _POST}


class _Quiet:
    """No service decides about our own requests."""

    def admit(self, exchange: Exchange) -> None:
        """Never called."""

    def cancelled(self, exchange: Exchange) -> None:
        """The call is told by its own half."""

    def ended(self, exchange: Exchange) -> None:
        """The call is told by its own half."""


_QUIET: Final = _Quiet()


class _Rendered:
    """A request that is whole already."""

    __slots__ = ("_bytes",)

    def __init__(self, rendered: bytes) -> None:
        self._bytes = rendered

    def apply(self, head: RequestHead, peer: bytes) -> bytes:
        """Return it."""
        return self._bytes

    def parts(self, head: RequestHead, peer: bytes) -> tuple[bytes, Sequence[bytes]]:
        """Return it."""
        return self._bytes, ()


class Caller:
    """Makes calls on one loop. Close it after its pools."""

    __slots__ = ("_limits", "_now_s", "call_soon", "kept_bytes", "kept_max", "timers", "under_way")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, kept_max: int = _KEPT_MAX) -> None:
        """`kept_max`: bytes of responses that are not whole yet, of all calls; beyond it only small ones are kept."""
        self.timers = Timers(loop)
        self.kept_max = kept_max
        self.kept_bytes = 0
        """Of responses that are not whole yet."""
        self.call_soon = loop.call_soon
        self._now_s = loop.time
        self._limits: dict[float, TimeoutLimits] = {}
        self.under_way = 0
        """Calls that are neither done nor cancelled."""

    def begin(
        self,
        done: "Callable[[Call], None]",
        *,
        method: bytes = b"POST",
        timeout_s: float = math.inf,
        response_bytes_max: int,
    ) -> "Call":
        """Return a call whose time runs: `timeout_s` until its response is whole.

        `response_bytes_max`: what is kept of the response's body; beyond it the call is done, and `is_cut`.
        """
        call = Call(self, done, method, self._now_s, response_bytes_max)
        if timeout_s != math.inf:
            call.limit(self._limits_of(timeout_s))
        self.under_way += 1
        return call

    def close(self) -> None:
        """Wake nobody any more."""
        self.timers.close()

    def _limits_of(self, timeout_s: float) -> TimeoutLimits:
        limits = self._limits.get(timeout_s)
        if limits is None:
            if len(self._limits) >= 64:
                self._limits.clear()
            limits = self._limits[timeout_s] = TimeoutLimits(
                max_duration_s=timeout_s, text=f"no response within {timeout_s:g} s".encode()
            )
        return limits


class Call(Timer):
    """One request of our own and what became of it. Made by `Caller.begin`."""

    __slots__ = (
        "_caller",
        "_done",
        "_exchange",
        "_kept",
        "_parts",
        "_room",
        "_unreached",
        "context",
        "fields",
        "is_cut",
        "is_timed_out",
        "peer_port",
        "reason",
        "status",
    )

    def __init__(
        self,
        caller: Caller,
        done: "Callable[[Call], None]",
        method: bytes,
        clock: Callable[[], float],
        room: int,
    ) -> None:
        super().__init__()
        self._caller = caller
        self._done: Callable[[Call], None] | None = done
        self._parts: list[bytes] = []
        self._kept = 0
        self._room = room
        self._unreached: Callable[[Call, str], bool]
        self.peer_port = 0
        self.context: object = None
        """The service's own."""
        self.status = 0
        """Of the response; 0: there is none."""
        self.fields: Sequence[Field] = _NO_FIELDS
        """All header lines of the response."""
        self.reason = ""
        """Why there is no response, or not the whole of it; empty otherwise."""
        self.is_cut = False
        """The response's body was larger than what is kept of it, or than there was room for."""
        self.is_timed_out = False
        self._exchange: Exchange | None = Exchange(
            self, _QUIET, _BARE[method], peer=b"", clock=clock, data=b"", body=None, request_done=True
        )
        """None when it is over: a call and its exchange that knew each other for ever would wait for the collector."""
        self._exchange.is_repeatable = True

    # What the caller calls.

    def limit(self, limits: TimeoutLimits) -> None:
        """Let the time run."""
        assert self._exchange is not None
        self._exchange.limit(limits)
        self._exchange.wait()

    # What a service calls.

    @property
    def is_waiting(self) -> bool:
        """It was neither sent nor ended."""
        return self._exchange is not None and self._exchange.is_held

    def send(self, endpoint: Endpoint, request: bytes, unreached: "Callable[[Call, str], bool] | None" = None) -> None:
        """Send `request`, head and body, to `endpoint`, which speaks HTTP/1.1. Once; nothing if it is over already.

        It is sent again, over a new connection, where a kept one turns out to have been closed by its peer. `unreached`
        is asked, with the reason, when it could not be connected to: True, and it will `send_again` or `fail` the call.
        """
        exchange = self._exchange
        if exchange is not None and exchange.is_held:
            if unreached is not None:
                self._unreached = unreached
                exchange.unreached = self._ask
            exchange.forward(endpoint, _Rendered(request))

    def fail(self, reason: str) -> None:
        """End a call that was not sent."""
        exchange = self._exchange
        if exchange is not None and exchange.is_held:
            exchange.answer(Answer(502, reason.encode()))

    def cancel(self) -> None:
        """Nobody wants it any more; a request under way is cut off."""
        self._done = None
        if self._exchange is not None:
            self._exchange.client_gone()

    @property
    def body(self) -> bytes:
        """The response's body, as far as it is kept."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def get(self, name: bytes) -> bytes:
        """Return the first value of a header of the response (lower case); empty when there is none."""
        return next((field.value for field in self.fields if field.name == name), b"")

    def send_again(self, endpoint: Endpoint) -> None:
        """Send the same to another endpoint, after `unreached` gave it back."""
        exchange = self._exchange
        if exchange is not None and exchange.is_held and exchange.edits is not None:
            exchange.forward(endpoint, exchange.edits)

    # What the exchange calls: the half towards a client that is us.

    def inform(self, head: ResponseHead) -> None:
        """Informational responses say nothing to us."""

    def respond(self, head: ResponseHead, data: bytes, is_done: bool) -> None:
        """The response begins."""
        self.status = head.status
        self.fields = head.fields
        if head.content_length > self._room:
            self._room = min(self._room, _SMALL_BYTES)  # whole it cannot be had
        if data or not is_done:
            self.respond_data(data, is_done)

    def respond_data(self, data: bytes, is_done: bool) -> None:
        """The response goes on."""
        self._room -= len(data)
        if self._room < 0:
            self.is_cut = True
            data = data[: self._room]
        if data:
            self._parts.append(data)
            self._kept += len(data)
            caller = self._caller
            caller.kept_bytes += len(data)
            if caller.kept_bytes > caller.kept_max and self._kept > _SMALL_BYTES and not is_done:
                self.is_cut = True
        exchange = self._exchange
        if is_done or exchange is None:
            return
        if self.is_cut:
            exchange.stop()
        elif len(data) > _SMALL_BYTES:
            # The loop would read on as long as there is more, and everybody else wait.
            exchange.downstream_is_full()
            self._caller.call_soon(self._read_on)

    def respond_tunnel(self, head: ResponseHead, data: bytes) -> None:
        """We never ask for an upgrade."""

    def tunnel_data(self, data: bytes) -> None:
        """We never ask for an upgrade."""

    def tunnel_eof(self) -> None:
        """We never ask for an upgrade."""

    def give_answer(self, answer: Answer) -> None:
        """There is no response: the engine says why."""
        self.reason = answer.body.decode("utf-8", "replace").strip()

    def cut_short(self, ending: Ending) -> None:
        """Time is up in the middle of the response."""
        self.reason = "the response did not end in time"

    def abort(self) -> None:
        """The response broke off."""
        self.reason = "the response broke off"

    def wake_at(self, due_s: float) -> None:
        """Look at the exchange's timers then."""
        if due_s != math.inf:
            self._caller.timers.arm(self, due_s)

    def pause_request(self) -> None:
        """All of it is written already."""

    def resume_request(self) -> None:
        """All of it is written already."""

    def release(self, exchange: Exchange) -> None:
        """It is over."""
        self._exchange = None
        caller = self._caller
        caller.timers.disarm(self)
        caller.under_way -= 1
        caller.kept_bytes -= self._kept
        self.is_timed_out = exchange.outcome is Outcome.TIMED_OUT
        done = self._done
        if done is not None:
            self._done = None
            done(self)

    def _read_on(self) -> None:
        if self._exchange is not None:
            self._exchange.downstream_has_room()

    def _ask(self, exchange: Exchange, reason: str) -> bool:
        return self._unreached(self, reason)

    def on_timer(self, now_s: float) -> None:
        due_s = None if self._exchange is None else self._exchange.check_timers(now_s)
        if due_s is not None:
            self.wake_at(due_s)
