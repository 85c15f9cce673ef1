"""What was written is read back, for heads, bodies and whole conversations; and what was spoilt is refused or read."""

import string
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from proxies.bodies import ChunkedBody, LengthBody, UntilCloseBody
from proxies.headers import HeadEdits, relayed_head
from proxies.heads import request_head, response_head
from proxies.http1 import parse_request, parse_response
from tests.conformance.http1.memory import Bench, run_in_memory
from tests.fuzz.targets import TARGETS

TOKEN = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=20).map(lambda data: bytes(b for b in data if b >= 0x20 and b != 0x7F).strip(b" \t"))
TARGET = st.binary(max_size=20).map(lambda data: b"/" + bytes(b for b in data if b > 0x20 and b not in b"\x7f#"))
HOST = st.sampled_from([b"h", b"a.example:8080", b"[::1]", b""])
RESERVED = (b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"trailer", b"te")
FIELD = st.tuples(
    TOKEN.filter(
        lambda name: name.lower() not in RESERVED and not name.lower().startswith((b"k", b"x", b"forw", b"pro"))
    )
    | st.sampled_from([b"Accept", b"User-Agent", b"Cookie", b"traceparent", b"X-Request-Id", b"Date"]),
    VALUE,
)
FRAMING = st.one_of(
    st.none(),
    st.integers(0, 10**18 - 1).map(lambda length: b"Content-Length: %d" % length),
    st.just(b"Transfer-Encoding: chunked"),
)
OPTIONS = st.lists(st.sampled_from([b"close", b"keep-alive", b"X-Hop"]), max_size=2)


def framing_of(line: bytes | None) -> tuple[int, bool]:
    """(content length or -1, is chunked), for lines that `FRAMING` makes."""
    if line is None:
        return -1, False
    return (-1, True) if line.endswith(b"chunked") else (int(line.split()[1]), False)


@given(TOKEN, TARGET, HOST, st.lists(FIELD, max_size=6), FRAMING, OPTIONS, st.sampled_from([0, 1]), st.randoms())
def test_a_request_is_read_as_it_was_written(
    method: bytes,
    target: bytes,
    host: bytes,
    fields: list[tuple[bytes, bytes]],
    framing: bytes | None,
    options: list[bytes],
    minor: int,
    chance: object,
) -> None:
    if framing is not None and framing.endswith(b"chunked"):
        minor = 1
    lines = [b"Host: " + host, *(b"%s: %s" % field for field in fields)]
    lines += [] if framing is None else [framing]
    lines += [b"Connection: " + b", ".join(options)] * bool(options)
    chance.shuffle(lines)  # type: ignore[attr-defined]
    written = b"\r\n".join([b"%s %s HTTP/1.%d" % (method, target, minor), *lines])
    for parse in (parse_request, request_head, request_head):
        head = parse(written)
        assert (head.method, head.target, head.minor, head.host) == (method, target, minor, host)
        assert sorted(field.line for field in head.fields) == sorted(lines)
        length, is_chunked = framing_of(framing)
        assert (head.content_length, head.is_chunked) == (length if framing else 0, is_chunked)
        assert head.connection_options == {option.lower() for option in options}
        assert head.keep_alive is (b"close" not in options and (minor == 1 or b"keep-alive" in options))
    # Sent on without edits and read again, it says the same; only the last hop was added.
    again = parse_request(HeadEdits().apply(head, b"192.0.2.1")[:-4])
    assert (again.method, again.target, again.host, again.content_length) == (method, target, host, head.content_length)
    hop = {option.lower() for option in options}
    kept = [(name.lower(), value) for name, value in fields if name.lower() not in hop]
    assert sorted((field.name, field.value) for field in again.fields if (field.name, field.value) in kept) == sorted(
        kept
    )
    assert again.get(b"x-forwarded-for") == b"192.0.2.1"


@given(st.integers(200, 999), VALUE, st.lists(FIELD, max_size=6), FRAMING, OPTIONS)
def test_a_response_is_read_as_it_was_written(
    status: int, reason: bytes, fields: list[tuple[bytes, bytes]], framing: bytes | None, options: list[bytes]
) -> None:
    lines = [b"%s: %s" % field for field in fields] + ([] if framing is None else [framing])
    lines += [b"Connection: " + b", ".join(options)] * bool(options)
    written = b"\r\n".join([b"HTTP/1.1 %d %s" % (status, reason), *lines])
    for parse in (parse_response, response_head, response_head):
        head = parse(written)
        assert (head.status, head.reason) == (status, reason)
        assert [field.line for field in head.fields] == lines
        assert (head.content_length, head.is_chunked) == framing_of(framing)
    again = parse_response(relayed_head(head)[:-2])
    assert (again.status, again.reason, again.connection_options) == (status, reason, frozenset())
    if status != 204:
        assert (again.content_length, again.is_chunked) == framing_of(framing)
    hop = {option.lower() for option in options}
    kept = [field.line for field in head.fields if field.name not in hop | {b"connection", b"content-length"}]
    assert [field.line for field in again.fields if field.name != b"content-length"] == kept


