"""Posts events for people: once or many times, as fast as they are taken or at a rate, and counts the answers."""

import asyncio
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

from eventing.event import STRUCTURED, Event
from eventing.sending import Sender
from proxies.calls import Call

__all__ = ["Posted", "numbered", "post_all"]

_AT_ONCE_MAX = 32
_TIMEOUT_S = 60.0
_RESPONSE_BYTES_MAX = 64 << 10


@dataclass(slots=True)
class Posted:
    """What became of the events."""

    answers: Counter[str] = field(default_factory=Counter)
    """Status and what the answer said -> how often. Without an answer: the reason."""
    accepted: int = 0
    took_s: float = 0.0
    first_id: str = ""


def numbered(event: Event, number: int, count: int) -> Event:
    """The `number`th of `count` copies: ids are made up, or get the number where one was given."""
    attributes = dict(event.attributes)
    given = attributes.get("id")
    if not given:
        attributes["id"] = str(uuid.uuid4())
    elif count > 1:
        attributes["id"] = f"{given}-{number}"
    return Event(attributes, event.data)


async def post_all(sender: Sender, url: str, event: Event, *, is_structured: bool, count: int, rate: float) -> Posted:
    """Post `count` copies; `rate` a second, or 0: as fast as they are taken.

    Raises `DestinationError`, and `EventError` in a group.
    """
    destination = sender.destination(url)
    posted = Posted()
    gate = asyncio.Semaphore(_AT_ONCE_MAX)
    started_s = time.monotonic()

    async def post(copy: Event) -> None:
        if is_structured:
            lines, body = f"Content-Type: {STRUCTURED}\r\n".encode(), copy.structured()
        else:
            fields, body = copy.binary()
            lines = b"".join(b"%b: %b\r\n" % pair for pair in fields)
        ended: asyncio.Future[Call] = asyncio.get_running_loop().create_future()

        def end(call: Call) -> None:
            if not ended.done():
                ended.set_result(call)

        call = sender.post(destination, lines, body, end, timeout_s=_TIMEOUT_S, response_bytes_max=_RESPONSE_BYTES_MAX)
        try:
            await ended
        except asyncio.CancelledError:
            call.cancel()
            raise
        said = call.body.decode("utf-8", "replace").strip()[:200]
        if call.status and 200 <= call.status < 300:
            posted.accepted += 1
            said = ""
        posted.answers[f"{call.status} {said}".strip() if call.status else call.reason] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            if rate:
                await asyncio.sleep(started_s + number / rate - time.monotonic())
            await gate.acquire()
            copy = numbered(event, number + 1, count)
            posted.first_id = posted.first_id or str(copy.attributes["id"])
            group.create_task(post(copy)).add_done_callback(lambda _task: gate.release())
    posted.took_s = time.monotonic() - started_s
    return posted
