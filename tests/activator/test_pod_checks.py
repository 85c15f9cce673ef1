"""Which pods in use are looked at, and when."""

from activator.loads import RevisionKey
from activator.pod_checks import PODS_PER_TURN, PodChecks


def key(number: int) -> RevisionKey:
    return RevisionKey(b"ns", b"rev-%d" % number)


def test_what_is_in_use_is_due_a_period_after_it_came_into_use() -> None:
    checks = PodChecks(10.0)
    assert checks.take([(key(1), 3)], 100.0) == []
    assert checks.take([(key(1), 3)], 109.9) == []
    assert checks.take([(key(1), 3)], 110.0) == [key(1)]
    assert checks.take([(key(1), 3)], 119.9) == []
    assert checks.take([(key(1), 3)], 120.0) == [key(1)]


def test_what_was_out_of_use_begins_anew() -> None:
    checks = PodChecks(10.0)
    checks.take([(key(1), 1)], 100.0)
    checks.take([], 105.0)
    checks.take([(key(1), 1)], 106.0)
    assert checks.take([(key(1), 1)], 115.9) == []
    assert checks.take([(key(1), 1)], 116.0) == [key(1)]


def test_many_have_their_turns_and_none_is_passed_over() -> None:
    checks = PodChecks(10.0)
    in_use = [(key(number), 10) for number in range(150)]
    checks.take(in_use, 0.0)
    turns = [checks.take(in_use, float(now_s)) for now_s in range(10, 40)]
    assert max(map(len, turns)) == PODS_PER_TURN // 10
    seen = [each for turn in turns for each in turn]
    assert set(seen[:150]) == {each for each, _ in in_use}
    assert len(seen) == 300


def test_a_revision_with_more_pods_than_fit_into_a_turn_has_its_own() -> None:
    checks = PodChecks(10.0)
    in_use = [(key(1), 500), (key(2), 1)]
    checks.take(in_use, 0.0)
    assert [checks.take(in_use, 10.0), checks.take(in_use, 11.0)] == [[key(1)], [key(2)]]


def test_never_is_never() -> None:
    checks = PodChecks(0.0)
    checks.take([(key(1), 1)], 0.0)
    assert checks.take([(key(1), 1)], 1e6) == []
