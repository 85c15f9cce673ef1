"""Who may deliver dead letters anew: one at a time, and somebody else when the one is gone. Against a real NATS."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.js.api import StreamConfig

from broker.channel.jetstream_claims import Claims
from broker.channel.jetstream_dead_letters import STREAM
from eventing.jetstream.publisher import Publisher
from eventing.jetstream.streams import JetStreamError, Streams
from tests.eventing.jetstream.test_publisher import linked, publish
from tests.support.nats import RunningNats, running_nats


class Clock:
    """The time of one process."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """NATS with a stream of dead letters, and the claims of whoever wants some."""

    def __init__(self, streams: Streams, publisher: Publisher) -> None:
        self.streams = streams
        self.publisher = publisher
        self.clock = Clock()

    def claims(self, pod: str) -> Claims:
        return Claims(self.streams, self.publisher, pod=pod, old_s=30.0, now_s=self.clock)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNats]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@asynccontextmanager
async def benched(nats: RunningNats) -> AsyncIterator[Bench]:
    async with linked(nats) as link:
        streams, publisher = Streams(link), Publisher(link)
        # The same one for all: a server still deletes the files of one whose successor it makes.
        await streams.ensure_stream(StreamConfig(name=STREAM, subjects=["knuv.dead_letters.>"]))
        await streams.purge(STREAM, ">")
        try:
            yield Bench(streams, publisher)
        finally:
            publisher.close()


SUBJECT = "knuv.dead_letters.S.C"


async def test_one_has_it_until_it_is_over(nats: RunningNats) -> None:
    async with benched(nats) as bench:
        ours, theirs = bench.claims("a"), bench.claims("b")
        assert await ours.take(SUBJECT) is None, "nobody has asked for it"
        claim = await ours.take(SUBJECT, 7)
        assert claim is not None
        assert await theirs.take(SUBJECT) is None
        assert await theirs.take(SUBJECT, 9) is None
        assert await theirs.subjects() == [SUBJECT]
        await ours.end(claim)
        assert await theirs.subjects() == []
        assert await theirs.take(SUBJECT) is None


async def test_of_two_who_want_it_at_once_one_has_it(nats: RunningNats) -> None:
    async with benched(nats) as bench:
        claims = [bench.claims(f"pod-{number}") for number in range(5)]
        taken = [await each.take(SUBJECT, 7) for each in claims]
        assert [claim is not None for claim in taken] == [True, False, False, False, False]


async def test_what_is_said_behind_somebody_elses_word_does_not_count(nats: RunningNats) -> None:
    async with benched(nats) as bench:
        ours = bench.claims("a")
        claim = await ours.take(SUBJECT, 7)
        assert claim is not None
        await bench.streams.purge(STREAM, f"{SUBJECT}.redrive")
        other = await bench.claims("b").take(SUBJECT, 7)
        assert other is not None
        assert not await ours.renew(claim)
        await ours.give_up(claim)
        assert await bench.claims("c").take(SUBJECT) is None


async def test_a_process_that_says_nothing_any_more_is_followed_by_another(nats: RunningNats) -> None:
    async with benched(nats) as bench:
        ours, theirs = bench.claims("a"), bench.claims("b")
        claim = await ours.take(SUBJECT, 7)
        assert claim is not None
        for _ in range(5):
            assert await theirs.take(SUBJECT) is None
            bench.clock.now_s += 20.0
            assert await ours.renew(claim)
        assert (await bench.streams.count(STREAM, f"{SUBJECT}.redrive"))[0] == 1, "words that mean nothing any more go"
        assert await theirs.take(SUBJECT) is None
        bench.clock.now_s += 29.0
        await theirs.subjects()
        assert await theirs.take(SUBJECT) is None
        bench.clock.now_s += 1.0
        taken = await theirs.take(SUBJECT)
        assert taken is not None
        assert taken.last == 7
        assert not await ours.renew(claim)


async def test_what_was_given_up_or_of_a_pod_that_began_anew_is_taken_at_once(nats: RunningNats) -> None:
    async with benched(nats) as bench:
        ours = bench.claims("a")
        assert await ours.take(SUBJECT, 7) is not None
        again = await bench.claims("a").take(SUBJECT)
        assert again is not None
        assert again.last == 7
        await ours.give_up(again)
        taken = await bench.claims("b").take(SUBJECT)
        assert taken is not None
        assert taken.last == 7


@pytest.mark.parametrize(
    "word",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"last": "7"}',
        b'{"last": -1, "pod": "x"}',
        b'{"last": 0, "pod": "x"}',
        b'{"last": 7, "pod": "x", "behind": -1}',
        b'{"last": 7, "pod": "x", "begun": 18446744073709551615}',
        b'{"pod": "x"}',
    ],
)
async def test_what_somebody_else_wrote_there_means_nothing(nats: RunningNats, word: bytes) -> None:
    async with benched(nats) as bench:
        ours = bench.claims("a")
        await publish(bench.publisher, f"{SUBJECT}.redrive", word)
        assert await ours.take(SUBJECT) is None
        assert await ours.subjects() == []
        await publish(bench.publisher, f"{SUBJECT}.redrive", word)
        claim = await ours.take(SUBJECT, 7)
        assert claim is not None
        assert await ours.renew(claim)


async def test_without_the_stream_nobody_has_anything(tmp_path: Path) -> None:
    with running_nats(tmp_path) as nats:
        async with linked(nats) as link:
            publisher = Publisher(link, timeout_s=0.3)
            claims = Claims(Streams(link), publisher, pod="a")
            assert await claims.subjects() == []
            with pytest.raises(JetStreamError):
                await claims.take(SUBJECT, 7)
            publisher.close()


async def test_who_stood_still_ends_nothing_that_another_has_begun(nats: RunningNats) -> None:
    async with benched(nats) as bench:
        ours, theirs = bench.claims("a"), bench.claims("b")
        claim = await ours.take(SUBJECT, 7)
        assert claim is not None
        assert await theirs.take(SUBJECT) is None
        bench.clock.now_s += 30.0
        other = await theirs.take(SUBJECT)
        assert other is not None
        await ours.end(claim)
        assert await theirs.renew(other)
        await theirs.end(other)
        assert await theirs.subjects() == []


async def test_a_word_whose_acknowledgement_was_lost_is_known_as_ours(
    nats: RunningNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with benched(nats) as bench:
        ours = bench.claims("a")
        claim = await ours.take(SUBJECT, 7)
        assert claim is not None
        publish_once = bench.publisher.publish

        def twice(subject: str, payload: bytes, done: Any, **options: Any) -> None:
            # As after a connection that was lost meanwhile.
            publish_once(subject, payload, lambda _stored: publish_once(subject, payload, done, **options), **options)

        monkeypatch.setattr(bench.publisher, "publish", twice)
        assert await ours.renew(claim)
        assert await bench.claims("b").take(SUBJECT) is None
        assert await ours.renew(claim)


async def test_who_follows_a_process_that_ended_keeps_off_the_letter_that_alone_was_under_way(
    nats: RunningNats,
) -> None:
    async with benched(nats) as bench:
        first = await bench.claims("a").take(SUBJECT, 7)
        assert first is not None
        assert (first.follows, first.behind) == (False, 0)
        ours = bench.claims("a")
        second = await ours.take(SUBJECT)
        assert second is not None
        assert (second.follows, second.behind) == (True, 0)
        assert await ours.begin(second, 3)
        assert await ours.renew(second)
        theirs = bench.claims("a")
        third = await theirs.take(SUBJECT)
        assert third is not None
        assert (third.follows, third.behind, third.last) == (True, 3, 7)
        # That one ends in order, at a letter that is not to blame.
        assert await theirs.begin(third, 5)
        await theirs.give_up(third)
        fourth = await bench.claims("b").take(SUBJECT)
        assert fourth is not None
        assert (fourth.follows, fourth.behind) == (False, 3)
        # Who asks for all anew gets all.
        fifth = await bench.claims("b").take(SUBJECT, 9)
        assert fifth is not None
        assert (fifth.follows, fifth.behind, fifth.last) == (False, 0, 9)


async def test_who_goes_on_with_its_own_claim_follows_nobody(nats: RunningNats) -> None:
    async with benched(nats) as bench:
        ours = bench.claims("a")
        claim = await ours.take(SUBJECT, 7)
        assert claim is not None
        assert await ours.begin(claim, 3)
        again = await ours.take(SUBJECT)
        assert again is not None
        assert (again.follows, again.behind) == (False, 0)
