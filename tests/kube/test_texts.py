"""Times and Go's textual forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.timestamps import format_time, parse_time_s
from proxies import gotext


@given(st.integers(0, 4_000_000_000))
def test_a_time_reads_back(unix_s: int) -> None:
    assert parse_time_s(format_time(unix_s)) == unix_s


def test_offsets_and_fractions_of_rfc_3339() -> None:
    assert parse_time_s("1970-01-01T01:00:00.25+01:00") == 0.25
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_time_s("yesterday")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1m30s", 90), ("1.5h", 5400), ("-2ms", -0.002), ("+3us", 3e-6), (".5s", 0.5), ("1h0m0s", 3600)],
)
def test_durations_that_go_accepts(text: str, seconds: float) -> None:
    assert gotext.parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "1m 30s", "1d", "--1s", "1_0s", "9999999999h"])
def test_durations_that_go_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        gotext.parse_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.3, "300ms"), (1.5, "1.5s"), (90, "1m30s"), (3600, "1h0m0s"), (0.0000021, "2.1µs"), (-60, "-1m0s")],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert gotext.format_duration(seconds) == text


@given(st.integers(-(10**15), 10**15))
def test_a_duration_reads_back(microseconds: int) -> None:
    text = gotext.format_duration(microseconds / 1e6)
    assert gotext.parse_duration_s(text) == pytest.approx(microseconds / 1e6, rel=1e-12, abs=1e-9)


def test_integers_with_and_without_prefixes() -> None:
    assert gotext.parse_int("+007") == 7
    assert gotext.parse_int("0x1F", prefixes=True) == 31
    assert gotext.parse_int("017", prefixes=True) == 15
    assert gotext.parse_int("-0b11", prefixes=True) == -3
    for text in ("", " 4", "1.5", "1_0", "0x1F"):
        with pytest.raises(ValueError, match="integer"):
            gotext.parse_int(text)
    with pytest.raises(ValueError, match="32 bits"):
        gotext.parse_int("2147483648", bits=32)
