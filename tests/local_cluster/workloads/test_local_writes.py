"""`local_cluster/workloads/local_writes.py`."""

from local_cluster.workloads.local_writes import Expectations


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_creations_count_until_they_are_seen() -> None:
    expectations = Expectations(Clock())
    expectations.creates("a")
    expectations.creates("b")
    assert expectations.creating() == 2
    expectations.seen("a")
    expectations.seen("never expected")
    assert expectations.creating() == 1


def test_deletions_count_until_the_object_is_leaving() -> None:
    expectations = Expectations(Clock())
    expectations.deletes("a")
    assert expectations.is_deleting("a")
    assert not expectations.is_deleting("b")
    expectations.leaving("a")
    assert not expectations.is_deleting("a")


def test_what_never_shows_is_forgotten() -> None:
    clock = Clock()
    expectations = Expectations(clock)
    expectations.creates("a")
    expectations.deletes("b")
    clock.now_s = 10.0
    assert expectations.creating() == 0
    assert not expectations.is_deleting("b")
