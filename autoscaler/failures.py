"""Saying that something failed which never should, when it may fail for each revision every second.

The first failure is a line with its traceback; those of the next minute are only counted, and the line after them says
how many they were. So a bug that meets all revisions is as loud as one that meets one.
"""

from collections.abc import Callable

from autoscaler.multiscaler import RevisionKey
from proxies.logs import Logger

__all__ = ["Failures"]

_QUIET_S = 60.0


class Failures:
    """One kind of failure, told as `event`. `clock` gives seconds that never jump."""

    def __init__(self, event: str, *, clock: Callable[[], float], log: Logger) -> None:
        self._event = event
        self._clock = clock
        self._log = log
        self._untold = 0
        self._quiet_until_s = 0.0

    def note(self, key: RevisionKey, error: Exception) -> None:
        """`error` is why something could not be done for the revision `key`."""
        now_s = self._clock()
        if now_s < self._quiet_until_s:
            self._untold += 1
            return
        self._quiet_until_s = now_s + _QUIET_S
        namespace, revision = key
        self._log.exception(self._event, error, namespace=namespace, revision=revision, others_untold=self._untold)
        self._untold = 0
