"""`autoscaler.prometheus_text`: one gauge out of whatever an app answers."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.prometheus_text import GaugeError, read_gauge


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("queue 3", 3.0),
        ("queue 3\n", 3.0),
        ("queue 3\r\n", 3.0),
        ("queue\t 0.25e1 \n", 2.5),
        ("queue{} 3\n", 3.0),
        ('queue{model="a"} 3\n', 3.0),
        ('queue{model="a"}3\n', 3.0),
        ('queue { model="a" } 3\n', 3.0),
        ('queue{model="a",size="b"} 3 1785542400000\n', 3.0),
        ('queue{model="}\\" 9 #",} 3\n', 3.0),
        ('queue{model="a"} 3 # {trace="x"} 9 9\n', 3.0),
        ('queue{model="a"} 3\nqueue{model="b"} 4\n', 7.0),
        ("# HELP queue 9\n# TYPE queue gauge\n#queue 9\nqueue_max 9\nmy_queue 9\nqueue 3\nother 9\n", 3.0),
    ],
)
def test_the_gauges_lines_are_summed(text: str, value: float) -> None:
    assert read_gauge(text.encode(), "queue") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no metric queue"),
        ("queue", "no metric queue"),
        ("queue3", "no metric queue"),
        ("# queue 3", "no metric queue"),
        ("xqueue 3\nqueue_max 3\nqueue:x 3", "no metric queue"),
        ("<html>not found</html>", "no metric queue"),
        ('queue{model="a} 3\n', "no metric queue"),
        ("queue three", "expected a number, got 'three'"),
        ("queue NaN", "expected a number from 0 to 1e[+]15, got nan"),
        ("queue +Inf", "expected a number from 0 to 1e[+]15, got inf"),
        ("queue 1e308", "expected a number from 0 to 1e[+]15, got 1e[+]308"),
        ("queue -1", "expected a number from 0 to 1e[+]15, got -1"),
        ('queue{a="b"} 3\nqueue{a="c"} NaN', "got nan"),
    ],
)
def test_anything_else_is_an_error_that_says_what(text: str, problem: str) -> None:
    with pytest.raises(GaugeError, match=problem):
        read_gauge(text.encode(), "queue")


@given(st.binary(max_size=200), st.text(alphabet='queue{}"\\,=\n 3#', max_size=60))
def test_any_bytes_give_a_number_or_that_error(noise: bytes, text: str) -> None:
    for data in (noise, text.encode(), text.encode() + noise):
        try:
            value = read_gauge(data, "queue")
        except GaugeError:
            continue
        assert value >= 0


@pytest.mark.parametrize(
    "text",
    [b'queue{a="' + b'\\"' * 500_000, b"queue " * 150_000, b'queue{a="b"' * 90_000, b"queue" + b" " * 1_000_000],
    ids=["open label value", "no line ends", "open label sets", "spaces"],
)
def test_a_hostile_mebibyte_is_read_in_a_moment(text: bytes) -> None:
    began_s = time.perf_counter()
    with pytest.raises(GaugeError):
        read_gauge(text, "queue")
    # A pattern that tried things twice would take minutes.
    assert time.perf_counter() - began_s < 5
