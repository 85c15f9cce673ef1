"""The core beside the `h2` library: hypothesis gives both the same frames and compares what they make of each."""

from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
from hypothesis import given, settings
from hypothesis import strategies as st

from proxies.fields import Field
from proxies.http2 import frames
from proxies.http2.frames import END_HEADERS, END_STREAM, HAS_PRIORITY, PADDED, frame
from proxies.http2.hpack import Pair, encode
from proxies.http2.server import ServerConnection
from proxies.http2.stream import Stream
from proxies.messages import RequestHead
from tests.proxies.http2.wire import REQUEST, Clock, RecordingOwner, Sent

POST = [(b":method", b"POST"), *REQUEST[1:]]
LISTS = st.sampled_from(
    [
        REQUEST,
        POST,
        [*REQUEST, (b"accept", b"*/*"), (b"x-request-id", b"1"), (b"te", b"trailers")],
        [*POST, (b"content-length", b"4")],
        [*POST, (b"content-length", b"0")],
        [(b"grpc-status", b"0")],
        [],
        # Malformed as requests, and some as trailers.
        REQUEST[:3],
        REQUEST[1:],
        [*REQUEST, REQUEST[0]],
        [*REQUEST, (b":status", b"200")],
        [(b"a", b"b"), *REQUEST],
        [*REQUEST, (b"Upper", b"x")],
        [*REQUEST, (b"connection", b"close")],
        [*REQUEST, (b"te", b"gzip")],
        [*REQUEST, (b"a", b"b ")],
        [*REQUEST, (b"host", b"other")],
        [*REQUEST, (b"content-length", b"x")],
        [*REQUEST[:2], (b":path", b""), REQUEST[3]],
    ]
)
IDS = st.sampled_from([1, 1, 1, 3, 3, 5, 2, 0])


def _plain(pairs: list[Pair]) -> bytes:
    return b"".join(encode(*pair) for pair in pairs)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    block = draw(LISTS.map(_plain) | st.binary(max_size=6)) if draw(st.integers(0, 9)) else b"\x82\x80"
    flags = END_HEADERS if draw(st.integers(0, 5)) else 0
    flags |= draw(st.sampled_from([0, END_STREAM]))
    if not draw(st.integers(0, 5)):
        flags |= HAS_PRIORITY
        block = b"\0\0\0\0\x10" + block
    if not draw(st.integers(0, 5)):
        flags |= PADDED
        block = bytes((draw(st.sampled_from([0, 2, 250])),)) + block + b"\0\0"
    return frame(frames.HEADERS, flags, draw(IDS), block)


@st.composite
def data(draw: st.DrawFn) -> bytes:
    payload, flags = b"x" * draw(st.sampled_from([0, 1, 4, 4, 100])), draw(st.sampled_from([0, END_STREAM]))
    if not draw(st.integers(0, 5)):
        flags |= PADDED
        payload = bytes((draw(st.sampled_from([0, 2, 250])),)) + payload + b"\0\0"
    return frame(frames.DATA, flags, draw(IDS), payload)


OTHERS = st.one_of(
    st.builds(
        lambda i, n: frame(frames.WINDOW_UPDATE, 0, i, n.to_bytes(4)),
        IDS,
        st.sampled_from([0, 1, 1 << 20, (1 << 31) - 1]),
    ),
    st.builds(lambda i, n: frame(frames.RST_STREAM, 0, i, bytes(n)), IDS, st.sampled_from([4, 4, 4, 3])),
    st.builds(lambda i, n: frame(frames.PRIORITY, 0, i, b"\0\0\0\x0b\1\1"[:n]), IDS, st.sampled_from([5, 5, 5, 4])),
    st.builds(
        lambda p: frame(frames.SETTINGS, 0, 0, p),
        st.sampled_from(
            [b"", b"\0\4\0\0\0\1", b"\0\4\xff\0\0\0", b"\0\5\0\0\0\1", b"\0\2\0\0\0\2", b"\xff\1\0\0\0\0", b"123"]
        ),
    ),
    st.builds(lambda f, n: frame(frames.PING, f, 0, bytes(n)), st.sampled_from([0, 1]), st.sampled_from([8, 8, 7])),
    st.builds(
        lambda i, f, p: frame(frames.CONTINUATION, f, i, p),
        IDS,
        st.sampled_from([0, 4]),
        st.sampled_from([b"", _plain(REQUEST)]),
    ),
    st.builds(lambda i: frame(0x42, 0xFF, i, b"anything"), IDS),
    st.builds(lambda i: frame(frames.PUSH_PROMISE, 4, i, b"\0\0\0\2"), IDS),
)
HOSTILE = headers() | data() | OTHERS


