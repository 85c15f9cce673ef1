"""`proxies/http1.py` and the memory of `proxies/heads.py`: which heads are read, and which refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.fields import DATE
from proxies.headers import HeadEdits
from proxies.heads import request_head, response_head
from proxies.http1 import RequestError, ResponseError, parse_request, parse_response

GET = b"GET /a?b=c HTTP/1.1\r\nHost: example.com"


def test_a_plain_request_is_read() -> None:
    head = parse_request(GET + b"\r\nAccept:  text/html \r\nX-Empty:")
    assert (head.method, head.target, head.minor, head.host) == (b"GET", b"/a?b=c", 1, b"example.com")
    assert head.get(b"accept") == b"text/html"
    assert head.get(b"x-empty") == b""
    assert head.get(b"absent") == b""
    assert (head.content_length, head.is_chunked, head.keep_alive, head.has_body) == (0, False, True, False)


@pytest.mark.parametrize(
    ("lines", "content_length", "is_chunked"),
    [
        (b"Content-Length: 0", 0, False),
        (b"Content-Length: 17", 17, False),
        (b"content-length:007", 7, False),
        (b"Transfer-Encoding: chunked", -1, True),
        (b"transfer-encoding:\tChunked ", -1, True),
    ],
)
def test_request_framing(lines: bytes, content_length: int, is_chunked: bool) -> None:
    head = parse_request(GET + b"\r\n" + lines)
    assert (head.content_length, head.is_chunked) == (content_length, is_chunked)


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"\r\nConnection: close", False),
        (b"1.1", b"\r\nConnection: x-a, CLOSE", False),
        (b"1.0", b"", False),
        (b"1.0", b"\r\nConnection: Keep-Alive", True),
        (b"1.0", b"\r\nConnection: keep-alive\r\nConnection: close", False),
    ],
)
def test_whether_the_connection_stays_open(version: bytes, connection: bytes, keep_alive: bool) -> None:
    assert parse_request(b"GET / HTTP/" + version + b"\r\nHost: a" + connection).keep_alive is keep_alive


def test_an_upgrade_counts_only_when_connection_names_it() -> None:
    assert parse_request(GET + b"\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket").upgrade == b"websocket"
    assert parse_request(GET + b"\r\nUpgrade: websocket").upgrade == b""


def test_an_absolute_target_gives_path_and_host() -> None:
    head = parse_request(b"GET http://real.example:81/p?q HTTP/1.1\r\nHost: other")
    assert (head.target, head.host) == (b"/p?q", b"real.example:81")
    assert parse_request(b"GET http://real.example?q HTTP/1.1\r\nHost: other").target == b"/?q"


REFUSED_REQUESTS: list[tuple[str, bytes, int]] = [
    # What Connection lists is taken off: its body would be the next request, or the Host missing.
    ("length as option", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close, Content-Length\r\nContent-Length: 5", 400),
    (
        "coding as option",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked",
        400,
    ),
    ("host as option", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: host", 400),
    ("empty", b"", 400),
    ("no version", b"GET /\r\nHost: a", 400),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: a", 400),
    ("space in target", b"GET /a b HTTP/1.1\r\nHost: a", 400),
    ("trailing space", b"GET / HTTP/1.1 \r\nHost: a", 400),
    ("leading space", b" GET / HTTP/1.1\r\nHost: a", 400),
    ("tab as separator", b"GET\t/ HTTP/1.1\r\nHost: a", 400),
    ("lower-case http", b"GET / http/1.1\r\nHost: a", 400),
    ("version 2", b"GET / HTTP/2.0\r\nHost: a", 505),
    ("version 0.9", b"GET / HTTP/0.9\r\nHost: a", 505),
    ("version 1.10", b"GET / HTTP/1.10\r\nHost: a", 400),
    ("control in method", b"G\x01T / HTTP/1.1\r\nHost: a", 400),
    ("NUL in target", b"GET /\0 HTTP/1.1\r\nHost: a", 400),
    ("bare CR in target", b"GET /\r HTTP/1.1\r\nHost: a", 400),
    ("bare LF in line", b"GET / HTTP/1.1\r\nHost: a\nX: y", 400),
    ("bare CR in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb", 400),
    ("NUL in value", GET + b"\r\nX: a\0b", 400),
    ("DEL in value", GET + b"\r\nX: a\x7fb", 400),
    ("NUL in name", GET + b"\r\nX\0: a", 400),
    ("space before colon", GET + b"\r\nX : a", 400),
    ("tab before colon", GET + b"\r\nX\t: a", 400),
    ("space in name", GET + b"\r\nX Y: a", 400),
    ("no colon", GET + b"\r\nX", 400),
    ("no name", GET + b"\r\n: a", 400),
    ("obs-fold by space", GET + b"\r\nX: a\r\n b", 400),
    ("obs-fold by tab", GET + b"\r\nX: a\r\n\tb", 400),
    ("fold of the first header", b"GET / HTTP/1.1\r\n Host: a", 400),
    ("name in latin-1", GET + b"\r\nX\xe4: a", 400),
    ("name with slash", GET + b"\r\nX/Y: a", 400),
    ("CL and TE", GET + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 400),
    ("TE and CL", GET + b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", 400),
    ("two CL, same", GET + b"\r\nContent-Length: 5\r\nContent-Length: 5", 400),
    ("two CL, different", GET + b"\r\nContent-Length: 5\r\nContent-Length: 6", 400),
    ("CL list", GET + b"\r\nContent-Length: 5, 5", 400),
    ("CL signed", GET + b"\r\nContent-Length: +5", 400),
    ("CL negative", GET + b"\r\nContent-Length: -5", 400),
    ("CL hex", GET + b"\r\nContent-Length: 0x5", 400),
    ("CL empty", GET + b"\r\nContent-Length:", 400),
    ("CL fraction", GET + b"\r\nContent-Length: 5.0", 400),
    ("CL underscore", GET + b"\r\nContent-Length: 1_0", 400),
    ("CL inner space", GET + b"\r\nContent-Length: 1 0", 400),
    ("CL overflow", GET + b"\r\nContent-Length: 99999999999999999999", 400),
    ("CL unicode digit", GET + b"\r\nContent-Length: \xd9\xa1", 400),
    ("TE twice", GET + b"\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
    ("TE list", GET + b"\r\nTransfer-Encoding: gzip, chunked", 501),
    ("TE chunked twice", GET + b"\r\nTransfer-Encoding: chunked, chunked", 501),
    ("TE identity", GET + b"\r\nTransfer-Encoding: identity", 501),
    ("TE unknown", GET + b"\r\nTransfer-Encoding: xchunked", 501),
    ("TE empty", GET + b"\r\nTransfer-Encoding:", 501),
    ("TE quoted", GET + b'\r\nTransfer-Encoding: "chunked"', 501),
    ("TE vertical tab", GET + b"\r\nTransfer-Encoding: \x0bchunked", 400),
    ("TE in 1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", 400),
    ("no host", b"GET / HTTP/1.1", 400),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
    ("two hosts in 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b", 400),
    ("host with space", b"GET / HTTP/1.1\r\nHost: a b", 400),
    ("host with slash", b"GET / HTTP/1.1\r\nHost: a/b", 400),
    ("host with user", b"GET / HTTP/1.1\r\nHost: u@a", 400),
    ("relative target", b"GET a HTTP/1.1\r\nHost: a", 400),
    ("asterisk for GET", b"GET * HTTP/1.1\r\nHost: a", 400),
    ("target of another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a", 400),
    ("target without host", b"GET http:///x HTTP/1.1\r\nHost: a", 400),
    ("target with user", b"GET http://u@a/ HTTP/1.1\r\nHost: a", 400),
    ("authority as target", b"GET a:80 HTTP/1.1\r\nHost: a", 400),
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a", 400),
    ("original host with space", GET + b"\r\nK-Original-Host: a b", 400),
    ("unknown expectation", GET + b"\r\nExpect: 200-ok", 417),
    ("two expectations", GET + b"\r\nExpect: 100-continue\r\nExpect: x", 417),
]


@pytest.mark.parametrize(
    ("head", "status"), [row[1:] for row in REFUSED_REQUESTS], ids=[r[0] for r in REFUSED_REQUESTS]
)
def test_an_ambiguous_request_is_refused(head: bytes, status: int) -> None:
    for parse in (parse_request, request_head):
        with pytest.raises(RequestError) as raised:
            parse(head)
        assert raised.value.status == status


def test_a_plain_response_is_read() -> None:
    head = parse_response(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nDate: x")
    assert (head.status, head.reason, head.content_length, head.is_chunked) == (404, b"Not Found", 5, False)
    assert head.keep_alive
    assert head.marks & DATE


def test_a_response_may_have_no_reason_and_no_length() -> None:
    head = parse_response(b"HTTP/1.0 200")
    assert (head.status, head.reason, head.content_length, head.keep_alive) == (200, b"", -1, False)


REFUSED_RESPONSES: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("another protocol", b"SSH-2.0-x"),
    ("version 2", b"HTTP/2.0 200 OK"),
    ("short status", b"HTTP/1.1 20 OK"),
    ("long status", b"HTTP/1.1 2000 OK"),
    ("status 0xx", b"HTTP/1.1 099 OK"),
    ("NUL in reason", b"HTTP/1.1 200 O\0K"),
    ("CL and TE", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"),
    ("two CL", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5"),
    ("CL signed", b"HTTP/1.1 200 OK\r\nContent-Length: +5"),
    ("TE gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip"),
    ("TE in 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked"),
    ("length of an informational one", b"HTTP/1.1 103 x\r\nContent-Length: 1"),
    ("coding of an informational one", b"HTTP/1.1 100 x\r\nTransfer-Encoding: chunked"),
    ("space before colon", b"HTTP/1.1 200 OK\r\nX : y"),
    ("obs-fold", b"HTTP/1.1 200 OK\r\nX: y\r\n z"),
    ("bare LF", b"HTTP/1.1 200 OK\nX: y"),
    ("CR in value", b"HTTP/1.1 200 OK\r\nX: y\rz"),
]


@pytest.mark.parametrize("head", [row[1] for row in REFUSED_RESPONSES], ids=[row[0] for row in REFUSED_RESPONSES])
def test_an_ambiguous_response_is_refused(head: bytes) -> None:
    for parse in (parse_response, response_head):
        with pytest.raises(ResponseError):
            parse(head)


TOKEN = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=20).map(lambda data: bytes(byte for byte in data if byte >= 0x20 and byte != 0x7F))
FRAMING = frozenset(
    [b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"date", b"trailer"]
)
FIELDS = st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in FRAMING), VALUE), max_size=8)


@given(method=TOKEN, path=TOKEN.map(lambda path: path.replace(b"#", b"~")), fields=FIELDS)
def test_what_was_rendered_is_read_back(method: bytes, path: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    lines = [b"%s /%s HTTP/1.1" % (method, path), b"Host: h", *(b"%s: %s" % field for field in fields)]
    head = parse_request(b"\r\n".join(lines))
    assert (head.method, head.target) == (method, b"/" + path)
    want = [(name.lower(), value.strip(b" \t")) for name, value in fields]
    assert [(field.name, field.value) for field in head.fields[1:]] == want
    assert [field.line for field in head.fields] == lines[1:]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_typed_error(data: bytes) -> None:
    for prefix in (b"", GET + b"\r\n", b"GET /"):
        assert not isinstance(got := verdict(parse_request, prefix + data), int) or got in (400, 501, 505)
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n"):
        try:
            parse_response(prefix + data)
        except ResponseError:
            continue


SNIPPETS = st.sampled_from(
    [
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Host: b",
        b"X: y",
        b"X : y",
        b"Z: \x00",
    ]
)


def verdict(parse: object, head: bytes) -> object:
    try:
        parsed = parse(head)  # type: ignore[operator]
    except RequestError as error:
        return error.status
    return (
        parsed.method,
        parsed.target,
        parsed.content_length,
        parsed.is_chunked,
        parsed.keep_alive,
        parsed.connection_options,
        [(field.name, field.value, field.line) for field in parsed.fields],
    )


@given(st.lists(SNIPPETS, max_size=6))
def test_the_memo_agrees_with_the_plain_parser(lines: list[bytes]) -> None:
    head = b"\r\n".join([GET, *lines])
    assert verdict(request_head, head) == verdict(parse_request, head) == verdict(request_head, head)


def test_a_response_that_names_its_framing_an_option_is_refused() -> None:
    for option in (b"content-length", b"Transfer-Encoding"):
        with pytest.raises(ResponseError, match="Connection"):
            parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: " + option)


def test_an_upgrade_to_h2c_counts_as_not_asked_for_and_others_as_asked() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: "
    assert parse_request(head + b"H2C").upgrade == b""
    assert parse_request(head + b"websocket").upgrade == b"websocket"


@pytest.mark.parametrize("value", [b"echo, h2c", b"h2c, echo", b"echo x", b"echo/1/2", b"echo\r\nUpgrade: other", b""])
def test_an_upgrade_to_other_than_one_protocol_counts_as_not_asked_for(value: bytes) -> None:
    assert parse_request(GET + b"\r\nConnection: Upgrade\r\nUpgrade: " + value).upgrade == b""


def test_a_switch_of_protocols_is_one_only_when_connection_names_it() -> None:
    head = b"HTTP/1.1 101 x\r\nUpgrade: echo/1"
    assert parse_response(head).upgrade == b""
    assert parse_response(head + b"\r\nConnection: keep-alive, upgrade").upgrade == b"echo/1"


def test_a_204_that_announces_a_body_ends_its_connection() -> None:
    assert parse_response(b"HTTP/1.1 204 x\r\nContent-Length: 0").keep_alive
    assert not parse_response(b"HTTP/1.1 204 x\r\nContent-Length: 5").keep_alive
    assert not parse_response(b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked").keep_alive


def test_http_1_0_without_a_host_is_sent_on_with_an_empty_one() -> None:
    request = parse_request(b"GET / HTTP/1.0\r\nX: y")
    assert request.host == b""
    assert HeadEdits().apply(request, b"10.0.0.1").split(b"\r\n")[:2] == [b"GET / HTTP/1.1", b"Host:"]


def test_the_host_of_an_absolute_target_is_the_only_host_that_is_sent_on() -> None:
    request = parse_request(b"GET http://b/x HTTP/1.0")
    sent = HeadEdits(host=b"pod:8012").apply(request, b"10.0.0.1")
    assert sent.lower().count(b"host:") == 1
