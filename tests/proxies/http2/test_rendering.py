"""Header blocks from heads as HTTP/1.1 writes them, read back by the `hpack` library."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.headers import HeadEdits
from proxies.heads import request_head
from proxies.http1 import parse_response
from proxies.http2 import memos, rendering
from proxies.http2.heads import fields_of
from proxies.messages import Answer


def read(block: bytes) -> list[tuple[bytes, bytes]]:
    return [tuple(pair) for pair in hpack.Decoder(max_header_list_size=1 << 24).decode(block, raw=True)]


def test_a_request_that_came_as_http_1() -> None:
    head = request_head(
        b"POST /a?b=c HTTP/1.1\r\nHost: h:80\r\nConnection: close, X-Gone\r\nX-Gone: x\r\nUpgrade: x\r\n"
        b"TE: trailers\r\nTransfer-Encoding: chunked\r\nX-Case: As Is\r\nX-Empty:\r\nX-Tight:v"
    )
    lines = HeadEdits().apply(head, b"10.0.0.1")
    assert read(rendering.request_block(lines, b"http")) == [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/a?b=c"),
        (b":authority", b"h:80"),
        (b"x-case", b"As Is"),
        (b"x-empty", b""),
        (b"x-tight", b"v"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"te", b"trailers"),
    ]
    assert read(rendering.request_block(lines, b"https"))[1] == (b":scheme", b"https")


def test_methods_with_targets_of_their_own() -> None:
    assert read(rendering.request_block(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", b"http")) == [
        (b":method", b"CONNECT"),
        (b":authority", b"h:1"),
    ]
    assert read(rendering.request_block(b"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", b"http")) == [
        (b":method", b"OPTIONS"),
        (b":scheme", b"http"),
        (b":path", b"*"),
    ]


IDS = st.lists(
    st.sampled_from(
        ["x-request-id: 1-a", "X-Request-Id: 2", "traceparent: 00-aa-bb-01", "traceparent: odd one", "a: b"]
    ),
    max_size=5,
)


@given(IDS)
def test_ids_are_sent_as_every_header(lines: list[str]) -> None:
    head = "\r\n".join(["GET / HTTP/1.1", "Host: h", *lines, "", ""]).encode()
    expected = [(name.lower().encode(), value.encode()) for name, _, value in (line.partition(": ") for line in lines)]
    for _ in range(2):
        sent = read(rendering.request_block(head, b"http"))[4:]
        # Those of one name stay in their order (RFC 9110 5.3).
        assert sorted(sent, key=lambda pair: pair[0]) == sorted(expected, key=lambda pair: pair[0])


def test_lines_of_one_request_stand_behind_what_is_remembered_from_the_first_on() -> None:
    for number in (b"1", b"2", b"3"):
        lines = (b"x-request-id: " + number, b"X-Request-Id: " + b"a" * 200, b"traceparent: t")
        block = rendering.request_block(b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n", b"http", lines)
        assert read(block)[4:] == [(b"x-request-id", number), (b"x-request-id", b"a" * 200), (b"traceparent", b"t")]


def test_a_request_goes_through_as_it_came() -> None:
    pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"h")]
    pairs += [(b"traceparent", b"00-aa-bb-01"), (b"accept", b"*/*"), (b"te", b"trailers")]
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    head = memos.request_head(encoder.encode(pairs), True)
    sent = read(rendering.request_block(HeadEdits().apply(head, b""), b"http"))
    assert sent[:4] == pairs[:4]
    assert sorted(sent) == sorted(pairs)


def test_a_response_without_what_belongs_to_its_connection() -> None:
    head = parse_response(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: x\r\nContent-Type: text/plain"
    )
    expected = [(b":status", b"200"), (b"trailer", b"x"), (b"content-type", b"text/plain")]
    assert read(rendering.relayed_block(head)) == expected
    assert rendering.relayed_block(head) is rendering.relayed_block(head)


def test_an_answer_of_our_own() -> None:
    answer = Answer.error(503, "pending request queue full")
    assert read(rendering.response_block(answer.head())) == [
        (b":status", b"503"),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"27"),
    ]


def test_trailers() -> None:
    fields = fields_of([(b"grpc-status", b"0"), (b"grpc-message", b"")])
    assert read(rendering.trailers_block(fields)) == [(b"grpc-status", b"0"), (b"grpc-message", b"")]


@pytest.mark.parametrize("size", [10, 5000])
def test_what_is_remembered_is_bounded(size: int) -> None:
    for number in range(3000 if size == 10 else 10):
        value = b"%d" % number * size
        rendering.request_block(b"GET / HTTP/1.1\r\nHost: h\r\nA: %s\r\n\r\n" % value, b"http")
        rendering.response_block(b"HTTP/1.1 200 OK\r\nA: %s\r\n" % value)
    assert len(rendering._request_blocks) <= rendering._BLOCKS_MAX
    assert len(rendering._response_blocks) <= rendering._BLOCKS_MAX
    assert len(rendering._lines) <= rendering._LINES_MAX


@pytest.mark.parametrize("line", [b"Host: " + b"h" * 9000, b"A:" + b" " * 9000 + b"v"], ids=["host", "padding"])
def test_what_is_small_in_http2_alone_is_not_remembered_by_its_large_lines(line: bytes) -> None:
    rendering.request_block(b"GET / HTTP/1.1\r\n%s\r\n\r\n" % line, b"http")
    rendering.response_block(b"HTTP/1.1 200 OK\r\n%s\r\n" % line)
    kept = [*(head for head, _ in rendering._request_blocks), *rendering._response_blocks, *rendering._lines]
    assert max(map(len, kept)) <= 4096
