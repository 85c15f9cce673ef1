"""One event to all subscriptions of a channel in memory: `broker/channel/fanout.py`."""

import asyncio

import pytest

from broker.channel.fanout import Fanout, Rounds
from eventing.delivery import Recipient, Subscription
from eventing.dispatching import Delivery
from eventing.message import read_message
from eventing.retries import DeliverySettings
from proxies.fields import Field
from tests.eventing.courier import Clock, Sends, courier, turn

_LINES = (b"ce-specversion: 1.0", b"ce-id: 1", b"ce-source: /s", b"ce-type: t")
_MESSAGE = read_message([Field(*line.split(b": "), line) for line in _LINES], b"")


class _Channel:
    def __init__(self, count: int, *, is_async: bool = False, settings: DeliverySettings | None = None) -> None:
        made, self.sends, self.clock = courier()
        self.sends: Sends
        self.clock: Clock
        self.ended: list[Delivery] = []
        self.rounds = Rounds(made, self.ended.append)
        self.channel = Fanout(self.rounds, "ns", "channel", is_async=is_async)
        self.channel.subscriptions = tuple(
            Subscription(
                uid=str(number), destination=Recipient(f"http://{number}/"), settings=settings or DeliverySettings()
            )
            for number in range(count)
        )
        self.answers: list[tuple[int, str]] = []
        self.accepting = self.channel.accept(_MESSAGE, lambda status, reason: self.answers.append((status, reason)))


async def test_without_subscriptions_it_is_accepted_at_once() -> None:
    assert _Channel(0).answers == [(202, "")]


async def test_the_answer_waits_for_all_and_tells_of_a_failure() -> None:
    made = _Channel(3)
    made.sends.answer(200, 400)
    assert not made.answers
    made.sends.answer(200)
    assert made.answers == [(500, "subscription 1: 400")]
    assert len(made.ended) == 3
    assert not made.rounds.active


async def test_all_well_is_202() -> None:
    made = _Channel(2)
    made.sends.answer(200, 204)
    assert made.answers == [(202, "")]


async def test_async_is_202_at_once_and_the_failure_nobodys() -> None:
    made = _Channel(2, is_async=True)
    assert made.answers == [(202, "")]
    made.sends.answer(500, 500)
    assert made.answers == [(202, "")]
    assert len(made.ended) == 2
    assert not made.rounds.active


async def test_a_sender_that_leaves_takes_the_deliveries_along() -> None:
    made = _Channel(2)
    assert made.accepting is not None
    made.sends.answer(200)
    made.accepting.cancel()
    assert made.sends.posts[0].is_cancelled
    made.sends.answer(200)
    assert not made.answers
    assert not made.rounds.active


async def test_15_minutes_without_a_delivery_that_ends_are_the_end() -> None:
    made = _Channel(3)
    made.clock.go(800)
    made.sends.answer(200)
    made.clock.go(800)
    made.rounds.give_up_stalled(made.clock.now_s)
    assert not made.answers, "one ended 800 s ago"
    made.clock.go(200)
    made.rounds.give_up_stalled(made.clock.now_s)
    assert [status for status, _ in made.answers] == [500]
    assert all(post.is_cancelled for post in made.sends.posts)
    assert not made.rounds.active


async def test_what_nobody_waits_for_goes_on_for_as_long_as_it_takes() -> None:
    made = _Channel(1, is_async=True)
    made.clock.go(10_000)
    made.rounds.give_up_stalled(made.clock.now_s)
    assert not made.sends.posts[0].is_cancelled


async def test_what_nobody_waits_for_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.channel.fanout._DETACHED_BYTES_MAX", 10_000)
    made = _Channel(1, is_async=True)
    for _ in range(9):
        made.channel.accept(_MESSAGE, lambda status, reason: made.answers.append((status, reason)))
    statuses = [status for status, _ in made.answers]
    assert statuses == [202] * len(made.sends.posts) + [503] * (10 - len(made.sends.posts))
    assert 1 < len(made.sends.posts) < 5
    made.sends.answer(200)
    made.channel.accept(_MESSAGE, lambda status, reason: made.answers.append((status, reason)))
    assert made.answers[-1] == (202, "")
    made.rounds.close()
    assert made.channel.detached_bytes == 0


async def test_at_the_end_everything_ends() -> None:
    made = _Channel(2)
    made.rounds.close()
    assert all(post.is_cancelled for post in made.sends.posts)
    assert not made.answers


async def test_the_end_waits_for_what_was_promised_through_retries_and_replies() -> None:
    made = _Channel(2, is_async=True, settings=DeliverySettings(retries=1))
    finishing = asyncio.create_task(made.rounds.finish(60.0))
    await turn()
    made.sends.answer(503, 200)
    await turn()
    assert not finishing.done()
    made.sends.answer(200)
    await asyncio.wait_for(finishing, 30.0)
    assert len(made.ended) == 2
    await made.rounds.finish(60.0)


async def test_the_end_waits_no_longer_than_it_may() -> None:
    made = _Channel(1, is_async=True)
    await made.rounds.finish(0.01)
    (post,) = made.sends.posts
    assert not post.is_cancelled
    made.rounds.close()
    assert post.is_cancelled
