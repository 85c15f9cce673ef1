"""Dead letters of streams: what failed for good is kept in a stream of its own, whether a sink has taken it or not.

    KNUV_DEAD_LETTERS    knuv.dead_letters.<stream>.<consumer>    the message as it was, and why it failed

All streams of one NATS share it; what is too old, or too much, goes, the oldest first. It is made once: whoever wants
copies of it on three servers changes it, and it stays so. Without it everything works as if nothing were to be kept.

`KNUV_JETSTREAM_DEAD_LETTERS_BYTES` (64 MiB; 0: none is kept) and `_AGE` (`P7D`) are its bounds when it is made.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from broker.channel.dead import Dead
from broker.channel.jetstream_message import unpack
from eventing.event import EventError
from eventing.jetstream.link import Link
from eventing.jetstream.publisher import Published, Publisher, Publishing
from eventing.jetstream.streams import JetStreamError, Stored, Streams
from eventing.message import Message
from eventing.periods import period_s
from proxies.environment import Environment
from proxies.logs import Logger

__all__ = ["STREAM", "DeadLetters", "Letter", "Limits", "subject_of"]

STREAM: Final = "KNUV_DEAD_LETTERS"
_PREFIX: Final = "knuv.dead_letters"
_DEAD: Final = "Knuv-Dead"
_KEPT: Final = re.compile(r"(?!nats-)[!#$%&'*+.^_`|~0-9a-z-]+", re.IGNORECASE)
"""Headers that a letter has from its message: not what NATS made of that, and none that the client library refuses."""
_BYTES: Final = 64 << 20
_AGE: Final = "P7D"
_LETTERS_MAX: Final = 10_000
"""Of one subscription, so that none can push out those of all others by their number."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept."""

    bytes_max: int = _BYTES
    """Of all letters; 0: none is kept."""
    age_s: float = period_s(_AGE)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Limits":
        """Read both variables. Raises `ConfigError`."""
        reading = Environment(environ)
        bytes_max = reading.integer("KNUV_JETSTREAM_DEAD_LETTERS_BYTES", _BYTES)
        if bytes_max < 0:
            reading.refuse(f"KNUV_JETSTREAM_DEAD_LETTERS_BYTES={bytes_max}: expected 0 or more")
        age = reading.text("KNUV_JETSTREAM_DEAD_LETTERS_AGE", _AGE)
        try:
            age_s = period_s(age)
        except ValueError:
            age_s = 0.0
        if age_s < 1:
            wanted = "expected an ISO 8601 period of a second or more, such as P7D"
            reading.refuse(f"KNUV_JETSTREAM_DEAD_LETTERS_AGE={age!r}: {wanted}")
        reading.finish()
        return cls(bytes_max, age_s)


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    stored: Stored
    message: Message
    dead: Dead

    @property
    def sequence(self) -> int:
        """Its place among the letters."""
        return self.stored.sequence


def subject_of(stream: str, consumer: str) -> str:
    """Return where the letters of a subscription are; `*` as its consumer: of all of a stream."""
    return f"{_PREFIX}.{stream}.{consumer}"


class DeadLetters:
    """Those that one process keeps and finds."""

    def __init__(self, link: Link, streams: Streams, publisher: Publisher, limits: Limits, log: Logger) -> None:
        self._streams = streams
        self._publisher = publisher
        self._limits = limits
        self._log = log
        self.is_on = False
        """Whether letters are kept; nothing is before `ensure`."""
        self._is_looked_for = False
        self._problem = ""
        link.on_up(self._look_again)

    async def ensure(self) -> None:
        """Make the stream unless it is there. Where that cannot be, it is logged, and letters are not kept."""
        if self._is_looked_for or not self._limits.bytes_max:
            return
        config = StreamConfig(
            name=STREAM,
            subjects=[f"{_PREFIX}.>"],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            storage=StorageType.FILE,
            max_bytes=self._limits.bytes_max,
            max_age=self._limits.age_s,
            max_msgs_per_subject=_LETTERS_MAX,
        )
        try:
            await self._streams.ensure_stream(config)
        except JetStreamError as error:
            if str(error) != self._problem:
                self._log.warning("dead_letters_not_kept", error=str(error))
            self._problem = str(error)
            # What is only away for a while is waited for.
            self.is_on = self.is_on and error.is_temporary
        else:
            self.is_on = self._is_looked_for = True

    def keep(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str],
        dead: Dead,
        done: Callable[[Publishing], None],
        *,
        message_id: str,
    ) -> None:
        """Keep a message, without what the subscriber said if it is too large with that; `done` gets how it ended.

        `message_id`: a second letter with the same one, within a few minutes, is none.
        """

        def published(result: Published) -> None:
            if result.how is Publishing.FAILED:
                self._look_again()
            elif result.how is Publishing.TOO_LARGE:
                if dead.body:
                    shorter = msgspec.structs.replace(dead, body=b"")
                    self.keep(subject, data, headers, shorter, done, message_id=message_id)
                    return
                self._log.error("dead_letter_too_large", subject=subject, problem=result.reason)
            done(result.how)

        told = base64.b64encode(msgspec.json.encode(dead)).decode()
        kept = {name: value for name, value in headers.items() if _KEPT.fullmatch(name)}
        self._publisher.publish(subject, data, published, message_id=message_id, headers={**kept, _DEAD: told})

    async def count(self, subject: str) -> tuple[int, int]:
        """Return how many there are, and the last place among all. Raises `JetStreamError`."""
        return await self._streams.count(STREAM, subject)

    async def after(self, subject: str, sequence: int, last: int) -> Letter | None:
        """Return the first letter of a subject behind a place and up to another. Raises `JetStreamError`."""
        while (stored := await self._streams.message_after(STREAM, subject, sequence)) is not None:
            sequence = stored.sequence
            if sequence > last:
                return None
            try:
                return Letter(stored, unpack(stored.data, stored.headers), _dead_of(stored.headers))
            except EventError as error:
                # Whoever may publish to NATS could have written it.
                self._log.warning("dead_letter_is_none", sequence=sequence, problem=str(error))
        return None

    async def remove(self, letter: Letter) -> None:
        """It is dead no longer. Raises `JetStreamError`."""
        await self._streams.remove_message(STREAM, letter.sequence)

    async def forget(self, stream: str) -> None:
        """A stream and all that came of it is gone."""
        if not self._limits.bytes_max:
            return
        try:
            await self._streams.purge(STREAM, subject_of(stream, ">"))
        except JetStreamError as error:
            # They go by themselves when they are old.
            self._log.warning("dead_letters_not_removed", stream=stream, error=str(error))

    def _look_again(self) -> None:
        self._is_looked_for = False


def _dead_of(headers: Mapping[str, str]) -> Dead:
    try:
        return msgspec.json.decode(base64.b64decode(headers.get(_DEAD, ""), validate=True), type=Dead)
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise EventError(f"{_DEAD}: {error}") from error
