"""Every row of the tables against the core by itself, as a whole and byte by byte."""

import pytest

from proxies.fields import Field
from proxies.http2 import frames
from proxies.http2.client import ClientConnection
from proxies.http2.frames import frame
from proxies.http2.rendering import response_block
from proxies.http2.server import ServerConnection
from proxies.http2.stream import Stream
from proxies.messages import RequestHead, ResponseHead
from tests.conformance.http2.cases import GET, Case, get, head
from tests.conformance.http2.tables import REQUESTS, RESPONSES
from tests.proxies.http2.wire import Clock, RecordingOwner, Sent

_OK = response_block(b"HTTP/1.1 200 OK\r\nA: b\r\n")
_HELLO = frames.settings_frame({}) + frame(frames.SETTINGS, frames.ACK, 0)
_GIVEN_BACK = frames.window_update_frame(0, len(b"ok"))
"""Of the connection's window: what the first response took."""
_PING = frame(frames.PING, 0, 0, b"still on")


class _App(Stream):
    """Answers as the path says."""

    __slots__ = ("_path",)

    def request_received(self, head: RequestHead, is_done: bool) -> None:
        self._path = head.target
        if head.target == b"/paused":
            self.pause()
        if is_done or head.target == b"/early":
            self._answer()

    def data_received(self, data: bytes, is_done: bool) -> None:
        if is_done:
            self._answer()

    def trailers_received(self, fields: list[Field]) -> None:
        self._answer()

    def _answer(self) -> None:
        if self._path not in (b"/held", b"/paused") and not self.is_local_done:
            self.send_head(_OK, False)
            self.send_data(b"ok", True)


class _Asker(Stream):
    """Notes that its response is complete."""

    __slots__ = ("answered",)
    answered: list[int]

    def response_received(self, head: ResponseHead, is_done: bool) -> None:
        if is_done:
            self.answered.append(self.id)

    def data_received(self, data: bytes, is_done: bool) -> None:
        if is_done:
            self.answered.append(self.id)

    def trailers_received(self, fields: list[Field]) -> None:
        self.answered.append(self.id)


def _play(core: ServerConnection | ClientConnection, sent: bytes, *, in_pieces: bool) -> Sent:
    size = 1 if in_pieces else len(sent)
    for begin in range(0, len(sent), size):
        data = sent[begin : begin + size]
        while core.receive(data):
            data = b""
    return Sent(core.take_output())


def _check(core: ServerConnection | ClientConnection, case: Case, sent: Sent) -> None:
    assert sent.resets == list(case.resets)
    if case.fault is None:
        assert sent.go_aways == []
        assert core.fault is None
        behind = _play(core, _PING, in_pieces=False)
        assert [each.opaque_data for each in behind.of("Ping")] == [b"still on"]
    else:
        assert core.fault is not None
        assert [code for _, code in sent.go_aways] == [case.fault], core.fault
        assert not core.streams
        assert _play(core, _PING, in_pieces=False).frames == []


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "pieces"])
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{name}-{case.name}") for name, case in REQUESTS])
def test_what_a_client_sends(case: Case, in_pieces: bool) -> None:
    core = ServerConnection(RecordingOwner(), Clock(), _App)
    if case.has_begun:
        _play(core, frames.PREFACE + _HELLO + get(1, b"\x20" + GET) + _GIVEN_BACK, in_pieces=False)
    sent = _play(core, case.sent, in_pieces=in_pieces)
    answered = [each.stream_id for each in sent.of("Data") if "END_STREAM" in each.flags]
    assert answered == list(case.answered)
    _check(core, case, sent)


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "pieces"])
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{name}-{case.name}") for name, case in RESPONSES])
def test_what_a_server_sends(case: Case, in_pieces: bool) -> None:
    core = ClientConnection(RecordingOwner(), Clock())
    answered: list[int] = []

    def ask(method: bytes) -> None:
        stream = _Asker(core)
        stream.answered = answered
        stream.is_bodiless = method == b"HEAD"
        core.open(stream, head(method=method), True)

    ask(b"GET")
    _play(core, _HELLO + get(1, b"\x20\x88"), in_pieces=False)
    answered.clear()
    ask(b"GET")
    ask(b"HEAD")
    core.take_output()
    sent = _play(core, case.sent, in_pieces=in_pieces)
    assert answered == list(case.answered)
    _check(core, case, sent)


def test_there_are_enough_rows_and_their_names_differ() -> None:
    names = [(name, case.name) for name, case in [*REQUESTS, *RESPONSES]]
    assert len(names) >= 120
    assert len(set(names)) == len(names)
