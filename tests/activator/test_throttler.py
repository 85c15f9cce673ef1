"""Admission, order and bounds of one revision's requests; the arithmetic itself is in the golden set `throttler`."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from activator.load_balancing import Target
from activator.throttler import Passed, Snapshot, Throttler, ThrottlerMisuse, Verdict

PODS = tuple(f"10.0.0.{index}:8012" for index in range(1, 6))


def throttler(
    container_concurrency: int, *pods: str, waiting_max: int = 10, cluster_address: str = ""
) -> Throttler[str]:
    snapshot = Snapshot(
        container_concurrency=container_concurrency,
        pods=pods,
        cluster_address=cluster_address,
        ready_count=1 if cluster_address else 0,
    )
    return Throttler(snapshot, waiting_max=waiting_max)


def names(passed: list[Passed[str]]) -> list[tuple[str, str]]:
    return [(request, target.address) for request, target in passed]


def address(place: Target | Verdict) -> str:
    assert isinstance(place, Target)
    return place.address


def test_without_pods_requests_wait_and_pass_in_their_order_when_one_comes() -> None:
    inside = throttler(2)
    assert [inside.admit(name) for name in "abc"] == [Verdict.WAITS] * 3
    passed = inside.update(replace(inside.snapshot, pods=("p:1",)))
    assert names(passed) == [("a", "p:1"), ("b", "p:1")]
    assert inside.leave("b") == Passed("c", passed[0].target)
    assert inside.leave("c") is None


def test_beyond_the_bound_a_request_is_refused_and_has_no_place_to_leave() -> None:
    inside = throttler(1, "p:1", waiting_max=1)
    assert address(inside.admit("a")) == "p:1"
    assert inside.admit("b") is Verdict.WAITS
    assert inside.admit("c") is Verdict.REFUSED
    with pytest.raises(ThrottlerMisuse, match="'c' left but was not inside"):
        inside.leave("c")
    inside.leave("b")
    assert inside.admit("d") is Verdict.WAITS


def test_what_waits_holds_bytes_until_it_runs_or_leaves() -> None:
    inside = Throttler[str](Snapshot(container_concurrency=1), waiting_max=10, bytes_max=100)
    for name in "abc":
        inside.admit(name)
    assert inside.hold("a", 60)
    assert inside.hold("b", 40), "as many as may be held"
    assert not inside.hold("c", 1)
    assert inside.leave("c") is None
    assert inside.waiting_bytes == 100
    inside.update(replace(inside.snapshot, pods=("p:1",)))
    assert inside.waiting_bytes == 40
    inside.leave("b")
    assert inside.waiting_bytes == 0


def test_a_waiting_request_that_leaves_is_passed_over() -> None:
    inside = throttler(1, "p:1")
    for name in "abc":
        inside.admit(name)
    assert inside.leave("b") is None
    passed = inside.leave("a")
    assert passed is not None
    assert passed.request == "c"


def test_a_pod_that_comes_back_still_has_its_requests() -> None:
    inside = throttler(1, "p:1")
    inside.admit("a")
    inside.update(replace(inside.snapshot, pods=()))
    inside.admit("b")
    assert inside.update(replace(inside.snapshot, pods=("p:1",))) == []
    passed = inside.leave("a")
    assert passed is not None
    assert passed.request == "b"


def test_a_request_that_ends_on_a_pod_that_left_gives_its_place_to_nobody() -> None:
    inside = throttler(1, "p:1")
    inside.admit("a")
    inside.update(replace(inside.snapshot, pods=()))
    inside.admit("b")
    assert inside.leave("a") is None
    assert inside.waiting == 1


def test_the_cluster_address_takes_what_all_ready_pods_can() -> None:
    inside = throttler(2, cluster_address="c:80")
    assert [address(inside.admit(name)) for name in "ab"] == ["c:80"] * 2
    assert inside.admit("c") is Verdict.WAITS
    # Fewer ready pods: what runs goes on, and nobody follows before enough have ended.
    inside.update(replace(inside.snapshot, ready_count=0))
    assert inside.leave("a") is None
    assert names(inside.update(replace(inside.snapshot, ready_count=1))) == [("c", "c:80")]


def test_what_cannot_be_sent_goes_to_another_pod_or_waits_before_all_others() -> None:
    inside = throttler(1, "p:1", "p:2")
    assert address(inside.admit("a")) == "p:1"
    inside.update(replace(inside.snapshot, pods=("p:2",)))
    moved = inside.requeue("a")
    assert moved is not None
    assert moved.address == "p:2"
    assert inside.admit("b") is Verdict.WAITS
    inside.update(replace(inside.snapshot, pods=()))
    assert inside.requeue("a") is None
    assert names(inside.update(replace(inside.snapshot, pods=("p:1", "p:2")))) == [("a", "p:1"), ("b", "p:2")]


def test_many_may_be_released_little_by_little_and_who_comes_meanwhile_waits_behind_them() -> None:
    inside = throttler(3)
    assert [inside.admit(name) for name in "abcde"] == [Verdict.WAITS] * 5
    assert inside.releasable == 0
    assert names(inside.update(replace(inside.snapshot, pods=("p:1",)), 1)) == [("a", "p:1")]
    assert inside.releasable == 2
    assert inside.admit("f") is Verdict.WAITS, "it would run before those that came earlier"
    assert inside.leave("b") is None
    assert names(inside.release(1)) == [("c", "p:1")]
    passed = inside.leave("a")
    assert passed is not None
    assert passed.request == "d"
    assert names(inside.release()) == [("e", "p:1")]
    assert (inside.release(), inside.releasable, inside.waiting) == ([], 0, 1)
    inside.check()


def test_only_what_has_a_target_can_be_taken_off_it() -> None:
    inside = throttler(1)
    inside.admit("a")
    with pytest.raises(ThrottlerMisuse, match="'a' has no target"):
        inside.requeue("a")


class ThrottlerMachine(RuleBasedStateMachine):
    """Any order of arrivals, ends and snapshots."""

    def __init__(self) -> None:
        super().__init__()
        self.started = False
        self.serial = 0
        self.waiting: list[int] = []
        self.running: dict[int, str] = {}

    @precondition(lambda self: not self.started)
    @rule(container_concurrency=st.integers(0, 12), waiting_max=st.integers(0, 4))
    def start(self, container_concurrency: int, waiting_max: int) -> None:
        self.started = True
        self.container_concurrency = container_concurrency
        snapshot = Snapshot(container_concurrency=container_concurrency)
        self.throttler = Throttler[int](snapshot, waiting_max=waiting_max)

    @precondition(lambda self: self.started)
    @rule()
    def arrive(self) -> None:
        self.serial += 1
        place = self.throttler.admit(self.serial)
        if isinstance(place, Target):
            assert not self.waiting, "overtook those that wait"
            self.running[self.serial] = place.address
        elif place is Verdict.WAITS:
            self.waiting.append(self.serial)
        else:
            assert len(self.waiting) >= self.throttler.waiting_max

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def cannot_be_sent(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[request]
        target = self.throttler.requeue(request)
        if target is None:
            self.waiting.insert(0, request)
        else:
            self.running[request] = target.address

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.running)))
        freed = self.running.pop(request)
        passed = self.throttler.leave(request)
        if passed is not None:
            assert passed.target.address == freed
            self.take_first(passed)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), size=st.integers(1, 100))
    def read_more(self, data: st.DataObject, size: int) -> None:
        before = self.throttler.waiting_bytes
        assert self.throttler.hold(data.draw(st.sampled_from(self.waiting)), size)
        assert self.throttler.waiting_bytes == before + size

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(request)
        assert self.throttler.leave(request) is None

    @precondition(lambda self: self.started)
    @rule(
        pods=st.sets(st.sampled_from(PODS)),
        cluster=st.booleans(),
        index=st.integers(-1, 3),
        count=st.integers(0, 4),
    )
    def change(self, pods: set[str], cluster: bool, index: int, count: int) -> None:
        snapshot = Snapshot(
            container_concurrency=self.container_concurrency,
            pods=() if cluster else tuple(sorted(pods)),
            cluster_address="10.1.0.1:80" if cluster else "",
            ready_count=len(pods) if cluster else 0,
            activator_index=index if index < count else -1,
            activator_count=count,
        )
        for passed in self.throttler.update(snapshot):
            self.take_first(passed)

    def take_first(self, passed: Passed[int]) -> None:
        assert passed.request == self.waiting.pop(0), "not first come, first served"
        self.running[passed.request] = passed.target.address

    @invariant()
    def holds(self) -> None:
        if not self.started:
            return
        self.throttler.check()
        assert self.throttler.waiting == len(self.waiting)
        assert self.throttler.running == len(self.running)
        if self.container_concurrency:
            counts: dict[str, int] = {}
            for pod in self.running.values():
                counts[pod] = counts.get(pod, 0) + 1
            for pod in PODS:
                assert counts.get(pod, 0) <= self.container_concurrency, "more than the pod may have"


TestThrottlerMachine = ThrottlerMachine.TestCase
TestThrottlerMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
