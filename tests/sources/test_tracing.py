"""The trace that an event is sent with."""

import re

import pytest

from proxies.environment import ConfigError
from sources.tracing import Tracing
from tests.sources.support import running_adapter, running_sink, target
from tests.sources.test_adapter import event

ON = {"tracing-protocol": "http/protobuf", "tracing-endpoint": "http://collector:4318"}


@pytest.mark.parametrize("data", [{}, {"tracing-protocol": "none", "tracing-sampling-rate": "1"}])
def test_without_a_protocol_nothing_is_told(data: dict[str, str]) -> None:
    assert Tracing.read(data, {}).line() == b""


@pytest.mark.parametrize(("rate", "flags"), [("1", b"01"), ("0", b"00"), ("", b"00")])
def test_the_flag_says_whether_the_trace_is_kept(rate: str, flags: bytes) -> None:
    line = Tracing.read({**ON, "tracing-sampling-rate": rate}, {}).line()
    assert re.fullmatch(rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-" + flags + rb"\r\n", line)


def test_the_rate_looks_at_the_lower_half_of_the_trace_id() -> None:
    kept = {}
    for low in ((1 << 63) - 2, 1 << 63):
        tracing = Tracing(0.5, lambda count, low=low: low | (1 << count - 1 if count > 64 else 0))  # type: ignore[misc]
        kept[low] = tracing.line().strip()[-2:]
    assert list(kept.values()) == [b"01", b"00"]


def test_ids_are_never_zeros() -> None:
    assert Tracing(0.0, lambda _count: 0).line() == b"traceparent: 00-%032x-%016x-00\r\n" % (1, 1)


@pytest.mark.parametrize("rate", ["2", "-0.1", "nan", "often"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ConfigError, match="tracing-sampling-rate: expected"):
        Tracing.read({**ON, "tracing-sampling-rate": rate}, {})


async def test_all_attempts_of_an_event_are_one_trace_and_two_events_are_two() -> None:
    async with running_sink(503, 202) as sink, running_adapter(tracing=Tracing(1.0)) as bench:
        for _ in range(2):
            await bench.adapter.deliver(target(sink.url), event())
    first, again, other = [got.headers["traceparent"] for got in sink.got]
    assert first == again != other
