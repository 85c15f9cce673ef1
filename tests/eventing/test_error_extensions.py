"""What a dead letter says of the failure (spec eventing-channels.md 3.4, 3.5; statements 46-50, 53)."""

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from eventing.error_extensions import Failure, unwrapped, with_error_extensions

_LINES = b"Ce-Id: 1\r\nce-type: t\r\nContent-Type: text/plain\r\n"
_FAILURE = Failure("http://a.b/c?d", 503, b"no luck")


def _extensions(lines: bytes) -> dict[str, str]:
    assert lines.endswith(b"\r\n")
    found: dict[str, str] = {}
    for line in lines.decode().split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        assert name.lower() not in found
        found[name.lower()] = value.strip()
    return found


def test_the_event_gets_destination_code_and_data() -> None:
    assert _extensions(with_error_extensions(_LINES, _FAILURE)) == {
        "ce-id": "1",
        "ce-type": "t",
        "content-type": "text/plain",
        "ce-knativeerrordest": "http://a.b/c?d",
        "ce-knativeerrorcode": "503",
        "ce-knativeerrordata": base64.b64encode(b"no luck").decode(),
    }


def test_an_empty_body_gives_empty_data() -> None:
    assert _extensions(with_error_extensions(_LINES, _FAILURE._replace(body=b"")))["ce-knativeerrordata"] == ""


def test_what_is_there_is_kept_unless_it_is_empty() -> None:
    lines = _LINES + b"CE-KnativeErrorDest: http://first/\r\nce-knativeerrorcode: \r\n"
    found = _extensions(with_error_extensions(lines, _FAILURE))
    assert found["ce-knativeerrordest"] == "http://first/"
    assert found["ce-knativeerrorcode"] == "503"
    assert found["ce-knativeerrordata"]


@given(st.binary(max_size=3000))
def test_the_data_is_the_first_1024_characters_of_the_whole_encoded(body: bytes) -> None:
    found = _extensions(with_error_extensions(_LINES, _FAILURE._replace(body=body)))
    assert found["ce-knativeerrordata"] == base64.b64encode(body).decode()[:1024]


def test_a_destination_cannot_add_a_line() -> None:
    lines = with_error_extensions(_LINES, Failure("http://a\r\nEvil: 1", 500, b""))
    assert "evil" not in _extensions(lines)


def _told(**answer: object) -> Failure:
    return Failure("http://broker-filter/", 404, json.dumps(answer).encode())


def test_the_answer_of_the_filter_tells_of_its_subscriber() -> None:
    told = _told(errdestination="http://s/", errresponsebody=base64.b64encode(b"gone").decode())
    assert unwrapped(told) == Failure("http://s/", 404, b"gone")
    assert unwrapped(_told(errdestination="http://s/", errresponsebody=None)) == Failure("http://s/", 404, b"")


def test_any_other_answer_tells_nothing() -> None:
    for failure in (
        _told(errdestination=1),
        _told(errresponsebody=[]),
        _told(errdestination="http://s/", errresponsebody="%"),
        Failure("http://broker-filter/", 500, b"dispatch error: EOF"),
        Failure("http://broker-filter/", 500, b"[]"),
        Failure("http://broker-filter/", 500, b"[" * 100_000),
        Failure("http://broker-filter/", 500, b"\xff"),
    ):
        assert unwrapped(failure) is None
