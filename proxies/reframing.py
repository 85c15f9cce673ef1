"""Bodies between the two framings: HTTP/1.1's chunks, and HTTP/2's frames, which say the same outside of the bytes.

An exchange has the framing of its request on both sides. An upstream half of the other version translates what it
sends on, and what it hands back. Bodies of declared length need nothing. Trailers stay behind.
"""

from typing import Final

from proxies.bodies import ChunkedBody
from proxies.fields import CODING, Field
from proxies.messages import ResponseHead

__all__ = ["Unchunker", "chunked", "chunked_head"]

_CODING: Final = Field(b"transfer-encoding", b"chunked", b"Transfer-Encoding: chunked")


def chunked(data: bytes, is_done: bool) -> bytes:
    """Return bytes of a body in chunks; `is_done`: they are the last."""
    framed = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
    return framed + b"0\r\n\r\n" if is_done else framed


def chunked_head(head: ResponseHead) -> ResponseHead:
    """Return a head of HTTP/2 that declares no length as HTTP/1.1 has it: with the framing that its body needs."""
    made = ResponseHead(head.status, head.reason, [*head.fields, _CODING], head.marks | CODING)
    made.is_chunked = True
    return made


class Unchunker:
    """Takes the chunks off a body that was found to be well framed."""

    __slots__ = ("_body",)

    def __init__(self) -> None:
        self._body = ChunkedBody(keeps_spans=True)

    def take(self, data: bytes) -> bytes:
        """Return what is in the next bytes of the body; they were scanned before, so none is left over."""
        took = self._body.scan(data)
        assert took == len(data), "expected bytes that a scan had taken"
        return b"".join(data[begin:end] for begin, end in self._body.spans)
