"""Dead letters of streams, delivered anew: `knuv events redrive`, by the debug port.

    letters of a subscription, the oldest first, up to the last one when it was asked for
        --> delivered as events are: retries, reply, dead letter sink
        --> well: the letter is removed; not: it is kept anew as the last one, and the old one removed

A letter is removed behind all that, so a process that is killed meanwhile loses none: what was delivered and not
removed yet can be driven once more. Retries wait here and not in the server, so the first is one step earlier in the
row than that of an event.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from broker.channel.dead import LISTED_MAX, Dead
from broker.channel.jetstream_dead_letters import DeadLetters, Letter, subject_of
from broker.channel.jetstream_subscriber import Subscriber
from eventing.debugging import CannotTell, Debugging
from eventing.dispatching import Delivery
from eventing.jetstream.streams import JetStreamError
from proxies.logs import Logger

__all__ = ["Redrives"]

_AT_ONCE_MAX: Final = 16


class Redrives:
    """Those of one process."""

    def __init__(
        self,
        letters: DeadLetters,
        find: Callable[[str], Subscriber | None],
        debugging: Debugging,
        log: Logger,
    ) -> None:
        """`find`: who works for the subscription, or Trigger, of a uid."""
        self._letters = letters
        self._find = find
        self._log = log
        self._running: dict[str, asyncio.Task[None]] = {}
        debugging.serve("GET", "/debug/dead-letters", self._listed)
        debugging.serve("POST", "/debug/redrive", self._redrive)

    async def stop(self) -> None:
        """End those under way; what they have not delivered is kept."""
        tasks = list(self._running.values())
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
        if uid in self._running:
            raise ValueError("its dead letters are being delivered again already")
        try:
            count, last = await self._letters.count(_subject(subscriber))
        except JetStreamError as error:
            raise CannotTell(str(error)) from error
        if count and uid not in self._running:
            task = asyncio.get_running_loop().create_task(self._drive(uid, subscriber, last), name="redrive")
            self._running[uid] = task
            task.add_done_callback(lambda task: self._ended(uid, subscriber, task))
        return {"redriven": count}

    def _of(self, query: Mapping[str, str]) -> tuple[str, Subscriber]:
        uid = query.get("subscription", "")
        if not uid:
            raise ValueError("subscription: expected the uid of a Subscription, or of a Trigger without a channel")
        subscriber = self._find(uid)
        if subscriber is None:
            raise ValueError(f"subscription: {uid[:64]!r} is not delivered to by this process")
        return uid, subscriber

    # One run.

    def _ended(self, uid: str, subscriber: Subscriber, task: asyncio.Task[None]) -> None:
        del self._running[uid]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._log.exception("redrive_failed", error, subscription=subscriber.told)

    async def _drive(self, uid: str, subscriber: Subscriber, last: int) -> None:
        # As many at once as the subscription may have, so that one that is ordered stays so.
        gate = asyncio.Semaphore(min(subscriber.place.ack_pending_max, _AT_ONCE_MAX))
        async with asyncio.TaskGroup() as group:
            letter = await self._next(subscriber, 0, last)
            # Another may work for it by now, or nobody.
            while letter is not None and self._find(uid) is subscriber:
                await gate.acquire()
                task = group.create_task(self._deliver(subscriber, letter))
                task.add_done_callback(lambda _task: gate.release())
                letter = await self._next(subscriber, letter.sequence, last)

    async def _next(self, subscriber: Subscriber, sequence: int, last: int) -> Letter | None:
        try:
            return await self._letters.after(_subject(subscriber), sequence, last)
        except JetStreamError as error:
            # What is under way ends; the rest is kept.
            self._log.warning("redrive_ended", subscription=subscriber.told, error=str(error))
            return None

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

        def told(is_over: bool) -> None:
            if not kept.done():  # the process may be ending
                kept.set_result(is_over)

        stored = letter.stored
        message_id = f"{subject}:again:{stored.sequence}"
        self._letters.keep(subject, stored.data, stored.headers, dead, told, message_id=message_id)
        return await kept


def _subject(subscriber: Subscriber) -> str:
    return subject_of(subscriber.stream, subscriber.place.consumer)
