"""Which answers of a sink are tried again, and when: the list that sources have is neither a channel's nor a broker's.

Pure. Source: spec eventing-sources.md 1.4. A 500 loses the event at once, as it does in the original.
"""

from typing import Final

__all__ = ["ATTEMPTS_MAX", "is_delivered", "wait_s"]

ATTEMPTS_MAX: Final = 6
_RETRIED: Final = frozenset([404, 413, 425, 429, 502, 503, 504])
_WAIT_S: Final = 0.05


def is_delivered(status: int) -> bool:
    """Whether the sink took the event."""
    return 200 <= status < 300


def wait_s(attempts: int, status: int) -> float | None:
    """Seconds to wait after this many `attempts`, the last of which ended with `status` (0: no answer).

    None: the event is delivered, or lost. The waits are 0.1, 0.2, 0.4, 0.8 and 1.6 s.
    """
    if attempts >= ATTEMPTS_MAX or (status and status not in _RETRIED):
        return None
    return _WAIT_S * float(1 << attempts)
