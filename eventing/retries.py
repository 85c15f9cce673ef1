"""What is retried, how often, and after which wait: the settings of a delivery, as one table of plain functions.

Source: spec eventing-channels.md 1, 2.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from eventing.periods import period_s

__all__ = ["ONE_ATTEMPT", "DeliverySettings", "is_retried", "retry_after_s"]

_RETRIED: Final = frozenset([404, 408, 409, 429])
_HONOURS_RETRY_AFTER: Final = frozenset([429, 503])
_DOUBLINGS_MAX: Final = 32
"""A base of a tenth of a second has then grown to 13 years; the original's number overflows a little later."""


def is_retried(status: int) -> bool:
    """Whether an attempt with this final status is made again; 0: there was no response."""
    return status >= 500 or status in _RETRIED or not status


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """How one delivery is tried: 1 + `retries` attempts, each within `timeout_s`."""

    retries: int = 0
    backoff_policy: Literal["linear", "exponential"] | None = None
    backoff_s: float | None = None
    timeout_s: float | None = None
    """Of each attempt, up to the last byte of the response; None: no limit."""
    retry_after_max_s: float = 0.0
    """A `Retry-After` counts up to here; 0: it is ignored."""

    @classmethod
    def read(
        cls,
        *,
        retry: int | None,
        backoff_policy: str | None,
        backoff_delay: str | None,
        timeout: str | None,
        retry_after_max: str | None,
    ) -> "DeliverySettings":
        """Return the settings of a `delivery` section. Raises `ValueError` naming the field that is wrong."""
        if backoff_policy not in (None, "", "linear", "exponential"):
            raise ValueError(f"backoffPolicy: expected linear or exponential, got {backoff_policy!r}")
        timeout_s = _period_of("timeout", timeout)
        return cls(
            retries=max(retry or 0, 0),
            backoff_policy="linear" if backoff_policy == "linear" else "exponential" if backoff_policy else None,
            backoff_s=_period_of("backoffDelay", backoff_delay),
            # A negative one passes admission in the original, and acts as none.
            timeout_s=timeout_s if timeout_s is not None and timeout_s > 0 else None,
            retry_after_max_s=max(_period_of("retryAfterMax", retry_after_max) or 0.0, 0.0),
        )

    def wait_s(self, retry: int, status: int = 0, retry_after: float = 0.0) -> float:
        """Return the wait before retry number `retry`, from 0, of an attempt that ended with `status`.

        `retry_after`: seconds that the response asked for. Neither jitter nor an upper bound.
        """
        wait_s = self._backoff_s(retry)
        if status in _HONOURS_RETRY_AFTER and self.retry_after_max_s:
            return max(wait_s, min(retry_after, self.retry_after_max_s))
        return wait_s

    def _backoff_s(self, retry: int) -> float:
        if self.backoff_policy is None or self.backoff_s is None:
            return 0.0
        factor = retry if self.backoff_policy == "linear" else 1 << min(retry, _DOUBLINGS_MAX)
        return max(self.backoff_s * factor, 0.0)


ONE_ATTEMPT: Final = DeliverySettings()
"""Of a subscription without a `delivery` section."""


def retry_after_s(value: bytes, now_unix_s: float) -> float:
    """Return the seconds that a `Retry-After` asks for, as a number or as an HTTP date; 0 for anything else."""
    text = value.strip().decode("latin-1")
    if text.isascii() and text.isdigit():
        return float(text[:18])
    try:
        return max(parsedate_to_datetime(text).timestamp() - now_unix_s, 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _period_of(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return period_s(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
