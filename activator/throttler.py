"""How many requests of one revision run, on which pods, and which wait.

Theory of operation. All that is known of a revision's backends is one immutable `Snapshot`: the healthy pods, or the
cluster address that stands for them, and which of how many activators we are. Whatever changes, a whole new snapshot
replaces the old one; nothing is added up step by step, so nothing can drift. From the snapshot follow the *targets*:
the addresses that this activator may use and how many requests each may have of it.

    request --admit--> a target with a free slot       runs; `leave` gives the slot to the longest waiting request
                       none free, room to wait         waits, first come first served
                       none free, no room              refused
            --requeue--> another target                runs there, as its first one could not be reached
                       none free                       waits before all others

While a request waits, no target has a free slot, or `release` is to be called again. A target that leaves the snapshot
keeps the requests it has and gets no more; when the same address comes back while they run, they still count, so a pod
never has more than its share.

Pure: no clock, no sockets. Requests are any hashable objects.
Source: knative/serving `pkg/activator/net/throttler.go`; spec activator.md 8; golden set `throttler`.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

from activator.load_balancing import UNLIMITED, Policy, Target, policy_for

__all__ = [
    "Passed",
    "Snapshot",
    "Throttler",
    "ThrottlerMisuse",
    "Verdict",
    "assign",
    "at_least_one",
    "capacity_of",
    "index_among",
    "share_of",
]

R = TypeVar("R", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that capacity and assignment of one revision follow from."""

    container_concurrency: int
    """Requests at once per pod; 0: any number."""
    pods: tuple[str, ...] = ()
    """Healthy pods as `ip:port`, in the order of their texts; empty in ClusterIP mode."""
    cluster_address: str = ""
    """`ip:port` that leads to the pods when they cannot be reached directly; empty in direct mode."""
    ready_count: int = 0
    """In ClusterIP mode: pods that Kubernetes calls ready."""
    activator_index: int = -1
    """Our place among the activators that serve the revision; -1: not known."""
    activator_count: int = 0
    """How many they are; 0: not known."""

    @property
    def assigned(self) -> Sequence[str]:
        """The pods that this activator uses."""
        if self.container_concurrency == 0:
            return self.pods
        return assign(self.pods, self.activator_index, self.activator_count)

    @property
    def capacity(self) -> int:
        """Requests that this activator may have running."""
        return capacity_of(
            self.container_concurrency,
            backends=self.ready_count if self.cluster_address else len(self.pods),
            targets=len(self.assigned),
            activators=self.activator_count,
        )


