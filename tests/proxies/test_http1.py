"""`proxies/http1.py`: what is read, what is refused, and that neither depends on how the bytes arrive."""

import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.bodies import ChunkedBody, LengthBody, UntilCloseBody
from proxies.fields import DATE
from proxies.headers import HeadEdits
from proxies.heads import request_head, response_head
from proxies.http1 import HttpError, RequestError, ResponseError, parse_request, parse_response

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


def scan_in_pieces(body: LengthBody | ChunkedBody | UntilCloseBody, pieces: list[bytes]) -> tuple[bytes, bytes, bytes]:
    """Return (bytes taken, payload, bytes left over) when the pieces arrive one after the other."""
    taken, payload, rest = b"", b"", b""
    for piece in pieces:
        data = rest + piece
        if body.is_done:
            rest = data
            continue
        took = body.scan(data)
        spans = body.spans if isinstance(body, ChunkedBody) else [(0, took)]
        payload += b"".join(data[begin:end] for begin, end in spans)
        taken, rest = taken + data[:took], data[took:]
    return taken, payload, rest


def split(data: bytes, at: list[int]) -> list[bytes]:
    cuts = sorted({0, len(data), *(position % (len(data) + 1) for position in at)})
    return [data[begin:end] for begin, end in pairwise(cuts)]


CHUNKS = st.lists(st.binary(min_size=1, max_size=20), max_size=5)
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b;c"', b";a=b;c"])
TRAILERS = st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in FRAMING | {b"te"}), VALUE), max_size=3)


@given(CHUNKS, EXTENSIONS, TRAILERS, st.lists(st.integers(0, 1000), max_size=8), st.binary(max_size=8))
def test_any_split_of_a_chunked_body_is_taken_whole(
    chunks: list[bytes], extension: bytes, trailers: list[tuple[bytes, bytes]], at: list[int], behind: bytes
) -> None:
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    message = framed + b"0\r\n" + b"".join(b"%s: %s\r\n" % field for field in trailers) + b"\r\n"
    body = ChunkedBody(keeps_spans=True)
    taken, payload, rest = scan_in_pieces(body, split(message + behind, at))
    assert (taken, payload, rest, body.is_done) == (message, b"".join(chunks), behind, True)


@given(st.binary(max_size=60), st.lists(st.integers(0, 1000), max_size=8))
def test_any_split_of_any_bytes_gives_the_same_verdict(data: bytes, at: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> object:
        body = ChunkedBody(keeps_spans=True)
        try:
            return (*scan_in_pieces(body, pieces), body.is_done)
        except HttpError:
            return "refused"

    for prefix in (b"", b"3\r\nabc", b"0\r\n"):
        whole = outcome([prefix + data])
        pieces = outcome(split(prefix + data, at))
        # Only what is still open may be refused earlier in one form than in the other: at the next byte at the latest.
        if whole != pieces:
            assert outcome([prefix + data + b"\r\n"]) == "refused"
            assert outcome([*split(prefix + data, at), b"\r\n"]) == "refused"


REFUSED_CHUNKS: list[tuple[str, bytes]] = [
    ("no size", b"\r\n"),
    ("not hex", b"g\r\n"),
    ("signed", b"+5\r\n"),
    ("negative", b"-1\r\n"),
    ("prefixed", b"0x5\r\n"),
    ("underscore", b"1_0\r\n"),
    ("space before", b" 5\r\nabcde\r\n"),
    ("space behind", b"5 \r\nabcde\r\n"),
    ("tab behind", b"5\t\r\nabcde\r\n"),
    ("overflow", b"10000000000000000\r\n"),
    ("bare LF behind size", b"5\nabcde\r\n"),
    ("bare CR behind size", b"5\rabcde\r\n"),
    ("LF in extension", b"5;a\nb\r\n"),
    ("NUL in extension", b"5;a=\0\r\n"),
    ("open quote", b'5;a="b\r\n'),
    ("empty extension", b"5;\r\n"),
    ("data too long", b"3\r\nabcd\r\n"),
    ("data too long without a line", b"3\r\nabcd"),
    ("data too short", b"3\r\nab\r\n0\r\n"),
    ("LF behind data", b"3\r\nabc\n"),
    ("bad trailer", b"0\r\nX : y\r\n"),
    ("folded trailer", b"0\r\nX: y\r\n z\r\n"),
    ("bare LF in trailer", b"0\r\nX: y\n"),
    ("trailer forges length", b"0\r\nContent-Length: 5\r\n"),
    ("trailer forges coding", b"0\r\nTransfer-Encoding: chunked\r\n"),
    ("trailer forges host", b"0\r\nHost: x\r\n"),
    ("size line without end", b"1" * 5000),
    ("trailers without end", b"0\r\n" + b"X: " + b"y" * 70_000),
]


@pytest.mark.parametrize("data", [row[1] for row in REFUSED_CHUNKS], ids=[row[0] for row in REFUSED_CHUNKS])
def test_a_malformed_chunk_is_refused_however_it_arrives(data: bytes) -> None:
    with pytest.raises(HttpError):
        scan_in_pieces(ChunkedBody(keeps_spans=True), [data])
    if len(data) < 100:
        with pytest.raises(HttpError):
            scan_in_pieces(ChunkedBody(keeps_spans=True), [data[index : index + 1] for index in range(len(data))])


@pytest.mark.parametrize("taken", [b"", b"3\r\nabc", b"3\r\nabc\r\n"])
def test_a_chunked_body_can_be_ended_with_a_text_between_chunks(taken: bytes) -> None:
    body = ChunkedBody(keeps_spans=True)
    body.scan(taken)
    closing = body.closing(b"request timeout")
    assert closing is not None
    again = ChunkedBody(keeps_spans=True)
    payload = scan_in_pieces(again, [taken + closing])[1]
    assert again.is_done
    assert payload.endswith(b"request timeout")


def test_a_chunked_body_cannot_be_ended_within_a_chunk() -> None:
    body = ChunkedBody(keeps_spans=True)
    body.scan(b"5\r\nab")
    assert body.closing(b"request timeout") is None


def test_a_declared_length_is_taken_and_no_more() -> None:
    body = LengthBody(5)
    assert body.scan(b"abc") == 3
    assert body.scan(b"defgh") == 2
    assert body.is_done


def test_a_body_until_close_takes_all_and_is_never_done() -> None:
    body = UntilCloseBody()
    assert body.scan(b"abc") == 3
    assert not body.is_done


def test_a_response_that_names_its_framing_an_option_is_refused() -> None:
    for option in (b"content-length", b"Transfer-Encoding"):
        with pytest.raises(ResponseError, match="Connection"):
            parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: " + option)


def test_an_upgrade_to_h2c_counts_as_not_asked_for_and_others_as_asked() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: "
    assert parse_request(head + b"H2C").upgrade == b""
    assert parse_request(head + b"websocket").upgrade == b"websocket"


def test_the_host_of_an_absolute_target_is_the_only_host_that_is_sent_on() -> None:
    request = parse_request(b"GET http://b/x HTTP/1.0")
    sent = HeadEdits(host=b"pod:8012").apply(request, b"10.0.0.1")
    assert sent.lower().count(b"host:") == 1
