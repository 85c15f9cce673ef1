"""The rules of one Lease without a server: when it is free, what is written, and that two never hold it at once."""

import math
import random
from dataclasses import dataclass

import pytest

from kube.election.candidacy import Candidacy
from kube.election.settings import LeaseTiming
from kube.models.coordination import Lease, LeaseSpec
from kube.models.meta import ObjectMeta

TIMING = LeaseTiming(duration_s=6, renew_deadline_s=4, retry_s=1)


def lease(holder: str | None, version: int = 1, *, seconds: int | None = 6, renew_time: str | None = None) -> Lease:
    spec = LeaseSpec(holder_identity=holder, lease_duration_seconds=seconds, renew_time=renew_time, lease_transitions=2)
    return Lease(metadata=ObjectMeta(name="l", namespace="n", uid="u", resource_version=str(version)), spec=spec)


def me() -> Candidacy:
    return Candidacy("me", TIMING)


@pytest.mark.parametrize("seen", [None, lease(""), lease(None), lease("me")])
def test_a_lease_that_nobody_else_holds_is_free_at_once(seen: Lease | None) -> None:
    candidacy = me()
    candidacy.observe(seen, 100.0)
    assert candidacy.free_at_s == -math.inf


def test_a_held_lease_is_free_when_its_record_did_not_change_for_as_long_as_it_says() -> None:
    candidacy = me()
    candidacy.observe(lease("you", 1, seconds=20, renew_time="1970-01-01T00:00:00.000000Z"), 100.0)
    candidacy.observe(lease("you", 2, seconds=20, renew_time="1970-01-01T00:00:00.000000Z"), 110.0)
    assert candidacy.free_at_s == 120.0  # an annotation changed, the record did not
    candidacy.observe(lease("you", 3, seconds=20, renew_time="2999-01-01T00:00:00.000000Z"), 115.0)
    assert candidacy.free_at_s == 135.0


def test_a_record_without_a_duration_counts_with_our_own() -> None:
    candidacy = me()
    candidacy.observe(lease("you", seconds=None), 100.0)
    assert candidacy.free_at_s == 106.0


def test_a_holder_acts_until_the_renew_deadline_counted_from_sending() -> None:
    candidacy = me()
    candidacy.renewed(lease("me", 2), 100.0)
    assert candidacy.held_until_s == 104.0
    candidacy.lose()
    assert candidacy.held_until_s == -math.inf


def test_a_holder_that_sees_another_one_acts_no_longer() -> None:
    candidacy = me()
    candidacy.renewed(lease("me", 2), 100.0)
    candidacy.observe(lease("me", 2), 101.0)
    assert candidacy.held_until_s == 104.0
    candidacy.observe(lease("you", 3), 101.0)
    assert candidacy.held_until_s == -math.inf


def test_an_older_state_that_arrives_late_is_ignored() -> None:
    candidacy = me()
    candidacy.renewed(lease("me", 10), 100.0)
    candidacy.observe(lease("you", 9), 100.5)
    assert (candidacy.holder, candidacy.held_until_s) == ("me", 104.0)


def test_what_is_written() -> None:
    candidacy = me()
    first = candidacy.claim(0.5)
    assert first == LeaseSpec(
        holder_identity="me",
        lease_duration_seconds=6,
        acquire_time="1970-01-01T00:00:00.500000Z",
        renew_time="1970-01-01T00:00:00.500000Z",
        lease_transitions=0,
    )
    candidacy.renewed(Lease(metadata=ObjectMeta(resource_version="1"), spec=first), 0.0)
    renewal = candidacy.claim(2.5)
    assert (renewal.acquire_time, renewal.renew_time) == (first.acquire_time, "1970-01-01T00:00:02.500000Z")
    assert renewal.lease_transitions == 0
    released = candidacy.release(3.0)
    assert (released.holder_identity, released.lease_duration_seconds, released.lease_transitions) == ("", 1, 0)

    candidacy.observe(lease("you", 7), 0.0)
    taken = candidacy.claim(9.0)
    assert (taken.lease_transitions, taken.acquire_time) == (3, "1970-01-01T00:00:09.000000Z")


