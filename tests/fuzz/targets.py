"""What is fuzzed. Each target takes any bytes and fails, by an assertion or a foreign error, where a promise breaks.

The promises are the same for all: nothing but the typed error, the memo's answer is the plain parser's, and what is
accepted reads in one way only once it is sent on (`tests/conformance/http1/oracle.py` judges).
"""

from collections.abc import Callable
from typing import Any

from eventing.event import STRUCTURED, Event, EventError, event_from
from eventing.message import Message, looks_like_event, passed_lines, read_message, read_request
from eventing.values import Value, to_text
from proxies.bodies import ChunkedBody
from proxies.fields import Field
from proxies.headers import HeadEdits, HostRule, forwarded_value, relayed_head
from proxies.heads import request_head, response_head
from proxies.http1 import HttpError, RequestError, ResponseError, parse_field, parse_request, parse_response
from proxies.messages import RequestHead, ResponseHead
from queue_proxy.policy import APP_EDITS
from queue_proxy.readiness import decode_probes
from tests.conformance.http1.memory import Bench, run_in_memory
from tests.conformance.http1.oracle import read_replies, read_requests
from tests.fuzz.http2_targets import fuzz_block, fuzz_connection, fuzz_table

__all__ = ["TARGETS"]

_BODY_BYTES_MAX = 100_000
"""A body of this length is made up to check the framing of a head; of longer ones only the head is checked."""


def fuzz_request(data: bytes) -> None:
    """Any bytes as the head of a request."""
    verdict = _verdict(request_head, data)
    assert verdict == _verdict(parse_request, data) == _verdict(request_head, data)
    if isinstance(verdict, int):
        assert verdict in (400, 417, 431, 501, 505)
        return
    head = request_head(data)
    if head.method == b"CONNECT" or head.target == b"*":
        return
    _check_sent(head, APP_EDITS)


def fuzz_response(data: bytes) -> None:
    """Any bytes as the head of a response."""
    verdict = _response_verdict(response_head, data)
    assert verdict == _response_verdict(parse_response, data) == _response_verdict(response_head, data)
    if verdict is None:
        return
    head = response_head(data)
    sent = relayed_head(head)
    again = parse_response(sent[:-2])
    assert (again.status, again.reason) == (head.status, head.reason)
    has_length, has_coding = head.content_length >= 0, head.is_chunked
    if head.status < 200 or head.status == 204:
        has_length = has_coding = False
    assert (again.content_length >= 0, again.is_chunked) == (has_length, has_coding)
    body = b"0\r\n\r\n" if again.is_chunked else b"x" * again.content_length
    if len(body) <= _BODY_BYTES_MAX and 200 <= head.status != 204 and head.status != 304:
        is_open = not has_length and not has_coding
        sent += (b"Connection: close\r\n\r\n" if is_open else b"\r\n") + body
        ((reply,), rest) = read_replies(sent, methods=("GET",), is_closed=is_open)
        assert (reply.status, reply.is_whole, rest) == (head.status, True, b"")


