"""The first bytes of a connection (RFC 9113 3.4)."""

from proxies.http2 import frames
from proxies.http2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR
from proxies.http2.frames import PREFACE, frame, settings_frame
from tests.conformance.http2.cases import Case, broken, get

_HELLO = PREFACE + settings_frame({})

REQUESTS = [
    broken("not the preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", PROTOCOL_ERROR, has_begun=False),
    broken("a request of HTTP/1.1", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", PROTOCOL_ERROR, has_begun=False),
    broken("no preface, SETTINGS at once", settings_frame({}), PROTOCOL_ERROR, has_begun=False),
    broken("PING before SETTINGS", PREFACE + frame(frames.PING, 0, 0, bytes(8)), PROTOCOL_ERROR, has_begun=False),
    broken("HEADERS before SETTINGS", PREFACE + get(1), PROTOCOL_ERROR, has_begun=False),
    broken("unknown frame before SETTINGS", PREFACE + frame(0x42, 0, 0), PROTOCOL_ERROR, has_begun=False),
    broken("an ACK instead of SETTINGS", PREFACE + frame(frames.SETTINGS, 1, 0), PROTOCOL_ERROR, has_begun=False),
    Case("a request behind SETTINGS, before ours came", _HELLO + get(1), answered=(1,), has_begun=False),
    Case(
        "settings of every kind",
        PREFACE + settings_frame({1: 0, 2: 0, 3: 1, 4: 1000, 5: 16384, 6: 1, 0x99: 7}) + get(1),
        answered=(1,),
        has_begun=False,
    ),
    broken("the preface again: the length of a frame", PREFACE, FRAME_SIZE_ERROR),
]
