"""Events as messages and back: nothing is lost, nothing is added that stays."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.channel.jetstream_message import Deduplication, message_id, pack, unpack
from eventing.event import EventError
from eventing.message import Message

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def message(data: bytes = b"", passed: list[bytes] | None = None, **attributes: Any) -> Message:
    named = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **attributes}
    lines = {name: b"Ce-%s: %s" % (name.encode(), str(value).encode()) for name, value in named.items()}
    return Message(named, lines, data, passed or [])


@given(
    data=st.binary(max_size=64),
    kind=st.sampled_from(["application/json", "text/plain", "a/b", None]),
    extension=st.one_of(st.booleans(), st.integers(-(1 << 31), (1 << 31) - 1), st.text("abc ü", max_size=8)),
    passed=st.lists(st.sampled_from([b"traceparent: " + TRACE.encode(), b"X-Request-Id: r", b"tracestate: a=b"])),
)
def test_what_is_packed_is_unpacked_as_it_was(
    data: bytes, kind: str | None, extension: bool | int | str, passed: list[bytes]
) -> None:
    attributes = {"extension": extension, **({"datacontenttype": kind} if kind else {})}
    packed = message(data, list(passed), **attributes)
    before = dict(packed.attributes)
    payload, headers = pack(packed)
    assert packed.attributes == before
    unpacked = unpack(payload, headers)
    assert unpacked.attributes == before
    assert unpacked.data == data
    # The trace stands behind the rest, and a state without its parent says nothing.
    has_parent = any(line.startswith(b"traceparent") for line in passed)
    assert set(unpacked.passed) == {line for line in passed if has_parent or not line.startswith(b"tracestate")}


def test_the_trace_is_among_the_extensions_for_others_and_not_the_events() -> None:
    payload, headers = pack(message(passed=[b"Traceparent: " + TRACE.encode()]))
    assert json.loads(payload)["traceparent"] == TRACE
    assert "traceparent" not in unpack(payload, headers).attributes


def test_an_extension_of_the_events_own_stays() -> None:
    payload, headers = pack(message(passed=[b"traceparent: " + TRACE.encode()], traceparent="its own"))
    assert json.loads(payload)["traceparent"] == "its own"
    unpacked = unpack(payload, headers)
    assert unpacked.attributes["traceparent"] == "its own"
    assert unpacked.passed == [b"traceparent: " + TRACE.encode()]


def test_the_trace_of_another_dispatchers_message_goes_on() -> None:
    payload = json.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "traceparent": TRACE})
    unpacked = unpack(payload.encode(), {})
    assert unpacked.passed == [b"traceparent: " + TRACE.encode()]
    assert unpacked.attributes["traceparent"] == TRACE


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        (b"", {}),
        (b"[]", {}),
        (b'{"specversion":"1.0"', {}),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t","e":"\\r\\nX: y"}', {}),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}', {"Knuv-Passed": "!"}),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}', {"Knuv-Passed": b64(b"X-Request-Id: r\nX: y")}),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}', {"Knuv-Passed": b64(b"ce-id: other")}),
    ],
)
def test_what_is_no_event_is_refused(payload: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(EventError):
        unpack(payload, headers)


def test_only_lines_that_pass_go_on() -> None:
    payload, _ = pack(message())
    lines = b"Authorization: Bearer x\r\nKnative-A: b\r\nContent-Length: 7"
    assert unpack(payload, {"Knuv-Passed": b64(lines)}).passed == [b"Knative-A: b"]


def test_lines_that_others_wrote_split_no_head() -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "traceparent": "x\r\nX-Injected: y"}
    with pytest.raises(EventError):
        unpack(json.dumps(event).encode(), {})


def test_what_makes_two_events_one() -> None:
    how = Deduplication.SOURCE_AND_ID
    assert message_id(message(), how) == message_id(message(type="other"), how)
    others = [message(id="2"), message(source="/t"), message(id="1/s", source=""), message(knativebrokerttl="254")]
    assert message_id(message(), how) not in {message_id(other, how) for other in others}
    assert len({message_id(other, how) for other in others}) == 4
    assert message_id(message(source="/t"), Deduplication.ID) == "1"
