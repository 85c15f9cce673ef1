"""Heads and trailers from header lists: what is read, and each thing that makes a message malformed."""

import pytest

from proxies.http2.errors import Malformed
from proxies.http2.heads import fields_of, parse_request, parse_response, parse_trailers
from proxies.http2.hpack import Pair
from proxies.messages import RequestHead, ResponseHead

METHOD, SCHEME, PATH, AUTHORITY = (
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"h:80"),
)
REQUEST = [METHOD, SCHEME, PATH, AUTHORITY]


def request(*pairs: Pair, done: bool = True) -> RequestHead:
    return parse_request(fields_of(pairs), done)


def response(*pairs: Pair) -> ResponseHead:
    return parse_response(fields_of(pairs))


def test_a_request_is_the_head_that_http_1_has_with_another_version() -> None:
    head = request((b":method", b"POST"), SCHEME, (b":path", b"/a?b=c"), AUTHORITY, (b"accept", b"*/*"), done=False)
    assert (head.method, head.target, head.host, head.version) == (b"POST", b"/a?b=c", b"h:80", "2.0")
    assert [(field.name, field.value, field.line) for field in head.fields] == [
        (b"host", b"h:80", b"Host: h:80"),
        (b"accept", b"*/*", b"accept: */*"),
    ]
    assert (head.content_length, head.is_chunked, head.has_body, head.keep_alive) == (-1, True, True, True)


@pytest.mark.parametrize(
    ("pairs", "done", "length"),
    [
        ([], True, 0),
        ([], False, -1),
        ([(b"content-length", b"0")], True, 0),
        ([(b"content-length", b"0")], False, 0),
        ([(b"content-length", b"12")], False, 12),
    ],
)
def test_the_length_of_a_request(pairs: list[Pair], done: bool, length: int) -> None:
    head = request(*REQUEST, *pairs, done=done)
    assert head.content_length == length
    assert head.is_chunked is (length < 0)


def test_the_host_stands_for_an_authority_that_is_missing_and_may_repeat_it() -> None:
    assert request(METHOD, SCHEME, PATH, (b"host", b"a")).host == b"a"
    head = request(*REQUEST, (b"host", b"H:80"))
    assert head.get_all(b"host") == [b"H:80"]
    assert request(METHOD, SCHEME, PATH, (b":authority", b"")).host == b""


