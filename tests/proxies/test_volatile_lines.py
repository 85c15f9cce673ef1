"""Heads with a request id or a trace context of their own: read and sent on as without the short cut for them."""

from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from proxies.headers import HeadEdits, HostRule
from proxies.heads import request_head
from proxies.http1 import HttpError, RequestError, parse_request
from proxies.http2.rendering import request_block

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
IDS = st.sampled_from(
    [
        "x-request-id",
        "X-Request-Id",
        "X-Request-ID",
        "traceparent",
        "Traceparent",
        "x-request-ids",
        "ce-id",
        "Ce-Id",
        "CE-ID",
        "Ce-Time",
        "ce-knativearrivaltime",
    ]
)
LINES = st.one_of(
    st.tuples(
        IDS,
        st.sampled_from([": ", ":", ":  ", " : "]),
        st.one_of(
            st.uuids().map(str),
            st.just(TRACE),
            st.sampled_from(["", "a b", "\x00", "a\rb", "x" * 200, "a, b", "a/b#c?", "é"]),
        ),
    ),
    st.tuples(
        st.sampled_from(
            ["Accept", "Connection", "Content-Length", "Transfer-Encoding", "K-Original-Host", "Forwarded"]
        ),
        st.just(": "),
        st.sampled_from(["*/*", "x-request-id", "ce-id", "close", "3", "03", "+3", "3, 3", "chunked", "app.example"]),
    ),
)
EDITS = (
    HeadEdits(add_forwarded=True),
    HeadEdits(host_rule=HostRule.RESTORE, remove=[b"Knative-Serving-Revision"]),
    HeadEdits(remove=[b"traceparent"]),
    HeadEdits(set={b"X-Request-Id": b"1"}),
)


def read(parse: object, head: bytes) -> object:
    try:
        return parse(head)  # type: ignore[operator]
    except RequestError as error:
        return error.status, str(error)
    except HttpError as error:
        return str(error)


@given(st.lists(LINES, max_size=5), st.integers(0, 3))
def test_the_short_cut_changes_nothing_but_the_order_of_names(lines: list[tuple[str, str, str]], edits: int) -> None:
    head = "\r\n".join(["GET /x HTTP/1.1", "Host: app.example", *("".join(line) for line in lines)]).encode()
    # Twice: once to be remembered, once from memory.
    plain, *shared = (read(parse, head) for parse in (parse_request, request_head, request_head))
    for got in shared:
        if isinstance(plain, tuple | str):
            assert got == plain
            continue
        for attribute in ("method", "target", "marks", "content_length", "is_chunked", "keep_alive", "upgrade"):
            assert getattr(got, attribute) == getattr(plain, attribute)
        assert got.connection_options == plain.connection_options  # type: ignore[attr-defined]
        for name in {field.name for field in plain.fields}:  # type: ignore[attr-defined]
            assert got.get_all(name) == plain.get_all(name)  # type: ignore[attr-defined]
            assert got.get(name) == plain.get(name)  # type: ignore[attr-defined]
        sent, expected = (EDITS[edits].apply(each, b"10.0.0.1").split(b"\r\n") for each in (got, plain))  # type: ignore[arg-type]
        assert sent[0] == expected[0]
        assert sent[-2:] == expected[-2:] == [b"", b""]
        assert sorted(sent) == sorted(expected)
        core, added = EDITS[edits].parts(got, b"10.0.0.1")  # type: ignore[arg-type]
        assert b"".join((core[:-2], *(line + b"\r\n" for line in added), b"\r\n")).split(b"\r\n") == sent
        in_parts, whole = (
            sorted(Decoder(max_header_list_size=1 << 24).decode(block, raw=True))
            for block in (request_block(core, b"http", added), request_block(b"\r\n".join(sent), b"http"))
        )
        assert in_parts == whole


def test_heads_that_differ_in_nothing_else_share_what_was_derived() -> None:
    core = b"GET /shared HTTP/1.1\r\nHost: h\r\n%s: %s\r\nAccept: a"
    seen = {id(request_head(core % (b"x-request-id", b"%d" % number)).derived) for number in range(100)}
    assert len(seen) < 60
    assert request_head(core % (b"Traceparent", TRACE.encode())).get(b"traceparent") == TRACE.encode()


def test_a_thousand_request_ids_are_read_as_one_head() -> None:
    head = b"GET / HTTP/1.1\r\nHost: h" + b"\r\nx-request-id: a" * 990
    assert len(request_head(head).fields) == 991
