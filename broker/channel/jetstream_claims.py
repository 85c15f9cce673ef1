"""Who delivers the dead letters of a subscription anew, and up to which: a word in NATS, that outlives its process.

    knuv.dead_letters.<stream>.<consumer>.redrive    {"last": 4711, "pod": "filter-7d9"}     in KNUV_DEAD_LETTERS

The word is there from when somebody asked for a redrive until its last letter is over. Whoever drives says it anew now
and then; one that has not been for a while, or whose pod has begun anew, or that was given up, is taken over. Each word
is only taken by NATS behind the one that was read before, so that of two who want it one has it.

Clocks of different machines are never compared: a word is old when *we* have seen it for so long.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from broker.channel.jetstream_dead_letters import STREAM, subject_of
from eventing.jetstream.publisher import Published, Publisher, Publishing
from eventing.jetstream.streams import JetStreamError, Stored, Streams

__all__ = ["RENEW_S", "Claim", "Claims"]

RENEW_S: Final = 10.0
"""How often a word is said anew."""
_OLD_S: Final = 3 * RENEW_S
_SUFFIX: Final = ".redrive"
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"


class _Word(msgspec.Struct):
    last: int
    pod: str = ""
    """Empty: nobody drives at this moment."""


class Claim:
    """The right to deliver anew the letters of a subject."""

    __slots__ = ("last", "sequence", "subject")

    def __init__(self, subject: str, last: int, sequence: int) -> None:
        self.subject = subject
        """Of the letters."""
        self.last = last
        """The place of the last of them."""
        self.sequence = sequence
        """Of our word."""


class Claims:
    """Those of one process. Everything raises `JetStreamError`."""

    def __init__(
        self,
        streams: Streams,
        publisher: Publisher,
        *,
        pod: str,
        old_s: float = _OLD_S,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        """`pod`: whose we are; no other process of its name drives. `old_s`: when others' words are taken over."""
        self._streams = streams
        self._publisher = publisher
        self._pod = pod
        self._old_s = old_s
        self._now_s = now_s or asyncio.get_running_loop().time
        self._seen: dict[str, tuple[int, float]] = {}
        """By subject: which of somebody else's words was there last, and when it was seen first."""

    async def subjects(self) -> list[str]:
        """Return those whose letters somebody wanted to have delivered anew, and that are not over."""
        found = await self._streams.subjects(STREAM, subject_of("*", "*") + _SUFFIX)
        subjects = [each.removesuffix(_SUFFIX) for each in found]
        self._seen = {subject: self._seen[subject] for subject in subjects if subject in self._seen}
        return subjects

    async def take(self, subject: str, last: int = 0) -> Claim | None:
        """Take the letters of a subject up to `last`; 0: as it was said before. None: somebody else has them, or none.

        What is only read of others' words is believed for `old_s`; so ask again.
        """
        stored = await self._streams.last_message(STREAM, subject + _SUFFIX)
        word = _word_of(stored)
        if stored is not None and word is not None and not self._is_free(subject, stored.sequence, word):
            return None
        last = last or (word.last if word is not None else 0)
        if not last:
            if stored is not None:
                await self._streams.purge(STREAM, subject + _SUFFIX)  # somebody else's writing: it means nothing
            return None
        return await self._say(Claim(subject, last, stored.sequence if stored is not None else 0), self._pod)

    async def renew(self, claim: Claim) -> bool:
        """Say it anew; whether it is still ours."""
        former = claim.sequence
        if await self._say(claim, self._pod) is None:
            return False
        with suppress(JetStreamError):  # it means nothing any more, and goes with the others at the end
            await self._streams.remove_message(STREAM, former)
        return True

    async def give_up(self, claim: Claim) -> None:
        """Let somebody else go on at once."""
        await self._say(claim, "")

    async def end(self, claim: Claim) -> None:
        """Nothing of it is left to do."""
        await self._streams.purge(STREAM, claim.subject + _SUFFIX)

    def _is_free(self, subject: str, sequence: int, word: _Word) -> bool:
        if word.pod in ("", self._pod):
            return True
        now_s = self._now_s()
        seen, first_s = self._seen.get(subject, (0, now_s))
        if seen != sequence:
            first_s = now_s
        self._seen[subject] = sequence, first_s
        return now_s - first_s >= self._old_s

    async def _say(self, claim: Claim, pod: str) -> Claim | None:
        """Say a word behind the claim's; None: another one came before."""
        said: asyncio.Future[Published] = asyncio.get_running_loop().create_future()

        def done(published: Published) -> None:
            if not said.done():
                said.set_result(published)

        subject = claim.subject + _SUFFIX
        payload = msgspec.json.encode(_Word(claim.last, pod))
        self._publisher.publish(subject, payload, done, headers={_EXPECTED: str(claim.sequence)})
        published = await said
        if published.how is Publishing.STORED:
            claim.sequence = published.sequence
            return claim
        stored = await self._streams.last_message(STREAM, subject)
        if (stored.sequence if stored is not None else 0) != claim.sequence:
            return None
        raise JetStreamError(f"{subject}: {published.reason}", is_temporary=True)


def _word_of(stored: Stored | None) -> _Word | None:
    if stored is None:
        return None
    try:
        word = msgspec.json.decode(stored.data, type=_Word)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return word if word.last > 0 else None
