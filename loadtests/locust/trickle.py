"""A burst that brings pods, then one request every two seconds while they go away: none may meet a pod that ends."""

from loadtests.locust.common import OpenLoop

BURST_S = 15.0
TRICKLE = 0.5


class Trickle(OpenLoop):
    """All arrivals."""

    fixed_count = 1

    def rate_at(self, elapsed_s: float) -> float:
        """The rate at first, then next to nothing."""
        return super().rate_at(elapsed_s) if elapsed_s < BURST_S else TRICKLE
