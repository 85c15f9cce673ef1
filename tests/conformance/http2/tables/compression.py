"""Header compression (RFC 9113 4.3; RFC 7541 2.3.3, 4.2, 5.1, 5.2, 6)."""

from proxies.http2 import frames
from proxies.http2.errors import COMPRESSION_ERROR
from proxies.http2.frames import PREFACE, frame, settings_frame
from tests.conformance.http2.cases import GET, Case, block, broken, data, get, good

_HELLO = PREFACE + settings_frame({})
_ACK = frame(frames.SETTINGS, frames.ACK, 0)


def _bad(name: str, sent: bytes) -> Case:
    return broken(name, get(sent=sent), COMPRESSION_ERROR)


REQUESTS = [
    good("Huffman", get(sent=bytes.fromhex("828684018cf1e3c2e5f23a6ba0ab90f4ff")), 3),
    good("never to be indexed", get(sent=GET + b"\x10\x01a\x01b"), 3),
    good("to be indexed, without room", get(sent=GET + b"\x40\x01a\x01b"), 3),
    good("an update of the table to no room", get(sent=b"\x20" + GET), 3),
    good("two of them", get(sent=b"\x20\x20" + GET), 3),
    _bad("index 0", GET + b"\x80"),
    _bad("an index behind the static table", GET + b"\xbe"),
    _bad("an index far behind it", GET + b"\xff\xff\xff\x01"),
    _bad("an entry that had no room", GET + b"\x40\x01a\x01b\xbe"),
    _bad("a name's index behind the static table", GET + b"\x7e\x01b"),
    _bad("an update of the table to some room", b"\x21" + GET),
    _bad("an update of the table beyond what was ever allowed", b"\x3f\xe2\x1f" + GET),
    _bad("an update of the table behind a header", GET + b"\x20"),
    _bad("three updates of the table", b"\x20\x20\x20" + GET),
    _bad("an index that goes on and on", GET + b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
    _bad("an index that is cut off", GET + b"\xff"),
    _bad("a name that is cut off", GET + b"\x00\x03ab"),
    _bad("a value that is missing", GET + b"\x00\x01a"),
    _bad("a value that is cut off", GET + b"\x00\x01a\x02b"),
    _bad("a length that is cut off", GET + b"\x00\x01a\x7f"),
    _bad("Huffman padding of 8 bits", GET + b"\x00\x01a\x82\x1f\xff"),
    _bad("Huffman padding of zeros", GET + b"\x00\x01a\x81\x18"),
    _bad("Huffman's end of string", GET + b"\x00\x01a\x84\xff\xff\xff\xff"),
    broken("broken trailers", get(done=False) + data(b"a") + get(sent=b"\x80"), COMPRESSION_ERROR),
    broken("broken and malformed", get(sent=block((b"A", b"b")) + b"\x80"), COMPRESSION_ERROR),
    Case(
        "the dynamic table before our settings were acknowledged",
        _HELLO + get(1, GET + b"\x40\x01a\x01b") + get(3, GET + b"\xbe"),
        answered=(1, 3),
        has_begun=False,
    ),
    Case(
        "the table emptied behind the acknowledgement",
        _HELLO + get(1, GET + b"\x40\x01a\x01b") + _ACK + get(3, b"\x20" + GET),
        answered=(1, 3),
        has_begun=False,
    ),
    # RFC 9113 4.3.1 has it refused; too many peers do so (docs/decisions/0012).
    Case(
        "the table not emptied behind the acknowledgement",
        _HELLO + get(1, GET + b"\x40\x01a\x01b") + _ACK + get(3, GET + b"\xbe"),
        answered=(1, 3),
        has_begun=False,
    ),
    broken(
        "the table used behind its emptying",
        _HELLO + get(1, GET + b"\x40\x01a\x01b") + _ACK + get(3, b"\x20" + GET + b"\xbe"),
        COMPRESSION_ERROR,
        answered=(1,),
        has_begun=False,
    ),
    Case(
        "the table emptied before the acknowledgement",
        _HELLO + get(1, b"\x20" + GET) + _ACK + get(3),
        answered=(1, 3),
        has_begun=False,
    ),
]
