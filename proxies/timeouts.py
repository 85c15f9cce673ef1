"""How long an exchange may take: three timers as one state machine, pure and on an outside clock.

    state      entered by        max duration     response start   idle
    ---------  ----------------  ---------------  ---------------  ------------------------------------
    waiting    the request       runs             -                -
    handed     hand_over(now)    runs             runs from now    runs from now
    started    wrote(now)        runs             satisfied        runs from the last write
    (tunnel)   as started        runs             satisfied        runs from the last byte either way

Max duration counts from the request's arrival. Response start and idle count from the moment when the request is handed
to the peer: time in a queue says nothing about the peer. A write is a status line or body bytes towards the client;
informational responses are none, except the 101 that opens a tunnel.

Source: spec queue-proxy.md 10; golden set `timeouts`. docs/differences.md names where the original differs.
"""

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from proxies.messages import Answer

__all__ = ["TimeoutLimits", "Timeouts", "Timer"]

TIMER_HEADER: Final = b"x-knuv-timeout"


class Timer(Enum):
    """The timer that fired; the value stands in the answer's `x-knuv-timeout` and in logs."""

    MAX_DURATION = "max-duration"
    RESPONSE_START = "response-start"
    IDLE = "idle"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeoutLimits:
    """The limits of one revision, in seconds. Make it once and reuse it."""

    max_duration_s: float
    """Whole exchange from arrival. 0 fires at once, as in the original."""
    response_start_s: float = 0.0
    """From hand-over to the first byte of the response; 0: no limit."""
    idle_s: float = 0.0
    """Between writes of the response; 0: no limit."""
    text: bytes = b"request timeout"
    """Body of the 504, and what is appended to a response under way. No newline."""

    peer_s: float = field(init=False)
    """How long the peer may be silent at first: the shorter of response start and idle; infinite without either."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "peer_s", min(self.response_start_s or math.inf, self.idle_s or math.inf))

    @property
    def has_peer_limits(self) -> bool:
        """A timer other than max duration is on, so that writes matter."""
        return self.peer_s != math.inf

    def answer(self, timer: Timer) -> Answer:
        """Return the 504 that names `timer`."""
        return Answer(
            504,
            self.text,
            content_type=b"text/plain; charset=utf-8",
            fields=((TIMER_HEADER, timer.value.encode()),),
        )


class Timeouts:
    """The timers of one exchange. Times are seconds of one monotonic clock."""

    __slots__ = ("_arrived_s", "_handed_s", "_last_write_s", "limits")

    def __init__(self, limits: TimeoutLimits, arrived_s: float) -> None:
        self.limits = limits
        self._arrived_s = arrived_s
        self._handed_s = -1.0
        self._last_write_s = -1.0

    def hand_over(self, now_s: float) -> float:
        """The request goes to the peer; return when a timer may fire (`due_s`)."""
        self._handed_s = now_s
        limits = self.limits
        return min(self._arrived_s + limits.max_duration_s, now_s + limits.peer_s)

    def wrote(self, now_s: float) -> None:
        """Response bytes go to the client; in a tunnel: bytes go either way."""
        self._last_write_s = now_s

    @property
    def due_s(self) -> float:
        """When the next timer may fire; it is worth calling `fired` then, and not before."""
        return self._next()[0]

    def fired(self, now_s: float) -> Timer | None:
        """Return the timer that has fired by `now_s`, the earliest of several, or None."""
        due_s, timer = self._next()
        return timer if due_s <= now_s else None

    def _next(self) -> tuple[float, Timer]:
        limits = self.limits
        due_s, timer = self._arrived_s + limits.max_duration_s, Timer.MAX_DURATION
        if self._handed_s < 0:
            return due_s, timer
        started = self._last_write_s >= 0
        if limits.idle_s:
            idle_due_s = (self._last_write_s if started else self._handed_s) + limits.idle_s
            if idle_due_s < due_s:
                due_s, timer = idle_due_s, Timer.IDLE
        if limits.response_start_s and not started:
            start_due_s = self._handed_s + limits.response_start_s
            if start_due_s < due_s:
                due_s, timer = start_due_s, Timer.RESPONSE_START
        return due_s, timer
