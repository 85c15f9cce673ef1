"""Whether reported figures can be true. One sample that is not would spoil the averages of a whole window.

Checked where figures come in: pushed ones in `autoscaler.stat_server`, scraped ones in `autoscaler.scrape_client`.
"""

import math

from proxies.wire.stat import Stat

__all__ = ["FIGURE_MAX", "is_plausible"]

FIGURE_MAX = 1e15
"""More than any revision has, and so little that no sum over a window leaves what floating point can take back."""

_REQUEST_COUNT_MIN = -1
"""An activator that reported a first request at once takes it back in its next report, which may have no other."""
_ROUNDING = 1e-6
"""A sum of times may differ from the sum of its parts by that share."""


def is_plausible(stat: Stat) -> bool:
    """Whether a stat can be recorded: nothing NaN, negative or beyond `FIGURE_MAX`, no part beyond its whole."""
    concurrency = stat.average_concurrent_requests
    proxied_concurrency = stat.average_proxied_concurrent_requests
    count = stat.request_count
    proxied_count = stat.proxied_request_count
    return (
        math.isfinite(concurrency + proxied_concurrency + count + proxied_count)
        and concurrency <= FIGURE_MAX
        and count <= FIGURE_MAX
        and 0 <= proxied_concurrency <= concurrency + concurrency * _ROUNDING
        and count >= _REQUEST_COUNT_MIN
        and 0 <= proxied_count <= max(0.0, count + count * _ROUNDING)
        and stat.timestamp >= 0
    )
