"""One stream of a connection: what the owner does with it, its windows, and what waits for them.

    open --END_STREAM from the peer--> REMOTE_DONE --+
      |                                              +--> CLOSED
      +---END_STREAM from us---------> LOCAL_DONE ---+
      +---RST_STREAM either way, GOAWAY, the end of the connection ---> CLOSED

A subclass is the owner's half of it: it overrides the methods under *what the connection calls*, and calls the others.

What is sent goes out at once as far as the windows allow and the transport takes it. The rest waits here: from then on
the stream is full (`filled`), until all of it went out (`drained`). What is received is handed on at once; a stream
that is paused does not re-open its window, so the peer can send no more than what it was allowed before.

Source: RFC 9113 sections 5.1, 5.2, 6.9.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from proxies.fields import Field
from proxies.http2.errors import NO_ERROR
from proxies.http2.frames import DATA, END_HEADERS, END_STREAM, HEAD, HEADERS, head_frames, window_update_frame
from proxies.messages import RequestHead, ResponseHead

if TYPE_CHECKING:
    from proxies.http2.endpoint import Endpoint

__all__ = ["Stream"]

# States are bits: a stream is closed when both sides are done.
OPEN: Final = 0
REMOTE_DONE: Final = 1
LOCAL_DONE: Final = 2
CLOSED: Final = 3

WINDOW_MAX: Final = 0x7FFFFFFF
UPDATES_PER_STREAM: Final = 2
UPDATES_PER_DATA: Final = 4
"""Updates of windows that an orderly peer may send for a stream that begins, and for each frame of DATA: gRPC opens the
stream's window for the five bytes before a message, then for the message, and the connection's after either."""
FIRST_WINDOW_BYTES: Final = 65535
"""What every window starts with (RFC 9113 6.9.2). A request that is held has sent no more than this."""
WINDOW_BYTES: Final = 128 * 1024
"""What the peer may send once somebody takes it: 128 MB/s at a round trip of a millisecond."""
WINDOW_LOW_BYTES: Final = 48 * 1024
"""Below it the window is opened again."""

_GATHERED_BYTES_MAX: Final = 64 * 1024
"""Larger pieces are not gathered with others: the loop reads several of them in one turn, 8 MB in all, and the
transport has to be able to say that it has enough."""

ANY_LENGTH: Final = -1
NO_HEAD: Final = -2
"""Instead of the body's length."""


