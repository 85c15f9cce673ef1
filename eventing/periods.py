"""ISO 8601 periods as delivery settings have them: `PT0.2S`, `P1D`, `-PT1S`.

A component keeps one decimal digit, the rest is cut off, so that `PT0.25S` is 0.2 s and `PT0.05S` is nothing: the
original's parser counts in tenths. A month is a twelfth of a year, a year has 365.2425 days.

Source: spec eventing-channels.md 1.1.
"""

import re
from typing import Final

__all__ = ["period_s"]

_NUMBER: Final = r"([0-9]{1,9}(?:[.,][0-9]*)?)"
_PERIOD: Final = re.compile(
    rf"([+-]?)P(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_DAY_S: Final = 86_400
_YEAR_S: Final = 365.2425 * _DAY_S
_UNITS_S: Final = (_YEAR_S, _YEAR_S / 12, 7 * _DAY_S, _DAY_S, 3600, 60, 1)


def period_s(text: str) -> float:
    """Return the length of a period in seconds, below zero for a negative one. Raises `ValueError` for other text."""
    if text == "P0":
        return 0.0
    match = _PERIOD.fullmatch(text)
    parts = (*match.groups()[1:5], *match.groups()[6:]) if match is not None else ()
    if match is None or not any(parts):
        raise ValueError(f"expected an ISO 8601 period such as PT0.2S or P1D, got {text[:64]!r}")
    fractional = [part for part in parts if part and _tenths(part) % 10]
    if len(fractional) > 1:
        raise ValueError(f"expected a fraction in one component at most, got {text[:64]!r}")
    # Tenths are whole numbers: 0.2 s is exactly what 0.2 is, whatever else is added.
    length_s = sum(_tenths(part) * unit_s for part, unit_s in zip(parts, _UNITS_S, strict=True) if part) / 10
    return -length_s if match[1] == "-" else length_s


def _tenths(number: str) -> int:
    whole, _, fraction = number.replace(",", ".").partition(".")
    return int(whole) * 10 + int(fraction[:1] or 0)
