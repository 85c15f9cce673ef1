"""`local_cluster/node/quantities.py`."""

from fractions import Fraction

import pytest

from local_cluster.node.quantities import divide_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("250m", Fraction(1, 4)),
        ("64Mi", 64 << 20),
        ("1.5Gi", 3 << 29),
        ("2k", 2000),
        ("1e3", 1000),
        ("1E", 10**18),
        ("12E-1", Fraction(6, 5)),
        ("5.", 5),
        (".5", Fraction(1, 2)),
        ("-1n", Fraction(-1, 10**9)),
        ("3u", Fraction(3, 10**6)),
    ],
)
def test_quantities_are_exact(text: str, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "Mi", "1 Gi", "1mi", "0x1", "1e", "1Ki2", "٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("quantity", "divisor", "result"),
    [("250m", "1", 1), ("250m", "1m", 250), ("64Mi", "1Mi", 64), ("100Mi", "1Gi", 1), ("2", "0", 2)],
)
def test_division_rounds_up(quantity: str, divisor: str, result: int) -> None:
    assert divide_quantity(quantity, divisor) == result
