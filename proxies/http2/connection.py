"""One connection, without I/O: what is received, for both roles. `server` and `client` say how a stream begins.

The owner gives `receive` the bytes that come and writes `take_output` once per turn of its loop. The connection calls
the streams' methods for what arrives (`stream`), in order, from within `receive`.

Of a stream that ended only its id is kept, for a while: frames that were under way when we reset it are no fault of the
peer's. A fault ends the connection: GOAWAY is put out, every stream hears `lost`, `fault` says why; the owner writes
what there is and closes.

What is bounded: streams (`settings.STREAMS_MAX`), a header block in bytes and in frames (`blocks`), what comes and
brings nobody forward (`budget`), what is put out while the transport does not take it, frames per turn
(`frames.FRAMES_PER_SCAN`). DATA is handed on at once, and a stream's window limits what of it is not taken. The window
of the connection is opened again whatever becomes of the data, so that one slow stream does not stop the others.

Source: RFC 9113 sections 3.4, 5, 6, 9, 10.5.
"""

from collections.abc import Callable
from typing import Final

from proxies.http2.blocks import BlockReader
from proxies.http2.endpoint import WINDOW_BYTES, Endpoint, Owner
from proxies.http2.errors import (
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    ConnectionFault,
    ListTooLarge,
    Malformed,
    name_of,
)
from proxies.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    NUMBER,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_ID_MAX,
    WINDOW_UPDATE,
    FrameScanner,
    ReceivedFrame,
    frame,
    reset_frame,
    unpadded,
    window_update_frame,
)
from proxies.http2.hpack import EMPTY_TABLE, TABLE_BYTES
from proxies.http2.settings import (
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    STREAMS_WITHOUT_BOUND,
    read_settings,
)
from proxies.http2.stream import ANY_LENGTH, CLOSED, REMOTE_DONE, WINDOW_LOW_BYTES, WINDOW_MAX, Stream

__all__ = ["Connection"]

_WINDOW_LOW_BYTES: Final = WINDOW_BYTES // 2


