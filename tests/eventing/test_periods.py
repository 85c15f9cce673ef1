"""ISO 8601 periods (spec eventing-channels.md 1.1)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.periods import period_s

_DAY_S = 86_400


@pytest.mark.parametrize(
    ("text", "length_s"),
    [
        ("PT1S", 1),
        ("PT0.2S", 0.2),
        ("PT0,2S", 0.2),
        ("PT0.25S", 0.2),
        ("PT0.05S", 0),
        ("PT1M30S", 90),
        ("PT2H", 7200),
        ("P1D", _DAY_S),
        ("P1W", 7 * _DAY_S),
        ("P1M", 365.2425 * _DAY_S / 12),
        ("P1Y", 365.2425 * _DAY_S),
        ("-PT1S", -1),
        ("+PT1S", 1),
        ("P0", 0),
        ("P0D", 0),
        ("P1DT1H", 90_000),
        ("PT5000S", 5000),
        ("PT1.S", 1),
    ],
)
def test_a_period_is_as_long_as_the_table_says(text: str, length_s: float) -> None:
    assert period_s(text) == length_s


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1s",
        "PT",
        "P",
        "T1S",
        "PT1",
        "P1S",
        "PT1D",
        "PT1S1M",
        "PT.5S",
        "PT0.5M0.5S",
        "P-1D",
        "PT1s",
        "PT9999999999S",
    ],
)
def test_other_text_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        period_s(text)


@given(st.integers(0, 99_999), st.integers(0, 59), st.integers(0, 59), st.text("0123456789", max_size=5))
def test_one_decimal_digit_counts_and_the_rest_is_cut_off(
    hours: int, minutes: int, seconds: int, fraction: str
) -> None:
    tenths = int(fraction[:1] or 0)
    text = f"PT{hours}H{minutes}M{seconds}.{fraction}S"
    assert period_s(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + tenths / 10)
    assert period_s("-" + text) == -period_s(text)


@given(st.text("PTYMWDHS0123456789.,-+ ", max_size=20))
def test_any_text_is_a_period_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert -1e17 < period_s(text) < 1e17
