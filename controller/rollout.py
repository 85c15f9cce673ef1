"""Gradual rollout: how a Configuration's share moves from its old Revisions to the newest, step by step.

Theory of operation. The state lies as JSON on the Route's Ingress. Each pass takes what the traffic block asks for now
(`current`), merges it with the stored state (`advance`), and stores the result. A new Revision starts with 1 %. When
the gateway was seen to serve that (`observe_ready`), how long it took says how long a step must be at least, and from
that follow size and length of the steps. A Route with duration 0 never merges: the newest Revision gets everything.

Pure: times are Unix nanoseconds, passed in. Source: knative/serving `pkg/reconciler/route/traffic/rollout.go`; spec
control-plane.md 8; golden set `rollout`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from controller.traffic import Target

__all__ = ["ConfigurationRollout", "RevisionShare", "Rollout", "StepParams", "advance", "current", "observe_ready"]

_NS = 10**9


@dataclass(frozen=True, slots=True)
class RevisionShare:
    """A Revision and its percent."""

    revision: str
    percent: int


@dataclass(frozen=True, slots=True)
class StepParams:
    """When and how far to step; 0 is "not known yet". Times in Unix ns, `step_ns` in ns, `step_size` in percent."""

    start_ns: int = 0
    next_step_ns: int = 0
    step_ns: int = 0
    step_size: int = 0


@dataclass(frozen=True, slots=True)
class ConfigurationRollout:
    """One Configuration under one tag. `revisions` from oldest to newest; their shares sum to `percent`."""

    configuration: str
    tag: str
    percent: int
    revisions: tuple[RevisionShare, ...]
    params: StepParams = StepParams()

    @property
    def is_valid(self) -> bool:
        """Whether the stored state can be continued."""
        return (
            self.percent <= 100
            and 0 <= self.params.step_size <= self.percent
            and all(share.percent >= 0 for share in self.revisions)
            and sum(share.percent for share in self.revisions) == self.percent
        )


@dataclass(frozen=True, slots=True)
class Rollout:
    """All rollouts of a Route, sorted by tag, then by Configuration."""

    configurations: tuple[ConfigurationRollout, ...] = field(default_factory=tuple)

    @property
    def is_valid(self) -> bool:
        """Whether every part is."""
        return all(entry.is_valid for entry in self.configurations)

    @property
    def is_done(self) -> bool:
        """Whether no share is moving."""
        return all(len(entry.revisions) < 2 for entry in self.configurations)

    def next_step_ns(self) -> int | None:
        """When the next step is due, or None."""
        return min((e.params.next_step_ns for e in self.configurations if e.params.next_step_ns), default=None)

    def to_json(self) -> str:
        """The annotation's text."""
        return json.dumps(
            {"configurations": [_entry_json(entry) for entry in self.configurations]}, separators=(",", ":")
        )

    @classmethod
    def from_json(cls, text: str) -> "Rollout | None":
        """The state in an annotation; None when it cannot be used."""
        try:
            entries = json.loads(text)["configurations"] or []
            state = cls(tuple(_entry_from_json(entry) for entry in entries))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        return state if state.is_valid else None


def current(groups: Mapping[str, Sequence[Target]]) -> Rollout:
    """What the traffic block asks for: per tag, the targets that follow their Configuration's newest Revision."""
    entries = [
        ConfigurationRollout(
            target.configuration, tag, target.percent, (RevisionShare(target.revision, target.percent),)
        )
        for tag, targets in groups.items()
        for target in targets
        if target.latest and target.percent
    ]
    return Rollout(tuple(sorted(entries, key=lambda entry: (entry.tag, entry.configuration))))


def observe_ready(state: Rollout, now_ns: int, duration_s: float) -> Rollout:
    """`state` with steps planned for every rollout that has begun and whose beginning is served as of now."""
    entries = tuple(
        replace(entry, params=plan(entry.percent, duration_s, entry.params.start_ns, now_ns))
        if entry.params.start_ns and not entry.params.step_ns
        else entry
        for entry in state.configurations
    )
    return Rollout(entries)


def plan(percent: int, duration_s: float, start_ns: int, now_ns: int) -> StepParams:
    """Steps that move `percent` within `duration_s`, none shorter than what the first took to be served."""
    if percent < 2:
        return StepParams(start_ns=start_ns)
    step_min_s = max(1.0, float(math.ceil((now_ns - start_ns) / _NS)))
    rest_s = max(1.0, duration_s - step_min_s)
    steps = min(max(1.0, rest_s / step_min_s), float(percent - 1))
    step_ns = rest_s / steps * _NS
    return StepParams(
        start_ns=start_ns,
        # In doubles, as the original computes it: exact to 256 ns, and so the same number.
        next_step_ns=int(float(now_ns) + step_ns),
        step_ns=int(step_ns),
        # Half away from zero, as in the original; banker's rounding plans other steps.
        step_size=math.floor((percent - 1) / steps + 0.5),
    )


