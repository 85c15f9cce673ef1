"""One request by all four ways, HTTP/1.1 or HTTP/2 to the proxy and on: the app gets the same fields."""

from typing import TypeAlias

import hpack
from hypothesis import example, given
from hypothesis import strategies as st

from proxies.headers import Edits, HeadEdits, HostRule
from proxies.heads import request_head
from proxies.http1 import parse_request
from proxies.http2 import memos
from proxies.http2.heads import CONNECTION_SPECIFIC
from proxies.http2.hpack import EMPTY_TABLE
from proxies.http2.rendering import request_block
from proxies.messages import RequestHead
from proxies.spans import Place, Sampler, parse_traceparent
from proxies.traced import Traced, TraceEdits
from queue_proxy.policy import APP_EDITS

Lines: TypeAlias = list[tuple[str, str]]
Fields: TypeAlias = dict[bytes, list[bytes]]

PEER = b"10.9.8.7"
CLIENT_ID = "00f067aa0ba902b7"
ROOT = Place("4bf92f3577b34da6a3ce929d0e0e4736", "", False)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_ID = st.sampled_from(["1", "2", "a-b", "x" * 126, "x" * 127, "x" * 128, "x" * 129, "a b", "a:b", "é", ""])


def _lines(names: list[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(st.sampled_from(names), values)


LINES = st.lists(
    st.one_of(
        _lines(["x-request-id", "X-Request-Id", "X-Request-ID", "ce-id", "Ce-Time"], _ID),
        _lines(["traceparent", "Traceparent"], st.sampled_from([TRACE, TRACE + "-x", "odd one", ""])),
        _lines(["tracestate"], st.just("a=b")),
        _lines(["X-Forwarded-For", "x-forwarded-for"], st.sampled_from(["1.2.3.4", "1.2.3.4, ::1", ""])),
        _lines(["X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"], st.sampled_from(["", "https", "for=1.2.3.4"])),
        _lines(["K-Original-Host", "k-original-host"], st.sampled_from(["", "saved.example"])),
        _lines(["K-Proxy-Request", "Knative-Serving-Revision", "K-Other", "k-passthrough-lb"], st.just("k")),
        _lines(["Connection"], st.sampled_from(["x-drop", "close", "X-Request-Id", "x-drop, ce-id"])),
        _lines(["Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "X-Drop", "Trailer"], st.just("x-drop")),
        _lines(["TE"], st.just("trailers")),
        _lines(["Accept", "accept", "X-Any"], st.sampled_from(["*/*", "a", "", "x" * 300])),
    ),
    max_size=8,
)
TO_PODS = [
    HeadEdits(
        remove=[b"knative-serving-revision", b"accept"],
        set={b"K-Proxy-Request": b"activator"},
        host=host,
        host_rule=HostRule.SAVE,
    )
    for host in (b"10.1.1.1:8012", b"10.1.1.2:8012")
]
BASES = [APP_EDITS, *TO_PODS, HeadEdits(remove=[b"x-request-id"]), HeadEdits(set={b"X-Request-Id": b"set"})]


def by_http1(lines: Lines, body: str) -> bytes:
    framing = {"": [], "length": [("Content-Length", "3")], "chunks": [("Transfer-Encoding", "chunked")]}[body]
    all_lines = [("Host", "app.example:80"), *lines, *framing]
    return b"\r\n".join([b"POST /a?b HTTP/1.1", *(f"{name}: {value}".encode("latin-1") for name, value in all_lines)])


def by_http2(lines: Lines, body: str, *, huffman: bool) -> bytes:
    options = {
        option.strip().lower() for name, value in lines if name == "Connection" for option in value.split(",")
    } | {name.decode() for name in CONNECTION_SPECIFIC}
    pairs = [(":method", "POST"), (":scheme", "http"), (":authority", "app.example:80"), (":path", "/a?b")]
    pairs += [(name.lower(), value) for name, value in lines if name.lower() not in options]
    if body == "length":
        pairs.append(("content-length", "3"))
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    never_indexed = [(name.encode(), value.encode("latin-1"), True) for name, value in pairs]
    return encoder.encode(never_indexed, huffman=huffman).removeprefix(EMPTY_TABLE)


def edits_of(base: HeadEdits, head: RequestHead, *, is_traced: bool) -> Edits:
    if not is_traced:
        return base
    traced = Traced(head, Sampler(0.0, follows_parent=True), TraceEdits(base))
    traced.client_id = CLIENT_ID
    if not traced.has_parent:
        traced.place = ROOT
    return traced


def at_app_of_http1(head: RequestHead, edits: Edits) -> Fields:
    sent = edits.apply(head, PEER)
    assert sent.endswith(b"\r\n\r\n")
    assert sent.count(b"\r\n\r\n") == 1
    return fields_at_app(parse_request(sent[:-4]))


def fields_at_app(got: RequestHead) -> Fields:
    fields = {field.name: got.get_all(field.name) for field in got.fields}
    fields.pop(b"transfer-encoding", None)  # the framing is the version's
    return {**fields, b":method": [got.method], b":path": [got.target]}


def at_app_of_http2(head: RequestHead, edits: Edits) -> Fields:
    rendered, lines = edits.parts(head, PEER)
    pairs = hpack.Decoder(max_header_list_size=1 << 24).decode(request_block(rendered, b"http", lines), raw=True)
    names = [bytes(name) for name, _ in pairs]
    assert all(name[:1] == b":" for name in names[:4])
    assert not any(name[:1] == b":" or name in CONNECTION_SPECIFIC or name == b"host" for name in names[4:])
    fields: Fields = {}
    for name, value in pairs:
        fields.setdefault(b"host" if name == b":authority" else bytes(name), []).append(bytes(value))
    assert fields.pop(b":scheme") == [b"http"]
    return fields


def expected(head: RequestHead, base: HeadEdits, *, is_traced: bool) -> Fields:
    """What the plain form gives, without memory and short cuts."""
    fields = fields_at_app(parse_request(base.render(head, PEER)[:-4]))
    if not is_traced:
        return fields
    parents = head.get_all(b"traceparent")
    parent = parse_traceparent(parents[0]) if len(parents) == 1 else None
    place = parent or ROOT
    if parent is None:
        fields.pop(b"tracestate", None)
    return {**fields, b"traceparent": [place.traceparent(CLIENT_ID)]}


@given(LINES, st.sampled_from(["", "length", "chunks"]), st.sampled_from(BASES), st.booleans(), st.booleans())
@example([("X-Request-Id", "1"), ("X-Request-Id", "a b")], "", APP_EDITS, False, False)
@example([("X-Request-Id", "1"), ("X-Request-Id", "2"), ("traceparent", TRACE)], "chunks", APP_EDITS, True, True)
@example([("X-Request-Id", "1"), ("Ce-Id", "2")], "", BASES[-2], True, False)
@example([("x-request-id", "x" * 126), ("ce-id", "x" * 127)], "", APP_EDITS, False, False)
def test_the_app_gets_the_same_fields_by_all_four_ways(
    lines: Lines, body: str, base: HeadEdits, is_traced: bool, huffman: bool
) -> None:
    head, block = by_http1(lines, body), by_http2(lines, body, huffman=huffman)
    wanted = expected(parse_request(head), base, is_traced=is_traced)
    # Again and again: what is remembered is what was read.
    for _ in range(3):
        for got in (request_head(head), memos.request_head(block, not body)):
            edits = edits_of(base, got, is_traced=is_traced)
            assert at_app_of_http1(got, edits) == wanted
            assert at_app_of_http2(got, edits) == wanted
            assert (got.has_body, got.is_chunked) == (body != "", body == "chunks")
