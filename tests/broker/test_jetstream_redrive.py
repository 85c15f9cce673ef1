"""Redrives of JetStream's dead letters: what becomes of one that may not go on, or fails. Real NATS is elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.channel.jetstream_claims import Claim, Claims
from broker.channel.jetstream_dead_letters import DeadLetters, subject_of
from broker.channel.jetstream_redrive import Redrives
from broker.channel.jetstream_subscriber import Subscriber
from eventing.debugging import Debugging
from eventing.error_extensions import Failure
from eventing.jetstream.publisher import Publishing
from eventing.jetstream.streams import JetStreamError
from proxies.logs import Logger
from tests.support.processes import eventually

SUBJECT = subject_of("S", "C")
AWAY = JetStreamError("away", is_temporary=True)


class World:
    """NATS and one subscription: a letter whose delivery does not end, and a claim that does as told."""

    def __init__(self) -> None:
        self.is_on = True
        self.place = SimpleNamespace(consumer="C", ack_pending_max=10)
        self.stream, self.told, self.channel = "S", "ns/sub", "ns/channel"
        self.subscription = SimpleNamespace(uid="uid")
        self.wanted = [SUBJECT]
        self.renewed: list[bool | JetStreamError] = []
        self.said: list[str] = []
        self.cancelled = 0
        self.begun = 0
        self.after_fails: Exception | None = None
        self.failure: Failure | None = None
        """Of a delivery that ends at once; None: it does not end."""
        self.kept = Publishing.STORED
        self.removed: list[int] = []
        self.letters = 1
        self.follows = 0
        """0: the claim follows nobody's; n: somebody's, and is to keep off letters up to n - 1."""
        self.most_at_once = 0
        self._at_once = 0

    # Of the letters.

    async def after(self, _subject: str, sequence: int, _last: int) -> Any:
        if self.after_fails is not None:
            raise self.after_fails
        stored = SimpleNamespace(sequence=sequence + 1, data=b"", headers={})
        letter = SimpleNamespace(sequence=sequence + 1, message=None, stored=stored)
        return letter if sequence < self.letters else None

    async def count(self, _subject: str) -> tuple[int, int]:
        return 1, 1

    async def remove(self, letter: Any) -> None:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0)
        self._at_once -= 1
        self.removed.append(letter.sequence)

    def keep(self, *args: Any, message_id: str) -> None:
        assert message_id.startswith(f"{SUBJECT}:again:")
        args[-1](self.kept)

    # Of the subscriber.

    def deliver_anew(self, _message: Any, done: Callable[[Any], None]) -> Any:
        self.begun += 1
        if self.failure is not None:
            done(SimpleNamespace(flow=SimpleNamespace(failure=self.failure, is_success=False)))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    # Of the claims.

    async def subjects(self) -> list[str]:
        return self.wanted

    async def take(self, subject: str, last: int = 0) -> Claim | None:
        self.said.append("taken")
        self.wanted = []
        return Claim(subject, last or 1, 1, behind=max(self.follows - 1, 0), follows=self.follows > 0)

    async def begin(self, claim: Claim, sequence: int) -> bool:
        claim.begun = sequence
        self.said.append(f"begun {sequence}")
        return True

    async def renew(self, _claim: Claim) -> bool:
        result = self.renewed.pop(0) if self.renewed else True
        if isinstance(result, JetStreamError):
            raise result
        return result

    async def give_up(self, _claim: Claim) -> None:
        self.said.append("given up")

    async def end(self, _claim: Claim) -> None:
        self.said.append("ended")


@asynccontextmanager
async def redriving(world: World, log: list[bytes] | None = None) -> AsyncIterator[Debugging]:
    debugging = Debugging("test")
    subscriber = cast("Subscriber", world)
    redrives = Redrives(
        cast("DeadLetters", world),
        cast("Claims", world),
        lambda uid: subscriber if uid == "uid" else None,
        lambda: [subscriber],
        debugging,
        Logger("test", write=(log if log is not None else []).append),
        renew_s=0.01,
    )
    redrives.start()
    try:
        yield debugging
    finally:
        await redrives.stop()


async def test_who_has_it_no_more_delivers_no_more() -> None:
    world = World()
    world.renewed = [True, False]
    async with redriving(world):
        await eventually(lambda: world.said == ["taken", "given up"])
        assert (world.begun, world.cancelled) == (1, 1)


async def test_one_answer_of_nats_that_stays_away_is_borne_and_a_second_one_is_not() -> None:
    world = World()
    world.renewed = [AWAY, True, AWAY, True, AWAY, AWAY]
    async with redriving(world):
        await eventually(lambda: world.said == ["taken", "given up"])
    assert world.renewed == []


async def test_at_the_end_somebody_else_is_let_go_on() -> None:
    world = World()
    async with redriving(world):
        await eventually(lambda: world.begun == 1)
    assert (world.said, world.cancelled) == (["taken", "given up"], 1)


@pytest.mark.parametrize(("error", "said"), [(AWAY, "given up"), (RuntimeError("a fault of ours"), "ended")])
async def test_what_nats_does_not_give_is_tried_again_and_what_fails_by_itself_is_not(
    error: Exception, said: str
) -> None:
    world, log = World(), list[bytes]()
    world.after_fails = error
    async with redriving(world, log):
        await eventually(lambda: world.said == ["taken", said])
        await eventually(lambda: any(str(error).encode() in line for line in log))


async def test_two_questions_at_once_are_one_redrive() -> None:
    world = World()
    world.wanted = []
    async with redriving(world) as debugging:
        ask = cast("Any", debugging)._routes[b"POST", b"/debug/redrive"]
        answers = await asyncio.gather(*(ask({"subscription": "uid"}) for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [dict, ValueError, ValueError]
        await eventually(lambda: world.begun == 1)
    assert world.said == ["taken", "given up"]


@pytest.mark.parametrize(
    ("how", "removed"), [(Publishing.STORED, [1]), (Publishing.TOO_LARGE, []), (Publishing.BUSY, [])]
)
async def test_a_letter_that_failed_again_goes_only_when_the_new_one_is_kept(
    how: Publishing, removed: list[int]
) -> None:
    world = World()
    world.failure, world.kept = Failure("http://a/", 500, b"no"), how
    async with redriving(world):
        await eventually(lambda: world.said == ["taken", "ended"])
    assert world.removed == removed


@pytest.mark.parametrize(("follows", "most_at_once"), [(0, 10), (3, 1)])
async def test_behind_a_process_that_ended_the_first_letters_go_one_by_one(follows: int, most_at_once: int) -> None:
    world, log = World(), list[bytes]()
    world.failure, world.letters, world.follows = Failure("http://a/", 500, b"no"), 18, follows
    async with redriving(world, log):
        await eventually(lambda: world.said[-1:] == ["ended"])
    assert world.most_at_once == most_at_once
    assert sorted(world.removed) == list(range(max(follows, 1), 19))
    one_by_one = [f"begun {sequence}" for sequence in range(3, 19)] if follows else []
    assert world.said == ["taken", *one_by_one, "ended"]
    told = [line for line in log if b"dead_letter_ends_processes" in line]
    assert [b'"letter": 2}' in line for line in told] == [True] * bool(follows)


async def test_behind_the_first_ones_several_letters_are_under_way_again() -> None:
    world = World()
    world.failure, world.letters, world.follows = Failure("http://a/", 500, b"no"), 40, 1
    async with redriving(world):
        await eventually(lambda: world.said[-1:] == ["ended"])
    assert world.most_at_once == 10
    assert world.removed[:16] == list(range(1, 17))
    assert world.said[1:] == [*(f"begun {sequence}" for sequence in range(1, 17)), "begun 0", "ended"]