def test_a_fraction_of_a_second_is_rounded_up_for_others() -> None:
    timing = LeaseTiming(duration_s=2.5, renew_deadline_s=2.4, retry_s=1)
    assert Candidacy("me", timing).claim(0).lease_duration_seconds == 3


@dataclass
class Write:
    """A record on its way to the server, and later its acceptance on the way back."""

    arrives_s: float
    contender: int
    sent_s: float
    """By the contender's own clock."""
    spec: LeaseSpec
    based_on: str
    accepted: Lease | None = None


class World:
    """A server and its contenders in simulated time. Messages take any time or are lost, contenders fall silent, and
    their clocks are off by any amount."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now_s = 0.0
        self.offsets = [chance.uniform(-1e6, 1e6) for _ in range(chance.randint(2, 3))]
        self.contenders = [Candidacy(str(index), TIMING) for index in range(len(self.offsets))]
        self.silent_until_s = [0.0 for _ in self.offsets]
        self.stored: Lease | None = None
        self.version = 0
        self.terms: list[str] = []
        self._writes: list[Write] = []
        self._answers: list[Write] = []
        self._news: list[tuple[float, int, Lease]] = []

    def step(self) -> None:
        self.now_s += self.chance.uniform(0.01, 0.5)
        self._serve()
        self._deliver()
        index = self.chance.randrange(len(self.contenders))
        if self.chance.random() < 0.02:
            self.silent_until_s[index] = self.now_s + self.chance.uniform(0, 12)
        if self.now_s >= self.silent_until_s[index]:
            self._act(index)

    def clock_s(self, index: int) -> float:
        return self.now_s + self.offsets[index]

    def holding(self) -> list[int]:
        return [
            index for index, contender in enumerate(self.contenders) if self.clock_s(index) < contender.held_until_s
        ]

    def _act(self, index: int) -> None:
        contender = self.contenders[index]
        if self.clock_s(index) >= contender.free_at_s:
            based_on = contender.lease.metadata.resource_version if contender.lease else ""
            spec = contender.claim(self.now_s)
            self._writes.append(Write(self._arrival_s(), index, self.clock_s(index), spec, based_on))

    def _serve(self) -> None:
        for write in due(self._writes, self.now_s):
            if write.based_on != (self.stored.metadata.resource_version if self.stored else ""):
                continue
            self.version += 1
            metadata = ObjectMeta(uid="u", resource_version=str(self.version))
            self.stored = write.accepted = Lease(metadata=metadata, spec=write.spec)
            holder = write.spec.holder_identity or ""
            if self.terms[-1:] != [holder]:
                self.terms.append(holder)
            write.arrives_s = self._arrival_s()
            self._answers.append(write)
            self._news += [(self._arrival_s(), index, self.stored) for index in range(len(self.contenders))]

    def _deliver(self) -> None:
        for write in due(self._answers, self.now_s):
            assert write.accepted is not None
            known = self.contenders[write.contender].lease
            if known is None or int(known.metadata.resource_version) <= int(write.accepted.metadata.resource_version):
                self.contenders[write.contender].renewed(write.accepted, write.sent_s)
        for _, index, state in [news for news in self._news if news[0] <= self.now_s]:
            self.contenders[index].observe(state, self.clock_s(index))
        self._news = [news for news in self._news if news[0] > self.now_s]

    def _arrival_s(self) -> float:
        """Mostly soon, sometimes late, sometimes never."""
        kind = self.chance.random()
        if kind < 0.03:
            return math.inf
        return self.now_s + (self.chance.uniform(0, 10) if kind < 0.15 else self.chance.uniform(0, 0.3))


def due(writes: list[Write], now_s: float) -> list[Write]:
    """Take out those that have arrived."""
    arrived = [write for write in writes if write.arrives_s <= now_s]
    writes[:] = [write for write in writes if write.arrives_s > now_s]
    return arrived


@pytest.mark.parametrize("seed", range(60))
def test_two_never_hold_it_whatever_is_delayed_or_lost(seed: int) -> None:
    world = World(random.Random(seed))
    for _ in range(1000):
        world.step()
        assert len(world.holding()) <= 1


def test_the_lease_does_move_in_that_world() -> None:
    world = World(random.Random(1))
    for _ in range(2000):
        world.step()
    assert len(world.terms) > 5
