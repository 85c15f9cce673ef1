"""Events as people read them in a terminal."""

import pytest

from eventing.event import Event
from local_cluster.event_views import event_json, event_lines, journey_lines, printable


def shown(event: Event) -> list[str]:
    return [line.partition("  ")[2] if number == 0 else line for number, line in enumerate(event_lines(event, 0.25))]


def test_an_event_begins_with_its_type_and_source_and_ends_with_its_data() -> None:
    attributes = {"specversion": "1.0", "type": "t", "source": "/s", "id": "1", "zebra": True, "ape": 3, "subject": "x"}
    event = Event({**attributes, "datacontenttype": "application/json"}, b'{"a":[1]}')
    assert shown(event) == [
        "t  from /s",
        "    id: 1",
        "    subject: x",
        "    datacontenttype: application/json",
        "    ape: 3",
        "    zebra: true",
        "    | {",
        '    |   "a": [',
        "    |     1",
        "    |   ]",
        "    | }",
    ]


@pytest.mark.parametrize(
    ("kind", "data", "line"),
    [
        ("text/plain", b"hi", "hi"),
        ("application/json", b"{bad", "{bad"),
        ("application/octet-stream", b"\xff\xfe", "2 bytes that are no text"),
        ("application/json", b"[" * 5000, "[" * 4096),
    ],
)
def test_data_is_shown_as_it_can_be(kind: str, data: bytes, line: str) -> None:
    assert shown(Event({"type": "t", "source": "/", "datacontenttype": kind}, data))[2] == f"    | {line}"


def test_nothing_reaches_the_terminal_that_it_might_obey() -> None:
    hostile = "\x1b]0;gotcha\x07\x1b[2J\r\x9b1m\u202e"
    event = Event({"type": hostile, "source": "/s\n/t", "id": hostile}, hostile.encode())
    for line in (*event_lines(event, 0), event_json(event), *journey_lines([{"at": 0, "step": hostile}])):
        assert line.isprintable()
    assert printable("a\tb\nc") == "a\tb\nc"


def test_a_journey_is_told_in_the_order_of_time() -> None:
    notes = [
        {"at": 2.5, "component": "filter", "step": "matched", "id": "1", "source": "/", "type": "t", "trigger": "ns/t"},
        {"at": 1.5, "component": "ingress", "step": "accepted", "status": 202, "reason": None},
    ]
    first, second = journey_lines(notes)
    assert first.endswith("status=202")
    assert "ingress" in first
    assert second.endswith("trigger=ns/t")