def capacity_of(container_concurrency: int, *, backends: int, targets: int, activators: int) -> int:
    """Return the requests that one of so many activators may have running on the revision (spec 8.5).

    `backends`: pods of the revision; `targets`: those that this activator reaches directly, 0 in ClusterIP mode.
    """
    if container_concurrency == 0:
        return UNLIMITED if backends else 0
    capacity = container_concurrency * (targets or backends)
    if capacity and not targets:
        capacity = at_least_one(capacity // at_least_one(activators))
    return min(capacity, UNLIMITED)


def assign(pods: Sequence[str], index: int, activators: int) -> Sequence[str]:
    """Return the pods of the activator number `index` of so many (spec 8.6); all of them while that is not known.

    `pods` in the order of their texts: every activator, of whatever make, must sort alike.
    """
    if index < 0 or len(pods) <= 1 or activators == 1:
        return pods
    begin, end, rest = share_of(len(pods), index, activators)
    assigned = list(pods[begin:end])
    if rest and index < rest:
        assigned.append(pods[len(pods) - rest + index])
    return assigned


def share_of(pods: int, index: int, activators: int) -> tuple[int, int, int]:
    """Return where the block of activator `index` begins and ends, and how many pods at the end are in no block."""
    if activators > pods:
        begin = index % pods
        return begin, begin + 1, 0
    block, rest = divmod(pods, activators)
    return index * block, (index + 1) * block, rest


def index_among(activators: Sequence[str], own: str) -> int:
    """Return the place of the address `own` among `activators`; -1 when it is not there."""
    try:
        return activators.index(own)
    except ValueError:
        return -1


def at_least_one(value: int) -> int:
    """Return `value`, or 1 when it is less."""
    return max(value, 1)


class Verdict(Enum):
    """What becomes of a request that gets no pod at once."""

    WAITS = "waits"
    REFUSED = "refused"
    """As many requests as may wait do."""


class Passed(NamedTuple, Generic[R]):
    """A request that waited and has a place from here on."""

    request: R
    target: Target


class ThrottlerMisuse(RuntimeError):
    """A request left that was not inside: our bug, never the peer's."""


class Throttler(Generic[R]):
    """The requests of one revision. Every request that was not refused leaves exactly once."""

    __slots__ = (
        "_known",
        "_policy",
        "_running",
        "_targets",
        "_waiting",
        "bytes_max",
        "snapshot",
        "waiting_bytes",
        "waiting_max",
    )

    def __init__(
        self, snapshot: Snapshot, *, waiting_max: int, bytes_max: int = UNLIMITED, policy: Policy | None = None
    ) -> None:
        """`waiting_max`: requests that wait at most. `bytes_max`: bytes that they may hold together.

        `policy`: by default the one of the container concurrency.
        """
        self.snapshot = snapshot
        self.waiting_max = waiting_max
        self.bytes_max = bytes_max
        self.waiting_bytes = 0
        """Bytes that waiting requests hold."""
        self._policy = policy or policy_for(snapshot.container_concurrency)
        # Ordered, as its first one is taken in O(1), however many left before it.
        # With the bytes that each holds.
        self._waiting: OrderedDict[R, int] = OrderedDict()
        self._running: dict[R, Target] = {}
        self._targets: tuple[Target, ...] = ()
        # Assigned targets, and those that left with requests still running on them.
        self._known: dict[str, Target] = {}
        self.update(snapshot)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def first_waiting(self) -> R | None:
        """The request that waits longest, if one does."""
        return next(iter(self._waiting), None)

    @property
    def running(self) -> int:
        """Requests that have a place, on targets that left included."""
        return len(self._running)

    @property
    def targets(self) -> Sequence[Target]:
        """The addresses in use, in order."""
        return self._targets

    def admit(self, request: R) -> Target | Verdict:
        """Give `request` a place on a target, or let it wait, or refuse it. O(targets) at most."""
        if not self._waiting:
            target = self._policy.pick(self._targets)
            if target is not None:
                target.in_flight += 1
                self._running[request] = target
                return target
        if len(self._waiting) >= self.waiting_max:
            return Verdict.REFUSED
        self._waiting[request] = 0
        return Verdict.WAITS

    def hold(self, request: R, size: int) -> bool:
        """`request`, which waits, holds `size` bytes more. False: all together hold too many; let it leave."""
        self._waiting[request] += size
        self.waiting_bytes += size
        return self.waiting_bytes <= self.bytes_max

    def leave(self, request: R) -> Passed[R] | None:
        """End `request`, running or waiting; return the one that has its place from here on, if one waited for it.

        O(1). Raises `ThrottlerMisuse` when it is not inside.
        """
        target = self._running.pop(request, None)
        if target is None:
            if request not in self._waiting:
                raise ThrottlerMisuse(f"{request!r} left but was not inside")
            self.waiting_bytes -= self._waiting.pop(request)
            return None
        target.in_flight -= 1
        if target.in_flight >= target.capacity:
            if not target.in_flight:
                del self._known[target.address]
            return None
        return self._pass(target) if self._waiting else None

    def requeue(self, request: R) -> Target | None:
        """Take `request` off its target, which could not be reached; return its next one, or None: it waits, first.

        O(targets) at most. Raises `ThrottlerMisuse` when it has no target.
        """
        target = self._running.pop(request, None)
        if target is None:
            raise ThrottlerMisuse(f"{request!r} has no target to be taken off")
        target.in_flight -= 1
        if not target.capacity and not target.in_flight:
            del self._known[target.address]
        picked = self._policy.pick(self._targets)
        if picked is None:
            self._waiting[request] = 0
            self._waiting.move_to_end(request, last=False)
            return None
        picked.in_flight += 1
        self._running[request] = picked
        return picked

    def target_of(self, request: R) -> Target | None:
        """Return the target that `request` runs on."""
        return self._running.get(request)

    @property
    def releasable(self) -> int:
        """Requests that wait and for which there are free slots, until `release` has given them. O(targets)."""
        return min(len(self._waiting), sum(max(target.capacity - target.in_flight, 0) for target in self._targets))

    def update(self, snapshot: Snapshot, limit: int = UNLIMITED) -> list[Passed[R]]:
        """Replace the snapshot and `release`."""
        self.snapshot = snapshot
        known = self._known
        shares = _shares(snapshot)
        self._known = {address: target for address, target in known.items() if target.in_flight}
        for target in self._known.values():
            target.capacity = 0
        targets = []
        for address, capacity in shares:
            target = known.get(address) or Target(address, capacity)
            target.capacity = capacity
            self._known[address] = target
            targets.append(target)
        self._targets = tuple(targets)
        return self.release(limit)

    def release(self, limit: int = UNLIMITED) -> list[Passed[R]]:
        """Return at most `limit` requests that have a place from here on, in the order of their arrival.

        When they are so many, it is to be called again soon. O(targets) for each.
        """
        passed: list[Passed[R]] = []
        while self._waiting and len(passed) < limit:
            picked = self._policy.pick(self._targets)
            if picked is None:
                break
            passed.append(self._pass(picked))
        return passed

    def _pass(self, target: Target) -> Passed[R]:
        request, size = self._waiting.popitem(last=False)
        self.waiting_bytes -= size
        target.in_flight += 1
        self._running[request] = target
        return Passed(request, target)

    def check(self) -> None:
        """Raise `AssertionError` unless the invariants hold. For tests."""
        counts: dict[str, int] = {}
        for target in self._running.values():
            assert self._known.get(target.address) is target, f"{target} has requests but is not known"
            counts[target.address] = counts.get(target.address, 0) + 1
        for address, target in self._known.items():
            assert target.in_flight == counts.get(address, 0), f"{target} has {counts.get(address, 0)} requests"
            assert target.in_flight or target in self._targets, f"{target} is kept for nothing"
        assert self.waiting_bytes == sum(self._waiting.values()), "bytes are held by nobody"
        if self._waiting:
            assert all(t.in_flight >= t.capacity for t in self._targets), "a request waits beside a free slot"


def _shares(snapshot: Snapshot) -> list[tuple[str, int]]:
    """The targets of `snapshot` in order, each with the requests that it may have of this activator."""
    if snapshot.cluster_address:
        capacity = snapshot.capacity
        return [(snapshot.cluster_address, capacity)] if capacity else []
    capacity = snapshot.container_concurrency or UNLIMITED
    return [(address, capacity) for address in snapshot.assigned]
