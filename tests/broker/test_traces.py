"""The place of events in their traces: `broker/traces.py`; spans over all processes are in the conformance tests."""

import asyncio
import json

from broker.brokers import Place
from broker.traces import TracedSends, Traces
from eventing.delivery import Recipient
from eventing.message import Message, read_message
from kube.tracing_settings import TracingSettings
from proxies.fields import Field
from proxies.logs import Logger
from proxies.stdout import StdoutLines
from tests.eventing.courier import Sends

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = b"00f067aa0ba902b7"
EVENT = (b"ce-specversion: 1.0", b"ce-id: 1", b"ce-source: /s", b"ce-type: t")


class Lines(StdoutLines):
    """What is written to standard output."""

    def __init__(self) -> None:
        self.found: list[dict[str, object]] = []

    def write(self, line: bytes) -> None:
        self.found.append(json.loads(line))


def traces(lines: Lines, rate: float) -> Traces:
    log = Logger("test", write=lambda _line: None)
    settings = TracingSettings("http/protobuf", None, rate)
    loop = asyncio.get_running_loop()
    return Traces(loop, settings, log, destination=lines, resource={}, scope="test")


def message(*more: bytes) -> Message:
    return read_message([Field(*line.split(b": "), line) for line in (*EVENT, *more)], b"")


async def test_what_is_not_sampled_goes_on_in_its_trace_with_a_span_that_nobody_hears_of() -> None:
    made = traces(lines := Lines(), 0.0)
    event = message(b"traceparent: 00-%b-%b-01" % (TRACE, PARENT), b"tracestate: a=b", b"x-request-id: r")
    passing = made.begin(event)
    *kept, line = event.passed
    assert kept == [b"x-request-id: r", b"tracestate: a=b"]
    assert line == b"Traceparent: 00-%b-%b-00" % (TRACE, passing.client_id.encode())
    made.posted(passing, "http://a/", 202)
    await made.stop()
    assert lines.found == []


async def test_a_trace_begins_where_there_is_none() -> None:
    made = traces(Lines(), 1.0)
    event = message()
    passing = made.begin(event)
    assert event.passed == [passing.line]
    assert passing.line.endswith(b"-%b-01" % passing.client_id.encode())
    assert passing.place.span_id == ""
    await made.stop()


async def test_each_post_has_a_span_and_says_where_it_was() -> None:
    made = traces(lines := Lines(), 1.0)
    sends, statuses = Sends(), []
    head = b"Ce-Id: 1\r\ntraceparent: 00-%b-%b-01\r\nCe-Traceparent: mine\r\nPrefer: reply\r\n" % (TRACE, PARENT)
    for _ in range(2):
        TracedSends(sends, made).post(
            Recipient("http://a/"),
            head,
            b"",
            lambda outcome: statuses.append(outcome.status),
            timeout_s=1.0,
            service_account=("ns", ""),
            response_bytes_max=1,
        )
    posted = [post.lines for post in sends.posts]
    sends.answer(503, 202)
    await made.stop()
    assert statuses == [503, 202]
    ids = [str(span["spanId"]) for span in lines.found]
    assert [span["isError"] for span in lines.found] == [True, False]
    assert {span["parentSpanId"] for span in lines.found} == {PARENT.decode()}
    for each, span_id in zip(posted, ids, strict=True):
        own = b"Traceparent: 00-%b-%b-01\r\n" % (TRACE, span_id.encode())
        assert each == b"Ce-Id: 1\r\nCe-Traceparent: mine\r\nPrefer: reply\r\n" + own


async def test_no_span_tells_what_may_be_secret_of_a_url() -> None:
    made = traces(lines := Lines(), 1.0)
    url = "http://user:secret@sink.ns/path?token=secret"
    made.posted(made.begin(message()), url, 202)
    made.ended(made.begin(message()), "broker:b.ns", Place("ns", "b", url), "t", "http", url, 202)
    await made.stop()
    clients = [span for span in lines.found if str(span["name"]).startswith("send ")]
    assert [span["name"] for span in clients] == ["send http://sink.ns/path"] * 2
    assert "secret" not in json.dumps(lines.found)
    assert "http://sink.ns/path" in json.dumps([span["attributes"] for span in clients])
