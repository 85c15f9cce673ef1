"""`eventing/event.py`: statements 13 to 30 of the broker's contract, as far as they are about reading and writing."""

import base64
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.event import Event, EventError, event_from, problems_of

CE = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
JSON = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def binary(body: bytes = b"", **changes: str | None) -> Event:
    """The event of a message in binary mode; names with `_` for `-`, None takes a header away."""
    headers = CE | {name.replace("_", "-"): value for name, value in changes.items()}
    return event_from([(name.encode(), value.encode()) for name, value in headers.items() if value is not None], body)


def structured(content: Any, content_type: str = "application/cloudevents+json", **headers: str) -> Event:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    fields = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return event_from([(name.encode(), value.encode()) for name, value in fields.items()], body)


@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_15_both_versions_are_read_and_kept(version: str) -> None:
    event = binary(ce_specversion=version)
    assert event.attributes["specversion"] == version
    assert (b"Ce-specversion", version.encode()) in event.binary()[0]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ce_specversion": "19.0"}, id="14"),
        pytest.param({"ce_specversion": None}, id="17"),
        pytest.param({"ce_id": ""}, id="19"),
        pytest.param({"ce_time": "yesterday"}, id="20"),
        pytest.param({"ce_time": "2026-13-01T00:00:00Z"}, id="20 month"),
        pytest.param({"ce_time": "2026-01-01T00:00:00"}, id="20 zone"),
        pytest.param({"ce_time": "2026-02-29T00:00:00Z"}, id="20 day"),
        pytest.param({"ce_time": "2026-01-01T00:00:60Z"}, id="20 second"),
        pytest.param({"ce_time": "2026-01-01T00:00:00+24:00"}, id="20 offset"),
        pytest.param({"ce_foo_bar": "x"}, id="21"),
        pytest.param({"ce_": "x"}, id="4.2 no name"),
        pytest.param({"ce_datacontenttype": "text/plain"}, id="4.2 reserved"),
        pytest.param({"ce_data": "x"}, id="4.2 data"),
        pytest.param({"ce_source": "http://[::1"}, id="4.2 source"),
        pytest.param({"ce_source": "a b"}, id="4.2 source with space"),
        pytest.param({"content_type": "application/cloudevents-batch+json"}, id="25"),
        pytest.param({"content_type": "application/cloudevents+xml", "ce_specversion": None}, id="4.1"),
    ],
)
def test_what_is_no_event_in_binary_mode(changes: dict[str, Any]) -> None:
    with pytest.raises(EventError):
        binary(**changes)


@pytest.mark.parametrize("missing", ["ce_id", "ce_type", "ce_source"])
def test_18_an_event_without_its_context_is_invalid(missing: str) -> None:
    assert problems_of(binary(**{missing: None}).attributes) == [f"{missing[3:]}: expected a value"]


@pytest.mark.parametrize(
    ("changes", "is_valid"),
    [
        ({}, True),
        ({"content_type": "garbage"}, True),
        ({"content_type": "text/"}, False),
        ({"content_type": "x;y"}, False),
        ({"content_type": 'text/plain; charset="utf-8"'}, True),
        ({"ce_dataschema": "/relative"}, False),
        ({"ce_dataschema": "urn:x"}, True),
    ],
)
def test_what_a_broker_takes_in(changes: dict[str, Any], is_valid: bool) -> None:
    assert bool(problems_of(binary(**changes).attributes)) is not is_valid


def test_binary_mode_takes_the_first_of_repeated_headers_in_any_case_and_values_as_they_are() -> None:
    fields = [(name.upper().encode(), value.encode()) for name, value in CE.items()]
    fields += [(b"Ce-Extension", b"a%20b"), (b"ce-extension", b"second"), (b"Content-Type", b"text/plain; charset=x")]
    event = event_from(fields, b"body")
    assert event.attributes["extension"] == "a%20b"
    assert event.attributes["datacontenttype"] == "text/plain; charset=x"
    assert event.data == b"body"


def test_22_a_structured_event_becomes_a_binary_one_with_the_same_data() -> None:
    body = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data" : { "a":1.0,  "b":[ ] } ,"Ext":"x"}'
    event = structured(body)
    fields, data = event.binary()
    assert data == b'{ "a":1.0,  "b":[ ] }'
    assert (b"Ce-ext", b"x") in fields
    assert b"Content-Type" not in dict(fields)  # 29


