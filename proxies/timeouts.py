"""How long an exchange may take: three timers as one state machine, a pure function of three moments.

    state      entered by          max duration   response start    idle
    ---------  ------------------  -------------  ----------------  ------------------------------------
    waiting    the request         runs           -                 -
    handed     the hand-over       runs           runs from it      runs from it
    started    the first write     runs           satisfied         runs from the last write
    (tunnel)   as started          runs           satisfied         runs from the last byte either way

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

__all__ = ["TimeoutLimits", "Timer"]

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
    has_peer_limits: bool = field(init=False)
    """A timer other than max duration is on, so that writes matter."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "peer_s", min(self.response_start_s or math.inf, self.idle_s or math.inf))
        object.__setattr__(self, "has_peer_limits", self.peer_s != math.inf)

    def answer(self, timer: Timer) -> Answer:
        """Return the 504 that names `timer`."""
        return Answer(
            504,
            self.text,
            content_type=b"text/plain; charset=utf-8",
            fields=((TIMER_HEADER, timer.value.encode()),),
        )

    def next(self, arrived_s: float, handed_s: float, wrote_s: float) -> tuple[float, Timer]:
        """Return when a timer fires, unless something happens before, and which: the earliest of those that run.

        `arrived_s`, `handed_s`, `wrote_s`: when the request came, when it went to the peer and when the last bytes
        were written, in seconds of one monotonic clock; 0 for what has not happened.
        """
        due_s, timer = arrived_s + self.max_duration_s, Timer.MAX_DURATION
        if not handed_s:
            return due_s, timer
        if self.idle_s:
            idle_due_s = (wrote_s or handed_s) + self.idle_s
            if idle_due_s < due_s:
                due_s, timer = idle_due_s, Timer.IDLE
        if self.response_start_s and not wrote_s:
            start_due_s = handed_s + self.response_start_s
            if start_due_s < due_s:
                due_s, timer = start_due_s, Timer.RESPONSE_START
        return due_s, timer
