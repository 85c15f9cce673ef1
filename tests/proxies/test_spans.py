"""`proxies/spans.py`: places in traces, samplers, and a queue that is bounded."""

import asyncio
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.logs import Logger
from proxies.otlp import Endpoint
from proxies.spans import Place, Sampler, Span, SpanKind, SpanQueue, parse_traceparent

ID = st.integers(1, (1 << 64) - 1).map(lambda number: f"{number:016x}")
TRACE_ID = st.integers(1, (1 << 128) - 1).map(lambda number: f"{number:032x}")


@given(TRACE_ID, ID, st.booleans())
def test_what_is_told_is_understood(trace_id: str, span_id: str, is_sampled: bool) -> None:
    place = Place(trace_id, "", is_sampled)
    assert parse_traceparent(place.traceparent(span_id)) == Place(trace_id, span_id, is_sampled)


@given(st.binary(max_size=80))
def test_anything_else_is_nobody_and_no_error(value: bytes) -> None:
    assert parse_traceparent(value) is None or value.count(b"-") >= 3


@pytest.mark.parametrize(
    ("value", "understood"),
    [
        (b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", True),
        (b"cc-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01-more", True),
        (b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01-more", False),
        (b"ff-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", False),
        (b"00-" + b"A" * 32 + b"-" + b"b" * 16 + b"-01", False),
        (b"00-" + b"0" * 32 + b"-" + b"b" * 16 + b"-01", False),
        (b"00-" + b"a" * 32 + b"-" + b"0" * 16 + b"-01", False),
        (b" 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", False),
    ],
)
def test_versions_and_zeros(value: bytes, understood: bool) -> None:
    assert (parse_traceparent(value) is not None) == understood


def test_a_ratio_keeps_its_share_and_the_same_traces_everywhere() -> None:
    sampler = Sampler(0.25, follows_parent=True)
    places = [Place.root() for _ in range(4000)]
    kept = [sampler.keeps(place, has_parent=False) for place in places]
    assert 800 < sum(kept) < 1200
    assert kept == [Sampler(0.25, follows_parent=False).keeps(place, has_parent=True) for place in places]


@pytest.mark.parametrize("name", ["", "sometimes", "parentbased_", "parentbased_sometimes"])
def test_unknown_samplers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="always_on"):
        Sampler.named(name, "")


def test_a_ratio_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Sampler.named("traceidratio", "1.5")


async def test_spans_that_nobody_takes_are_dropped_and_counted() -> None:
    log = io.BytesIO()
    endpoint = Endpoint.from_url("http://127.0.0.1:1", default_path="/v1/traces")
    queue = SpanQueue(asyncio.get_running_loop(), Logger("test", write=log.write), {}, endpoint, scope="test")
    span = Span(Place.root(), "a" * 16, "x", SpanKind.SERVER, 1, 2, {})
    for _ in range(3000):
        queue.add([span])
    await queue.close()
    events = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [event["count"] for event in events if event["message"] == "spans_dropped"] == [3000 - 2048]
