"""The client's side of a connection: requests go, responses come.

Streams that a GOAWAY says were not looked at, or that are refused, are lost as *unprocessed*: their requests may be
sent again on another connection, whatever their method (RFC 9113 8.7).
"""

from collections.abc import Callable

from proxies.http2.connection import Connection
from proxies.http2.endpoint import Owner
from proxies.http2.errors import PROTOCOL_ERROR, ConnectionFault, ListTooLarge, Malformed, name_of
from proxies.http2.frames import HEADERS, PREFACE, STREAM_ID_MAX
from proxies.http2.settings import CLIENT_SETTINGS
from proxies.http2.stream import NO_HEAD, REMOTE_DONE, UPDATES_PER_STREAM, Stream
from proxies.messages import ResponseHead

__all__ = ["ClientConnection"]


class ClientConnection(Connection):
    """A connection whose peer is a server."""

    __slots__ = ("_next_id", "_peer_last_id")

    def __init__(self, owner: Owner, clock: Callable[[], float]) -> None:
        super().__init__(owner, clock, CLIENT_SETTINGS, preface=PREFACE, push_max=0)
        self._next_id = 1
        self._peer_last_id = STREAM_ID_MAX

    @property
    def can_open(self) -> bool:
        """A request may be sent: the server takes another stream."""
        return not self.is_draining and len(self.streams) < self.streams_max and self._next_id <= STREAM_ID_MAX

    def open(self, stream: Stream, block: bytes, is_done: bool) -> None:
        """Send the head of a request on a stream, which gets its id. Only while `can_open`."""
        stream.id = self._next_id
        self._next_id += 2
        self.streams[stream.id] = stream
        self.frames_due += UPDATES_PER_STREAM
        stream.send_head(block, is_done)

    # What the connection calls.

    def _block_received(self, stream_id: int, block: bytes, is_done: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is None or stream.state & REMOTE_DONE:
            self._blocks.skip(block)
            self._came_too_late(HEADERS, stream_id, stream)
        elif stream.length != NO_HEAD:
            self._trailers_received(stream, block, is_done)
        else:
            try:
                head = self._blocks.response(block)
                if is_done:
                    _check_bodiless(head, stream)
            except (Malformed, ListTooLarge) as error:
                self._break(stream, PROTOCOL_ERROR, str(error))
            else:
                self._begin(stream, head, is_done)

    def _begin(self, stream: Stream, head: ResponseHead, is_done: bool) -> None:
        if head.status < 200:
            self._charge("informational responses")
            stream.informational_received(head)
            return
        is_bodiless = stream.is_bodiless or head.status == 204 or head.status == 304
        stream.length = 0 if is_bodiless else head.content_length
        if is_done:
            self._remote_done(stream)
        stream.response_received(head, is_done)

    def _stream_reset(self) -> None:
        """A server may end any of the streams that we opened, each once: that is no attack."""

    def _is_unused(self, stream_id: int) -> bool:
        return stream_id >= self._next_id or not stream_id & 1

    def _go_away_received(self, last_stream_id: int, code: int, text: str) -> None:
        if last_stream_id > self._peer_last_id:
            raise ConnectionFault(PROTOCOL_ERROR, f"expected GOAWAY for at most stream {self._peer_last_id}")
        self._peer_last_id = last_stream_id
        self.is_draining = True
        unprocessed = [stream for stream in self.streams.values() if stream.id > last_stream_id]
        for stream in unprocessed:
            self._drop(stream)
            self._reset_by_us.append(stream.id)
        self._owner.peer_goes_away(code, text)
        for stream in unprocessed:
            stream.lost(code, f"the peer goes away: {name_of(code)} {text}".rstrip(), is_unprocessed=True)

    @property
    def _last_stream_id(self) -> int:
        return 0


def _check_bodiless(head: ResponseHead, stream: Stream) -> None:
    """Raise `Malformed` when a response that ends with its head announced more (RFC 9113 8.1, 8.1.1)."""
    if head.status < 200:
        raise Malformed("expected a final response behind an informational one")
    if head.content_length > 0 and not stream.is_bodiless and head.status != 304:
        raise Malformed(f"expected a body of {head.content_length} bytes, got the end of the stream")
