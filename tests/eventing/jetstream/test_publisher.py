"""Publishing: stored or not, once, over restarts of the server, within bounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.js.api import StreamConfig

from eventing.jetstream.link import Link
from eventing.jetstream.publisher import Published, Publisher, Publishing
from eventing.jetstream.streams import Streams
from proxies.logs import Logger
from tests.support.nats import RunningNats, running_nats


@asynccontextmanager
async def linked(nats: RunningNats) -> AsyncIterator[Link]:
    link = Link(nats.load, name="test", log=Logger("test", write=lambda _line: None))
    await link.start()
    try:
        await asyncio.wait_for(link.wait_up(), 20)
        yield link
    finally:
        await link.stop()


async def lost(nats: RunningNats, link: Link) -> None:
    """Kill the server, and return when the link knows."""
    is_down = asyncio.Event()
    link.on_down(is_down.set)
    nats.kill()
    await asyncio.wait_for(is_down.wait(), 20)


def publish(publisher: Publisher, subject: str, payload: bytes, **options: Any) -> "asyncio.Future[Published]":
    future: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
    publisher.publish(subject, payload, future.set_result, **options)
    return future


async def test_a_publish_is_stored_and_a_second_one_of_its_id_is_a_duplicate(nats: RunningNats) -> None:
    async with linked(nats) as link:
        await Streams(link).ensure_stream(StreamConfig(name="P1", subjects=["p1.x"]))
        publisher = Publisher(link)
        first = await publish(publisher, "p1.x", b"one", message_id="a")
        again = await publish(publisher, "p1.x", b"one", message_id="a")
        other = await publish(publisher, "p1.x", b"two", message_id="b")
        assert (first.how, first.sequence, first.is_duplicate) == (Publishing.STORED, 1, False)
        assert (again.how, again.sequence, again.is_duplicate) == (Publishing.STORED, 1, True)
        assert (other.how, other.sequence) == (Publishing.STORED, 2)
        assert publisher.in_flight == 0


async def test_a_publish_that_no_stream_takes_fails_with_the_subject(nats: RunningNats) -> None:
    async with linked(nats) as link:
        publisher = Publisher(link, timeout_s=0.3)
        published = await publish(publisher, "nobody.takes.this", b"x")
        assert published.how is Publishing.FAILED
        assert "no stream takes nobody.takes.this" in published.reason


async def test_a_stream_that_is_made_meanwhile_takes_what_waits(nats: RunningNats) -> None:
    async with linked(nats) as link:
        publisher = Publisher(link)
        waiting = publish(publisher, "p2.x", b"x")
        await Streams(link).ensure_stream(StreamConfig(name="P2", subjects=["p2.x"]))
        assert (await asyncio.wait_for(waiting, 20)).how is Publishing.STORED


async def test_a_refusal_of_the_stream_says_why(nats: RunningNats) -> None:
    async with linked(nats) as link:
        await Streams(link).ensure_stream(StreamConfig(name="P3", subjects=["p3.x"], max_msgs=1, discard="new"))  # type: ignore[arg-type]
        publisher = Publisher(link)
        assert (await publish(publisher, "p3.x", b"1")).how is Publishing.STORED
        refused = await publish(publisher, "p3.x", b"2")
        assert (refused.how, refused.reason) == (Publishing.FAILED, "maximum messages exceeded")


async def test_more_than_the_bounds_is_refused_at_once(nats: RunningNats) -> None:
    async with linked(nats) as link:
        await Streams(link).ensure_stream(StreamConfig(name="P4", subjects=["p4.x"]))
        publisher = Publisher(link, in_flight_max=2)
        kept = [publish(publisher, "p4.x", b"x") for _ in range(2)]
        beyond = publish(publisher, "p4.x", b"x")
        assert beyond.done()
        assert (await beyond).how is Publishing.BUSY
        assert [(await each).how for each in kept] == [Publishing.STORED] * 2

        publisher = Publisher(link, bytes_max=10)
        kept = [publish(publisher, "p4.x", b"x" * 10)]
        assert (await publish(publisher, "p4.x", b"x")).how is Publishing.BUSY
        assert (await kept[0]).how is Publishing.STORED
        assert (await publish(publisher, "p4.x", b"x")).how is Publishing.STORED  # there is room again

        large = await publish(publisher, "p4.x", b"x" * (1 << 20))
        assert large.how is Publishing.TOO_LARGE
        assert "max_payload" in large.reason


async def test_what_was_under_way_when_the_server_died_is_stored_once_when_it_is_back(tmp_path: Path) -> None:
    with running_nats(tmp_path) as nats:
        async with linked(nats) as link:
            await Streams(link).ensure_stream(StreamConfig(name="P5", subjects=["p5.x"]))
            publisher = Publisher(link, timeout_s=20)
            before = [publish(publisher, "p5.x", b"x", message_id=f"before {n}") for n in range(100)]
            await asyncio.sleep(0)  # some are written
            await lost(nats, link)
            assert link.problem
            during = publish(publisher, "p5.x", b"x", message_id="during")
            await asyncio.to_thread(nats.start)
            results = await asyncio.wait_for(asyncio.gather(*before, during), 30)
            assert {result.how for result in results} == {Publishing.STORED}
            info = await link.jetstream.stream_info("P5")
            assert info.state.messages == 101


async def test_a_server_that_reads_no_more_and_then_dies_holds_up_nothing_for_ever(tmp_path: Path) -> None:
    with running_nats(tmp_path) as nats:
        async with linked(nats) as link:
            await Streams(link).ensure_stream(StreamConfig(name="P6", subjects=["p6.x"]))
            publisher = Publisher(link, timeout_s=30)
            nats.pause()
            # More than sockets and the library take: whoever writes has to wait.
            waiting = [publish(publisher, "p6.x", b"x" * 900_000, message_id=str(n)) for n in range(20)]
            await asyncio.sleep(0.1)
            await lost(nats, link)
            await asyncio.to_thread(nats.start)
            results = await asyncio.wait_for(asyncio.gather(*waiting), 60)
            assert {result.how for result in results} == {Publishing.STORED}


async def test_without_a_connection_a_publish_fails_in_time_and_says_so(tmp_path: Path) -> None:
    nats = RunningNats(tmp_path)  # never started
    link = Link(nats.load, name="test", log=Logger("test", write=lambda _line: None))
    await link.start()
    try:
        publisher = Publisher(link, timeout_s=0.3)
        published = await asyncio.wait_for(publish(publisher, "x", b"x"), 20)
        assert published.how is Publishing.FAILED
        assert "within 0.3 s" in published.reason
        assert link.problem
    finally:
        await link.stop()


async def test_the_end_of_the_process_fails_what_is_under_way(nats: RunningNats) -> None:
    async with linked(nats) as link:
        publisher = Publisher(link)
        waiting = publish(publisher, "nobody", b"x")
        publisher.close()
        assert (await waiting).reason == "the process is ending"


async def test_a_wrong_password_is_told_and_a_right_one_is_taken_when_it_comes(nats: RunningNats) -> None:
    passwords = iter(["wrong", "wrong"])
    log: list[bytes] = []

    async def load() -> Any:
        return type(nats.settings)(
            servers=(nats.url,),
            user=nats.settings.user,
            password=next(passwords, nats.settings.password),
            reconnect_wait_s=0.02,
        )

    link = Link(load, name="test", log=Logger("test", write=log.append))
    await link.start()
    try:
        await asyncio.wait_for(link.wait_up(), 20)
    finally:
        await link.stop()
    told = b"".join(log)
    assert told.count(b"nats_unreachable") == 1  # the same problem is told once
    assert nats.settings.password.encode() not in told


@pytest.mark.parametrize("servers", [("nats://127.0.0.1:1", "{url}"), ("{url}", "nats://127.0.0.1:1")])
async def test_one_server_of_several_that_answers_is_enough(nats: RunningNats, servers: tuple[str, ...]) -> None:
    async def load() -> Any:
        listed = tuple(server.format(url=nats.url) for server in servers)
        return type(nats.settings)(
            servers=listed, user=nats.settings.user, password=nats.settings.password, reconnect_wait_s=0.02
        )

    link = Link(load, name="test", log=Logger("test", write=lambda _line: None))
    await link.start()
    try:
        await asyncio.wait_for(link.wait_up(), 20)
    finally:
        await link.stop()
