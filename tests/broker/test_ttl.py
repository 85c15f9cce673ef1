"""`broker/ttl.py`: the table of the spec (5.4)."""

import pytest

from broker.ttl import ArrivalTimes, next_ttl, ttl_of
from eventing.values import Value


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (None, 255),
        ("abc", 255),
        ("", 255),
        (True, 255),
        ("99999999999", 255),
        ("-99999999999", 255),
        ("NaN", 255),
        ("Inf", 255),
        ("2", 1),
        (2, 1),
        ("2.9", 1),
        ("1e2", 99),
        ("1000", 999),
        ("2147483647", 2147483646),
        ("1", 0),
        (1, 0),
        ("0", 0),
        ("-5", 0),
        ("\u0662", 255),
    ],
)
def test_33_to_37_what_is_left(value: Value | None, left: int) -> None:
    assert next_ttl(value, 255) == left


def test_a_filter_reads_it_without_judging() -> None:
    assert [ttl_of(value) for value in ("-1", "0", "7", "x", None)] == [-1, 0, 7, None, None]


@pytest.mark.parametrize(
    ("unix_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_763_733_906_123_456_789, "2025-11-21T14:05:06.123456789Z"),
        (1_763_733_906_000_000_001, "2025-11-21T14:05:06.000000001Z"),
        (1_763_733_907_500_000_000, "2025-11-21T14:05:07.5Z"),
    ],
)
def test_32_times_as_go_writes_them(unix_ns: int, text: str) -> None:
    assert ArrivalTimes().at(unix_ns) == text
