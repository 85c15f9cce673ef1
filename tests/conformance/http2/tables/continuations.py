"""Header blocks in several frames (RFC 9113 4.3, 6.10)."""

from proxies.http2 import frames
from proxies.http2.errors import PROTOCOL_ERROR
from proxies.http2.frames import END_HEADERS, frame, settings_frame, window_update_frame
from tests.conformance.http2.cases import GET, block, broken, data, get, good


def _more(sent: bytes = b"", *, ends: bool = False, stream_id: int = 3) -> bytes:
    return frame(frames.CONTINUATION, END_HEADERS if ends else 0, stream_id, sent)


_BEGUN = get(sent=GET[:5], ends_block=False)

REQUESTS = [
    good("two frames", _BEGUN + _more(GET[5:], ends=True), 3),
    good(
        "a frame for each byte",
        get(sent=b"", ends_block=False)
        + b"".join(_more(GET[at : at + 1]) for at in range(len(GET)))
        + _more(ends=True),
        3,
    ),
    good("all in the last one", get(sent=b"", ends_block=False) + _more(GET, ends=True), 3),
    good(
        "a body behind them",
        get(sent=GET[:5], done=False, ends_block=False) + _more(GET[5:], ends=True) + data(done=True),
        3,
    ),
    good(
        "trailers in two frames",
        get(done=False)
        + get(sent=block((b"a", b"b"))[:2], ends_block=False)
        + _more(block((b"a", b"b"))[2:], ends=True),
        3,
    ),
    good("undefined flags", _BEGUN + frame(frames.CONTINUATION, 0xFF, 3, GET[5:]), 3),
    broken("without HEADERS", _more(ends=True), PROTOCOL_ERROR),
    broken("behind a block that is complete", get(done=False) + _more(ends=True), PROTOCOL_ERROR),
    broken("behind DATA", get(done=False) + data(b"a") + _more(ends=True), PROTOCOL_ERROR),
    broken(
        "behind the end of CONTINUATION",
        _BEGUN + _more(GET[5:], ends=True) + _more(ends=True),
        PROTOCOL_ERROR,
        answered=(3,),
    ),
    broken("on stream 0", _BEGUN + _more(stream_id=0), PROTOCOL_ERROR),
    broken("on another stream", _BEGUN + _more(GET[5:], ends=True, stream_id=5), PROTOCOL_ERROR),
    broken("HEADERS of another stream instead", _BEGUN + get(5), PROTOCOL_ERROR),
    broken("HEADERS of the same stream instead", _BEGUN + get(3), PROTOCOL_ERROR),
    broken("DATA instead", _BEGUN + data(b"a"), PROTOCOL_ERROR),
    broken("PRIORITY instead", _BEGUN + frame(frames.PRIORITY, 0, 3, bytes(5)), PROTOCOL_ERROR),
    broken("RST_STREAM instead", _BEGUN + frame(frames.RST_STREAM, 0, 3, bytes(4)), PROTOCOL_ERROR),
    broken("SETTINGS instead", _BEGUN + settings_frame({}), PROTOCOL_ERROR),
    broken("PING instead", _BEGUN + frame(frames.PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    broken("WINDOW_UPDATE instead", _BEGUN + window_update_frame(0, 1), PROTOCOL_ERROR),
]
