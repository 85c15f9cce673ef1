"""`eventing/message.py`: it reads what the plain reader reads, and passes on what the spec says (5.6)."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.event import EventError, event_from
from eventing.message import Message, looks_like_event, passed_lines, read_message, read_request
from proxies.fields import Field
from proxies.heads import request_head

CE = ["ce-specversion: 1.0", "ce-id: 1", "ce-source: /s", "ce-type: t"]
TRACE_PARENT = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def fields_of(*lines: str | bytes) -> list[Field]:
    found = []
    for line in lines:
        raw = line if isinstance(line, bytes) else line.encode()
        name, _, value = raw.partition(b":")
        found.append(Field(name.lower(), value.strip(b" \t"), raw))
    return found


def test_lines_leave_as_they_came() -> None:
    message = read_message(fields_of("Host: h", *CE, "Ce-Foo:  b\u00fc ", "Content-Type: text/x; a=b"), b"data")
    assert message.attributes == {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "foo": "b\u00fc",
        "datacontenttype": "text/x; a=b",
    }
    assert (
        message.header_lines(b"Prefer: reply")
        == "\r\n".join([*CE, "Ce-Foo:  b\u00fc ", "Content-Type: text/x; a=b", "Prefer: reply", ""]).encode()
    )
    assert message.data == b"data"


def test_what_is_set_and_removed_shows_in_both_forms() -> None:
    message = read_message(fields_of(*CE, "Ce-Foo: a"), b"")
    message.set("foo", "b")
    message.set("bar", "c")
    message.remove("type")
    message.remove("other")
    assert message.header_lines() == b"ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nCe-foo: b\r\nCe-bar: c\r\n"
    assert message.attributes == {"specversion": "1.0", "id": "1", "source": "/s", "foo": "b", "bar": "c"}
    assert message.event().attributes is message.attributes


def test_the_first_of_several_counts() -> None:
    message = read_message(fields_of(*CE, "ce-foo: 1", "CE-FOO: 2", "ce-type: u"), b"")
    assert (message.attributes["foo"], message.attributes["type"]) == ("1", "t")
    assert b"u" not in message.header_lines().split(b"ce-type: t")[1]
    # One that is wrong does not count either, unless it is the first.
    time = "ce-time: 2026-01-01T00:00:00Z"
    assert read_message(fields_of(*CE, time, "ce-time: x"), b"").attributes["time"] == time[9:]
    with pytest.raises(EventError, match="time"):
        read_message(fields_of(*CE, "ce-time: x", time), b"")


def test_44_what_is_passed_on() -> None:
    lines = ["X-Request-Id: 7", "Retry-After: 1", "Knative-Foo: a", "knative-foo: b", "X-B3-TraceId: c"]
    others = ["Authorization: x", "Cookie: x", "X-Custom: x", "Kn-Namespace: x", "Prefer: x", "Knative: x"]
    fields = fields_of(*lines, *others, *CE)
    assert read_message(fields, b"").passed == [line.encode() for line in lines]
    assert passed_lines(fields) == [line.encode() for line in lines]


@pytest.mark.parametrize(
    ("lines", "passed"),
    [
        ([TRACE_PARENT, "tracestate: a=b", "baggage: c=d"], [TRACE_PARENT, "tracestate: a=b", "baggage: c=d"]),
        (["tracestate: a=b", "tracestate: c=d", TRACE_PARENT], [TRACE_PARENT, "tracestate: a=b", "tracestate: c=d"]),
        (["tracestate: a=b", "baggage: c=d"], ["baggage: c=d"]),
        ([TRACE_PARENT[:-1], "tracestate: a=b"], []),
        ([TRACE_PARENT + "-more"], []),
        ([TRACE_PARENT.replace(" 00-", " cc-") + "-more"], [TRACE_PARENT.replace(" 00-", " cc-") + "-more"]),
        ([TRACE_PARENT.replace(" 00-", " ff-")], []),
        ([TRACE_PARENT.replace("b7ad6b7169203331", "0" * 16)], []),
    ],
)
def test_45_the_trace_context_goes_on_if_it_is_one(lines: list[str], passed: list[str]) -> None:
    assert read_message(fields_of(*CE, *lines), b"").passed == [line.encode() for line in passed]


def test_46_extensions_of_these_names_are_extensions() -> None:
    message = read_message(fields_of(*CE, "ce-traceparent: any", "ce-tracestate: thing"), b"")
    assert message.attributes["traceparent"] == "any"
    assert message.passed == []


def test_structured_events_become_binary_ones() -> None:
    body = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","n":5,"b":true,"gone":null,"data":{"a": 1.0}}'
    message = read_message(fields_of("Content-Type: Application/CloudEvents+JSON; charset=utf-8", "ce-id: no"), body)
    assert message.attributes == {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "n": 5, "b": True}
    assert message.header_lines().splitlines()[4:] == [b"Ce-n: 5", b"Ce-b: true"]
    assert message.data == b'{"a": 1.0}'


@pytest.mark.parametrize("value", ["a\\nb", "a\\u0000", "\\u007f", "\\u001b[1m"])
def test_what_no_header_can_hold_is_refused(value: str) -> None:
    body = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","foo":"%s"}' % value.encode()
    with pytest.raises(EventError, match="foo: expected no control characters"):
        read_message(fields_of("Content-Type: application/cloudevents+json"), body)


def test_what_is_not_utf_8_is_refused() -> None:
    for line in (b"ce-foo: \xff", b"Content-Type: text/\xff"):
        with pytest.raises(EventError, match="expected UTF-8"):
            read_message(fields_of(*CE, line), b"")
    # It is nobody's business elsewhere.
    assert read_message(fields_of(*CE, b"X-Request-Id: \xff"), b"").passed == [b"X-Request-Id: \xff"]


@pytest.mark.parametrize(
    ("lines", "does"),
    [
        (["ce-specversion: 1.0"], True),
        (["ce-specversion: 0.3"], True),
        (["ce-specversion: 2.0"], False),
        (["ce-id: 1", "Content-Type: application/json"], False),
        (["Content-Type: application/cloudevents+json"], True),
        (["Content-Type: application/cloudevents-batch+json; x=y"], True),
        ([], False),
    ],
)
def test_what_looks_like_an_event(lines: list[str], does: bool) -> None:
    assert looks_like_event(fields_of(*lines)) is does


NAMES = [
    "ce-id",
    "Ce-Source",
    "ce-type",
    "ce-specversion",
    "ce-time",
    "ce-dataschema",
    "ce-foo",
    "CE-Foo",
    "ce-foo-bar",
]
NAMES += ["ce-", "ce-data", "ce-datacontenttype", "content-type", "Content-Type", "traceparent", "knative-a", "host"]
VALUES = ["", "1", "1.0", "0.3", "t", "/s", "a b", "text/plain", "application/cloudevents+json", "http://[", "b\u00fc"]
VALUES += ["2026-01-01T00:00:00Z", "yesterday", "application/cloudevents-batch+json"]
BODIES = [b"", b"x", b"{}", b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":[1, 2]}']
LINES = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)).map(": ".join)


@given(st.lists(LINES, max_size=6), st.booleans(), st.sampled_from(BODIES))
def test_it_reads_what_the_plain_reader_reads(lines: list[str], is_event: bool, body: bytes) -> None:
    fields = fields_of(*(CE if is_event else []), *lines)
    try:
        event = event_from([(field.name, field.value) for field in fields], body)
    except EventError:
        with pytest.raises(EventError):
            read_message(fields, body)
        return
    message = read_message(fields, body)
    assert message.attributes == event.attributes
    assert message.data == (event.data or b"")
    again = read_message(fields_of(*message.header_lines().split(b"\r\n")[:-1]), message.data)
    assert again.attributes == message.attributes


_values = st.sampled_from(["1", "", "2026-01-01T00:00:00Z", "x y", "/s", "t", "\u00fc", "1.0", "a" * 200])
_names = st.sampled_from(
    ["ce-id", "CE-ID", "Ce-Time", "ce-knativearrivaltime", "ce-type", "ce-n", "ce-a-b", "X-Request-Id", "Knative-A"]
)
_extra = st.one_of(
    st.builds("{}: {}".format, _names, _values),
    st.sampled_from(
        [
            TRACE_PARENT,
            "traceparent: x",
            "tracestate: a=b",
            "baggage: c",
            "Content-Type: application/cloudevents+json",
            "Content-Type: application/cloudevents-batch+json",
            "Content-Type: text/x",
        ]
    ),
)


@given(st.lists(st.sampled_from([*CE, "Ce-Subject: s"]), max_size=6), st.lists(_extra, max_size=6), st.randoms())
def test_the_short_cut_for_requests_reads_what_the_long_way_reads(
    known: list[str], extra: list[str], chance: random.Random
) -> None:
    lines = [*known, *extra]
    chance.shuffle(lines)
    raw = "\r\n".join(["POST /ns/name HTTP/1.1", "Host: h", *lines]).encode()
    body = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1}'

    def read(reading: Callable[[], Message]) -> object:
        try:
            message = reading()
        except EventError:
            return None
        return message.attributes, message.lines, sorted(message.passed), message.data

    fields = request_head(raw).fields
    wanted = read(lambda: read_message(fields, body))
    for _ in range(3):
        # Again: by then the head, or what it has in common with others, is remembered.
        assert read(lambda: read_request(request_head(raw), body)) == wanted


def test_what_is_kept_with_a_head_is_not_changed_by_who_reads() -> None:
    raw = "\r\n".join(["POST /ns/name HTTP/1.1", "Host: h", *CE, TRACE_PARENT, "X-Request-Id: r"]).encode()
    head = request_head(raw)
    first = read_request(head, b"")
    first.set("more", "1")
    first.remove("type")
    first.passed.clear()
    second = read_request(head, b"")
    assert second.attributes == {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    assert len(second.passed) == 2