class Connection(Endpoint):
    """What `ServerConnection` and `ClientConnection` share."""

    __slots__ = (
        "_blocks",
        "_expected",
        "_has_advanced",
        "_last_ping",
        "_push_max",
        "_receive_window",
        "_saw_settings",
        "_scanner",
        "_settings_unacknowledged",
    )

    def __init__(
        self,
        owner: Owner,
        clock: Callable[[], float],
        settings: dict[int, int],
        *,
        preface: bytes = b"",
        expected: bytes = b"",
        push_max: int = 1,
    ) -> None:
        """`clock`: monotonic, in seconds. `expected`: the peer's preface. `push_max`: of its SETTINGS_ENABLE_PUSH."""
        super().__init__(owner, clock, preface, settings)
        self._scanner = FrameScanner()
        self._blocks = BlockReader()
        self._expected = expected
        self._has_advanced = False
        self._push_max = push_max
        self._settings_unacknowledged = 1
        self._saw_settings = False
        self._last_ping = (0, 0)
        self._receive_window = WINDOW_BYTES

    # What the owner calls.

    @property
    def is_settled(self) -> bool:
        """The peer has sent its settings and acknowledged ours."""
        return self._saw_settings and not self._settings_unacknowledged

    @property
    def is_owed(self) -> bool:
        """Something should come soon: the rest of a frame or of a header block, settings, their acknowledgement."""
        return bool(
            self._scanner.is_within_frame
            or self._blocks.is_within_block
            or self._settings_unacknowledged
            or not self._saw_settings
            or self._expected
        )

    @property
    def is_advancing(self) -> bool:
        """A frame became whole: that the read ended within the next one is what all reads of a large upload do."""
        return self._has_advanced and self.is_settled and not self._blocks.is_within_block

    def receive(self, data: bytes) -> bool:
        """Take what the peer sent. True when some of it is left for the next turn: call it again then, with nothing."""
        try:
            if self._expected:
                data = self._without_preface(data)
            frames = [] if self.is_over else self._scanner.scan(data)
            self._has_advanced = bool(frames)
            blocks = self._blocks
            if not self._saw_settings and frames and (frames[0][0] != SETTINGS or frames[0][1] & ACK):
                raise ConnectionFault(PROTOCOL_ERROR, "expected SETTINGS first")
            for received in frames:
                kind, flags, stream_id, payload = received
                if blocks.is_within_block:
                    self._block_goes_on(received)
                elif kind == HEADERS:
                    if flags & (PADDED | HAS_PRIORITY):
                        payload = unpadded(flags, payload)
                    if flags & END_HEADERS:
                        self._block_received(stream_id, payload, flags & END_STREAM != 0)
                    else:
                        blocks.begin(flags, stream_id, payload)
                elif kind == DATA:
                    self._data_received(flags, stream_id, payload)
                elif kind == WINDOW_UPDATE:
                    self._window_update_received(stream_id, payload)
                else:
                    self._control_received(received)
                if self.is_over:
                    return False
        except ConnectionFault as fault:
            self._fail(fault)
        return self._scanner.has_more and not self.is_over

    # What the roles say.

    def _block_received(self, stream_id: int, block: bytes, is_done: bool) -> None:
        """A whole header block came."""
        raise NotImplementedError

    def _is_unused(self, stream_id: int) -> bool:
        """No stream of this id has begun (idle, RFC 9113 5.1)."""
        raise NotImplementedError

    def _go_away_received(self, last_stream_id: int, code: int, text: str) -> None:
        """The peer sent GOAWAY."""
        raise NotImplementedError

    def _end(self, code: int, text: str) -> None:
        super()._end(code, text)
        self._blocks = BlockReader()
        self._scanner = FrameScanner()

    def _stream_reset(self) -> None:
        """The peer resets a stream that is open: charge it where it may be an attack."""
        raise NotImplementedError

    # Frames of streams.

    def _data_received(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        window = self._receive_window - size
        if window < _WINDOW_LOW_BYTES:
            self.write(window_update_frame(0, WINDOW_BYTES - window))
            window = WINDOW_BYTES
        self._receive_window = window
        if flags & PADDED:
            payload = unpadded(PADDED, payload)
        stream = self.streams.get(stream_id)
        if stream is None or stream.state & REMOTE_DONE:
            if stream is None and payload and self.late_bytes >= size and stream_id in self._reset_by_us:
                self.late_bytes -= size
            else:
                self._came_too_late(DATA, stream_id, stream)
            return
        is_done = flags & END_STREAM != 0
        stream.receive_window -= size
        stream.size += len(payload)
        if stream.receive_window < 0:
            self._break(stream, FLOW_CONTROL_ERROR, "expected DATA within the stream's window")
            return
        length = stream.length
        if length != ANY_LENGTH and (stream.size > length or (is_done and stream.size < length)):
            self._break(stream, PROTOCOL_ERROR, _length_text(stream))
            return
        if is_done:
            self._remote_done(stream)
        elif not payload:
            self._charge("empty DATA")
            return
        stream.data_received(payload, is_done)
        if stream.receive_window < WINDOW_LOW_BYTES:
            stream.open_window()

    def _trailers_received(self, stream: Stream, block: bytes, is_done: bool) -> None:
        """A header block on a stream that had its head."""
        try:
            fields = self._blocks.trailers(block)
            if not is_done:
                raise Malformed("expected trailers to end the stream")
            if stream.length >= 0 and stream.size != stream.length:
                raise Malformed(_length_text(stream))
        except (Malformed, ListTooLarge) as error:
            self._break(stream, PROTOCOL_ERROR, str(error))
        else:
            self._remote_done(stream)
            stream.trailers_received(fields)

    def _remote_done(self, stream: Stream) -> None:
        stream.state |= REMOTE_DONE
        if stream.state == CLOSED:
            self.forget(stream)

    def _block_goes_on(self, received: ReceivedFrame) -> None:
        whole = self._blocks.go_on(*received)
        if whole is not None:
            block, is_done = whole
            self._block_received(received[2], block, is_done)

    def _came_too_late(self, kind: int, stream_id: int, stream: Stream | None) -> None:
        """HEADERS or DATA came on a stream whose peer may send none (RFC 9113 5.1)."""
        self._charge("frames on closed streams")
        if stream is not None:
            self._break(stream, STREAM_CLOSED, "expected no frame behind END_STREAM")
        elif self._is_unused(stream_id):
            raise ConnectionFault(PROTOCOL_ERROR, f"expected HEADERS to begin stream {stream_id}")
        elif stream_id in self._reset_by_us:
            return
        elif stream_id in self._ended:
            raise ConnectionFault(STREAM_CLOSED, f"expected no frame behind END_STREAM on stream {stream_id}")
        elif kind == DATA or stream_id in self._reset_by_peer:
            self.write(reset_frame(stream_id, STREAM_CLOSED))
        else:
            raise ConnectionFault(PROTOCOL_ERROR, f"expected a stream above {self._last_stream_id}, got {stream_id}")

    def _break(self, stream: Stream, code: int, text: str) -> None:
        """End a stream whose peer broke its rules."""
        self._charge("broken streams")
        self.reset(stream, code)
        stream.lost(code, text, is_unprocessed=False)

    # Other frames.

    def _window_update_received(self, stream_id: int, payload: bytes) -> None:
        if self.frames_due:
            self.frames_due -= 1
        else:
            self._charge("WINDOW_UPDATE")
        increment: int = NUMBER.unpack(payload)[0] & WINDOW_MAX
        if not stream_id:
            self.send_window += increment
            if not increment:
                raise ConnectionFault(PROTOCOL_ERROR, "expected WINDOW_UPDATE of more than 0")
            if self.send_window > WINDOW_MAX:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "expected a window below 2^31")
            if self.blocked:
                self._flush_blocked()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_used(WINDOW_UPDATE, stream_id)
        elif not increment:
            self._break(stream, PROTOCOL_ERROR, "expected WINDOW_UPDATE of more than 0")
        elif not stream.widen(increment):
            self._break(stream, FLOW_CONTROL_ERROR, "expected a window below 2^31")

    def _control_received(self, received: ReceivedFrame) -> None:
        kind, flags, stream_id, payload = received
        if kind == RST_STREAM:
            self._reset_received(stream_id, NUMBER.unpack(payload)[0])
        elif kind == SETTINGS:
            self._settings_received(flags, payload)
        elif kind == PING:
            self._ping_received(flags, payload)
        elif kind == GOAWAY:
            self._charge("GOAWAY")
            last_stream_id, code = NUMBER.unpack_from(payload)[0] & STREAM_ID_MAX, NUMBER.unpack_from(payload, 4)[0]
            self._go_away_received(last_stream_id, code, payload[8:].decode(errors="replace"))
        elif kind == PRIORITY:
            self._charge("PRIORITY")
            if len(payload) != 5:
                self._break_or_fail(stream_id, FRAME_SIZE_ERROR, "expected PRIORITY of 5 bytes")
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(PROTOCOL_ERROR, "expected no PUSH_PROMISE")
        elif kind == CONTINUATION:
            raise ConnectionFault(PROTOCOL_ERROR, "expected HEADERS before CONTINUATION")
        else:
            self._charge("of unknown types")

    def _reset_received(self, stream_id: int, code: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._stream_reset()
            self._drop(stream)
            self._reset_by_peer.append(stream_id)
            stream.lost(code, f"stream reset by the peer: {name_of(code)}", is_unprocessed=code == REFUSED_STREAM)
            return
        self._check_used(RST_STREAM, stream_id)
        if self.frames_due:
            self.frames_due -= 1
        else:
            self._charge("RST_STREAM")

    def _settings_received(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if not self._settings_unacknowledged:
                raise ConnectionFault(PROTOCOL_ERROR, "expected no acknowledgement of SETTINGS that were not sent")
            self._settings_unacknowledged -= 1
            self._blocks.limit_acknowledged()
            return
        self._charge("SETTINGS")
        if not self._saw_settings:
            self._saw_settings = True
            self.streams_max = STREAMS_WITHOUT_BOUND
        self._apply_settings(payload)
        self.write(frame(SETTINGS, ACK, 0))
        self._owner.settings_received()

    def _apply_settings(self, payload: bytes) -> None:
        for key, value in read_settings(payload, push_max=self._push_max):
            if key == INITIAL_WINDOW_SIZE:
                change = value - self.first_send_window
                self.first_send_window = value
                for stream in list(self.streams.values()):
                    if not stream.widen(change):
                        raise ConnectionFault(FLOW_CONTROL_ERROR, "expected no stream's window to pass 2^31")
            elif key == MAX_FRAME_SIZE:
                self.send_frame_bytes_max = value
            elif key == MAX_CONCURRENT_STREAMS:
                self.streams_max = value
            elif key == HEADER_TABLE_SIZE and value < TABLE_BYTES and self.table_update is None:
                self.table_update = EMPTY_TABLE

    def _ping_received(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            self._charge("PING")
            self._ping_acknowledged(payload)
            return
        # A peer that measures the link sends one each time that data went through (gRPC does).
        now = (self.send_window, self._receive_window)
        if now == self._last_ping:
            self._charge("PING")
        self._last_ping = now
        self.write(frame(PING, ACK, 0, payload))

    def _ping_acknowledged(self, payload: bytes) -> None:
        self._owner.ping_acknowledged(payload)

    def _break_or_fail(self, stream_id: int, code: int, text: str) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            raise ConnectionFault(code, text)
        self._break(stream, code, text)

    def _check_used(self, kind: int, stream_id: int) -> None:
        if self._is_unused(stream_id):
            raise ConnectionFault(
                PROTOCOL_ERROR, f"expected HEADERS before a frame of type {kind} on stream {stream_id}"
            )

    def _without_preface(self, data: bytes) -> bytes:
        """Take the peer's preface; return what is behind it."""
        expected = self._expected
        size = min(len(data), len(expected))
        if data[:size] != expected[:size]:
            self._expected = b""
            raise ConnectionFault(PROTOCOL_ERROR, "expected the preface of HTTP/2")
        self._expected = expected[size:]
        return data[size:]


def _length_text(stream: Stream) -> str:
    return f"expected a body of {stream.length} bytes, got {stream.size}"
