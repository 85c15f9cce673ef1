"""One contender's view of one Lease: may it be taken, what is written to take or renew it, until when it is ours.

Theory of operation. Clocks of different machines are never compared. A Lease carries the holder's times, but they are
for people: a contender notes by its own steady clock *when it saw the record change*, and takes the Lease over when it
has not changed for as long as the record says. The holder counts from the moment at which it *sent* its last successful
renewal, and stops after `renew_deadline_s`, which is shorter. The record was written after it was sent and seen after
it was written, so the holder has always stopped before anyone else may begin; only clocks that run at different speeds
(by the ratio of the two durations) could break that. Every write names the version that it is based on, so of several
contenders one wins.

Pure: no clock, no I/O. Source: client-go `tools/leaderelection/leaderelection.go`.
"""

import math

from kube.election.settings import LeaseTiming
from kube.models.coordination import Lease, LeaseSpec
from kube.timestamps import format_micro_time

__all__ = ["Candidacy"]


class Candidacy:
    """State of one contender, `identity`, for one Lease. Times are seconds of its own steady clock."""

    __slots__ = ("_identity", "_renewed_s", "_seen_s", "_timing", "lease")

    def __init__(self, identity: str, timing: LeaseTiming) -> None:
        self._identity = identity
        self._timing = timing
        self.lease: Lease | None = None
        """As last observed; None when there is none."""
        self._seen_s = 0.0
        self._renewed_s: float | None = None

    @property
    def holder(self) -> str:
        """Who holds the Lease according to its record; empty for nobody."""
        return (self.lease.spec.holder_identity if self.lease is not None else None) or ""

    @property
    def is_named(self) -> bool:
        """Whether the record names us, which it may do beyond the time until which we hold the Lease."""
        return self.holder == self._identity

    @property
    def held_until_s(self) -> float:
        """Until when we may act; minus infinity when we may not."""
        return -math.inf if self._renewed_s is None else self._renewed_s + self._timing.renew_deadline_s

    @property
    def free_at_s(self) -> float:
        """When the Lease may be taken, if nothing else is seen by then; minus infinity: at once."""
        if self.lease is None or not self.holder or self.is_named:
            return -math.inf
        stated_s = self.lease.spec.lease_duration_seconds
        return self._seen_s + (self._timing.duration_s if stated_s is None else stated_s)

    def observe(self, lease: Lease | None, now_s: float) -> None:
        """Take note of the Lease as it is. One that names somebody else is not ours, whatever we wrote before."""
        if lease is not None and self.lease is not None and _is_older(lease, self.lease):
            return  # a list that was on its way while we wrote
        if lease is None or self.lease is None or lease.spec != self.lease.spec:
            self._seen_s = now_s
        self.lease = lease
        if lease is not None and not self.is_named:
            self._renewed_s = None

    def renewed(self, lease: Lease, sent_s: float) -> None:
        """Our write, sent at `sent_s`, was accepted; `lease` is the answer."""
        self.lease = lease
        self._seen_s = self._renewed_s = sent_s

    def lose(self) -> None:
        """Act no longer."""
        self._renewed_s = None

    def claim(self, unix_s: float) -> LeaseSpec:
        """The record that takes or renews the Lease."""
        now = format_micro_time(unix_s)
        before = self.lease.spec if self.lease is not None else None
        # Whole seconds, as the API wants them: rounded up, since others may wait longer but not shorter.
        duration_s = math.ceil(self._timing.duration_s)
        if before is None:
            transitions, acquired = 0, now
        elif self.is_named:
            transitions, acquired = before.lease_transitions or 0, before.acquire_time or now
        else:
            transitions, acquired = (before.lease_transitions or 0) + 1, now
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=duration_s,
            acquire_time=acquired,
            renew_time=now,
            lease_transitions=transitions,
        )

    def release(self, unix_s: float) -> LeaseSpec:
        """The record that lets others take the Lease at once."""
        now = format_micro_time(unix_s)
        assert self.lease is not None
        return LeaseSpec(
            holder_identity="",
            lease_duration_seconds=1,
            acquire_time=now,
            renew_time=now,
            lease_transitions=self.lease.spec.lease_transitions or 0,
        )


def _is_older(lease: Lease, known: Lease) -> bool:
    if lease.metadata.uid != known.metadata.uid:
        return False
    # Opaque in principle; client-go compares versions as growing integers as well (spec api-clients.md 5).
    version, known_version = lease.metadata.resource_version, known.metadata.resource_version
    return version.isdigit() and known_version.isdigit() and int(version) < int(known_version)
