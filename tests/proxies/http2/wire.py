"""A core under test and the other end of its wire: raw frames in, what it put out and what its streams heard come out.

Events are tuples that begin with what happened, as a test writes them:

    ("request", 1, "GET", "/a", done)    ("response", 1, 200, done)    ("informational", 1, 103)
    ("data", 1, b"bytes", done)          ("trailers", 1, {name: value})
    ("lost", 1, code, is_unprocessed)    ("full", 1)                   ("drained", 1)
"""

from typing import Any

from hyperframe.frame import Frame

from proxies.fields import Field
from proxies.http2 import frames
from proxies.http2.client import ClientConnection
from proxies.http2.frames import frame
from proxies.http2.hpack import encode
from proxies.http2.server import ServerConnection
from proxies.http2.stream import Stream
from proxies.messages import RequestHead, ResponseHead

__all__ = [
    "Clock",
    "RecordingOwner",
    "RecordingStream",
    "Sent",
    "client_under_test",
    "exchange",
    "headers",
    "read_frames",
    "request_block",
    "server_under_test",
]

Event = tuple[Any, ...]


class Clock:
    """Monotonic time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class RecordingOwner:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_ready = False

    def output_ready(self) -> None:
        self.is_ready = True

    def write_through(self) -> None:
        self.is_ready = True

    def settings_received(self) -> None:
        self.events.append(("settings",))

    def peer_goes_away(self, code: int, text: str) -> None:
        self.events.append(("goes away", code, text))

    def ping_acknowledged(self, payload: bytes) -> None:
        self.events.append(("ping acknowledged", payload))

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events


class RecordingStream(Stream):
    """Writes down what it hears, with its owner."""

    __slots__ = ()

    def _note(self, *event: Any) -> None:
        owner = self.connection._owner
        assert isinstance(owner, RecordingOwner)
        owner.events.append((event[0], self.id, *event[1:]))

    def request_received(self, head: RequestHead, is_done: bool) -> None:
        self._note("request", head.method.decode(), head.target.decode(), is_done)

    def informational_received(self, head: ResponseHead) -> None:
        self._note("informational", head.status)

    def response_received(self, head: ResponseHead, is_done: bool) -> None:
        self._note("response", head.status, is_done)

    def data_received(self, data: bytes, is_done: bool) -> None:
        self._note("data", data, is_done)

    def trailers_received(self, fields: list[Field]) -> None:
        self._note("trailers", {field.name: field.value for field in fields})

    def lost(self, code: int, text: str, *, is_unprocessed: bool) -> None:
        assert text
        self._note("lost", code, is_unprocessed)

    def filled(self) -> None:
        self._note("full")

    def drained(self) -> None:
        self._note("drained")


class Sent:
    """What a core put out, frame by frame."""

    def __init__(self, data: bytes) -> None:
        self.frames = read_frames(data.removeprefix(frames.PREFACE))

    def of(self, kind: str) -> list[Any]:
        """The frames of a type, by the class's name of the `hyperframe` library without `Frame`."""
        return [each for each in self.frames if type(each).__name__ == f"{kind}Frame"]

    @property
    def resets(self) -> list[tuple[int, int]]:
        """Stream and code of each RST_STREAM."""
        return [(each.stream_id, each.error_code) for each in self.of("RstStream")]

    @property
    def go_aways(self) -> list[tuple[int, int]]:
        """Last stream and code of each GOAWAY."""
        return [(each.last_stream_id, each.error_code) for each in self.of("GoAway")]

    @property
    def body(self) -> bytes:
        """All DATA."""
        return b"".join(each.data for each in self.of("Data"))


def read_frames(data: bytes) -> list[Any]:
    """Read frames with the `hyperframe` library."""
    found: list[Any] = []
    while data:
        each, length = Frame.parse_frame_header(memoryview(data[:9]))
        each.parse_body(memoryview(data[9 : 9 + length]))
        found.append(each)
        data = data[9 + length :]
    return found


REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"h")]


def request_block(*more: tuple[bytes, bytes], method: bytes = b"GET", path: bytes = b"/") -> bytes:
    """Return the block of a request with more headers behind its pseudo-headers."""
    pairs = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"h"), *more]
    return b"".join(encode(*pair) for pair in pairs)


def headers(stream_id: int, block: bytes | None = None, *, done: bool = True) -> bytes:
    """Return HEADERS with a whole block; without one: a GET."""
    flags = frames.END_HEADERS | (frames.END_STREAM if done else 0)
    return frame(frames.HEADERS, flags, stream_id, request_block() if block is None else block)


class Under:
    """A core with its owner, driven by raw bytes."""

    def __init__(self, core: ServerConnection | ClientConnection, owner: RecordingOwner, clock: Clock) -> None:
        self.core = core
        self.owner = owner
        self.clock = clock

    def get(self, data: bytes) -> Sent:
        """Let it receive `data`, to the end; return what it put out."""
        while self.core.receive(data):
            data = b""
        return self.sent()

    def sent(self) -> Sent:
        """Return what it put out since the last call."""
        self.owner.is_ready = False
        return Sent(self.core.take_output())

    def events(self) -> list[Event]:
        """Return what was heard since the last call."""
        return self.owner.take()

    def stream(self, stream_id: int) -> RecordingStream:
        """Return an open stream."""
        stream = self.core.streams[stream_id]
        assert isinstance(stream, RecordingStream)
        return stream


def server_under_test(*, settled: bool = True) -> Under:
    """Return a server's core whose client has said hello; `settled`: both have acknowledged each other's settings."""
    owner, clock = RecordingOwner(), Clock()
    under = Under(ServerConnection(owner, clock, RecordingStream), owner, clock)
    hello = frames.PREFACE + frames.settings_frame({})
    under.get(hello + frame(frames.SETTINGS, frames.ACK, 0) if settled else hello)
    if settled:
        # The client's table is emptied by the first block.
        under.get(headers(1, b"\x20" + request_block()))
        under.stream(1).send_head(b"\x88", True)
        under.sent()
    under.events()
    return under


def client_under_test(*, streams: int = 1, block: bytes | None = None, done: bool = True) -> Under:
    """Return a client's core that has sent so many requests, to a server that acknowledged the settings."""
    owner, clock = RecordingOwner(), Clock()
    core = ClientConnection(owner, clock)
    under = Under(core, owner, clock)
    under.get(frames.settings_frame({}) + frame(frames.SETTINGS, frames.ACK, 0))
    for _ in range(streams):
        core.open(RecordingStream(core), request_block() if block is None else block, done)
    under.sent()
    under.events()
    return under


def exchange(one: Under, other: Under) -> None:
    """Let two cores talk until neither has anything to say."""
    while True:
        data = one.core.take_output()
        answer = other.core.take_output()
        if not data and not answer:
            return
        other.core.receive(data)
        one.core.receive(answer)
