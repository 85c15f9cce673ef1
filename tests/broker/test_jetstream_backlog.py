"""How long the oldest message of a consumer has waited: which questions are asked of NATS for it, and which are not."""

from typing import cast

import pytest

from broker.channel.jetstream_backlog import Ages
from eventing.jetstream.streams import Consumer, JetStreamError, Stored, Streams

NOW_S = 1_000_000.0


class Messages:
    """What stands for streams: message n was stored n seconds ago, and is so large."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.asked: list[tuple[str, str, int]] = []
        self.missing: set[str] = set()
        self.problem: JetStreamError | None = None

    async def message_after(self, stream: str, subject: str, sequence: int) -> Stored | None:
        self.asked.append((stream, subject, sequence))
        if self.problem is not None:
            raise self.problem
        if stream in self.missing:
            return None
        return Stored(sequence + 1, bytes(self.size), {}, NOW_S - (sequence + 1))


def ages(messages: Messages, messages_max: int = 64, bytes_max: int = 1 << 20) -> Ages:
    return Ages(cast("Streams", messages), messages_max=messages_max, bytes_max=bytes_max, unix_s=lambda: NOW_S)


def consumer(floor: int, owed: int = 1, subject: str = ">") -> Consumer:
    return Consumer("C", is_kept=False, owed=owed, floor=floor, subject=subject)


async def test_the_first_message_behind_what_is_settled_tells_the_age() -> None:
    made = ages(messages := Messages())
    await made.look({("S", "waits"): consumer(4, subject="s.x"), ("S", "quick"): consumer(9, owed=0)})
    assert made.of == {("S", "waits"): 5.0, ("S", "quick"): 0.0}
    assert messages.asked == [("S", "s.x", 4)]


async def test_a_consumer_that_has_not_moved_is_asked_for_again_only_now_and_then() -> None:
    made = ages(messages := Messages())
    for _ in range(16):
        await made.look({("S", "C"): consumer(4)})
        assert made.of == {("S", "C"): 5.0}
    assert len(messages.asked) == 2
    await made.look({("S", "C"): consumer(6)})
    assert made.of == {("S", "C"): 7.0}


async def test_consumers_at_the_same_place_share_a_question() -> None:
    made = ages(messages := Messages())
    await made.look({("S", f"C{number}"): consumer(4) for number in range(100)})
    assert (len(messages.asked), set(made.of.values())) == (1, {5.0})


@pytest.mark.parametrize("bounds", [{"messages_max": 10}, {"bytes_max": 100}])
async def test_questions_are_bounded_and_everybody_has_a_turn(bounds: dict[str, int]) -> None:
    made = ages(messages := Messages(size=10), **bounds)
    turns: set[tuple[str, str]] = set()
    for look in range(3):
        # All of them move between two looks.
        found = {("S", f"C{number}"): consumer(100 * number + look) for number in range(30)}
        await made.look(found)
        assert len(made.of) == 10
        turns |= set(made.of)
        assert all(made.of[key] == found[key].floor + 1 for key in made.of)
    assert (len(turns), len(messages.asked)) == (30, 30)


async def test_what_is_not_known_is_not_told_and_what_is_gone_is_forgotten() -> None:
    made = ages(messages := Messages())
    messages.missing.add("empty")
    await made.look({("S", "C"): consumer(1), ("empty", "C"): consumer(1)})
    assert made.of == {("S", "C"): 2.0}
    messages.problem = JetStreamError("away", is_temporary=True)
    with pytest.raises(JetStreamError):
        await made.look({("S", "C"): consumer(2)})
    assert made.of == {}
    messages.problem = None
    await made.look({})
    await made.look({("S", "C"): consumer(1)})
    assert made.of == {("S", "C"): 2.0}


async def test_a_clock_behind_that_of_nats_makes_no_age_below_nothing() -> None:
    made = ages(Messages())
    await made.look({("S", "C"): consumer(-10)})
    assert made.of == {("S", "C"): 0.0}
