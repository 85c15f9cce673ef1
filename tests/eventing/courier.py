"""A courier whose posts are answered by the test, on a clock that the test sets."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eventing.delivery import Outcome, Parcel, Recipient
from eventing.dispatching import Courier
from proxies.fields import Field
from proxies.timers import Timer, Wheel

PARCEL = Parcel(b"Ce-Id: 1\r\nCe-Type: t\r\n", b"", b"body", "ns", "channel", "t")


@dataclass
class Answer:
    """What came of a post."""

    status: int = 0
    reason: str = ""
    is_cut: bool = False
    fields: tuple[Field, ...] = ()
    body: bytes = b""


@dataclass
class Post:
    """One post."""

    recipient: Recipient
    lines: bytes
    body: bytes
    done: Callable[[Outcome], None]
    timeout_s: float
    service_account: tuple[str, str]
    response_bytes_max: int
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Sends:
    """Keeps what is posted; refuses URLs that contain `wrong`."""

    posts: list[Post] = field(default_factory=list)

    def post(
        self, recipient: Recipient, lines: bytes, body: bytes, done: Callable[[Outcome], None], **more: Any
    ) -> Post:
        if "wrong" in recipient.url:
            raise ValueError("expected another URL")
        post = Post(recipient, lines, body, done, **more)
        self.posts.append(post)
        return post

    def answer(self, *statuses: int) -> None:
        """Answer the oldest posts that are under way."""
        for status in statuses:
            self.posts.pop(0).done(Answer(status))


class Clock:
    """Timers and clocks that stand still until `go`."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._wheel = Wheel()

    def arm(self, timer: Timer, due_s: float) -> None:
        self._wheel.arm(timer, due_s)

    def disarm(self, timer: Timer) -> None:
        self._wheel.disarm(timer)

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        for timer in self._wheel.expire(self.now_s):
            timer.on_timer(self.now_s)


def courier() -> tuple[Courier, Sends, Clock]:
    """All three; to be called in a running loop."""
    sends, clock = Sends(), Clock()
    made = Courier(asyncio.get_running_loop(), sends, clock, unix_s=lambda: clock.now_s)  # type: ignore[arg-type]
    made.now_s = lambda: clock.now_s
    return made, sends, clock


async def turn() -> None:
    """Let the loop do what was left for its next turn."""
    await asyncio.sleep(0)
