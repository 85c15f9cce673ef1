"""`autoscaler.ages`: how old conditions are when clocks are set."""

import pytest

from autoscaler.ages import Ages
from kube.models.meta import Condition
from kube.timestamps import format_time

T0 = 1_785_542_400.0


class Clocks:
    """Both clocks; `pass_` moves them together, `set_wall` only one."""

    def __init__(self) -> None:
        self.wall_s = T0
        self.steady_s = 7.0
        self.ages = Ages(wall=lambda: self.wall_s, steady=lambda: self.steady_s)

    def pass_(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds


def active(status: str, since_s: float) -> Condition:
    return Condition(type="Active", status=status, last_transition_time=format_time(since_s))


def test_a_condition_is_as_old_as_its_transition() -> None:
    clocks = Clocks()
    condition = active("True", T0 - 100)
    assert clocks.ages.in_status_s("a", condition, "True") == 100
    clocks.pass_(20)
    assert clocks.ages.in_status_s("a", condition, "True") == 120
    assert clocks.ages.in_status_s("b", condition, "True") == 120


@pytest.mark.parametrize(
    "condition",
    [None, active("False", T0), Condition(type="Active", status="True")],
    ids=["missing", "other", "since nobody knows when"],
)
def test_another_status_has_no_age(condition: Condition | None) -> None:
    assert Clocks().ages.in_status_s("a", condition, "True") == -1


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_makes_nothing_older_or_younger(step_s: float) -> None:
    clocks = Clocks()
    condition = active("Unknown", T0 - 10)
    clocks.ages.in_status_s("a", condition, "Unknown")
    clocks.wall_s += step_s
    clocks.pass_(5)
    assert clocks.ages.in_status_s("a", condition, "Unknown") == 15
    # And what happens afterwards is as old as it is.
    later = active("True", clocks.wall_s)
    clocks.pass_(3)
    assert clocks.ages.in_status_s("a", later, "True") == 3
    clocks.pass_(3)
    assert clocks.ages.in_status_s("a", later, "True") == 6


def test_a_transition_in_the_future_has_just_happened() -> None:
    clocks = Clocks()
    assert clocks.ages.in_status_s("a", active("True", T0 + 500), "True") == 0
    clocks.pass_(5)
    assert clocks.ages.in_status_s("a", active("True", T0 + 500), "True") == 5


def test_the_same_status_taken_again_is_young() -> None:
    clocks = Clocks()
    clocks.ages.in_status_s("a", active("True", T0 - 100), "True")
    assert clocks.ages.in_status_s("a", active("True", T0 - 1), "True") == 1


def test_a_forgotten_owner_is_measured_anew() -> None:
    clocks = Clocks()
    condition = active("True", T0 - 100)
    clocks.ages.in_status_s("a", condition, "True")
    clocks.wall_s += 50
    clocks.ages.forget("a")
    clocks.ages.forget("nobody")
    assert clocks.ages.in_status_s("a", condition, "True") == 150
