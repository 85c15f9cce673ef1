"""What an endpoint of a connection keeps and puts out: its streams, what waits for room, its end.

Everything that is sent goes to one list, which the owner writes once per turn of its loop. DATA that has no room waits
in its streams; those that only the connection's window or the transport holds back take turns when there is room.

`connection` adds what is received.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from proxies.http2.budget import Budget
from proxies.http2.errors import ENHANCE_YOUR_CALM, NO_ERROR, ConnectionFault
from proxies.http2.frames import (
    FRAME_BYTES_MAX,
    PING,
    frame,
    go_away_frame,
    reset_frame,
    settings_frame,
    window_update_frame,
)
from proxies.http2.stream import FIRST_WINDOW_BYTES, REMOTE_DONE, Stream

__all__ = ["Endpoint", "Owner"]

WINDOW_BYTES: Final = 1 << 20
"""The connection's receive window."""
_PAUSED_OUTPUT_BYTES_MAX: Final = 1 << 20
"""Of heads and control frames that are put out while the transport takes nothing."""
_REMEMBERED_MAX: Final = 256
"""Ids of streams that ended, of each kind."""
_TEXT_BYTES_MAX: Final = 256
"""Of the reason in GOAWAY."""


class Owner(Protocol):
    """What has the connection: a transport's protocol."""

    def output_ready(self) -> None:
        """There is something to write where there was nothing: take it before the turn of the loop ends."""

    def write_through(self) -> None:
        """There is so much to write that it should be taken at once."""

    def settings_received(self) -> None:
        """The peer's settings are known, or changed: `streams_max` may have."""

    def peer_goes_away(self, code: int, text: str) -> None:
        """The peer takes no further streams. Those that it did not process were told (`Stream.lost`)."""

    def ping_acknowledged(self, payload: bytes) -> None:
        """A `ping` of ours came back."""


class _Nobody:
    """The owner of a connection that is lost."""

    def output_ready(self) -> None:
        """There is nowhere to write to."""

    def write_through(self) -> None:
        """There is nowhere to write to."""

    def settings_received(self) -> None:
        """Never called."""

    def peer_goes_away(self, code: int, text: str) -> None:
        """Never called."""

    def ping_acknowledged(self, payload: bytes) -> None:
        """Never called."""


_NOBODY: Final = _Nobody()


