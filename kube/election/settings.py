"""The ConfigMap `config-leader-election`: how many buckets there are, and how long a Lease lasts.

Read once at start, as in the originals: replicas that disagree about the number of buckets would own the same keys.
Source: `knative.dev/pkg/leaderelection/config.go`, client-go `tools/leaderelection` (the rules between the durations);
spec control-plane.md, config-leader-election.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proxies import gotext

__all__ = ["BUCKETS_MAX", "ElectionSettings", "InvalidElectionSettings", "LeaseTiming"]

BUCKETS_MAX = 10
_JITTER_FACTOR = 1.2
"""client-go lets a retry come up to this much of its period later; a deadline must leave room for one."""
_LEGACY_KEYS = {
    "lease-duration": "leaseDuration",
    "renew-deadline": "renewDeadline",
    "retry-period": "retryPeriod",
}


class InvalidElectionSettings(ValueError):
    """The map cannot be used; the text names the key, its value and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTiming:
    """The times of a Lease, in seconds. Raises `InvalidElectionSettings` when two holders would be possible."""

    duration_s: float = 60.0
    """How long others wait after the last renewal that they saw. `lease-duration`."""
    renew_deadline_s: float = 40.0
    """How long a holder goes on after its last renewal; then it stops, well before another may start.
    `renew-deadline`."""
    retry_s: float = 10.0
    """Between renewals, and between attempts after a failure. `retry-period`."""

    def __post_init__(self) -> None:
        duration, deadline, retry = map(gotext.format_duration, (self.duration_s, self.renew_deadline_s, self.retry_s))
        if not self.retry_s > 0:
            raise InvalidElectionSettings(f"retry-period = {retry}, must be greater than 0s")
        if not self.renew_deadline_s > self.retry_s * _JITTER_FACTOR:
            needed = f"{_JITTER_FACTOR} times retry-period = {retry}"
            raise InvalidElectionSettings(f"renew-deadline = {deadline}, must be greater than {needed}")
        if not self.duration_s > self.renew_deadline_s:
            raise InvalidElectionSettings(
                f"lease-duration = {duration}, must be greater than renew-deadline = {deadline}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionSettings:
    """What the map says."""

    buckets: int = 1
    """Into how many parts, each with its Lease, the keys are divided: 1 to 10."""
    timing: LeaseTiming = LeaseTiming()

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> "ElectionSettings":
        """Read a map; unknown keys are ignored, absent ones have their default. Raises `InvalidElectionSettings`."""
        default = LeaseTiming()
        timing = LeaseTiming(
            duration_s=_duration_s(data, "lease-duration", default.duration_s),
            renew_deadline_s=_duration_s(data, "renew-deadline", default.renew_deadline_s),
            retry_s=_duration_s(data, "retry-period", default.retry_s),
        )
        return cls(buckets=_buckets(data.get("buckets", "1")), timing=timing)


def _duration_s(data: Mapping[str, str], key: str, default: float) -> float:
    """The newer spelling of a key wins over the older one."""
    for name in (key, _LEGACY_KEYS[key]):
        if name in data:
            try:
                return gotext.parse_duration_s(data[name])
            except ValueError as error:
                raise InvalidElectionSettings(f'failed to parse "{name}": {error}') from error
    return default


def _buckets(text: str) -> int:
    try:
        buckets = gotext.parse_int(text, bits=64)
    except ValueError as error:
        raise InvalidElectionSettings(f'failed to parse "buckets": {error}') from error
    if not 1 <= buckets <= BUCKETS_MAX:
        raise InvalidElectionSettings(f"buckets: value must be between 1 <= {buckets} <= {BUCKETS_MAX}")
    return buckets
