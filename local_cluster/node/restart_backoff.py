"""How long a container that keeps ending waits before it is started again.

The kubelet's rule: at once the first time, then after 10 s, 20 s, ... up to 5 minutes; forgotten when the last restart
was more than 10 minutes before the container ended. Source: Kubernetes documentation, "Pod Lifecycle", restart policy.
"""

from proxies import gotext

__all__ = ["RestartBackoff"]

_FIRST_S = 10.0
_MAX_S = 300.0


class RestartBackoff:
    """The back-off of one container; times in seconds."""

    __slots__ = ("_delay_s", "_restarted_s")

    def __init__(self) -> None:
        self._delay_s = 0.0
        self._restarted_s = 0.0

    @property
    def delay_text(self) -> str:
        """The current delay as Go writes it: `10s`, `2m40s`."""
        return gotext.format_duration(self._delay_s)

    def restart_at(self, finished_s: float) -> float:
        """When a container that ended at `finished_s` may be started again."""
        if finished_s - self._restarted_s > 2 * _MAX_S:
            self._delay_s = 0.0
        return finished_s + self._delay_s

    def restarted(self, now_s: float) -> None:
        """It is started again; the next time takes twice as long."""
        self._delay_s = min(self._delay_s * 2, _MAX_S) if self._delay_s else _FIRST_S
        self._restarted_s = now_s
