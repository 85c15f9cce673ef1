"""Reading one gauge from the text that a Prometheus endpoint answers with.

Only the lines of that gauge are looked at; a queue's length with several label sets (one per model, say) is the sum of
them. Both the Prometheus text format and OpenMetrics are understood, as far as a gauge's line goes. Linear in the text,
whatever is in it. Source: prometheus.io "Exposition formats", openmetrics.io.
"""

import re
from functools import lru_cache
from typing import Final

from autoscaler.plausibility import FIGURE_MAX

__all__ = ["GaugeError", "read_gauge"]

_NAMES_MAX: Final = 1024
"""Patterns that are kept; one per metric name in use."""


class GaugeError(Exception):
    """The text holds no usable value of the gauge."""


def read_gauge(text: bytes, name: str) -> float:
    """The value of the gauge `name`, summed over its label sets. Raises `GaugeError`."""
    values = _pattern(name).findall(text)
    if not values:
        raise GaugeError(f"no metric {name}")
    total = 0.0
    for value in values:
        try:
            total += float(value)
        except ValueError:
            raise GaugeError(f"{name}: expected a number, got {value[:64].decode('utf-8', 'replace')!r}") from None
    if not 0.0 <= total <= FIGURE_MAX:
        raise GaugeError(f"{name}: expected a number from 0 to {FIGURE_MAX:g}, got {total:g}")
    return total


@lru_cache(maxsize=_NAMES_MAX)
def _pattern(name: str) -> re.Pattern[bytes]:
    # Label values are quoted and may hold anything but a bare quote; behind the value a time stamp may stand, and in
    # OpenMetrics an exemplar. No two alternatives begin with the same byte, so nothing is tried twice.
    return re.compile(
        rb"^" + re.escape(name).encode() + rb'[ \t]*(?:\{(?:[^"}\n]|"(?:[^"\\\n]|\\[^\n])*")*\}[ \t]*)?(?<=[ \t}])'
        rb"([^\s]+)(?:[ \t]+[^\s]+)?[ \t]*(?:#[^\n]*)?\r?$",
        re.MULTILINE,
    )
