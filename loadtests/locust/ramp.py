"""Arrivals that grow in three equal steps of 20 s, by default 100, 200, 300 a second (`--rate` is the first)."""

from loadtests.locust.common import OpenLoop

STEP_S = 20.0


class Ramp(OpenLoop):
    """All arrivals."""

    fixed_count = 1

    def rate_at(self, elapsed_s: float) -> float:
        """Once, twice, three times the rate."""
        return super().rate_at(elapsed_s) * min(3, 1 + int(elapsed_s / STEP_S))
