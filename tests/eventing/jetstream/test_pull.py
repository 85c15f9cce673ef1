"""Pulling: with credit, settled once, over restarts; replicas share; nothing under way comes again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nats.js.api import ConsumerConfig, StreamConfig

from eventing.jetstream.link import Link
from eventing.jetstream.publisher import Published, Publisher
from eventing.jetstream.pull import ByteBudget, Delivered, Pull
from eventing.jetstream.streams import Streams
from tests.eventing.jetstream.test_publisher import linked, lost, publish
from tests.support.nats import RunningNats, running_nats


class Consumer:
    """A pull whose messages are collected, and one that publishes to it."""

    def __init__(self, link: Link, stream: str, **options: Any) -> None:
        self.link = link
        self.stream = stream
        self.taken: list[Delivered] = []
        self.missing = 0
        self._came = asyncio.Event()
        options = {"credit": 10, "ack_wait_s": 30.0, "budget": ByteBudget(1 << 30), **options}
        loop = asyncio.get_running_loop()
        self.pull = Pull(link, stream, "C", self._take, now_s=loop.time, missing=self._is_missing, **options)

    def _take(self, message: Delivered) -> None:
        self.taken.append(message)
        self._came.set()

    def _is_missing(self) -> None:
        self.missing += 1
        self._came.set()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._came.clear()
                await self._came.wait()

    async def count(self, number: int) -> None:
        await self.until(lambda: len(self.taken) >= number)


@asynccontextmanager
async def consumer(link: Link, stream: str, **options: Any) -> AsyncIterator[Consumer]:
    settings = {key: options.pop(key) for key in ("ack_wait", "max_ack_pending") if key in options}
    streams = Streams(link)
    await streams.ensure_stream(StreamConfig(name=stream, subjects=[f"{stream}.x"]))
    await streams.ensure_consumer(stream, ConsumerConfig(durable_name="C", **settings))
    made = Consumer(link, stream, **options)
    try:
        yield made
    finally:
        made.pull.stop()


async def publish_all(link: Link, stream: str, number: int, size: int = 10) -> list[Published]:
    publisher = Publisher(link)
    return await asyncio.gather(*(publish(publisher, f"{stream}.x", b"%d" % n + b" " * size) for n in range(number)))


async def pending(link: Link, stream: str) -> tuple[int, int]:
    info = await link.jetstream.consumer_info(stream, "C")
    return info.num_pending or 0, info.num_ack_pending or 0


async def settled(link: Link, stream: str) -> None:
    """Return when the server has heard of everything: what was sent before is there before an answer comes."""
    await link.jetstream.stream_info(stream)
    assert await pending(link, stream) == (0, 0)


async def test_no_more_than_the_credit_is_under_way_and_what_is_settled_makes_room(nats: RunningNats) -> None:
    async with linked(nats) as link, consumer(link, "L1", credit=4) as one:
        await publish_all(link, "L1", 10)
        await one.count(4)
        assert await pending(link, "L1") == (6, 4)
        for message in one.taken[:4]:
            message.ack()
        await one.count(8)
        for message in one.taken:
            message.ack()  # the first ones for the second time: nothing happens
        await one.count(10)
        assert [int(message.data) for message in one.taken] == list(range(10))
        assert {message.deliveries for message in one.taken} == {1}


async def test_what_is_given_back_comes_again_and_what_is_ended_does_not(nats: RunningNats) -> None:
    async with linked(nats) as link, consumer(link, "L2") as one:
        await publish_all(link, "L2", 2)
        await one.count(2)
        one.taken[0].term()
        begun = asyncio.get_running_loop().time()
        one.taken[1].nak(0.3)
        await one.count(3)
        assert asyncio.get_running_loop().time() - begun >= 0.3
        assert (one.taken[2].sequence, one.taken[2].deliveries) == (2, 2)
        one.taken[2].ack()
        assert one.pull.under_way == 0


async def test_what_is_under_way_longer_than_the_ack_wait_does_not_come_again(nats: RunningNats) -> None:
    async with linked(nats) as link, consumer(link, "L3", ack_wait=0.6, ack_wait_s=0.6) as one:
        await publish_all(link, "L3", 1)
        await one.count(1)
        # Twice its time is up, seen by another consumer whose message comes back only then.
        async with consumer(link, "L3B") as clock:
            await publish_all(link, "L3B", 1)
            await clock.count(1)
            clock.taken[0].nak(1.3)
            await clock.count(2)
        info = await link.jetstream.consumer_info("L3", "C")
        assert (info.num_redelivered, info.num_ack_pending, len(one.taken)) == (0, 1, 1)


async def test_bytes_under_way_are_bounded_over_all_consumers(nats: RunningNats) -> None:
    budget = ByteBudget(1500)
    async with linked(nats) as link, consumer(link, "L4", credit=2, budget=budget) as one:
        await publish_all(link, "L4", 6, size=1000)
        await one.count(2)
        assert budget.used > budget.limit
        async with consumer(link, "L5", credit=2, budget=budget) as two:
            await publish_all(link, "L5", 1)
            assert await pending(link, "L5") == (1, 0)  # it has not asked
            for message in one.taken:
                message.ack()
            await two.count(1)
            await one.count(4)


async def test_replicas_share_the_messages(nats: RunningNats) -> None:
    async with linked(nats) as link, linked(nats) as other, consumer(link, "L6", credit=3) as one:
        two = Consumer(other, "L6", credit=3)
        try:
            await asyncio.gather(publish_all(link, "L6", 6), one.count(3), two.count(3))
            sequences = sorted(message.sequence for message in one.taken + two.taken)
            assert sequences == [1, 2, 3, 4, 5, 6]
        finally:
            two.pull.stop()


async def test_a_restart_of_the_server_loses_nothing_and_repeats_nothing_under_way(tmp_path: Path) -> None:
    with running_nats(tmp_path) as nats:
        async with linked(nats) as link, consumer(link, "L7", credit=100, ack_wait=1.0, ack_wait_s=1.0) as one:
            await publish_all(link, "L7", 20)
            await one.count(20)
            await lost(nats, link)
            for message in one.taken[:10]:
                message.ack()  # told when there is a connection again
            await asyncio.to_thread(nats.start)
            await asyncio.wait_for(link.wait_up(), 20)
            await publish_all(link, "L7", 1)
            await one.count(21)
            assert [message.deliveries for message in one.taken] == [1] * 21
            for message in one.taken:
                message.ack()
            await settled(link, "L7")


async def test_a_consumer_that_is_gone_is_told_of_and_one_made_anew_is_asked(nats: RunningNats) -> None:
    async with linked(nats) as link, consumer(link, "L8") as one:
        await Streams(link).remove_consumer("L8", "C")
        await one.until(lambda: one.missing)
        await Streams(link).ensure_consumer("L8", ConsumerConfig(durable_name="C"))
        await publish_all(link, "L8", 1)
        await one.count(1)