@st.composite
def conversation(draw: st.DrawFn, stream_id: int) -> list[bytes]:
    """What a good client sends on one stream."""
    more = draw(st.sampled_from([[], [(b"accept", b"*/*")], [(b"cookie", b"a=1")]]))
    bodies = draw(st.lists(st.integers(0, 50), max_size=3))
    ending = draw(st.sampled_from(["data", "trailers", "reset", "nothing"]))
    if draw(st.booleans()):
        more = [*more, (b"content-length", b"%d" % sum(bodies))]
    pairs = [*(POST if bodies else REQUEST), *more]
    is_whole = not bodies and ending == "data"
    encoded = hpack.Encoder()
    encoded.header_table_size = 0
    block = encoded.encode(pairs, huffman=draw(st.booleans())) if draw(st.booleans()) else _plain(pairs)
    at = draw(st.integers(0, len(block)))
    done = END_STREAM if is_whole else 0
    found = [
        frame(frames.HEADERS, done, stream_id, block[:at])
        + frame(frames.CONTINUATION, END_HEADERS, stream_id, block[at:])
    ]
    if at == len(block):
        found = [frame(frames.HEADERS, done | END_HEADERS, stream_id, block)]
    for size in bodies:
        padding = draw(st.sampled_from([None, 0, 3]))
        payload = b"x" * size if padding is None else bytes((padding,)) + b"x" * size + bytes(padding)
        found.append(frame(frames.DATA, 0 if padding is None else PADDED, stream_id, payload))
    if ending == "trailers":
        found.append(frame(frames.HEADERS, END_HEADERS | END_STREAM, stream_id, _plain([(b"grpc-status", b"0")])))
    elif ending == "reset":
        found.append(frames.reset_frame(stream_id, 8))
    elif ending == "data" and not is_whole:
        found.append(frame(frames.DATA, END_STREAM, stream_id, b""))
    return found


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Several at a time, in turns; sometimes with something hostile in between, sometimes out of order."""
    waiting = [draw(conversation(stream_id)) for stream_id in (1, 3, 5)[: draw(st.integers(1, 3))]]
    going: list[list[bytes]] = []
    found: list[bytes] = []
    while waiting or going:
        # Streams have to begin in the order of their ids.
        if waiting and (not going or draw(st.booleans())):
            going.append(waiting.pop(0))
        turn = draw(st.sampled_from(going))
        found.append(turn.pop(0))
        going = [each for each in going if each]
    for hostile in draw(st.lists(HOSTILE, max_size=2)):
        found.insert(draw(st.integers(0, len(found))), hostile)
    if not draw(st.integers(0, 4)):
        found = draw(st.permutations(found))
    return found


FRAMES = conversations() | st.lists(HOSTILE, min_size=1, max_size=6)


@dataclass
class Verdict:
    """What one of the two made of a frame."""

    events: list[tuple[object, ...]]
    is_refused: bool
    why: str = ""


class _Noting(Stream):
    """Notes what arrives in the terms of both."""

    __slots__ = ()

    def _note(self, *what: object) -> None:
        owner = self.connection._owner
        assert isinstance(owner, RecordingOwner)
        owner.events.append((self.id, *what))

    def request_received(self, head: RequestHead, is_done: bool) -> None:
        pairs = sorted((field.name, field.value) for field in head.fields)
        self._note("request", head.method, head.target, pairs, is_done)

    def data_received(self, data: bytes, is_done: bool) -> None:
        self._note("data", data, is_done)

    def trailers_received(self, fields: list[Field]) -> None:
        self._note("trailers", [(field.name, field.value) for field in fields])

    def lost(self, code: int, text: str, *, is_unprocessed: bool) -> None:
        self._note("reset")


class Ours:
    def __init__(self) -> None:
        self._owner = RecordingOwner()
        self._core = ServerConnection(self._owner, Clock(), _Noting)

    def take(self, data: bytes) -> Verdict:
        self._core.receive(data)
        sent = Sent(self._core.take_output())
        fault = self._core.fault
        events = [each for each in self._owner.take() if isinstance(each[0], int)]
        return Verdict(events, fault is not None or bool(sent.resets), str(fault or sent.resets))


class Theirs:
    def __init__(self) -> None:
        self._core = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self._core.initiate_connection()
        self._core.data_to_send()

    def take(self, data: bytes) -> Verdict:
        try:
            found = self._core.receive_data(data)
        except (h2.exceptions.ProtocolError, hpack.HPACKError) as error:
            return Verdict([], True, repr(error))
        sent = Sent(self._core.data_to_send())
        return Verdict([each for each in map(_event, found) if each is not None], bool(sent.resets), str(sent.resets))


def _event(found: h2.events.Event) -> tuple[object, ...] | None:
    if isinstance(found, h2.events.RequestReceived):
        assert found.headers is not None
        pseudo = {name: value for name, value in found.headers if name[:1] == b":"}
        pairs = [(name, value) for name, value in found.headers if name[:1] != b":"]
        if all(name != b"host" for name, _ in pairs):
            pairs.append((b"host", pseudo[b":authority"]))
        done = found.stream_ended is not None
        return found.stream_id, "request", pseudo[b":method"], pseudo[b":path"], sorted(pairs), done
    if isinstance(found, h2.events.DataReceived):
        if not found.data and found.stream_ended is None:
            return None
        return found.stream_id, "data", found.data, found.stream_ended is not None
    if isinstance(found, h2.events.TrailersReceived):
        assert found.headers is not None
        return found.stream_id, "trailers", [tuple(pair) for pair in found.headers]
    if isinstance(found, h2.events.StreamReset):
        return found.stream_id, "reset"
    return None


class Lengths:
    """What the bodies of all streams are declared to be, and are, by the events."""

    def __init__(self) -> None:
        self._missing: dict[object, int] = {}

    def note(self, events: list[tuple[object, ...]]) -> bool:
        """Take events; True when a stream ended before its declared length."""
        for stream_id, what, *more in events:
            if what == "request":
                pairs = dict(more[2])  # type: ignore[call-overload]
                if b"content-length" in pairs:
                    self._missing[stream_id] = int(pairs[b"content-length"])
            elif what == "data" and stream_id in self._missing:
                self._missing[stream_id] -= len(more[0])  # type: ignore[arg-type]
            if (what == "trailers" or more[-1:] == [True]) and self._missing.get(stream_id):
                return True
        return False


def _is_known_difference(data: bytes, our: Verdict, their: Verdict, lengths: Lengths) -> bool:
    """Where the library is more lenient or more severe than the RFC."""
    if our.is_refused and not their.is_refused:
        # RFC 9113 6.4: RST_STREAM on an idle stream. 8.1.1: HEADERS end a stream before its declared length.
        is_idle_reset = data[3] == frames.RST_STREAM and "expected HEADERS" in our.why
        return is_idle_reset or (data[3] == frames.HEADERS and lengths.note(their.events))
    # RFC 9113 6.2: padding may take all that is left. 5.1: a stream that ended may still get updates of its window.
    is_late_update = data[3] == frames.WINDOW_UPDATE and "non-compliant data" in their.why
    return "padding" in their.why or is_late_update


@settings(max_examples=500, deadline=None)
@given(FRAMES)
def test_both_make_the_same_of_each_frame_up_to_the_first_that_is_refused(sent: list[bytes]) -> None:
    ours, theirs, lengths = Ours(), Theirs(), Lengths()
    for data in [frames.PREFACE + frames.settings_frame({}), *sent]:
        our, their = ours.take(data), theirs.take(data)
        if our.is_refused != their.is_refused:
            assert _is_known_difference(data, our, their, lengths), (data, our, their)
            return
        if our.is_refused:
            return
        assert our.events == their.events
        lengths.note(our.events)
