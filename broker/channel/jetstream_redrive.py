"""Dead letters of streams, delivered anew: `knuv events redrive`, by the debug port.

    letters of a subscription, the oldest first, up to the last one when it was asked for
        --> delivered as events are: retries, reply, dead letter sink
        --> well: the letter is removed; not: it is kept anew as the last one, and the old one removed

A letter is removed behind all that, so a process that is killed meanwhile loses none: what was delivered and not
removed yet can be driven once more. What is left is gone on with by itself, by the next process or by another one that
delivers to the subscription: that somebody wants it stands in NATS, too (`jetstream_claims`). But one that ends its
process each time is passed over then, and stays. Retries wait here and not
in the server, so the first is one step earlier in the row than that of an event.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from broker.channel.dead import LISTED_MAX, Dead
from broker.channel.jetstream_claims import RENEW_S, Claim, Claims
from broker.channel.jetstream_dead_letters import DeadLetters, Letter, subject_of
from broker.channel.jetstream_subscriber import Subscriber
from eventing.debugging import CannotTell, Debugging
from eventing.dispatching import Delivery
from eventing.jetstream.publisher import Publishing
from eventing.jetstream.streams import JetStreamError
from proxies.logs import Logger

__all__ = ["Redrives"]

_AT_ONCE_MAX: Final = 16
_GIVING_UP_S: Final = 3.0
"""For the word that somebody else may go on, when the process ends."""


class Redrives:
    """Those of one process."""

    def __init__(
        self,
        letters: DeadLetters,
        claims: Claims,
        find: Callable[[str], Subscriber | None],
        subscribers: Callable[[], Iterable[Subscriber]],
        debugging: Debugging,
        log: Logger,
        *,
        renew_s: float = RENEW_S,
    ) -> None:
        """`find`: who works for the subscription, or Trigger, of a uid; `subscribers`: all who do.

        `renew_s`: how often a redrive says that it goes on, and others are looked for that do not.
        """
        self._letters = letters
        self._claims = claims
        self._find = find
        self._subscribers = subscribers
        self._log = log
        self._renew_s = renew_s
        self._looking: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._taking = asyncio.Lock()
        self._running: dict[str, asyncio.Task[None]] = {}
        debugging.serve("GET", "/debug/dead-letters", self._listed)
        debugging.serve("POST", "/debug/redrive", self._redrive)

    def start(self) -> None:
        """Go on with what others, or the process before this one, have left."""
        self._looking = asyncio.get_running_loop().create_task(self._look_on(), name="redrives")

    def served(self) -> None:
        """There is somebody who works for another subscription now."""
        self._wake.set()

    async def stop(self) -> None:
        """End those under way; what they have not delivered is kept, and somebody else goes on with it."""
        tasks = [*self._running.values(), *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # The debug port's.

    async def _listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`GET /debug/dead-letters?subscription=UID`."""
        uid, subscriber = self._of(query)
        subject = _subject(subscriber)
        found: list[dict[str, Any]] = []
        try:
            _, last = await self._letters.count(subject)
            letter = await self._letters.after(subject, 0, last)
            while letter is not None and len(found) < LISTED_MAX:
                found.append(letter.dead.told(letter.sequence, uid, subscriber.channel, letter.message.attributes))
                letter = await self._letters.after(subject, letter.sequence, last)
        except JetStreamError as error:
            raise CannotTell(str(error)) from error
        return {"dead_letters": found}

    async def _redrive(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`POST /debug/redrive?subscription=UID`."""
        uid, subscriber = self._of(query)
        try:
            count, last = await self._letters.count(_subject(subscriber))
            if count and not await self._take(uid, subscriber, last):
                raise ValueError("its dead letters are being delivered again already")
        except JetStreamError as error:
            raise CannotTell(str(error)) from error
        return {"redriven": count}

    def _of(self, query: Mapping[str, str]) -> tuple[str, Subscriber]:
        uid = query.get("subscription", "")
        if not uid:
            raise ValueError("subscription: expected the uid of a Subscription, or of a Trigger without a channel")
        subscriber = self._find(uid)
        if subscriber is None:
            raise ValueError(f"subscription: {uid[:64]!r} is not delivered to by this process")
        return uid, subscriber

    # What was left.

    async def _look_on(self) -> None:
        problem = ""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._renew_s):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._look()
                problem = ""
            except JetStreamError as error:
                if str(error) != problem:
                    self._log.warning("redrives_unknown", error=str(error))
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - a bug: nothing would be gone on with any more
                self._log.exception("redrives_failed", error)

    async def _look(self) -> None:
        if not self._letters.is_on:
            return
        left = await self._claims.subjects()
        ours = {_subject(each): each for each in self._subscribers()} if left else {}
        for subject in left:
            subscriber = ours.get(subject)
            if subscriber is not None and await self._take(subscriber.subscription.uid, subscriber, 0):
                self._log.info("redrive_resumed", subscription=subscriber.told)

    # One run.

    async def _take(self, uid: str, subscriber: Subscriber, last: int) -> bool:
        """Begin to deliver its letters up to `last`, or as was said before; False when somebody does already."""
        async with self._taking:  # what we have taken twice nobody would have
            claim = await self._claims.take(_subject(subscriber), last) if uid not in self._running else None
            if claim is None:
                return False
            if claim.behind:
                self._log.error("dead_letter_ends_processes", subscription=subscriber.told, letter=claim.behind)
            task = asyncio.get_running_loop().create_task(self._run(uid, subscriber, claim), name="redrive")
            self._running[uid] = task
            task.add_done_callback(lambda task: self._ended(uid, subscriber, task))
            return True

    def _ended(self, uid: str, subscriber: Subscriber, task: asyncio.Task[None]) -> None:
        del self._running[uid]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._log.exception("redrive_failed", error, subscription=subscriber.told)

    async def _run(self, uid: str, subscriber: Subscriber, claim: Claim) -> None:
        driving = asyncio.current_task()
        assert driving is not None
        renewing = asyncio.get_running_loop().create_task(self._renew(claim, driving), name="redrive claim")
        is_over = True  # also when it fails by a fault of ours, which would not be another one the next time
        try:
            is_over = await self._drive(uid, subscriber, claim)
        except asyncio.CancelledError:
            is_over = False
            raise
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            try:
                async with asyncio.timeout(_GIVING_UP_S):
                    await (self._claims.end(claim) if is_over else self._claims.give_up(claim))
            except (JetStreamError, TimeoutError) as error:
                # It is taken over when nobody has said it anew for long enough.
                self._log.warning("redrive_not_told", subscription=subscriber.told, error=str(error))

    async def _renew(self, claim: Claim, driving: asyncio.Task[None]) -> None:
        """Say now and then that it goes on. When that cannot be said for long, somebody else will take it over."""
        failures = 0
        while failures < 2:
            await asyncio.sleep(self._renew_s)
            try:
                failures = 0 if await self._claims.renew(claim) else 2
            except JetStreamError:
                failures += 1
        driving.cancel()

    async def _drive(self, uid: str, subscriber: Subscriber, claim: Claim) -> bool:
        """Deliver all of a claim; whether that is over, and not left to somebody else."""
        # As many at once as the subscription may have, so that one that is ordered stays so.
        gate = asyncio.Semaphore(min(subscriber.place.ack_pending_max, _AT_ONCE_MAX))
        # Those that were under way when a process before us ended may be why it did.
        one_by_one = _AT_ONCE_MAX if claim.follows else 0
        sequence = claim.behind
        async with asyncio.TaskGroup() as group:
            while True:
                await gate.acquire()
                try:
                    letter = await self._letters.after(_subject(subscriber), sequence, claim.last)
                    if letter is None:
                        return True
                    begun = letter.sequence if one_by_one else 0
                    if begun != claim.begun and not await self._claims.begin(claim, begun):
                        return False
                except JetStreamError as error:
                    # What is under way ends; the rest is kept.
                    self._log.warning("redrive_ended", subscription=subscriber.told, error=str(error))
                    return False
                # Another may work for it by now, or nobody.
                if self._find(uid) is not subscriber:
                    return False
                task = group.create_task(self._deliver(subscriber, letter))
                task.add_done_callback(lambda _task: gate.release())
                if one_by_one:
                    one_by_one -= 1
                    await asyncio.wait([task])
                sequence = letter.sequence

    async def _deliver(self, subscriber: Subscriber, letter: Letter) -> None:
        ended: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        # It uses the message up, so a delivery may begin once only.
        delivery = subscriber.deliver_anew(letter.message, ended.set_result)
        if delivery is None:
            return  # nobody can be sent to at this moment: it stays
        try:
            flow = (await ended).flow
        except asyncio.CancelledError:
            delivery.cancel()
            raise
        try:
            failure = flow.failure
            dead = Dead.of(failure, time.time(), was_sunk=flow.is_success) if failure is not None else None
            if dead is None or await self._keep(_subject(subscriber), letter, dead):
                await self._letters.remove(letter)
        except JetStreamError as error:
            self._log.warning("dead_letter_not_removed", subscription=subscriber.told, error=str(error))

    async def _keep(self, subject: str, letter: Letter, dead: Dead) -> bool:
        """It has failed once more: keep it with what was said this time; whether it is kept."""
        kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def told(how: Publishing) -> None:
            if not kept.done():  # the process may be ending
                kept.set_result(how is Publishing.STORED)

        stored = letter.stored
        message_id = f"{subject}:again:{stored.sequence}"
        self._letters.keep(subject, stored.data, stored.headers, dead, told, message_id=message_id)
        return await kept


def _subject(subscriber: Subscriber) -> str:
    return subject_of(subscriber.stream, subscriber.place.consumer)
