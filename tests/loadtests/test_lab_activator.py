"""What the activator's budgets are measured against."""

import pytest

from loadtests.lab.activator.scenarios import least_unevenness


@pytest.mark.parametrize(
    ("pods", "activators", "expected"),
    [
        (10, 1, 1.0),
        (10, 2, 1.0),
        (2, 2, 1.0),
        # Blocks of 4, 3 and 3 pods for a third of the load each.
        (10, 3, 10 / 9),
        (50, 3, 50 / 48),
        # The first and the third use the same pod.
        (2, 3, 4 / 3),
        (5, 3, 5 / 3),
    ],
)
def test_how_uneven_pods_are_that_cannot_be_shared_out_evenly(pods: int, activators: int, expected: float) -> None:
    assert least_unevenness(pods, activators) == pytest.approx(expected)
