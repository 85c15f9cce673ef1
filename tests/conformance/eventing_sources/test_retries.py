"""Statements 5-8 of eventing-sources.md: what a sink sees of an event that it does not take, with waits that are real.

What is waited is handed in elsewhere (`tests/sources/test_adapter.py`); one event here shows that the clock is obeyed.
"""

import asyncio
import time

import pytest

from eventing.event import Event
from eventing.sending import Sender
from proxies.logs import Logger
from proxies.metrics.instruments import Registry
from sources.adapter import Adapter
from sources.metrics import SourceMetrics
from tests.sources.support import AsIs, FixedTokens, running_adapter, running_sink, target


def event() -> Event:
    return Event({"type": "t", "source": "/s"}, None)


async def test_5_and_6_the_sixth_attempt_is_the_last() -> None:
    async with running_sink(503, 503, 503, 503, 503, 202) as sink, running_adapter() as bench:
        assert (await bench.adapter.deliver(target(sink.url), event())).is_delivered
        assert len(sink.got) == 6
    async with running_sink(503) as sink, running_adapter() as bench:
        assert not (await bench.adapter.deliver(target(sink.url), event())).is_delivered
        assert len(sink.got) == 6
        assert bench.waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


async def test_6_the_first_waits_take_their_time() -> None:
    sender = Sender(asyncio.get_running_loop(), AsIs())
    adapter = Adapter(
        sender, tokens=FixedTokens(), metrics=SourceMetrics(Registry({})), log=Logger("test", write=lambda _line: None)
    )
    async with running_sink(503, 503, 202) as sink:
        started_s = time.monotonic()
        try:
            await adapter.deliver(target(sink.url), event())
        finally:
            await sender.close()
        assert time.monotonic() - started_s >= 0.3
        assert len(sink.got) == 3


@pytest.mark.parametrize("status", [500, 400, 408, 409])
async def test_7_one_attempt(status: int) -> None:
    async with running_sink(status) as sink, running_adapter() as bench:
        await bench.adapter.deliver(target(sink.url), event())
        assert len(sink.got) == 1


@pytest.mark.parametrize("status", [404, 413, 425, 429, 502, 504])
async def test_8_six_attempts(status: int) -> None:
    async with running_sink(status) as sink, running_adapter() as bench:
        await bench.adapter.deliver(target(sink.url), event())
        assert len(sink.got) == 6