class Endpoint:
    """The sending half of `connection.Connection`, and the state that both halves share."""

    __slots__ = (
        "_budget",
        "_ended",
        "_out",
        "_owner",
        "_paused_output_bytes",
        "_reset_by_peer",
        "_reset_by_us",
        "blocked",
        "fault",
        "first_send_window",
        "frames_due",
        "is_draining",
        "is_over",
        "is_write_paused",
        "late_bytes",
        "send_frame_bytes_max",
        "send_window",
        "streams",
        "streams_max",
        "table_update",
    )

    def __init__(self, owner: Owner, clock: Callable[[], float], preface: bytes, settings: dict[int, int]) -> None:
        self._owner = owner
        self._budget = Budget(clock)
        self._ended: deque[int] = deque(maxlen=_REMEMBERED_MAX)
        self._reset_by_us: deque[int] = deque(maxlen=_REMEMBERED_MAX)
        self._reset_by_peer: deque[int] = deque(maxlen=_REMEMBERED_MAX)
        self._paused_output_bytes = 0
        self.fault: ConnectionFault | None = None
        """Why the connection ended, if the peer broke it."""
        self.is_over = False
        """Nothing more is received, and nothing sent but what `take_output` returns."""
        self.is_draining = False
        """No further stream begins, by our will or the peer's."""
        self.is_write_paused = False
        self.streams: dict[int, Stream] = {}
        """All that are open, by id."""
        self.blocked: dict[Stream, None] = {}
        """Streams that could send if the connection could, in the order of their turns."""
        self.streams_max = 100
        """Streams of ours that the peer takes at once. Before its SETTINGS came: the least that RFC 9113 6.5.2 asks."""
        self.first_send_window = FIRST_WINDOW_BYTES
        self.send_window = FIRST_WINDOW_BYTES
        self.table_update: bytes | None = None
        """What begins the next block that is sent (`begin_block`); None: the peer did not ask for it."""
        self.send_frame_bytes_max = FRAME_BYTES_MAX
        self.frames_due = 0
        """Frames that cost the peer nothing: updates of windows for what we sent, late resets of streams that ended."""
        self.late_bytes = 0
        """Bytes of DATA that cost the peer nothing: the windows of streams that we reset, for it may have used them."""
        self._out = [preface, settings_frame(settings), window_update_frame(0, WINDOW_BYTES - FIRST_WINDOW_BYTES)]

    # What the owner calls.

    @property
    def is_idle(self) -> bool:
        """No stream is open."""
        return not self.streams

    def take_output(self) -> bytes:
        """Return what is to be written, and forget it."""
        data = b"".join(self._out)
        self._out.clear()
        if self.is_write_paused and not self.is_over:
            self._paused_output_bytes += len(data)
            if self._paused_output_bytes > _PAUSED_OUTPUT_BYTES_MAX:
                self._fail(ConnectionFault(ENHANCE_YOUR_CALM, "expected the peer to read what it asks for"))
                data += b"".join(self._out)
                self._out.clear()
        return data

    def pause_writing(self) -> None:
        """The transport takes no more: DATA waits in its streams."""
        self.is_write_paused = True
        self._paused_output_bytes = 0

    def resume_writing(self) -> None:
        """The transport takes bytes again."""
        self.is_write_paused = False
        self._flush_blocked()

    def ping(self, payload: bytes) -> None:
        """Send PING with 8 bytes; `Owner.ping_acknowledged` follows."""
        self.write(frame(PING, 0, 0, payload))

    def close(self, code: int = NO_ERROR, text: str = "") -> None:
        """End the connection: GOAWAY is put out, the streams that are open are lost."""
        if not self.is_over:
            self.write(go_away_frame(self._last_stream_id, code, text.encode()[:_TEXT_BYTES_MAX]))
            self._end(code, text)

    def connection_lost(self, text: str) -> None:
        """The transport is gone: the streams that are open are lost."""
        if not self.is_over:
            self._end(NO_ERROR, text)
        self._out.clear()
        self._owner = _NOBODY  # which has us: neither should have to wait for the garbage collector

    # What the streams call.

    def write(self, data: bytes) -> None:
        """Put out bytes."""
        out = self._out
        if not out:
            self._owner.output_ready()
        out.append(data)

    def write_through(self) -> None:
        """Have written at once what was put out."""
        self._owner.write_through()

    def begin_block(self, block: bytes) -> bytes:
        """Return a block as it has to be sent: the first one may have to say that we use no dynamic table."""
        if self.table_update:
            block = self.table_update + block
            self.table_update = b""
        return block

    def reset(self, stream: Stream, code: int) -> None:
        """Send RST_STREAM and forget the stream."""
        if not stream.state & REMOTE_DONE:
            self.late_bytes += max(0, stream.receive_window)
        self._drop(stream)
        self.frames_due += 1  # its peer may do the same at this moment
        self._reset_by_us.append(stream.id)
        self.write(reset_frame(stream.id, code))

    def forget(self, stream: Stream) -> None:
        """Both sides of the stream are done."""
        del self.streams[stream.id]
        self._ended.append(stream.id)
        self.frames_due += 1

    # For the receiving half.

    @property
    def _last_stream_id(self) -> int:
        """The last of the peer's streams that we may have acted on."""
        raise NotImplementedError

    def _charge(self, what: str) -> None:
        """Count a frame that brings nobody forward. Raises `ConnectionFault` when there are too many."""
        if not self._budget.spend():
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"too many frames that bring nobody forward, the last were {what}")

    def _fail(self, fault: ConnectionFault) -> None:
        """The peer broke the connection."""
        # The traceback would keep what was read, for as long as somebody may ask what was wrong.
        self.fault = fault.with_traceback(None)
        self.close(fault.code, str(fault))

    def _end(self, code: int, text: str) -> None:
        self.is_over = self.is_draining = True
        streams = list(self.streams.values())
        self.streams.clear()
        self.blocked.clear()
        for stream in streams:
            stream.end()
        # The last first: what the first ones had must not be given to others that are about to be lost.
        for stream in reversed(streams):
            stream.lost(code, text, is_unprocessed=False)

    def _drop(self, stream: Stream) -> None:
        """Forget a stream that did not end well."""
        stream.end()
        del self.streams[stream.id]
        self.blocked.pop(stream, None)

    def _flush_blocked(self) -> None:
        """Let the streams that wait for the connection send, a frame each in turn."""
        blocked = self.blocked
        while blocked and self.send_window > 0 and not self.is_write_paused:
            stream = next(iter(blocked))
            del blocked[stream]
            stream.flush(frames_max=1)