class Stream:
    """One stream. See the module for who calls what."""

    __slots__ = (
        "_is_full",
        "_is_paused",
        "_is_unwanted",
        "_offset",
        "_trailers",
        "_waiting",
        "_waits_for_end",
        "connection",
        "id",
        "is_bodiless",
        "length",
        "receive_window",
        "send_window",
        "size",
        "state",
    )

    def __init__(self, connection: "Endpoint", stream_id: int = 0) -> None:
        """`stream_id`: 0 for one that `ClientConnection.open` will number."""
        self.connection = connection
        self.id = stream_id
        self.state = OPEN
        self.send_window = connection.first_send_window
        self.receive_window = FIRST_WINDOW_BYTES
        self.size = 0
        """Bytes of the body that were received, without padding."""
        self.length = NO_HEAD
        """Bytes of the body that the peer declared; `ANY_LENGTH` or `NO_HEAD`."""
        self.is_bodiless = False
        """The response has no body whatever it declares: set it when HEAD is sent."""
        self._is_paused = False
        self._is_full = False
        self._waiting: deque[bytes] | None = None
        self._offset = 0
        self._waits_for_end = False
        self._trailers: bytes | None = None
        self._is_unwanted = False

    # What the connection calls: for the owner's subclass to say what happens.

    def request_received(self, head: RequestHead, is_done: bool) -> None:
        """A request begins; `is_done`: it has neither body nor trailers."""

    def informational_received(self, head: ResponseHead) -> None:
        """A response with a status below 200."""

    def response_received(self, head: ResponseHead, is_done: bool) -> None:
        """The final head of a response; `is_done`: there is neither body nor trailers."""

    def data_received(self, data: bytes, is_done: bool) -> None:
        """More of the body; empty only with `is_done`."""

    def trailers_received(self, fields: list[Field]) -> None:
        """The end of the message. `fields` may be forbidden in trailers of HTTP/1: drop such ones there."""

    def lost(self, code: int, text: str, *, is_unprocessed: bool) -> None:
        """The stream ended before its end: the peer reset it or broke its rules, or the connection ended.

        `code` is the error's (`errors`), `text` says what it was. `is_unprocessed`: the peer certainly did nothing with
        the request, so that it may be sent again (RFC 9113 8.7). Not called for what `reset` or `is_done` ended.
        """

    def filled(self) -> None:
        """What was sent waits for room: send no more for now."""

    def drained(self) -> None:
        """All that waited went out, be it more than `filled` spoke of or the end."""

    # What the owner calls.

    def send_head(self, block: bytes, is_done: bool) -> None:
        """Send a head (`rendering`), informational ones included."""
        connection = self.connection
        if connection.table_update:
            block = connection.begin_block(block)
        size = len(block)
        if size <= connection.send_frame_bytes_max:
            flags = END_HEADERS | END_STREAM if is_done else END_HEADERS
            connection.write(HEAD.pack(size << 8 | HEADERS, flags, self.id) + block)
        else:
            connection.write(head_frames(self.id, block, is_done, connection.send_frame_bytes_max))
        if is_done:
            self._local_done()

    def send_data(self, data: bytes, is_done: bool) -> None:
        """Send bytes of the body, as soon as there is room for them."""
        size = len(data)
        connection = self.connection
        if self._waiting is not None or (
            size
            and (
                size > self.send_window
                or size > connection.send_window
                or size > connection.send_frame_bytes_max
                or connection.is_write_paused
            )
        ):
            self._wait(data, is_done)
            return
        if size:
            self.send_window -= size
            connection.send_window -= size
            connection.frames_due += UPDATES_PER_DATA
            connection.write(HEAD.pack(size << 8 | DATA, END_STREAM if is_done else 0, self.id) + data)
        elif is_done:
            connection.write(HEAD.pack(DATA, END_STREAM, self.id))
        if is_done:
            self._local_done()

    def send_trailers(self, block: bytes) -> None:
        """End the message with trailers, behind what waits."""
        if self._waiting is None:
            self.send_head(block, True)
        else:
            self._trailers = block

    def reset(self, code: int) -> None:
        """End the stream with RST_STREAM; nothing happens when it has ended. What waits is dropped."""
        if self.state != CLOSED:
            self.connection.reset(self, code)

    def finish(self) -> None:
        """Nobody wants what the peer still sends: end the stream when all that we send is out (RFC 9113 8.1)."""
        if self.state == LOCAL_DONE:
            self.connection.reset(self, NO_ERROR)
        else:
            self._is_unwanted = True

    def pause(self) -> None:
        """Let the peer send no more than its window."""
        self._is_paused = True

    def resume(self) -> None:
        """Open the window again."""
        self._is_paused = False
        if self.receive_window < WINDOW_LOW_BYTES:
            self.open_window()

    @property
    def is_closed(self) -> bool:
        """Neither side sends any more."""
        return self.state == CLOSED

    @property
    def is_remote_done(self) -> bool:
        """The peer has sent all."""
        return bool(self.state & REMOTE_DONE)

    @property
    def is_local_done(self) -> bool:
        """We have sent all."""
        return bool(self.state & LOCAL_DONE)

    @property
    def is_full(self) -> bool:
        """What was sent waits for room."""
        return self._is_full

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the body that wait for room."""
        return sum(map(len, self._waiting or ())) - self._offset

    # For the connection.

    def end(self) -> None:
        """Neither side sends any more: drop what waits."""
        self.state = CLOSED
        self._waiting = None
        self._offset = 0

    def open_window(self) -> None:
        """Let the peer send on, unless nobody takes it or nothing is to come."""
        if not self._is_paused and not self.state & REMOTE_DONE:
            increment = WINDOW_BYTES - self.receive_window
            self.receive_window = WINDOW_BYTES
            self.connection.write(window_update_frame(self.id, increment))

    def widen(self, increment: int) -> bool:
        """Take a WINDOW_UPDATE of the peer, or a change of its setting; False when the window would be too large."""
        self.send_window += increment
        if self.send_window > WINDOW_MAX:
            return False
        if self._waiting is not None:
            self.flush()
        return True

    def flush(self, frames_max: int = 0) -> None:
        """Send what waits as far as there is room; at most `frames_max` frames, 0: any number."""
        connection, waiting = self.connection, self._waiting
        assert waiting is not None
        frames = 0
        while waiting:
            room = min(self.send_window, connection.send_window, connection.send_frame_bytes_max)
            if room <= 0 or connection.is_write_paused or (frames_max and frames == frames_max):
                if self.send_window > 0:
                    connection.blocked[self] = None
                return
            data, begin = waiting[0], self._offset
            if len(data) - begin > room:
                self._offset = begin + room
                data = data[begin : begin + room]
            else:
                waiting.popleft()
                self._offset = 0
                data = data[begin:] if begin else data
            self.send_window -= len(data)
            connection.send_window -= len(data)
            connection.frames_due += UPDATES_PER_DATA
            is_done = self._waits_for_end and not waiting
            connection.write(HEAD.pack(len(data) << 8 | DATA, END_STREAM if is_done else 0, self.id) + data)
            frames += 1
        self._waiting = None
        if self._trailers is not None:
            self.send_head(self._trailers, True)
        elif self._waits_for_end:
            self._local_done()
        if self._is_full:
            self._is_full = False
            self.drained()

    # Inside.

    def _wait(self, data: bytes, is_done: bool) -> None:
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = deque()
        if data:
            waiting.append(data)
        self._waits_for_end = is_done
        self.flush()
        if len(data) > _GATHERED_BYTES_MAX and not self.connection.is_write_paused:
            self.connection.write_through()
        if self._waiting is not None and not self._is_full:
            self._is_full = True
            self.filled()

    def _local_done(self) -> None:
        self.state |= LOCAL_DONE
        if self.state == CLOSED:
            self.connection.forget(self)
        elif self._is_unwanted:
            self.connection.reset(self, NO_ERROR)
