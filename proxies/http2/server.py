"""The server's side of a connection: requests come, responses go.

A client opens streams with odd ids that rise. Above `settings.STREAMS_MAX` open ones a stream is refused. A drain takes
two steps, so that no request is lost that was under way (RFC 9113 6.8): a GOAWAY that still allows every stream, then,
when a PING has come back, one that names the last stream.
"""

from collections.abc import Callable
from typing import Final

from proxies.http2.budget import RESETS_BURST, RESETS_RATE_PER_S, Budget
from proxies.http2.connection import Connection
from proxies.http2.endpoint import Owner
from proxies.http2.errors import (
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    ConnectionFault,
    ListTooLarge,
    Malformed,
)
from proxies.http2.frames import HEADERS, PING, PREFACE, STREAM_ID_MAX, frame, go_away_frame, head_frames, reset_frame
from proxies.http2.rendering import response_block
from proxies.http2.settings import SERVER_SETTINGS, STREAMS_MAX
from proxies.http2.stream import FIRST_WINDOW_BYTES, REMOTE_DONE, UPDATES_PER_STREAM, Stream
from proxies.messages import RequestHead

__all__ = ["ServerConnection"]

_DRAIN_PING: Final = b"draining"
_TOO_LARGE: Final = response_block(b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n")


class ServerConnection(Connection):
    """A connection whose peer is a client."""

    __slots__ = ("_accepted_max", "_last_id", "_make_stream", "_resets")

    def __init__(
        self, owner: Owner, clock: Callable[[], float], make_stream: Callable[["ServerConnection", int], Stream]
    ) -> None:
        """`make_stream(connection, stream_id)` is called for each request; `Stream.request_received` follows at once.

        Only the preface is not ours to see when the owner has looked at it: hand it on to `receive`, too.
        """
        super().__init__(owner, clock, SERVER_SETTINGS, expected=PREFACE)
        self._make_stream = make_stream
        self._resets = Budget(clock, RESETS_BURST, RESETS_RATE_PER_S)
        self._last_id = 0
        self._accepted_max = STREAM_ID_MAX

    def upgrade(self, settings: bytes, head: RequestHead) -> None:
        """Begin with the request that asked for h2c in HTTP/1.1, as stream 1 (RFC 7540 3.2): its response goes there.

        `settings`: the payload that `HTTP2-Settings` decodes to, in pieces of 6 bytes; a wrong one ends the connection.
        """
        try:
            self._apply_settings(settings)
        except ConnectionFault as fault:
            self._fail(fault)
            return
        self._last_id = 1
        self._begin(1, head, is_done=True)

    def start_drain(self) -> None:
        """Tell the client to open no more streams; those that it has opened already are served."""
        if not self.is_draining:
            self.is_draining = True
            self.write(go_away_frame(STREAM_ID_MAX, NO_ERROR) + frame(PING, 0, 0, _DRAIN_PING))

    def finish_drain(self) -> None:
        """Serve no stream that comes from here on. Comes by itself when the client has answered `start_drain`."""
        if self._accepted_max == STREAM_ID_MAX and not self.is_over:
            self.is_draining = True
            self._accepted_max = self._last_id
            self.write(go_away_frame(self._last_id, NO_ERROR))

    def connection_lost(self, text: str) -> None:
        super().connection_lost(text)
        self._make_stream = Stream  # the owner's own would keep it

    @property
    def is_drained(self) -> bool:
        """The last stream has ended behind the second step of a drain: close."""
        return not self.streams and self._accepted_max != STREAM_ID_MAX

    # What the connection calls.

    def _block_received(self, stream_id: int, block: bytes, is_done: bool) -> None:
        if stream_id <= self._last_id:
            stream = self.streams.get(stream_id)
            if stream is not None and not stream.state & REMOTE_DONE:
                self._trailers_received(stream, block, is_done)
            else:
                self._blocks.skip(block)
                self._came_too_late(HEADERS, stream_id, stream)
            return
        if not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"expected a stream with an odd id, got {stream_id}")
        if stream_id > self._accepted_max:
            self._blocks.skip(block)
            self._pass_over(stream_id)
            return
        self._last_id = stream_id
        if len(self.streams) >= STREAMS_MAX:
            self._blocks.skip(block)
            self._refuse(stream_id, REFUSED_STREAM)
            return
        try:
            head = self._blocks.request(block, is_done)
        except Malformed:
            self._refuse(stream_id, PROTOCOL_ERROR)
        except ListTooLarge:
            self.write(head_frames(stream_id, self.begin_block(_TOO_LARGE), True, self.send_frame_bytes_max))
            self._refuse(stream_id, NO_ERROR)
        else:
            self._begin(stream_id, head, is_done)

    def _begin(self, stream_id: int, head: RequestHead, is_done: bool) -> None:
        stream = self._make_stream(self, stream_id)
        self.streams[stream_id] = stream
        self.frames_due += UPDATES_PER_STREAM
        stream.length = head.content_length
        if is_done:
            stream.state = REMOTE_DONE
        stream.request_received(head, is_done)

    def _refuse(self, stream_id: int, code: int) -> None:
        self._charge("requests that cannot be taken")
        self._pass_over(stream_id)
        self.write(reset_frame(stream_id, code))

    def _pass_over(self, stream_id: int) -> None:
        """What comes on the stream from here on was sent before the client knew better."""
        self._reset_by_us.append(stream_id)
        self.late_bytes += FIRST_WINDOW_BYTES

    def _stream_reset(self) -> None:
        if not self._resets.spend():
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many streams that were opened and reset")

    def _is_unused(self, stream_id: int) -> bool:
        if not stream_id & 1:
            return True
        # What is sent on a stream that a drain left out was sent before the client heard of it (RFC 9113 6.8).
        return stream_id > self._last_id and self._accepted_max == STREAM_ID_MAX

    def _go_away_received(self, last_stream_id: int, code: int, text: str) -> None:
        # We open no streams that it could speak of.
        self._owner.peer_goes_away(code, text)

    def _ping_acknowledged(self, payload: bytes) -> None:
        if payload == _DRAIN_PING:
            self.finish_drain()
        else:
            super()._ping_acknowledged(payload)

    @property
    def _last_stream_id(self) -> int:
        return self._last_id
