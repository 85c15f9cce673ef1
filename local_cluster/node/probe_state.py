"""When a container is probed and what its results mean: thresholds and timing, without sockets and clocks.

The rules are the kubelet's (Kubernetes documentation, "Configure Liveness, Readiness and Startup Probes"), with one
addition. Until a readiness or startup probe first succeeds, attempts follow each other quickly (*eager*), because how
soon a pod is ready decides how long a cold start takes. Failures of attempts between the regular ones do not count, so
`failureThreshold * periodSeconds` keeps its meaning.
"""

from dataclasses import dataclass
from enum import Enum

from kube.models.core import Probe

__all__ = ["ProbeKind", "ProbeState", "ProbeTiming", "Verdict"]

_EAGER_FIRST_S = 0.02
_EAGER_GROWTH = 1.25
_EAGER_MAX_S = 1.0


class ProbeKind(Enum):
    """What a probe decides; the text is the one of events."""

    STARTUP = "Startup"
    READINESS = "Readiness"
    LIVENESS = "Liveness"


class Verdict(Enum):
    """What a probe has established about its container."""

    UNKNOWN = "unknown"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTiming:
    """The numbers of a probe with Kubernetes' defaults filled in; seconds and counts."""

    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3

    @classmethod
    def of(cls, probe: Probe | None) -> "ProbeTiming | None":
        """The timing of a probe in a pod's spec; 0 there means the default."""
        if probe is None:
            return None
        return cls(
            initial_delay_s=float(probe.initial_delay_seconds),
            period_s=float(probe.period_seconds or 10),
            timeout_s=float(probe.timeout_seconds or 1),
            success_threshold=probe.success_threshold or 1,
            failure_threshold=probe.failure_threshold or 3,
        )


class ProbeState:
    """One probe of one incarnation of a container. At most one attempt runs at a time."""

    __slots__ = (
        "_eager_s",
        "_is_eager",
        "_regular_at_s",
        "_run",
        "_run_succeeds",
        "_started_s",
        "due_s",
        "timing",
        "verdict",
    )

    def __init__(self, kind: ProbeKind, timing: ProbeTiming, now_s: float) -> None:
        self.timing = timing
        self.verdict = Verdict.UNKNOWN
        self.due_s: float | None = now_s + timing.initial_delay_s
        """When the next attempt is to start; None while one runs."""
        self._is_eager = kind is not ProbeKind.LIVENESS
        self._eager_s = _EAGER_FIRST_S
        self._regular_at_s = self.due_s
        self._started_s = 0.0
        self._run = 0
        self._run_succeeds = False

    def begin(self, now_s: float) -> None:
        """An attempt starts."""
        self.due_s = None
        self._started_s = now_s

    def result(self, success: bool, now_s: float) -> bool:
        """An attempt ended. Returns whether the verdict changed."""
        is_regular = self._started_s >= self._regular_at_s
        while self._regular_at_s <= self._started_s:
            self._regular_at_s += self.timing.period_s
        if success:
            self._is_eager = False
        if self._is_eager:
            self.due_s = min(now_s + self._eager_s, max(now_s, self._regular_at_s))
            self._eager_s = min(self._eager_s * _EAGER_GROWTH, _EAGER_MAX_S, self.timing.period_s)
        else:
            self.due_s = max(now_s, self._regular_at_s)
        if not success and not is_regular:
            return False
        self._run = self._run + 1 if success == self._run_succeeds else 1
        self._run_succeeds = success
        threshold = self.timing.success_threshold if success else self.timing.failure_threshold
        if self._run < threshold:
            return False
        verdict = Verdict.SUCCESS if success else Verdict.FAILURE
        changed, self.verdict = verdict is not self.verdict, verdict
        return changed
