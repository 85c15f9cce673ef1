"""Kubernetes quantities."""

from fractions import Fraction

import pytest

from controller.quantities import format_milli, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", Fraction(1, 10)),
        ("1.5Gi", Fraction(3 << 29)),
        ("2e3", Fraction(2000)),
        (".5", Fraction(1, 2)),
        ("-1", Fraction(-1)),
        ("3k", Fraction(3000)),
        ("1E", Fraction(10**18)),
    ],
)
def test_quantities_are_exact(text: str, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "much", "1 Gi", "1gi", "0x10", "1e", "."])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("milli", "binary", "text"),
    [
        (100, False, "100m"),
        (2000, False, "2"),
        (2_000_000, False, "2k"),
        (0, False, "0"),
        (1024_000, True, "1Ki"),
        (1536 * 1024 * 1000, True, "1536Ki"),
        ((1 << 30) * 1000, True, "1Gi"),
        (53687091200, True, "53687091200m"),
    ],
)
def test_quantities_are_written_in_canonical_form(milli: int, binary: bool, text: str) -> None:
    assert format_milli(milli, binary=binary) == text
