"""CNCF's Python SDK for CloudEvents, at both ends: it reads what our sources send, and we read what it sends."""

import json

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from eventing.event import Event, event_from
from sources.overrides import Overrides
from tests.sources.support import running_adapter, running_sink, target

ATTRIBUTES = {"type": "t", "source": "/s", "id": "1", "specversion": "1.0", "subject": "ünïcode", "extension": "x"}


@pytest.mark.parametrize("data", [b'{"a": [1, "\\u00e9"]}', None])
async def test_the_sdk_reads_what_a_source_sends(data: bytes | None) -> None:
    event = Event({"type": "t", "source": "/s", "subject": "x"}, data)
    if data:
        event.attributes["datacontenttype"] = "application/json"
    overrides = Overrides({"team": "a"})
    async with running_sink() as sink, running_adapter() as bench:
        await bench.adapter.deliver(target(sink.url, overrides=overrides), event)
    (got,) = sink.got
    read = from_http_event(HTTPMessage(headers=got.headers, body=got.body))
    assert (read.get_type(), read.get_source(), read.get_subject()) == ("t", "/s", "x")
    assert read.get_extension("team") == "a"
    assert read.get_id()
    assert read.get_time() is not None
    assert read.get_data() == (json.loads(data) if data else None)


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
def test_we_read_what_the_sdk_writes(write: object) -> None:
    event = CloudEvent(attributes={**ATTRIBUTES, "datacontenttype": "application/json"}, data={"n": 1})
    message = write(event)  # type: ignore[operator]
    read = event_from([(name.encode(), value.encode()) for name, value in message.headers.items()], message.body)
    assert read.data is not None
    assert json.loads(read.data) == {"n": 1}
    for name in ("type", "source", "id", "extension"):
        assert read.attributes[name] == ATTRIBUTES[name]
