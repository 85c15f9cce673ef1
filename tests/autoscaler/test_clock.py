"""`autoscaler.clock`: time that does not jump."""

from autoscaler.clock import SteadyClock


def test_a_wall_clock_that_is_set_does_not_move_it() -> None:
    wall, steady = [1000.0], [5.0]
    clock = SteadyClock(wall=lambda: wall[0], steady=lambda: steady[0])
    assert clock() == 1000.0
    wall[0] -= 3600
    steady[0] += 2
    assert clock() == 1002.0
