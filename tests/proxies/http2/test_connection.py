"""Both roles on one wire, and the parts of their dialogue that no table of frames shows."""

from proxies.http2 import errors, frames, heads, memos, rendering
from proxies.http2.client import ClientConnection
from proxies.http2.frames import frame
from proxies.http2.server import ServerConnection
from tests.proxies.http2.wire import (
    Clock,
    RecordingOwner,
    RecordingStream,
    Under,
    client_under_test,
    exchange,
    headers,
    request_block,
    server_under_test,
)

OK = rendering.response_block(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")


def pair() -> tuple[Under, Under]:
    """A client and a server that have said hello."""
    clock = Clock()
    ours, theirs = RecordingOwner(), RecordingOwner()
    client = Under(ClientConnection(ours, clock), ours, clock)
    server = Under(ServerConnection(theirs, clock, RecordingStream), theirs, clock)
    exchange(client, server)
    assert client.core.is_settled
    assert server.core.is_settled
    client.events(), server.events()
    return client, server


def opened(client: Under, *, done: bool, method: bytes = b"GET") -> RecordingStream:
    assert isinstance(client.core, ClientConnection)
    stream = RecordingStream(client.core)
    block = rendering.request_block(method + b" /a HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n", b"http")
    client.core.open(stream, block, done)
    return stream


def test_a_request_with_body_and_a_response_with_trailers() -> None:
    client, server = pair()
    request = opened(client, done=False, method=b"POST")
    request.send_data(b"hello ", False)
    request.send_data(b"world", True)
    exchange(client, server)
    assert server.events() == [
        ("request", 1, "POST", "/a", False),
        ("data", 1, b"hello ", False),
        ("data", 1, b"world", True),
    ]
    response = server.stream(1)
    response.send_head(rendering.response_block(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n"), False)
    response.send_head(OK, False)
    response.send_data(b"hi", False)
    response.send_trailers(rendering.trailers_block(heads.fields_of([(b"grpc-status", b"0")])))
    exchange(client, server)
    assert client.events() == [
        ("informational", 1, 103),
        ("response", 1, 200, False),
        ("data", 1, b"hi", False),
        ("trailers", 1, {b"grpc-status": b"0"}),
    ]
    assert client.core.is_idle
    assert server.core.is_idle
    assert request.is_closed
    assert response.is_closed


def test_a_body_larger_than_every_window_arrives_whole_and_waits_where_nobody_takes_it() -> None:
    client, server = pair()
    body = bytes(range(256)) * 8192
    request = opened(client, done=False, method=b"POST")
    exchange(client, server)
    server.stream(1).pause()
    request.send_data(body, False)
    exchange(client, server)
    got = b"".join(event[2] for event in server.events() if event[0] == "data")
    assert len(got) == 65535
    assert client.events() == [("full", 1)]
    assert request.waiting_bytes == len(body) - 65535
    server.stream(1).resume()
    request.send_data(b"", True)
    exchange(client, server)
    events = server.events()
    got += b"".join(event[2] for event in events if event[0] == "data")
    assert got == body
    assert events[-1][3] is True
    assert client.events() == [("drained", 1)]


def test_a_paused_stream_does_not_stop_the_others() -> None:
    client, server = pair()
    slow = [opened(client, done=False, method=b"POST") for _ in range(40)]
    exchange(client, server)
    for stream in slow:
        server.stream(stream.id).pause()
        stream.send_data(b"x" * 100_000, False)
    exchange(client, server)
    assert all(stream.waiting_bytes == 100_000 - 65535 for stream in slow)
    quick = opened(client, done=False, method=b"POST")
    quick.send_data(b"y" * 3_000_000, True)
    server.events()
    exchange(client, server)
    got = b"".join(event[2] for event in server.events() if event[0] == "data" and event[1] == quick.id)
    assert got == b"y" * 3_000_000


def test_trailers_wait_behind_the_body() -> None:
    client, server = pair()
    request = opened(client, done=False)
    exchange(client, server)
    client.stream(1).pause()
    response = server.stream(1)
    response.send_head(OK, False)
    response.send_data(b"x" * 70_000, False)
    response.send_trailers(rendering.trailers_block(heads.fields_of([(b"a", b"b")])))
    exchange(client, server)
    assert client.events()[-1][0] == "data"
    client.stream(1).resume()
    exchange(client, server)
    assert client.events()[-1] == ("trailers", 1, {b"a": b"b"})
    assert not request.is_closed


def test_a_drain_serves_what_was_under_way_and_nothing_later() -> None:
    client, server = pair()
    assert isinstance(server.core, ServerConnection)
    assert isinstance(client.core, ClientConnection)
    opened(client, done=True)
    exchange(client, server)
    server.core.start_drain()
    late = opened(client, done=True)  # the client does not know yet
    exchange(client, server)
    assert [event[:2] for event in server.events()] == [("request", 1), ("request", late.id)]
    assert not client.core.can_open
    assert client.events() == [("goes away", 0, "")] * 2
    assert not server.core.is_drained
    for stream_id in (1, late.id):
        server.stream(stream_id).send_head(OK, True)
    exchange(client, server)
    assert client.events() == [("response", 1, 200, True), ("response", late.id, 200, True)]
    assert server.core.is_drained
    assert server.get(headers(late.id + 2)).frames == []
    assert server.events() == []


def test_streams_above_the_last_one_of_a_go_away_are_unprocessed() -> None:
    client = client_under_test(streams=3)
    client.get(frames.go_away_frame(3, errors.NO_ERROR, b"bye"))
    assert client.events() == [("goes away", 0, "bye"), ("lost", 5, 0, True)]
    assert sorted(client.core.streams) == [1, 3]
    client.get(frames.go_away_frame(1, errors.NO_ERROR))
    assert client.events() == [("goes away", 0, ""), ("lost", 3, 0, True)]
    assert client.get(frames.go_away_frame(3, errors.NO_ERROR)).go_aways == [(0, errors.PROTOCOL_ERROR)]


def test_a_refused_stream_is_unprocessed_and_a_cancelled_one_is_not() -> None:
    client = client_under_test(streams=2)
    client.get(frames.reset_frame(1, errors.REFUSED_STREAM) + frames.reset_frame(3, errors.CANCEL))
    assert client.events() == [("lost", 1, errors.REFUSED_STREAM, True), ("lost", 3, errors.CANCEL, False)]
    assert client.core.is_idle


def test_the_streams_that_the_server_allows_are_not_exceeded() -> None:
    client = client_under_test(streams=0)
    assert isinstance(client.core, ClientConnection)
    client.get(frames.settings_frame({3: 2}))
    for _ in range(2):
        assert client.core.can_open
        client.core.open(RecordingStream(client.core), request_block(), True)
    assert not client.core.can_open
    client.get(headers(1, b"\x20\x88"))
    assert client.core.can_open


def test_every_stream_is_lost_with_the_connection() -> None:
    client, server = pair()
    opened(client, done=True)
    opened(client, done=False)
    exchange(client, server)
    client.events(), server.events()
    client.core.connection_lost("read: connection reset")
    server.core.connection_lost("read: connection reset")
    for under in (client, server):
        assert under.events() == [("lost", 3, 0, False), ("lost", 1, 0, False)]
        assert under.core.take_output() == b""
        assert not under.core.receive(b"anything")


def test_a_request_in_several_frames_after_settings_that_are_not_acknowledged_uses_the_dynamic_table() -> None:
    server = server_under_test(settled=False)
    first = b"\x82\x86\x84\x41\x01h\x40\x03x-a\x01b"
    second = b"\x82\x86\x84\xbf\xbe"
    server.get(headers(1, first) + headers(3, second))
    assert [event[:4] for event in server.events()] == [("request", 1, "GET", "/"), ("request", 3, "GET", "/")]
    server.get(frame(frames.SETTINGS, frames.ACK, 0))
    assert server.get(headers(5, b"\x20" + first)).resets == []
    # From here on the table has no room.
    assert server.get(headers(7, second)).go_aways == [(7, errors.COMPRESSION_ERROR)]


def test_a_peer_without_a_dynamic_table_is_told_that_none_is_used() -> None:
    server = server_under_test(settled=False)
    server.get(frames.settings_frame({1: 0}) + headers(1) + headers(3))
    for stream_id, block in ((1, b"\x20\x88"), (3, b"\x88")):
        server.stream(stream_id).send_head(b"\x88", True)
        (sent,) = server.sent().of("Headers")
        assert sent.data == block


def test_an_upgrade_begins_with_stream_1_and_the_clients_settings() -> None:
    owner, clock = RecordingOwner(), Clock()
    core = ServerConnection(owner, clock, RecordingStream)
    server = Under(core, owner, clock)
    head = memos.request_head(request_block(path=b"/up"), True)
    core.upgrade(b"\0\4\0\0\0\5", head)
    assert server.events() == [("request", 1, "GET", "/up", True)]
    server.stream(1).send_head(OK, False)
    server.stream(1).send_data(b"0123456789", True)
    assert server.sent().body == b"01234"
    server.get(frames.PREFACE + frames.settings_frame({}) + frames.window_update_frame(1, 5))
    server.get(headers(3))
    assert ("request", 3, "GET", "/", True) in server.events()


def test_an_upgrade_with_settings_that_no_client_may_have_ends_the_connection() -> None:
    owner, clock = RecordingOwner(), Clock()
    core = ServerConnection(owner, clock, RecordingStream)
    core.upgrade(b"\0\4\xff\xff\xff\xff", memos.request_head(request_block(), True))
    assert owner.take() == []
    assert core.fault is not None
    assert core.fault.code == errors.FLOW_CONTROL_ERROR


def test_what_waits_takes_turns_when_the_transport_takes_bytes_again() -> None:
    server = server_under_test()
    server.get(frames.window_update_frame(0, 1 << 20) + headers(3) + headers(5))
    server.core.pause_writing()
    for stream_id in (3, 5):
        server.stream(stream_id).send_head(b"\x88", False)
        server.stream(stream_id).send_data(b"x" * 40_000, True)
    assert server.sent().of("Data") == []
    server.core.resume_writing()
    assert [each.stream_id for each in server.sent().of("Data")] == [3, 5, 3, 5, 3, 5]
    assert server.core.is_idle


def test_a_stream_that_is_reset_while_it_waits_sends_no_more() -> None:
    server = server_under_test()
    server.get(headers(3))
    server.core.pause_writing()
    stream = server.stream(3)
    stream.send_head(b"\x88", False)
    stream.send_data(b"x", True)
    stream.reset(errors.CANCEL)
    stream.reset(errors.CANCEL)
    server.core.resume_writing()
    sent = server.sent()
    assert sent.of("Data") == []
    assert sent.resets == [(3, errors.CANCEL)]