def fuzz_chunks(data: bytes) -> None:
    """Any bytes as a chunked body, however they are cut."""
    whole = _scan([data])
    pieces = _scan([data[at : at + 1] for at in range(len(data))])
    halves = _scan([data[: len(data) // 2], data[len(data) // 2 :]])
    if whole != pieces or whole != halves:
        # Only what is still open may be refused sooner in one form than in another: at the next line end at the latest.
        end = [b"\r\n"]
        assert _scan([data, *end]) == _scan([*(data[at : at + 1] for at in range(len(data))), *end]) == None  # noqa: E711
        return
    if whole is None:
        return
    taken, payload, rest, is_done = whole
    assert taken + rest == data
    if is_done:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        ((request,), left) = read_requests(head + taken)
        assert (request.body, left) == (payload, b"")


_EDITS = (
    HeadEdits(),
    APP_EDITS,
    HeadEdits(host=b"pod:8012", host_rule=HostRule.SAVE, set={b"K-Proxy-Request": b"activator"}, add_forwarded=True),
    HeadEdits(remove=[b"Accept"], set={b"X-Set": b"1"}, host_rule=HostRule.RESTORE),
)


def fuzz_edits(data: bytes) -> None:
    """Any header lines, edited in each of the ways that services edit them."""
    lines = [b"GET / HTTP/1.1", b"Host: h", *(line for line in data.split(b"\n") if parse_field(line) is not None)]
    try:
        head = request_head(b"\r\n".join(lines))
    except RequestError:
        return
    for edits in _EDITS:
        _check_sent(head, edits)


def fuzz_forwarded(data: bytes) -> None:
    """Any values of `X-Forwarded-*`: what is made of them is one value, as the plain words of the spec make it."""
    forwarded_for, host, proto = (*(part.strip(b" \t") for part in data.split(b"\n")[:3]), b"", b"", b"")[:3]
    if any(parse_field(b"X:" + value) is None for value in (forwarded_for, host, proto)):
        return
    value = forwarded_value(forwarded_for, host, proto)
    assert value == _forwarded_by_the_spec(forwarded_for, host, proto)
    assert not value or parse_field(b"Forwarded: " + value) is not None


def fuzz_readiness(data: bytes) -> None:
    """Any text as `SERVING_READINESS_PROBE`, for one container or several."""
    text = data[1:].decode("utf-8", "surrogateescape")
    try:
        probes = decode_probes(text, is_list=bool(data[:1] < b"\x80"))
    except ValueError:
        return
    for probe in probes:
        assert abs(probe.timeout_s) < 1 << 32
        assert isinstance(probe.port, str)


def fuzz_event(data: bytes) -> None:
    """Any header lines and any body, the first line of which is empty, as an event."""
    head, _, body = data.partition(b"\n\n")
    fields = [field for field in map(parse_field, head.split(b"\n")) if field is not None]
    _check_request(fields, body)
    try:
        event = event_from([(field.name, field.value) for field in fields], body)
    except EventError:
        assert _message(fields, body) is None
        return
    message = _message(fields, body)
    if message is None:
        # A value that no header can hold.
        assert _binary(event) is None
        return
    assert looks_like_event(fields)
    assert message == (event.attributes, event.data or b"")
    lines = read_message(fields, body).header_lines().split(b"\r\n")[:-1]
    again = [parse_field(line) for line in lines]
    sent = [field for field in again if field is not None]
    # What is sent on is as many header lines, which say the same.
    assert len(sent) == len(lines) == len(event.attributes) + len(passed_lines(fields)) + _traced(sent)
    texts = {name: to_text(value) for name, value in event.attributes.items()}
    if all(text == text.strip(" \t") for text in texts.values()):
        resent = read_message(sent, message[1])
        assert (resent.attributes, resent.data) == (texts, message[1])
    # An empty source is left to the validation in binary mode, and refused in the JSON format (spec 4.3).
    if event.attributes.get("source") != "" and all(isinstance(value, str) for value in event.attributes.values()):
        structured = event_from([(b"content-type", STRUCTURED.encode())], event.structured())
        assert structured.attributes == event.attributes


def _check_request(fields: list[Field], body: bytes) -> None:
    """What is remembered of heads says the same as reading them, at the first time and at the second."""
    lines = [b"POST / HTTP/1.1", b"Host: h", *(field.line for field in fields)]
    for _ in range(2):
        try:
            head = request_head(b"\r\n".join(lines))
        except RequestError:
            return
        assert _verdict_of(read_request, head, body) == _verdict_of(read_message, head.fields, body)


def _verdict_of(read: Callable[[Any, bytes], Message], source: object, body: bytes) -> object:
    try:
        message = read(source, body)
    except EventError:
        return None
    # Lines that change with each request stand behind the others, whatever their place was.
    return message.attributes, sorted(message.lines.items()), sorted(message.passed), message.data


def _message(fields: list[Field], body: bytes) -> tuple[dict[str, Value], bytes] | None:
    try:
        message = read_message(fields, body)
    except EventError:
        return None
    return message.attributes, message.data


def _binary(event: Event) -> object:
    try:
        return event.binary()
    except EventError:
        return None


def _traced(fields: list[Field]) -> int:
    return sum(field.name in (b"traceparent", b"tracestate", b"baggage") for field in fields)


def fuzz_client(data: bytes) -> None:
    """Any bytes from a client, to the engine with an app behind it; the first one says how they are cut."""
    # The app answers every request alike, so what may not have a body would not be told from what has one.
    size, sent = data[0] if data else 0, data[1:].replace(b"HEAD", b"HEAT")
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)] if size else [sent]

    async def play(bench: Bench) -> None:
        bench.app.begin()
        await bench.converse(pieces, ("GET",) * 1000, hangs_up=True)
        assert bench.app.ambiguous == []

    run_in_memory(play)


def fuzz_app(data: bytes) -> None:
    """Any bytes from an app as its response; the first one says how they are cut, and whether it hangs up."""
    size, reply = data[0] >> 1 if data else 0, data[1:]
    pieces = [reply[at : at + size] for at in range(0, len(reply), size)] if size else [reply]
    method = ("GET", "HEAD", "POST")[len(data) % 3]

    async def play(bench: Bench) -> None:
        bench.app.begin(reply=pieces, closes=bool(data[:1] > b"\x80"))
        request = f"{method} /1 HTTP/1.1\r\nHost: h\r\n\r\n".encode()
        replies, has_ended, _ = await bench.converse([request], [method], hangs_up=False)
        informational = [reply for reply in replies if reply.status < 200]
        assert len(replies) - len(informational) <= 1
        assert all(reply.status != 101 for reply in replies)
        if has_ended or not replies or replies[-1].status < 200:
            return
        # The connection goes on: the next response belongs to the next request.
        bench.app.begin()
        replies, _, rest = await bench.converse([b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"], ["GET"], hangs_up=False)
        assert [(reply.status, reply.body) for reply in replies] == [(200, b"/2")]
        assert rest == b""

    run_in_memory(play)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "request": fuzz_request,
    "response": fuzz_response,
    "chunks": fuzz_chunks,
    "edits": fuzz_edits,
    "forwarded": fuzz_forwarded,
    "readiness": fuzz_readiness,
    "event": fuzz_event,
    "client": fuzz_client,
    "app": fuzz_app,
    "block": fuzz_block,
    "table": fuzz_table,
    "connection": fuzz_connection,
}
"""By the name of their corpus."""


def _verdict(parse: Callable[[bytes], RequestHead], data: bytes) -> object:
    try:
        head = parse(data)
    except RequestError as error:
        return error.status
    return (
        head.method,
        head.target,
        head.minor,
        head.content_length,
        head.is_chunked,
        head.keep_alive,
        head.upgrade,
        head.connection_options,
        head.marks,
        sorted(map(_parts, head.fields), key=lambda parts: parts[0]),
    )


def _response_verdict(parse: Callable[[bytes], ResponseHead], data: bytes) -> object:
    try:
        head = parse(data)
    except ResponseError:
        return None
    return (
        head.status,
        head.reason,
        head.minor,
        head.content_length,
        head.is_chunked,
        head.keep_alive,
        head.upgrade,
        head.connection_options,
        head.marks,
        [*map(_parts, head.fields)],
    )


def _parts(field: Field) -> tuple[bytes, bytes, bytes]:
    return field.name, field.value, field.line


def _check_sent(head: RequestHead, edits: HeadEdits) -> None:
    """What is sent on says the same in one reading, and says it again when it is read and sent on once more."""
    sent = edits.apply(head, b"192.0.2.1")
    assert _lines(sent) == _lines(edits.render(head, b"192.0.2.1"))
    again = parse_request(sent[:-4])
    assert (again.method, again.target, again.minor) == (head.method, head.target, 1)
    assert (again.content_length, again.is_chunked) == (head.content_length, head.is_chunked)
    assert again.upgrade == head.upgrade
    body = b"0\r\n\r\n" if head.is_chunked else b"x" * min(head.content_length, _BODY_BYTES_MAX)
    if len(body) in (head.content_length, 5):
        ((request,), rest) = read_requests(sent + body)
        assert (request.method, request.target, rest) == (head.method, head.target, b"")
        assert request.values(b"x-forwarded-for")[-1].endswith(b"192.0.2.1")


def _lines(head: bytes) -> list[bytes]:
    """The lines of a head; those that differ in name may stand in any order."""
    start, *lines = head.split(b"\r\n")
    return [start, *sorted(lines, key=lambda line: line.partition(b":")[0].lower())]


def _scan(pieces: list[bytes]) -> tuple[bytes, bytes, bytes, bool] | None:
    """Return (bytes taken, payload, bytes left, whether the body is complete), or None when they are refused."""
    body = ChunkedBody(keeps_spans=True)
    taken, payload, rest = b"", b"", b""
    for piece in pieces:
        data = rest + piece
        if body.is_done:
            rest = data
            continue
        try:
            took = body.scan(data)
        except HttpError:
            return None
        payload += b"".join(data[begin:end] for begin, end in body.spans)
        taken, rest = taken + data[:took], data[took:]
    assert body.size == len(payload)
    return taken, payload, rest, body.is_done


def _forwarded_by_the_spec(forwarded_for: bytes, host: bytes, proto: bytes) -> bytes:
    """Spec queue-proxy.md 7.1, word by word."""
    nodes = [node.strip() for node in forwarded_for.split(b",")] if forwarded_for else []
    if nodes[1:] and nodes[-1] == b"":
        del nodes[-1]
    written = [b'"[%s]"' % node if b":" in node else node for node in nodes]
    first = b"for=" + written[0] if written else b""
    for name, value in ((b"host=", host), (b"proto=", proto)):
        if value:
            first += (b";" if first and first != b"for=" else b"") + name + value
    return first + b"".join(b", for=" + node for node in written[1:])
