"""Kubernetes quantities (`250m`, `64Mi`, `1e3`) as exact numbers.

Source: Kubernetes API conventions, `k8s.io/apimachinery/pkg/api/resource` (grammar in the package's documentation).
"""

import re
from fractions import Fraction

__all__ = ["divide_quantity", "parse_quantity"]

_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,3}))?\Z", re.ASCII
)
_SUFFIXES = {
    **{
        suffix: Fraction(10) ** power
        for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}


def parse_quantity(text: str) -> Fraction:
    """The exact value; `ValueError` for anything that is not a quantity."""
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"expected a quantity such as 250m or 64Mi, got {text!r}")
    number, suffix, exponent = match.groups()
    return Fraction(number.rstrip(".")) * (_SUFFIXES[suffix] if suffix else Fraction(10) ** int(exponent or 0))


def divide_quantity(quantity: str, divisor: str) -> int:
    """`quantity / divisor`, rounded up, as the downward API hands it to a container. A divisor of 0 counts as 1."""
    return -(-parse_quantity(quantity) // (parse_quantity(divisor) or 1))