def test_23_and_24_parameters_are_allowed_and_headers_of_attributes_ignored() -> None:
    event = structured(JSON, "Application/CloudEvents+JSON; charset=utf-8", ce_id="other", ce_specversion="9")
    assert event.attributes["id"] == "1"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(JSON | {"ext": {"a": 1}}, id="26"),
        pytest.param(JSON | {"ext": [1]}, id="26 array"),
        pytest.param(JSON | {"ext": 1 << 31}, id="27"),
        pytest.param(JSON | {"ext": 1e300}, id="27 large"),
        pytest.param(JSON | {"source": ""}, id="4.3 source"),
        pytest.param(JSON | {"time": "soon"}, id="4.3 time"),
        pytest.param(JSON | {"id": 5}, id="4.3 id"),
        pytest.param(JSON | {"data_base64": "%"}, id="4.3 base64"),
        pytest.param(JSON | {"datacontenttype": "text/plain", "data": 5}, id="4.3 data"),
        pytest.param(JSON | {"a_b": "x"}, id="4.3 name"),
        pytest.param({"id": "1"}, id="4.3 version"),
        pytest.param([JSON], id="4.3 no object"),
        pytest.param(b"{", id="4.3 no JSON"),
        pytest.param(b"[" * 100_000, id="4.3 deep"),
    ],
)
def test_what_is_no_event_in_structured_mode(content: Any) -> None:
    with pytest.raises(EventError):
        structured(content)


def test_extensions_keep_their_types_and_null_is_none() -> None:
    event = structured(JSON | {"a": None, "b": True, "c": -5, "d": 2.9, "e": "x", "F": "upper"})
    extensions = {name: value for name, value in event.attributes.items() if name not in JSON}
    assert extensions == {"b": True, "c": -5, "d": 2, "e": "x", "f": "upper"}
    assert (b"Ce-b", b"true") in event.binary()[0]


def test_data_of_other_types_is_text_or_base64() -> None:
    assert structured(JSON | {"datacontenttype": "text/plain", "data": "h\u00e9"}).data == "h\u00e9".encode()
    assert structured(JSON | {"data_base64": base64.b64encode(b"\0\xff").decode()}).data == b"\0\xff"
    assert structured(JSON).data is None
    assert structured(JSON | {"data": None}).data == b"null"


def test_a_value_with_a_line_break_cannot_be_a_header() -> None:
    with pytest.raises(EventError, match="ext"):
        structured(JSON | {"ext": "a\r\nX: y"}).binary()


attributes = st.dictionaries(
    st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True).filter(lambda name: name not in {*JSON, "data", "time", "subject"}),
    st.one_of(st.text(st.characters(min_codepoint=33, max_codepoint=126)), st.booleans(), st.integers(-5, 5)),
    max_size=4,
)


@given(
    attributes,
    st.one_of(st.none(), st.binary(min_size=1)),
    st.sampled_from([None, "application/json", "text/x", "a/b"]),
)
def test_an_event_is_the_same_in_both_modes(extensions: dict[str, Any], data: bytes | None, kind: str | None) -> None:
    context = dict(JSON) | ({} if kind is None else {"datacontenttype": kind})
    event = Event(context | extensions, data)
    again = structured(event.structured())
    assert again.attributes == event.attributes
    assert again.data == event.data
    fields, body = event.binary()
    read_fields, read_body = event_from(fields, body).binary()
    assert sorted(read_fields) == sorted(fields)
    assert read_body == body


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(b'"foo":' + b"[" * 200_000, id="deep"),
        pytest.param(b'"data":' + b'{"a":' * 200_000, id="deep data"),
        pytest.param(b'"foo":' + b"9" * 100_000, id="digits"),
        pytest.param(b'"foo":1e400', id="infinite"),
        pytest.param(b'"foo":NaN', id="no number"),
        pytest.param(b'"foo":"\\ud800"', id="half a character"),
        pytest.param(b'"foo":"\xff"', id="not UTF-8"),
        pytest.param(b'"data_base64":[1]', id="no text"),
        pytest.param(b",".join(b'"a%d":1' % n for n in range(200_000)), id="many attributes"),
        pytest.param(b'"data":[],"data":"' + b"x" * (2 << 20) + b'","data":[]', id="data several times"),
    ],
)
def test_json_bombs_are_refused(member: bytes) -> None:
    with pytest.raises(EventError) as refused:
        structured(json.dumps(JSON).encode()[:-1] + b"," + member + b"}")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "member", ['"SPECVERSION":"9"', '"Id":"2"', '"Foo":1,"foo":2', '"Data":1', '"dataContentType":"a/b"']
)
def test_a_name_in_two_spellings_is_refused(member: str) -> None:
    with pytest.raises(EventError, match="in lower case"):
        structured(json.dumps(JSON)[:-1].encode() + b"," + member.encode() + b"}")
    assert structured(JSON | {"Foo": 1}).attributes["foo"] == 1


def test_large_data_is_not_built() -> None:
    data = b"[" + b"{}," * 1_000_000 + b"{}]"
    body = json.dumps(JSON).encode()[:-1] + b',"data":' + data + b"}"
    tracemalloc.start()
    try:
        event = structured(body)
        assert event.structured() == body.replace(b": ", b":").replace(b", ", b",")
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
    finally:
        tracemalloc.stop()
    assert event.data == data


@pytest.mark.parametrize(
    "time", ["0000-02-29T00:00:00Z", "2026-01-01t00:00:00z", "2024-02-29T23:59:59.123456789-23:59"]
)
def test_times_that_are_some(time: str) -> None:
    assert binary(ce_time=time).attributes["time"] == time