CHUNKS = st.lists(st.binary(min_size=1, max_size=20), max_size=5)
EXTENSION = st.sampled_from([b"", b";a", b";a=b", b';a="b;\\"c"', b";a=b;c"])
TRAILERS = st.lists(st.tuples(st.sampled_from([b"X-Sum", b"ETag", b"grpc-status"]), VALUE), max_size=3)
CUTS = st.lists(st.integers(0, 1000), max_size=6)


def chunked(chunks: list[bytes], extension: bytes, trailers: list[tuple[bytes, bytes]]) -> bytes:
    framed = b"".join(b"%X%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return framed + b"0%s\r\n" % extension + b"".join(b"%s: %s\r\n" % field for field in trailers) + b"\r\n"


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[begin:end] for begin, end in pairwise(places)]


@given(CHUNKS, EXTENSION, TRAILERS, CUTS, st.binary(max_size=5))
def test_a_chunked_body_is_read_as_it_was_written(
    chunks: list[bytes], extension: bytes, trailers: list[tuple[bytes, bytes]], at: list[int], behind: bytes
) -> None:
    body = ChunkedBody(keeps_spans=True)
    rest, payload = b"", b""
    for piece in cut(chunked(chunks, extension, trailers) + behind, at):
        data = rest + piece
        took = 0 if body.is_done else body.scan(data)
        payload += b"" if took == 0 else b"".join(data[begin:end] for begin, end in body.spans)
        rest = data[took:]
    assert (payload, rest, body.is_done, body.size) == (b"".join(chunks), behind, True, len(b"".join(chunks)))


@given(st.binary(max_size=50), CUTS, st.binary(max_size=5))
def test_other_bodies_are_taken_to_their_length_and_to_their_end(data: bytes, at: list[int], behind: bytes) -> None:
    sized, open_ = LengthBody(len(data)), UntilCloseBody()
    taken = 0
    for piece in cut(data + behind, at):
        taken += sized.scan(piece)
        assert open_.scan(piece) == len(piece)
    assert (taken, sized.size, sized.is_done) == (len(data), len(data), True)
    assert (open_.size, open_.is_done) == (len(data + behind), False)


MESSAGE = st.tuples(
    TOKEN.filter(lambda m: m not in (b"CONNECT", b"HEAD")), TARGET, st.none() | st.binary(max_size=30), CHUNKS
)


@given(st.lists(MESSAGE, min_size=1, max_size=6), CUTS)
def test_a_conversation_arrives_as_it_was_sent(
    messages: list[tuple[bytes, bytes, bytes | None, list[bytes]]], at: list[int]
) -> None:
    sent = b""
    want = []
    for method, target, sized, chunks in messages:
        framing, body = b"Content-Length: %d" % len(sized or b""), sized
        if sized is None:
            framing, body = b"Transfer-Encoding: chunked", chunked(chunks, b"", [])
        sent += b"%s %s HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n%s" % (method, target, framing, body)
        want.append((method, target, b"".join(chunks) if sized is None else sized))

    async def converse(bench: Bench) -> None:
        bench.app.begin()
        replies, has_ended, rest = await bench.converse(cut(sent, at), ("GET",) * len(want), hangs_up=False)
        assert [(reply.status, reply.body) for reply in replies] == [(200, target) for _, target, _ in want]
        assert (has_ended, rest) == (False, b"")
        assert [(request.method, request.target, request.body) for request in bench.app.requests] == want

    run_in_memory(converse)


SPOILERS = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"#", b"0", b"\xff", b"chunked", b"-"]
)
VALID = {
    "request": [
        b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Request-Id: 1\r\nTE: trailers",
        b"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close, X-A\r\nX-A: b",
        b"PUT / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nK-Original-Host: o",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\ntraceparent: 00-1-2-01",
    ],
    "response": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: x",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X",
        b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 0",
        b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket",
    ],
    "chunks": [b'5;a="b"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n', b"A\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\nGET"],
    "client": [
        b"\0POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"\1POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
    "app": [
        b"\0HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"\x05HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
}
SPOILT = st.sampled_from([(target, data) for target, valid in VALID.items() for data in valid])


@given(SPOILT, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), SPOILERS), min_size=1, max_size=4))
@example(("request", VALID["request"][0]), [(0, 0, b"\r\n")])
def test_a_spoilt_message_breaks_no_promise(
    target_and_data: tuple[str, bytes], changes: list[tuple[int, int, bytes]]
) -> None:
    target, data = target_and_data
    for place, left_out, put_in in changes:
        at = place % (len(data) + 1)
        data = data[:at] + put_in + data[at + left_out :]
    TARGETS[target](data)
