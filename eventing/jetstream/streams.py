"""Streams and consumers as they are wanted: made, brought up to date, removed. Every word can be said twice.

So each replica may do all of it; no leader is needed. The client library's errors end here.

Source: NATS JetStream API; error codes of nats-server `server/errors.json`.
"""

import base64
from dataclasses import dataclass, replace
from typing import Any, Final

import nats.errors
from nats.js import JetStreamContext
from nats.js import errors as jetstream_errors
from nats.js.api import ConsumerConfig, ConsumerInfo, DeliverPolicy, RawStreamMsg, StreamConfig

from eventing.jetstream.link import Link, NotConnected

__all__ = ["Consumer", "ConsumerState", "JetStreamError", "Stored", "Streams"]

_NOT_FOUND: Final = 404
_NO_MESSAGE: Final = 10043
"""The server's code for a message that it cannot delete, since there is none."""
_PAGE: Final = 256
"""How many consumers the server lists at once."""
_MUTABLE: Final = ("ack_wait", "max_deliver", "max_ack_pending", "filter_subject", "sample_freq", "inactive_threshold")
"""What may be changed of a consumer; where it starts may not."""


class JetStreamError(Exception):
    """JetStream did not do as asked. `is_temporary`: asking again may help."""

    def __init__(self, message: str, *, is_temporary: bool) -> None:
        super().__init__(message)
        self.is_temporary = is_temporary


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """What the server says of a consumer."""

    pending: int
    """Messages that it has not delivered yet."""
    ack_pending: int
    """Delivered and not settled."""
    redelivered: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer that is there."""

    name: str
    is_kept: bool
    """The server removes it when nobody has asked it for long enough."""
    owed: int
    """Messages that it has not delivered yet, or that are not settled."""
    floor: int
    """Everything up to this place of the stream is settled."""
    subject: str
    """Under which its messages are."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in a stream."""

    sequence: int
    data: bytes
    headers: dict[str, str]
    stored_s: float
    """Unix time, by the server's clock."""


