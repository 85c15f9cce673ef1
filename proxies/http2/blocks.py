"""The header blocks of one direction of a connection: put together from their frames, and read as heads and trailers.

Until the peer has emptied its dynamic table each block is decoded with what the blocks before it left there, whether
somebody wants it or not. From then on a block stands for itself, and `memos` remembers what it says.
"""

from contextlib import suppress
from typing import Final

from proxies.fields import Field
from proxies.http1 import FIELDS_MAX
from proxies.http2 import heads, memos
from proxies.http2.errors import ENHANCE_YOUR_CALM, PROTOCOL_ERROR, ConnectionFault, ListTooLarge
from proxies.http2.frames import CONTINUATION, END_HEADERS, END_STREAM
from proxies.http2.hpack import Decoder
from proxies.messages import RequestHead, ResponseHead

__all__ = ["BlockReader"]

_BLOCK_BYTES_MAX: Final = memos.LIST_BYTES_MAX
_FRAMES_MAX: Final = 128
"""Twice as many as the largest block needs in frames of the largest size that we take."""


class BlockReader:
    """Reads the blocks in their order. Every method raises `CompressionFault` for a broken one."""

    __slots__ = ("_decoder", "_frames", "_is_context_free", "_is_done", "_part", "_stream_id", "is_within_block")

    def __init__(self) -> None:
        self._decoder = Decoder(list_bytes_max=memos.LIST_BYTES_MAX, fields_max=FIELDS_MAX)
        self._is_context_free = False
        self._part = bytearray()
        self._stream_id = 0
        self._is_done = False
        self._frames = 0
        self.is_within_block = False
        """The block under way goes on with CONTINUATION. Looked at for each frame: a property would cost 45 ns."""

    # A block in several frames: nothing else may come between them (RFC 9113 6.10).

    def begin(self, flags: int, stream_id: int, part: bytes) -> None:
        """Take the first part of a block that is not complete."""
        self.is_within_block = True
        self._part = bytearray(part)
        self._stream_id = stream_id
        self._is_done = bool(flags & END_STREAM)
        self._frames = 1

    def go_on(self, kind: int, flags: int, stream_id: int, part: bytes) -> tuple[bytes, bool] | None:
        """Take the next frame: CONTINUATION it has to be. Return the block and its END_STREAM when it is complete.

        Raises `ConnectionFault` when it is another frame, or the block is beyond its bounds (CVE-2024-27316).
        """
        if kind != CONTINUATION or stream_id != self._stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, f"expected CONTINUATION on stream {self._stream_id}")
        self._part += part
        self._frames += 1
        if len(self._part) > _BLOCK_BYTES_MAX or self._frames > _FRAMES_MAX:
            raise ConnectionFault(
                ENHANCE_YOUR_CALM, f"expected a header block of at most {_BLOCK_BYTES_MAX} bytes, {_FRAMES_MAX} frames"
            )
        if not flags & END_HEADERS:
            return None
        block = bytes(self._part)
        self._part = bytearray()
        self.is_within_block = False
        return block, self._is_done

    # A whole block.

    def request(self, block: bytes, is_done: bool) -> RequestHead:
        """Return the head of a request; `is_done`: nothing follows. Raises `Malformed`, `ListTooLarge`."""
        if self._is_context_free:
            return memos.request_head(block, is_done)
        return heads.parse_request(self._fields(block), is_done)

    def response(self, block: bytes) -> ResponseHead:
        """Return the head of a response. Raises `Malformed`, `ListTooLarge`."""
        if self._is_context_free:
            return memos.response_head(block)
        return heads.parse_response(self._fields(block))

    def trailers(self, block: bytes) -> list[Field]:
        """Return trailers. Raises `Malformed`, `ListTooLarge`."""
        if self._is_context_free:
            return memos.trailers(block)
        return heads.parse_trailers(self._fields(block))

    def skip(self, block: bytes) -> None:
        """Pass over a block that nobody wants."""
        if not self._is_context_free:
            with suppress(ListTooLarge):
                self._decode(block)

    def limit_acknowledged(self) -> None:
        """The peer knows that its dynamic table may have no room."""
        self._decoder.limit_acknowledged(0)

    # Inside.

    def _fields(self, block: bytes) -> list[Field]:
        return heads.fields_of(self._decode(block))

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            return self._decoder.decode(block)
        finally:
            self._is_context_free = self._decoder.is_context_free
