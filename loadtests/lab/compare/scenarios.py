"""Everything that can be asked."""

from typing import Final

from loadtests.lab.compare import loads, proxies, zero
from loadtests.lab.compare.model import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: Final[dict[str, Scenario]] = {
    each.name: each for each in (*proxies.SCENARIOS, *zero.SCENARIOS, *loads.SCENARIOS)
}
