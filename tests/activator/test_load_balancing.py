"""What the golden set `lb_policy` leaves to chance."""

from collections import Counter
from collections.abc import Callable
from itertools import chain, product

from hypothesis import given
from hypothesis import strategies as st

from activator.load_balancing import (
    UNLIMITED,
    FirstAvailable,
    LeastInFlight,
    RandomChoiceOfTwo,
    RoundRobin,
    Target,
    policy_for,
)


def targets(*in_flight: int, capacity: int = UNLIMITED) -> list[Target]:
    made = [Target(f"p{index}", capacity) for index in range(len(in_flight))]
    for target, count in zip(made, in_flight, strict=True):
        target.in_flight = count
    return made


def evenly(draws: int) -> tuple[int, Callable[[], float]]:
    """How often a target can be picked, and chance for `draws` numbers each: every combination of a grid once."""
    grid = [(number + 0.5) / 12 for number in range(12)]
    return len(grid) ** draws, chain.from_iterable(product(grid, repeat=draws)).__next__


@given(st.lists(st.integers(0, 5), min_size=2, max_size=8))
def test_the_busiest_alone_is_never_chosen_of_two(in_flight: list[int]) -> None:
    picked = RandomChoiceOfTwo().pick(targets(*in_flight))
    assert picked is not None
    busiest = max(in_flight)
    assert picked.in_flight < busiest or in_flight.count(busiest) > 1


def test_equal_ones_are_chosen_alike() -> None:
    turns, chance = evenly(2)
    policy, equal = RandomChoiceOfTwo(chance), targets(0, 0, 0, 0)
    counts = Counter(policy.pick(equal) for _ in range(turns))
    assert counts == dict.fromkeys(equal, turns / 4)


def test_the_two_candidates_are_different() -> None:
    # The least chance that there is, twice: the first and the second target, not the first twice.
    policy = RandomChoiceOfTwo(chance=lambda: 0.0)
    picked = policy.pick(targets(3, 1, 0))
    assert picked is not None
    assert picked.address == "p1"


def test_full_targets_are_not_chosen() -> None:
    for policy in (FirstAvailable(), RoundRobin()):
        assert policy.pick(targets(2, 2, capacity=2)) is None
        assert policy.pick([]) is None


def test_the_container_concurrency_decides_about_the_policy() -> None:
    policies = [type(policy_for(concurrency)) for concurrency in (0, 1, 3, 4)]
    assert policies == [RandomChoiceOfTwo, FirstAvailable, FirstAvailable, RoundRobin]


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 5))
def test_the_one_with_the_fewest_requests_and_a_free_slot_is_next(in_flight: list[int], capacity: int) -> None:
    picked = LeastInFlight().pick(targets(*in_flight, capacity=capacity))
    free = [count for count in in_flight if count < capacity]
    assert (None if picked is None else picked.in_flight) == min(free, default=None)


def test_those_with_as_few_requests_are_chosen_alike() -> None:
    turns, chance = evenly(1)
    policy, equal = LeastInFlight(chance), targets(1, 1, 1, 1)
    counts = Counter(policy.pick(equal) for _ in range(turns))
    assert counts == dict.fromkeys(equal, turns / 4)