class Streams:
    """Streams and consumers behind one link. Everything raises `JetStreamError`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def ensure_stream(self, wanted: StreamConfig) -> bool:
        """Make the stream unless it is there, and return whether it was made.

        One that is there stays as it is (spec 9.5), but it must take the subjects that are wanted of it.
        """
        assert wanted.name is not None
        try:
            jetstream = self._jetstream()
            try:
                info = await jetstream.stream_info(wanted.name)
            except jetstream_errors.NotFoundError:
                await jetstream.add_stream(wanted)
                return True
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"stream {wanted.name}", error) from error
        missing = set(wanted.subjects or ()) - set(info.config.subjects or ())
        if missing:
            told = ", ".join(info.config.subjects or ["none"])
            raise JetStreamError(
                f"stream {wanted.name}: expected it to take {', '.join(sorted(missing))}, it takes {told}; "
                "it belongs to somebody else: choose another name",
                is_temporary=False,
            )
        return False

    async def remove_stream(self, name: str, *, of: str = "") -> None:
        """Remove a stream and all that is in it, if it is there. `of`: only if it takes this subject."""
        try:
            jetstream = self._jetstream()
            if of and of not in ((await jetstream.stream_info(name)).config.subjects or ()):
                return
            await jetstream.delete_stream(name)
        except jetstream_errors.NotFoundError:
            return
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"stream {name}", error) from error

    async def ensure_consumer(self, stream: str, wanted: ConsumerConfig) -> ConsumerState:
        """Make the pull consumer, or bring what can be changed of it up to date.

        A push consumer of its name, as other dispatchers make them, is replaced by one that goes on where it was.
        """
        name = wanted.durable_name
        assert name is not None
        try:
            jetstream = self._jetstream()
            info = await self._consumer(jetstream, stream, name)
            if info is not None and info.config is not None and info.config.deliver_subject:
                first = (info.ack_floor.stream_seq if info.ack_floor is not None else 0) + 1
                await jetstream.delete_consumer(stream, name)
                wanted = replace(wanted, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first)
                wanted.opt_start_time = None
                info = None
            if info is None or info.config is None:
                info = await jetstream.add_consumer(stream, wanted)
            elif changed := _changed(info.config, wanted):
                info = await jetstream.add_consumer(stream, replace(info.config, **changed))
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"consumer {name} of stream {stream}", error) from error
        return ConsumerState(info.num_pending or 0, info.num_ack_pending or 0, info.num_redelivered or 0)

    async def remove_consumer(self, stream: str, name: str) -> None:
        """Remove a consumer and its place in the stream, if it is there."""
        try:
            await self._jetstream().delete_consumer(stream, name)
        except jetstream_errors.NotFoundError:
            return
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"consumer {name} of stream {stream}", error) from error

    async def consumers(self, stream: str) -> list[Consumer]:
        """Return a stream's consumers; none if there is no such stream."""
        found: list[ConsumerInfo] = []
        try:
            jetstream = self._jetstream()
            while len(found) % _PAGE == 0:
                page = await jetstream.consumers_info(stream, offset=len(found))
                if not page:
                    break
                found += page
        except jetstream_errors.NotFoundError:
            return []
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"stream {stream}", error) from error
        return [
            Consumer(
                info.name,
                bool(info.config and info.config.inactive_threshold),
                (info.num_pending or 0) + (info.num_ack_pending or 0),
                info.ack_floor.stream_seq if info.ack_floor is not None else 0,
                (info.config.filter_subject if info.config is not None else None) or ">",
            )
            for info in found
        ]

    async def message_after(self, stream: str, subject: str, sequence: int) -> Stored | None:
        """Return the first message under a subject, or under all that a wildcard means, behind a place in the stream.

        None if there is none, or no such stream.
        """
        try:
            found = await self._jetstream().get_msg(stream, seq=sequence + 1, subject=subject, next=True)
        except jetstream_errors.NotFoundError:
            return None
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"stream {stream}", error) from error
        return _stored(found)

    async def last_message(self, stream: str, subject: str) -> Stored | None:
        """Return the last message under a subject. None if there is none, or no such stream."""
        try:
            found = await self._jetstream().get_msg(stream, subject=subject)
        except jetstream_errors.NotFoundError:
            return None
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"stream {stream}", error) from error
        return _stored(found)

    async def subjects(self, stream: str, subject: str) -> list[str]:
        """Return those that a wildcard means and that have messages; none if there is no such stream."""
        return list((await self._subjects(stream, subject))[0])

    async def remove_message(self, stream: str, sequence: int) -> None:
        """Remove one message, if it is there."""
        try:
            await self._jetstream().delete_msg(stream, sequence)
        except jetstream_errors.NotFoundError:
            return
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            if isinstance(error, jetstream_errors.APIError) and error.err_code == _NO_MESSAGE:
                return
            raise _translated(f"message {sequence} of stream {stream}", error) from error

    async def purge(self, stream: str, subject: str, *, last: int | None = None) -> None:
        """Remove all messages under a subject, or under all that a wildcard means; with `last` those up to there."""
        try:
            await self._jetstream().purge_stream(stream, seq=last + 1 if last is not None else None, subject=subject)
        except jetstream_errors.NotFoundError:
            return
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"stream {stream}", error) from error

    async def count(self, stream: str, subject: str) -> tuple[int, int]:
        """Return how many messages are under a subject, and the last sequence of the stream; 0 if there is none."""
        subjects, last = await self._subjects(stream, subject)
        return sum(subjects.values()), last

    async def _subjects(self, stream: str, subject: str) -> tuple[dict[str, int], int]:
        """How many messages each subject has, and the last sequence of the stream."""
        try:
            info = await self._jetstream().stream_info(stream, subjects_filter=subject)
        except jetstream_errors.NotFoundError:
            return {}, 0
        except (jetstream_errors.APIError, nats.errors.Error, ValueError) as error:
            raise _translated(f"stream {stream}", error) from error
        return info.state.subjects or {}, info.state.last_seq

    async def _consumer(self, jetstream: JetStreamContext, stream: str, name: str) -> ConsumerInfo | None:
        try:
            info: ConsumerInfo = await jetstream.consumer_info(stream, name)
        except jetstream_errors.NotFoundError as error:
            if error.err_code == 10059:
                raise  # the stream is not there
            return None
        return info

    def _jetstream(self) -> JetStreamContext:
        try:
            return self._link.jetstream
        except NotConnected as error:
            raise JetStreamError(str(error), is_temporary=True) from error


def _stored(found: RawStreamMsg) -> Stored:
    stored_s = found.time.timestamp() if found.time is not None else 0.0
    return Stored(found.seq or 0, found.data or b"", _headers_of(found.hdrs), stored_s)


def _headers_of(encoded: bytes | str | None) -> dict[str, str]:
    """Return a stored message's headers as they are of one that is delivered: text, whatever they hold.

    The library reads stored ones as an email's, where a value that is not ASCII becomes an object.
    """
    lines = (line.partition(b":") for line in base64.b64decode(encoded or b"").split(b"\r\n")[1:])
    return {
        name.strip().decode(): value.strip().decode("utf-8", "replace")
        for name, colon, value in lines
        if colon and name.isascii()
    }


def _changed(held: ConsumerConfig, wanted: ConsumerConfig) -> dict[str, Any]:
    """Return what is to be changed of a consumer."""
    pairs = ((name, getattr(held, name), getattr(wanted, name)) for name in _MUTABLE)
    return {name: new for name, old, new in pairs if new is not None and new != old}


def _translated(what: str, error: Exception) -> JetStreamError:
    if isinstance(error, jetstream_errors.APIError):
        # 4xx is about what was asked; it will be asked the same way.
        is_temporary = not (400 <= (error.code or 500) < 500) or error.code in (_NOT_FOUND, 408)
        return JetStreamError(f"{what}: {error.description or error}", is_temporary=is_temporary)
    return JetStreamError(f"{what}: {error or type(error).__name__}", is_temporary=not isinstance(error, ValueError))
