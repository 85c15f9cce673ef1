"""`proxies/headers.py`: heads as they go upstream and as responses come back."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxies.headers import DateLine, HeadEdits, HostRule, relayed_head, unchunked_head
from proxies.http1 import parse_request, parse_response


def lines(rendered: bytes) -> list[bytes]:
    head, blank, rest = rendered.partition(b"\r\n\r\n")
    assert blank
    assert rest == b""
    return head.split(b"\r\n")


def edited(edits: HeadEdits, *fields: bytes, peer: bytes = b"10.9.8.7") -> list[bytes]:
    return lines(edits.apply(parse_request(b"\r\n".join([b"GET /a//b%2Fc?x=1;y HTTP/1.1", *fields])), peer))


PLAIN = HeadEdits()


def test_target_and_unknown_headers_pass_unchanged_and_nothing_is_invented() -> None:
    assert edited(PLAIN, b"Host: h", b"x-ODD:  kept  as is") == [
        b"GET /a//b%2Fc?x=1;y HTTP/1.1",
        b"Host: h",
        b"x-ODD:  kept  as is",
        b"X-Forwarded-For: 10.9.8.7",
    ]


def test_hop_by_hop_headers_and_those_that_connection_names_are_dropped() -> None:
    got = edited(
        PLAIN,
        b"Host: h",
        b"Connection: close, X-Drop",
        b"X-Drop: 1",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: x",
        b"Proxy-Authorization: Basic x",
        b"TE: gzip",
        b"Trailer: X-Sum",
        b"X-Keep: 1",
    )
    assert got[1:] == [b"Host: h", b"X-Keep: 1", b"X-Forwarded-For: 10.9.8.7"]


def test_te_trailers_chunked_framing_and_an_upgrade_are_put_back() -> None:
    got = edited(PLAIN, b"Host: h", b"TE: gzip, Trailers", b"Transfer-Encoding: Chunked")
    assert got[-2:] == [b"Transfer-Encoding: chunked", b"TE: trailers"]
    got = edited(PLAIN, b"Host: h", b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")
    assert got[-2:] == [b"Connection: Upgrade", b"Upgrade: websocket"]


def test_the_peer_is_appended_to_all_lines_of_x_forwarded_for_in_one() -> None:
    got = edited(PLAIN, b"Host: h", b"X-Forwarded-For: 1.1.1.1", b"x-forwarded-for: 2.2.2.2, 3.3.3.3")
    assert got[1:] == [b"Host: h", b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.9.8.7"]


def test_without_a_peer_address_nothing_is_appended() -> None:
    assert edited(PLAIN, b"Host: h", peer=b"") == [b"GET /a//b%2Fc?x=1;y HTTP/1.1", b"Host: h"]


def test_remove_and_set_work_on_any_case_and_on_every_line() -> None:
    edits = HeadEdits(remove=[b"X-Gone"], set={b"K-Proxy-Request": b"activator"})
    got = edited(edits, b"Host: h", b"x-gone: 1", b"X-GONE: 2", b"k-proxy-request: other")
    assert got[1:-1] == [b"Host: h", b"K-Proxy-Request: activator"]


def test_a_host_that_is_replaced_may_be_saved_once() -> None:
    edits = HeadEdits(host=b"10.0.0.1:8012", host_rule=HostRule.SAVE)
    assert edited(edits, b"Host: h")[1:3] == [b"Host: 10.0.0.1:8012", b"K-Original-Host: h"]
    got = edited(edits, b"Host: h", b"K-Original-Host: first")
    assert got[1:3] == [b"Host: 10.0.0.1:8012", b"K-Original-Host: first"]


def test_a_saved_host_is_restored_and_its_header_dropped() -> None:
    edits = HeadEdits(host_rule=HostRule.RESTORE)
    assert edited(edits, b"Host: ip", b"K-Original-Host: h")[1:-1] == [b"Host: h"]
    assert edited(edits, b"Host: ip", b"K-Original-Host:")[1:-1] == [b"Host: ip"]


def test_forwarded_is_made_only_where_it_is_absent_or_empty() -> None:
    edits = HeadEdits(add_forwarded=True)
    assert b"Forwarded: proto=p" in edited(edits, b"Host: h", b"X-Forwarded-Proto: p")
    assert b"Forwarded: proto=p" in edited(edits, b"Host: h", b"X-Forwarded-Proto: p", b"Forwarded:")
    assert b"Forwarded: for=x" in edited(edits, b"Host: h", b"X-Forwarded-Proto: p", b"Forwarded: for=x")
    assert not [line for line in edited(edits, b"Host: h") if line.startswith(b"Forwarded")]


LINES = st.sampled_from(
    [
        b"X-A: 1",
        b"Accept: x",
        b"K-Original-Host: o",
        b"K-Original-Host:",
        b"K-Proxy-Request: activator",
        b"Knative-Serving-Revision: r",
        b"knative-serving-namespace: n",
        b"X-Forwarded-For: 1.1.1.1",
        b"x-forwarded-for:",
        b"X-Forwarded-Proto: p",
        b"X-Forwarded-Host: f",
        b"x-forwarded-host:",
        b"Forwarded: for=y",
        b"Forwarded:",
        b"TE: trailers",
        b"Keep-Alive: 5",
        b"Trailer: x",
        b"Connection: keep-alive, X-A",
        b"User-Agent: kube-probe/1",
    ]
)
EDITS = st.builds(
    HeadEdits,
    remove=st.sets(st.sampled_from([b"Knative-Serving-Revision", b"Knative-Serving-Namespace", b"X-A"])),
    set=st.sampled_from([{}, {b"K-Proxy-Request": b"activator"}, {b"Accept": b"y"}]),
    host=st.sampled_from([b"", b"t:80"]),
    host_rule=st.sampled_from(HostRule),
    add_forwarded=st.booleans(),
)


@settings(max_examples=400)
@example(HeadEdits(add_forwarded=True), [b"x-forwarded-host:", b"X-Forwarded-Host: f"], True, b"")
@given(EDITS, st.lists(LINES, max_size=8), st.booleans(), st.sampled_from([b"", b"9.9.9.9"]))
def test_the_shortcut_by_marks_agrees_with_the_plain_rendering(
    edits: HeadEdits, fields: list[bytes], with_host: bool, peer: bytes
) -> None:
    start = [b"GET / HTTP/1.1", b"Host: h"] if with_host else [b"GET / HTTP/1.0"]
    head = parse_request(b"\r\n".join([*start, *fields]))
    assert edits.apply(head, peer) == edits.render(head, peer)


def test_edits_of_equal_heads_are_kept_apart_by_edits_and_by_peer() -> None:
    head = parse_request(b"GET / HTTP/1.1\r\nHost: h")
    a, b = HeadEdits(host=b"a"), HeadEdits(host=b"b")
    for _ in range(2):
        assert b"Host: a" in a.apply(head, b"1.1.1.1")
        assert b"Host: b" in b.apply(head, b"1.1.1.1")
        assert b"2.2.2.2" in a.apply(head, b"2.2.2.2")


@given(st.sampled_from(HostRule), st.lists(LINES, max_size=8), st.booleans(), st.sampled_from([b"", b"9.9.9.9"]))
def test_edits_that_differ_in_their_host_alone_share_a_form_and_each_has_its_host(
    rule: HostRule, fields: list[bytes], with_host: bool, peer: bytes
) -> None:
    start = [b"GET / HTTP/1.1", b"Host: pod:1"] if with_host else [b"GET / HTTP/1.0"]
    head = parse_request(b"\r\n".join([*start, *fields]))
    hosts = [b"", b"pod:1", b"pod:22", b"[fd00::3]:8012"]
    every = [HeadEdits(host=host, host_rule=rule, set={b"K-Proxy-Request": b"activator"}) for host in hosts * 2]
    for edits in every:
        assert edits.apply(head, peer) == edits.render(head, peer)
    assert len(head.derived.rendered) <= 2  # with a host, and without


def test_forms_kept_with_a_head_are_bounded() -> None:
    head = parse_request(b"GET / HTTP/1.1\r\nHost: h")
    for number in range(1000):
        PLAIN.apply(head, b"10.0.%d.%d" % divmod(number, 250))
    assert len(head.derived.rendered) <= 16


def test_a_response_keeps_its_framing_and_loses_what_is_hop_by_hop() -> None:
    head = parse_response(
        b"HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nX-App: 1"
    )
    assert relayed_head(head) == b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nX-App: 1\r\n"
    assert unchunked_head(head) == b"HTTP/1.1 200 Fine\r\nX-App: 1\r\n"


@pytest.mark.parametrize("status", [b"204 No Content", b"103 Early Hints"])
def test_a_response_that_has_no_body_declares_none(status: bytes) -> None:
    head = parse_response(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nLink: x")
    assert relayed_head(head) == b"HTTP/1.1 " + status + b"\r\nLink: x\r\n"


def test_a_date_is_that_of_its_second() -> None:
    line = DateLine()
    assert line.at(784111777.9) == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    assert line.at(784111778.0) == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
