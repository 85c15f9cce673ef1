"""What a row of the tables says. The tables are data: bytes, and how they have to be answered.

Before a row's bytes come: for a server, the client's preface, settings and their acknowledgement, and a request on
stream 1 that was answered and left the dynamic table without room. For a client, the same with a response; then
requests on the streams 3 (GET) and 5 (HEAD). A request for `/` is answered with 200 when it is complete, one for
`/early` at once, one for `/held` never; the body of one for `/paused` is not taken.
"""

from dataclasses import dataclass

from proxies.http2 import frames
from proxies.http2.frames import frame
from proxies.http2.hpack import Pair, encode

__all__ = ["GET", "Case", "block", "broken", "broken_stream", "data", "get", "good", "head", "held", "trailers"]


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes of a peer, and the whole reaction to them."""

    name: str
    sent: bytes
    fault: int | None = None
    """The code with which the connection ends; None: it goes on."""
    resets: tuple[tuple[int, int], ...] = ()
    """Streams that are reset and their codes, in order."""
    answered: tuple[int, ...] = ()
    """Streams whose request is answered, in order; for a client: whose response is complete."""
    has_begun: bool = True
    """False: these are the first bytes of the connection."""


def broken(name: str, sent: bytes, code: int, *, answered: tuple[int, ...] = (), has_begun: bool = True) -> Case:
    """A connection error."""
    return Case(name, sent, code, answered=answered, has_begun=has_begun)


def broken_stream(name: str, sent: bytes, code: int, stream_id: int = 3, *, answered: tuple[int, ...] = ()) -> Case:
    """A stream error; the connection goes on."""
    return Case(name, sent, resets=((stream_id, code),), answered=answered)


def good(name: str, sent: bytes, *answered: int) -> Case:
    """Allowed, or to be ignored; these streams are answered."""
    return Case(name, sent, answered=answered)


def block(*pairs: Pair) -> bytes:
    """Return a block."""
    return b"".join(encode(*pair) for pair in pairs)


def head(
    *more: Pair,
    method: bytes | None = b"GET",
    scheme: bytes | None = b"http",
    path: bytes | None = b"/",
    authority: bytes | None = b"h",
) -> bytes:
    """Return the block of a request; None leaves a pseudo-header out."""
    pairs = [(b":method", method), (b":scheme", scheme), (b":path", path), (b":authority", authority)]
    return block(*((name, value) for name, value in pairs if value is not None), *more)


GET = head()


def get(stream_id: int = 3, sent: bytes = GET, *, done: bool = True, ends_block: bool = True, flags: int = 0) -> bytes:
    """Return HEADERS."""
    flags |= (frames.END_STREAM if done else 0) | (frames.END_HEADERS if ends_block else 0)
    return frame(frames.HEADERS, flags, stream_id, sent)


def held(stream_id: int = 3, *, done: bool = True) -> bytes:
    """Return HEADERS of a request that is never answered."""
    return get(stream_id, head(path=b"/held"), done=done)


def data(payload: bytes = b"", stream_id: int = 3, *, done: bool = False, flags: int = 0) -> bytes:
    """Return DATA."""
    return frame(frames.DATA, flags | (frames.END_STREAM if done else 0), stream_id, payload)


def trailers(*pairs: Pair, stream_id: int = 3, done: bool = True) -> bytes:
    """Return HEADERS behind a body."""
    return get(stream_id, block(*pairs), done=done)