def test_the_pieces_of_a_cookie_are_joined() -> None:
    head = request(*REQUEST, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"))
    assert head.get_all(b"cookie") == [b"a=1; b=2"]
    assert request(*REQUEST, (b"cookie", b"a=1")).get_all(b"cookie") == [b"a=1"]


def test_methods_with_targets_of_their_own() -> None:
    assert request((b":method", b"CONNECT"), (b":authority", b"h:1")).target == b"h:1"
    assert request((b":method", b"OPTIONS"), SCHEME, (b":path", b"*"), AUTHORITY).target == b"*"
    assert request(*REQUEST, (b"te", b"trailers")).get(b"te") == b"trailers"


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([SCHEME, PATH, AUTHORITY], id="no method"),
        pytest.param([METHOD, PATH, AUTHORITY], id="no scheme"),
        pytest.param([METHOD, SCHEME, AUTHORITY], id="no path"),
        pytest.param([METHOD, SCHEME, PATH], id="no authority"),
        *(pytest.param([*REQUEST, pair], id=f"{pair[0].decode()} twice") for pair in REQUEST),
        pytest.param([METHOD, SCHEME, PATH, (b"a", b"b"), AUTHORITY], id="pseudo-header behind a header"),
        pytest.param([(b"a", b"b"), *REQUEST], id="header before the pseudo-headers"),
        pytest.param([*REQUEST, (b":status", b"200")], id="pseudo-header of a response"),
        pytest.param([*REQUEST, (b":protocol", b"websocket")], id="extended CONNECT"),
        pytest.param([*REQUEST, (b":x", b"y")], id="unknown pseudo-header"),
        pytest.param([*REQUEST, (b":", b"y")], id="pseudo-header without a name"),
        pytest.param([(b":method", b""), SCHEME, PATH, AUTHORITY], id="empty method"),
        pytest.param([(b":method", b"G T"), SCHEME, PATH, AUTHORITY], id="space in the method"),
        pytest.param([METHOD, (b":scheme", b""), PATH, AUTHORITY], id="empty scheme"),
        pytest.param([METHOD, SCHEME, (b":path", b""), AUTHORITY], id="empty path"),
        pytest.param([METHOD, SCHEME, (b":path", b"a"), AUTHORITY], id="path without a slash"),
        pytest.param([METHOD, SCHEME, (b":path", b"/a b"), AUTHORITY], id="space in the path"),
        pytest.param([METHOD, SCHEME, (b":path", b"/a#b"), AUTHORITY], id="fragment in the path"),
        pytest.param([METHOD, SCHEME, (b":path", b"http://h/"), AUTHORITY], id="absolute path"),
        pytest.param([METHOD, SCHEME, (b":path", b"*"), AUTHORITY], id="asterisk besides OPTIONS"),
        pytest.param([METHOD, SCHEME, PATH, (b":authority", b"u@h")], id="user information"),
        pytest.param([METHOD, SCHEME, PATH, (b":authority", b"h/x")], id="path in the authority"),
        pytest.param([*REQUEST, (b"host", b"other")], id="another host"),
        pytest.param([METHOD, SCHEME, PATH, (b"host", b"a"), (b"host", b"a")], id="two hosts"),
        pytest.param([METHOD, SCHEME, PATH, (b"host", b"a b")], id="space in the host"),
        pytest.param([(b":method", b"CONNECT"), SCHEME, AUTHORITY], id="CONNECT with a scheme"),
        pytest.param([(b":method", b"CONNECT"), PATH, AUTHORITY], id="CONNECT with a path"),
        pytest.param([(b":method", b"CONNECT")], id="CONNECT without an authority"),
        pytest.param([*REQUEST, (b"Accept", b"*/*")], id="upper case"),
        pytest.param([*REQUEST, (b"", b"x")], id="empty name"),
        pytest.param([*REQUEST, (b"a b", b"x")], id="space in a name"),
        pytest.param([*REQUEST, (b"a:b", b"x")], id="colon in a name"),
        pytest.param([*REQUEST, (b"a\x00", b"x")], id="NUL in a name"),
        pytest.param([*REQUEST, (b"\xe4", b"x")], id="obs-text in a name"),
        pytest.param([*REQUEST, (b"a", b"x\r\ny: z")], id="line end in a value"),
        pytest.param([*REQUEST, (b"a", b"x\x00")], id="NUL in a value"),
        pytest.param([*REQUEST, (b"a", b" x")], id="space before a value"),
        pytest.param([*REQUEST, (b"a", b"x\t")], id="tab behind a value"),
        pytest.param([*REQUEST, (b"connection", b"close")], id="connection"),
        pytest.param([*REQUEST, (b"connection", b"")], id="empty connection"),
        pytest.param([*REQUEST, (b"proxy-connection", b"x")], id="proxy-connection"),
        pytest.param([*REQUEST, (b"keep-alive", b"x")], id="keep-alive"),
        pytest.param([*REQUEST, (b"transfer-encoding", b"chunked")], id="transfer-encoding"),
        pytest.param([*REQUEST, (b"upgrade", b"websocket")], id="upgrade"),
        pytest.param([*REQUEST, (b"te", b"gzip")], id="te"),
        pytest.param([*REQUEST, (b"te", b"trailers, gzip")], id="te with more"),
        pytest.param([*REQUEST, (b"content-length", b"1x")], id="odd length"),
        pytest.param([*REQUEST, (b"content-length", b"+1")], id="signed length"),
        pytest.param([*REQUEST, (b"content-length", b"0"), (b"content-length", b"0")], id="two lengths"),
        pytest.param([*REQUEST, (b"content-length", b"1")], id="length without a body"),
        pytest.param([*REQUEST, (b"k-original-host", b"a/b")], id="original host that is none"),
    ],
)
def test_a_malformed_request(pairs: list[Pair]) -> None:
    with pytest.raises(Malformed):
        request(*pairs)


def test_a_response() -> None:
    head = response((b":status", b"404"), (b"content-length", b"3"), (b"date", b"x"))
    assert (head.status, head.reason, head.content_length, head.is_chunked) == (404, b"Not Found", 3, False)
    head = response((b":status", b"599"))
    assert (head.status, head.reason, head.content_length, head.is_chunked) == (599, b"", -1, True)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([], id="no status"),
        pytest.param([(b":status", b"200"), (b":status", b"200")], id="two of them"),
        pytest.param([(b":status", b"20")], id="two digits"),
        pytest.param([(b":status", b"2000")], id="four digits"),
        pytest.param([(b":status", b"099")], id="below 100"),
        pytest.param([(b":status", b"20x")], id="no number"),
        pytest.param([(b":status", b"101")], id="switching protocols"),
        pytest.param([(b":status", b"200"), (b":path", b"/")], id="pseudo-header of a request"),
        pytest.param([(b"a", b"b"), (b":status", b"200")], id="late status"),
        pytest.param([(b":status", b"200"), (b"connection", b"close")], id="connection"),
        pytest.param([(b":status", b"200"), (b"host", b"h")], id="host"),
        pytest.param([(b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"2")], id="two lengths"),
    ],
)
def test_a_malformed_response(pairs: list[Pair]) -> None:
    with pytest.raises(Malformed):
        response(*pairs)


def test_trailers_have_no_pseudo_headers() -> None:
    assert [field.line for field in parse_trailers(fields_of([(b"grpc-status", b"0")]))] == [b"grpc-status: 0"]
    for pair in ((b":status", b"200"), (b":path", b"/"), (b"Upper", b"x"), (b"connection", b"close")):
        with pytest.raises(Malformed):
            parse_trailers(fields_of([(b"a", b"b"), pair]))