def advance(wanted: Rollout, stored: Rollout | None, now_ns: int) -> Rollout:
    """The next state: `wanted`, reached gradually where `stored` says that another Revision has the share."""
    if stored is None:
        return wanted
    known = {(entry.tag, entry.configuration): entry for entry in stored.configurations}
    entries = [
        _advanced(entry, known.get((entry.tag, entry.configuration)), now_ns)
        for entry in wanted.configurations
        if entry.percent
    ]
    return Rollout(tuple(entries))


def _advanced(wanted: ConfigurationRollout, stored: ConfigurationRollout | None, now_ns: int) -> ConfigurationRollout:
    if stored is None or wanted.percent == 1 or not stored.revisions:
        return wanted
    shares = _adjusted(stored, wanted.percent)
    newest = wanted.revisions[-1].revision
    if shares[-1].revision != newest:
        return replace(wanted, revisions=_begun(shares, newest), params=StepParams(start_ns=now_ns))
    if len(shares) == 1:
        return wanted
    continued = replace(wanted, revisions=tuple(shares), params=stored.params)
    if stored.params.step_size > 0 and now_ns >= stored.params.next_step_ns:
        return _stepped(continued, now_ns)
    return continued


def _adjusted(stored: ConfigurationRollout, percent: int) -> list[RevisionShare]:
    """The stored shares for another total: more goes to the newest, less is taken from the oldest."""
    shares = list(stored.revisions)
    surplus = stored.percent - percent
    if surplus < 0:
        shares[-1] = replace(shares[-1], percent=shares[-1].percent - surplus)
    while surplus > 0 and len(shares) > 1 and shares[0].percent <= surplus:
        surplus -= shares.pop(0).percent
    if surplus > 0:
        shares[0] = replace(shares[0], percent=shares[0].percent - surplus)
    return shares


def _begun(shares: list[RevisionShare], newest: str) -> tuple[RevisionShare, ...]:
    """One percent for a Revision that is new, from the newest that has any."""
    for index in range(len(shares) - 1, -1, -1):
        if shares[index].percent > 0:
            shares[index] = replace(shares[index], percent=shares[index].percent - 1)
            break
    return (*(share for share in shares if share.percent), RevisionShare(newest, 1))


def _stepped(entry: ConfigurationRollout, now_ns: int) -> ConfigurationRollout:
    """One step: from the second newest backwards to the newest."""
    *older, newest = entry.revisions
    needed = entry.params.step_size
    newest = replace(newest, percent=min(newest.percent + needed, entry.percent))
    while needed > 0 and older:
        taken = min(older[-1].percent, needed)
        needed -= taken
        left = older.pop()
        if left.percent > taken:
            older.append(replace(left, percent=left.percent - taken))
    if not older:
        return replace(entry, revisions=(newest,), params=StepParams())
    params = replace(entry.params, next_step_ns=now_ns + entry.params.step_ns)
    return replace(entry, revisions=(*older, newest), params=params)


def _entry_json(entry: ConfigurationRollout) -> dict[str, Any]:
    params = {
        "starttime": entry.params.start_ns,
        "nextStepTime": entry.params.next_step_ns,
        "stepDuration": entry.params.step_ns,
        "stepSize": entry.params.step_size,
    }
    return {
        "configurationName": entry.configuration,
        **({"tag": entry.tag} if entry.tag else {}),
        "percent": entry.percent,
        "revisions": [{"revisionName": share.revision, "percent": share.percent} for share in entry.revisions],
        "stepParams": {name: value for name, value in params.items() if value},
    }


def _entry_from_json(entry: Mapping[str, Any]) -> ConfigurationRollout:
    params = entry.get("stepParams") or {}
    return ConfigurationRollout(
        configuration=str(entry.get("configurationName", "")),
        tag=str(entry.get("tag", "")),
        percent=int(entry.get("percent", 0)),
        revisions=tuple(
            RevisionShare(str(share.get("revisionName", "")), int(share.get("percent", 0)))
            for share in entry.get("revisions") or []
        ),
        params=StepParams(
            start_ns=int(params.get("starttime", 0)),
            next_step_ns=int(params.get("nextStepTime", 0)),
            step_ns=int(params.get("stepDuration", 0)),
            step_size=int(params.get("stepSize", 0)),
        ),
    )
