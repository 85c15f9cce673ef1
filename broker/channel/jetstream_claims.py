"""Who delivers the dead letters of a subscription anew, and up to which: a word in NATS, that outlives its process.

    knuv.dead_letters.<stream>.<consumer>.redrive    {"last": 4711, "pod": "filter-7d9"}     in KNUV_DEAD_LETTERS

The word is there from when somebody asked for a redrive until its last letter is over. Whoever drives says it anew now
and then; one that has not been for a while, or whose pod has begun anew, or that was given up, is taken over. Each word
is only taken by NATS behind the one that was read before, so that of two who want it one has it.

A letter may be what ended its process. So whoever follows one that did not give up delivers a few one by one, and says
before which: of that letter another one that follows keeps off, and of all before it.

Clocks of different machines are never compared: a word is old when *we* have seen it for so long.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Final, TypeAlias

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


_Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _Word(msgspec.Struct):
    last: Annotated[int, msgspec.Meta(gt=0, le=(1 << 63) - 1)]
    pod: str = ""
    """Empty: nobody drives at this moment."""
    process: str = ""
    """Which one of the pod's."""
    behind: _Place = 0
    begun: _Place = 0


class Claim:
    """The right to deliver anew the letters of a subject."""

    __slots__ = ("begun", "behind", "follows", "last", "saying", "sequence", "subject")

    def __init__(self, subject: str, last: int, sequence: int, *, behind: int = 0, follows: bool = False) -> None:
        self.subject = subject
        """Of the letters."""
        self.last = last
        """The place of the last of them."""
        self.sequence = sequence
        """Of our word."""
        self.behind = behind
        """The place of the last letter to keep off; 0: there is none."""
        self.follows = follows
        """Who had it before us did not give it up."""
        self.begun = 0
        """The place of the letter that is under way, where that is one; else 0."""
        self.saying = asyncio.Lock()


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
        self._process = secrets.token_hex(4)
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
        sequence = stored.sequence if stored is not None else 0
        if last:
            claim = Claim(subject, last, sequence)
        elif word is not None:
            follows = bool(word.pod) and word.process != self._process
            behind = max(word.begun, word.behind) if follows else word.behind
            claim = Claim(subject, word.last, sequence, behind=behind, follows=follows)
        else:
            if stored is not None:  # somebody else's writing: it means nothing
                await self._streams.purge(STREAM, subject + _SUFFIX, last=sequence)
            return None
        return await self._say(claim, self._pod)

    async def begin(self, claim: Claim, sequence: int) -> bool:
        """Say which letter alone is under way from now on, or (0) that there are several; whether it is still ours."""
        claim.begun = sequence
        return await self.renew(claim)

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
        # Not what somebody who has followed us says: our process may have stood still.
        await self._streams.purge(STREAM, claim.subject + _SUFFIX, last=claim.sequence)

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
        subject = claim.subject + _SUFFIX
        async with claim.saying:
            word = _Word(claim.last, pod, self._process, claim.behind, claim.begun)
            payload = msgspec.json.encode(word)
            published = await self._publish(subject, payload, claim.sequence)
            if published.how is Publishing.STORED:
                claim.sequence = published.sequence
                return claim
            stored = await self._streams.last_message(STREAM, subject)
            if (stored.sequence if stored is not None else 0) == claim.sequence:
                raise JetStreamError(f"{subject}: {published.reason}", is_temporary=True)
            if stored is None or stored.data != payload:
                return None
            # It is ours: that NATS had it was lost with a connection, and it was sent once more.
            claim.sequence = stored.sequence
            return claim

    async def _publish(self, subject: str, payload: bytes, behind: int) -> Published:
        said: asyncio.Future[Published] = asyncio.get_running_loop().create_future()

        def done(published: Published) -> None:
            if not said.done():
                said.set_result(published)

        self._publisher.publish(subject, payload, done, headers={_EXPECTED: str(behind)})
        return await said


def _word_of(stored: Stored | None) -> _Word | None:
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored.data, type=_Word)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
