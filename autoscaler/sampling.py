"""How many pods of a revision are asked for their load.

The classic sample size for a confidence of 95 % and a margin of error of 5 at a variance of 100, corrected for a finite
population: few pods are all asked, of very many no more than 16. Source: knative/serving
`pkg/autoscaler/metrics/sample_size.go`; spec autoscaler.md 4.4; golden set `sample_size`.
"""

import math

__all__ = ["SAMPLE_MAX", "sample_size"]

SAMPLE_MAX = 16
"""Of very many pods no more are asked."""
_ALL_BELOW = 3
_UNBOUNDED_SAMPLE = 1.96**2 * 100 / 25
"""z squared times variance over the squared margin of error, with margins in the same unit as the variance."""


def sample_size(population: int) -> int:
    """Pods to ask out of `population`; all of them up to three."""
    if population <= _ALL_BELOW:
        return max(0, population)
    return math.ceil(population * _UNBOUNDED_SAMPLE / (population + _UNBOUNDED_SAMPLE - 1))
