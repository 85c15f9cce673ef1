"""Kubernetes quantities (`100m`, `1.5Gi`, `2e3`): read, compared, and written in canonical form.

Source: Kubernetes documentation, "Resource units"; `k8s.io/apimachinery/pkg/api/resource/quantity.go`.
"""

import re
from fractions import Fraction

__all__ = ["format_milli", "parse_quantity"]

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]+)|([KMGTPE]i|[numkMGTPE]?))\Z", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_quantity(text: str | int | float) -> Fraction:
    """The quantity's exact value. Raises `ValueError`. Numbers count as their text, as in YAML."""
    match = _QUANTITY.match(str(text))
    if match is None:
        raise ValueError(f"expected a quantity such as 100m or 1Gi, got {text!r}")
    number = Fraction(match[1])
    if match[2]:
        return number * Fraction(10) ** int(match[2][1:])
    suffix = match[3]
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    return number * Fraction(10) ** _DECIMAL[suffix]


def format_milli(milli: int, *, binary: bool) -> str:
    """`milli` thousandths in canonical form: the largest suffix that leaves a whole number.

    `binary` chooses Ki, Mi, ... (memory); anything that is not whole is written in thousandths.
    """
    if milli % 1000:
        return f"{milli}m"
    value = milli // 1000
    if value == 0:
        return "0"
    if binary and abs(value) >= 1024:
        # The power of 1024 that divides the value, at most Ei.
        power = min((value & -value).bit_length() - 1, 60) // 10
        return f"{value >> 10 * power}{['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'][power]}"
    power = 0
    while power < 6 and value % 1000 == 0:
        value //= 1000
        power += 1
    return f"{value}{['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}"
