"""SPDY/3.1 as far as kubectl's port-forward speaks it: a server's half of one session, bytes in, events and bytes out.

kubectl tunnels it in WebSocket messages (subprotocol `SPDY/3.1+portforward.k8s.io`). A frame is eight bytes and a body;
control frames have the highest bit set. Header blocks of one direction are one zlib stream, begun with a dictionary of
the protocol's. Windows are not enforced, as the Go implementation that kubectl uses does not either.
Source: "SPDY Protocol - Draft 3.1" (Chromium project), sections 2.2, 2.6.
"""

import struct
import zlib
from dataclasses import dataclass, field

__all__ = ["Data", "Opened", "Reset", "Session", "SpdyError"]

_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_FIN = 1
_CANCEL = 5
FRAME_BYTES_MAX = 1 << 20
_BLOCK_BYTES_MAX = 64 << 10
_STREAMS_MAX = 256

_NAMES = (
    "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,age,"
    "allow,authorization,cache-control,connection,content-base,content-encoding,content-language,content-length,"
    "content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,"
    "if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,"
    "proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,"
    "user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,"
    "keep-alive,origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset="
    "iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack("!I", len(name)) + name.encode() for name in _NAMES.split(",")) + _TEXT.encode()
"""Section 2.6.10.1; both sides must have it to the byte."""


class SpdyError(Exception):
    """The peer broke the protocol; the session ends."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream. `is_ended`: it will send nothing on it."""

    stream: int
    headers: dict[str, str]
    is_ended: bool


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream, and whether they are its last."""

    stream: int
    data: bytes
    is_ended: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer gave a stream up."""

    stream: int


Event = Opened | Data | Reset


@dataclass(slots=True)
class _Streams:
    open: set[int] = field(default_factory=set)
    last: int = 0


class Session:
    """`receive` takes bytes and gives events; what is to be sent is returned by the other methods and `to_send`."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._answers = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._streams = _Streams()

    def receive(self, data: bytes) -> list[Event]:
        """Bytes of the peer, cut anywhere. Raises `SpdyError`."""
        self._pending += data
        events: list[Event] = []
        while len(self._pending) >= 8:
            first, last = struct.unpack_from("!II", self._pending)
            flags, length = last >> 24, last & 0xFFFFFF
            if length > FRAME_BYTES_MAX:
                raise SpdyError(f"frame: expected at most {FRAME_BYTES_MAX} bytes, got {length}")
            if len(self._pending) < 8 + length:
                break
            body = bytes(self._pending[8 : 8 + length])
            del self._pending[: 8 + length]
            if first >> 31:
                self._control(first, flags, body, events)
            elif first in self._streams.open:
                events.append(Data(first, body, bool(flags & _FIN)))
        return events

    def to_send(self) -> bytes:
        """Answers of the protocol's own."""
        answers = bytes(self._answers)
        self._answers.clear()
        return answers

    def accept(self, stream: int) -> bytes:
        """The answer to a stream that the peer opened."""
        block = self._deflate.compress(struct.pack("!I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(_SYN_REPLY, 0, struct.pack("!I", stream) + block)

    def data(self, stream: int, data: bytes, *, end: bool = False) -> bytes:
        """Bytes for a stream."""
        return struct.pack("!II", stream, (_FIN if end else 0) << 24 | len(data)) + data

    def close(self, stream: int) -> None:
        """The stream is done with; what still comes for it is dropped."""
        self._streams.open.discard(stream)

    def reset(self, stream: int) -> bytes:
        """Give a stream up."""
        self.close(stream)
        return _control(_RST_STREAM, 0, struct.pack("!II", stream, _CANCEL))

    def _control(self, first: int, flags: int, body: bytes, events: list[Event]) -> None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise SpdyError(f"expected version {_VERSION}, got {version}")
        if kind == _SYN_STREAM:
            events.append(self._opened(flags, body))
        elif kind == _HEADERS:
            self._headers(body[4:])  # nothing of them is used, but the compression goes on
        elif kind == _RST_STREAM and len(body) == 8:
            stream = struct.unpack_from("!I", body)[0] & 0x7FFFFFFF
            self._streams.open.discard(stream)
            events.append(Reset(stream))
        elif kind == _PING and len(body) == 4:
            self._answers += _control(_PING, 0, body)

    def _opened(self, flags: int, body: bytes) -> Opened:
        if len(body) < 10:
            raise SpdyError("SYN_STREAM: expected ten bytes and headers")
        stream = struct.unpack_from("!I", body)[0] & 0x7FFFFFFF
        if stream <= self._streams.last or stream % 2 == 0:
            raise SpdyError(f"SYN_STREAM: expected an odd stream above {self._streams.last}, got {stream}")
        if len(self._streams.open) >= _STREAMS_MAX:
            raise SpdyError(f"more than {_STREAMS_MAX} streams")
        self._streams.last = stream
        self._streams.open.add(stream)
        return Opened(stream, self._headers(body[10:]), bool(flags & _FIN))

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, _BLOCK_BYTES_MAX)
        except zlib.error as error:
            raise SpdyError(f"headers: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"headers: more than {_BLOCK_BYTES_MAX} bytes")
        texts: list[str] = []
        at = 4
        try:
            (count,) = struct.unpack_from("!I", plain)
            while len(texts) < 2 * count:
                (length,) = struct.unpack_from("!I", plain, at)
                if at + 4 + length > len(plain):
                    raise SpdyError("headers: cut short")
                texts.append(plain[at + 4 : at + 4 + length].decode("latin-1"))
                at += 4 + length
        except struct.error as error:
            raise SpdyError("headers: cut short") from error
        return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("!HHI", 0x8000 | _VERSION, kind, flags << 24 | len(body)) + body
