"""Waiting for traffic to go quiet before a process ends. Pure state on an outside clock.

Once begun, the drain is over when no request has arrived for the quiet period; each arrival starts that period anew,
running requests do not. While it lasts, and after it, the process says *not ready* to whoever probes it.

Source: knative.dev/pkg `network/handlers/drain.go`; spec queue-proxy.md 14.1.
"""

from typing import Final

__all__ = ["QUIET_S", "Drain"]

QUIET_S: Final = 30.0


class Drain:
    """Serving, then draining; a drain that was begun for nothing can be taken back."""

    __slots__ = ("_due_s", "_quiet_s", "is_draining")

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._due_s = 0.0
        self.is_draining = False

    def begin(self, now_s: float) -> None:
        """Start the quiet period; nothing if it was started before."""
        if not self.is_draining:
            self.is_draining = True
            self._due_s = now_s + self._quiet_s

    def request_arrived(self, now_s: float) -> None:
        """A request was let in: if draining and not over, the quiet period starts anew."""
        if self.is_draining and now_s < self._due_s:
            self._due_s = now_s + self._quiet_s

    def reset(self) -> None:
        """Serve again."""
        self.is_draining = False

    def left_s(self, now_s: float) -> float:
        """Seconds of quiet still wanted; 0 when the drain is over. Meaningless while serving."""
        return max(0.0, self._due_s - now_s)
