"""Channels on a journal, with subscribers that the test answers for: `broker/channel/journal/channel.py`."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.channel.journal.channel import Journal, JournalChannel
from broker.channel.journal.store import JournalLimits, JournalStore
from eventing.delivery import Recipient, Subscription
from eventing.message import Message, read_message
from eventing.retries import DeliverySettings
from proxies.fields import Field
from proxies.logs import Logger
from tests.eventing.courier import Clock, Sends, courier
from tests.support.processes import eventually

_LINES = (b"ce-specversion: 1.0", b"ce-id: 1", b"ce-source: /s", b"ce-type: t")
_LOG: list[dict[str, Any]] = []
_QUIET = Logger("test", write=lambda line: _LOG.append(json.loads(line)))


def _message(body: bytes = b"") -> Message:
    return read_message([Field(*line.split(b": "), line) for line in _LINES], body)


def _subscription(uid: str, **settings: int) -> Subscription:
    return Subscription(uid=uid, destination=Recipient(f"http://{uid}/"), settings=DeliverySettings(**settings))


class _World:
    def __init__(self, store: JournalStore) -> None:
        made, self.sends, self.clock = courier()
        self.sends: Sends
        self.clock: Clock
        self.store = store
        self.journal = Journal(store, made, _QUIET, unix_s=lambda: self.clock.now_s)
        made.attempted = self.journal.attempted
        self.journal.start()
        self.channel = JournalChannel(self.journal, "ns", "channel")

    async def accept(self, body: bytes = b"") -> tuple[int, str]:
        answer: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.channel.accept(_message(body), lambda status, reason: answer.set_result((status, reason)))
        return await answer


@asynccontextmanager
async def _world(directory: Path, **limits: int) -> AsyncIterator[_World]:
    store = JournalStore(directory, JournalLimits(**limits), _QUIET)
    await store.open()
    world = _World(store)
    try:
        yield world
    finally:
        world.channel.close()
        await store.close()


async def test_without_subscriptions_nothing_is_kept(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = ()
        assert await world.accept() == (202, "")
        assert not world.store.state.entries


async def test_each_subscription_is_settled_for_itself(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"), _subscription("b"))
        assert await world.accept() == (202, "")
        assert [post.recipient.url for post in world.sends.posts] == ["http://a/", "http://b/"]
        world.sends.answer(200)
        assert [list(entry.owed) for entry in world.store.state.entries.values()] == [["b"]]
        world.sends.answer(200)
        assert not world.store.state.entries


async def test_what_is_waited_for_is_waited_for_by_the_next_process_too(tmp_path: Path) -> None:
    settings = {"retries": 3, "backoff_policy": "exponential", "backoff_s": 10}
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a", **settings),)  # type: ignore[arg-type]
        await world.accept()
        world.sends.answer(503)
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a", **settings),)  # type: ignore[arg-type]
        world.clock.go(9)
        assert not world.sends.posts
        world.clock.go(2)
        assert len(world.sends.posts) == 1
        world.sends.answer(503)
        owed = next(iter(world.store.state.entries.values())).owed["a"]
        assert owed.retry == 2


async def test_what_is_owed_to_an_unclear_entry_is_kept_over_a_restart_until_it_is_clear(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"), _subscription("b"), _subscription("gone"))
        await world.accept()
    async with _world(tmp_path) as world:
        world.channel.unclear = frozenset(["a", "b"])
        world.channel.subscriptions = ()
        (entry,) = world.store.state.entries.values()
        assert list(entry.owed) == ["a", "b"]
        world.channel.unclear = frozenset(["b"])
        world.channel.subscriptions = (_subscription("a"),)
        assert [post.recipient.url for post in world.sends.posts] == ["http://a/"]
        world.channel.subscriptions = (_subscription("a"),)
        world.channel.unclear = frozenset()
        world.channel.subscriptions = (_subscription("a"),)
        assert list(entry.owed) == ["a"]
        assert len(world.sends.posts) == 1
        world.sends.answer(200)
        assert not world.store.state.entries


async def test_a_clock_that_was_set_back_makes_no_wait_longer(tmp_path: Path) -> None:
    subscription = Subscription(
        uid="a",
        destination=Recipient("http://a/"),
        settings=DeliverySettings(retries=3, backoff_policy="exponential", backoff_s=10),
    )
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (subscription,)
        await world.accept()
        world.sends.answer(503)
    async with _world(tmp_path) as world:
        world.clock.now_s = -1e6
        world.channel.subscriptions = (subscription,)
        world.clock.go(9)
        assert not world.sends.posts
        world.clock.go(1.1)
        assert len(world.sends.posts) == 1


async def test_no_more_than_256_are_under_way_and_the_rest_follows(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"),)
        for _ in range(300):
            assert (await world.accept())[0] == 202
        assert len(world.sends.posts) == 256
        world.sends.answer(*[200] * 100)
        assert len(world.sends.posts) == 200
        world.sends.answer(*[200] * 200)
        assert not world.store.state.entries


async def test_large_events_are_under_way_one_at_a_time(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"),)
        for _ in range(4):
            assert (await world.accept(bytes(33 << 20)))[0] == 202
        assert len(world.sends.posts) == 2, "the second is what goes beyond the bound"
        world.sends.answer(200)
        assert len(world.sends.posts) == 2


async def test_who_is_not_subscribed_any_more_is_owed_nothing(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"), _subscription("b"))
        await world.accept()
        world.channel.subscriptions = (_subscription("b"),)
        assert world.sends.posts[0].is_cancelled
        assert [list(entry.owed) for entry in world.store.state.entries.values()] == [["b"]]
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("c"),)
        assert not world.store.state.entries
        assert not world.sends.posts


async def test_channels_that_are_gone_owe_nothing(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"),)
        await world.accept()
    async with _world(tmp_path) as world:
        world.journal.forget_channels([("ns", "channel")])
        assert world.store.state.entries
        world.journal.forget_channels([("ns", "other")])
        assert not world.store.state.entries


async def test_dead_letters_make_room_when_the_journal_is_full(tmp_path: Path) -> None:
    async with _world(tmp_path, events_max=10) as world:
        world.channel.subscriptions = (_subscription("a"),)
        for _ in range(10):
            assert (await world.accept())[0] == 202
            world.sends.answer(400)
        assert len(world.journal.dead_letters("a")) == 10
        assert (await world.accept())[0] == 202
        assert world.journal.dropped == 1
        assert [letter["seq"] for letter in world.journal.dead_letters("")] == list(range(2, 11))


async def test_no_more_dead_letters_are_kept_than_it_may(tmp_path: Path) -> None:
    async with _world(tmp_path, dead_max=3) as world:
        world.channel.subscriptions = (_subscription("a"),)
        for _ in range(5):
            await world.accept()
            world.sends.answer(400)
        assert [letter["seq"] for letter in world.journal.dead_letters("a")] == [3, 4, 5]
        assert world.journal.dead_letters("b") == []


async def test_at_the_end_nothing_more_is_begun(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"),)
        await world.accept()
        await world.accept()
        assert world.channel.posts_under_way == 2
        world.journal.is_ending = True
        world.sends.answer(200, 200)
        assert world.channel.posts_under_way == 0
        assert (await world.accept())[0] == 202
        assert not world.sends.posts
        assert len(world.store.state.entries) == 1


async def test_what_cannot_be_read_stays_owed_and_is_delivered_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"),)
        for body in (b"1", b"2"):
            assert (await world.accept(body))[0] == 202
    async with _world(tmp_path) as world:
        reads = 0

        def fail(*_: object) -> bytes:
            nonlocal reads
            reads += 1
            raise OSError(5, "Input/output error")

        world.journal.unread_s = 0.01
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", fail)
            world.channel.subscriptions = (_subscription("a"),)
            await eventually(lambda: reads >= 4)
            assert sorted(world.store.state.entries) == [1, 2]
        await eventually(lambda: len(world.sends.posts) == 2)
        assert {post.body for post in world.sends.posts} == {b"1", b"2"}
    said = [line for line in _LOG if line["message"] == "journal_unreadable"]
    assert len(said) == 2, "once for each"


async def test_one_who_stumbles_over_the_answer_costs_nobody_else_theirs(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        world.channel.subscriptions = (_subscription("a"),)
        answers: list[int] = []

        def stumble(status: int, reason: str) -> None:
            raise RuntimeError("a bug")

        # Of one batch: they are written together.
        world.channel.accept(_message(b"1"), stumble)
        world.channel.accept(_message(b"2"), lambda status, reason: answers.append(status))
        await eventually(lambda: answers == [202])
        assert [post.body for post in world.sends.posts] == [b"1", b"2"], "both are accepted, and delivered"
