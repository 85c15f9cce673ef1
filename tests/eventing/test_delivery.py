"""The way of one event to one subscriber: destination, reply, dead letter (spec eventing-channels.md 2, 3)."""

import base64
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.delivery import Flow, Leg, Parcel, Recipient, Subscription, cleaned_url
from eventing.message import read_message
from eventing.retries import DeliverySettings
from proxies.fields import Field

_EVENT = ("ce-specversion: 1.0", "ce-id: 1", "ce-source: /s", "ce-type: t", "Content-Type: text/plain")
_TRACE = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _fields(*lines: str) -> list[Field]:
    parts = [(line, *line.partition(": ")) for line in lines]
    return [Field(name.lower().encode(), value.encode(), line.encode()) for line, name, _, value in parts]


@dataclass
class _Outcome:
    status: int = 0
    reason: str = ""
    is_cut: bool = False
    fields: list[Field] = ()  # type: ignore[assignment]
    body: bytes = b""


def _parcel(*more: str) -> Parcel:
    message = read_message(_fields(*_EVENT, "X-Request-Id: r", _TRACE, "Authorization: no", *more), b"data")
    return Parcel.of(message, "ns", "channel")


_DESTINATION = Recipient("http://destination/")
_REPLY = Recipient("http://reply/")
_SINK = Recipient("http://sink/")
_ALL = Subscription(uid="u", destination=_DESTINATION, reply=_REPLY, dead_letter=_SINK)


def _headers(flow: Flow) -> dict[str, str]:
    assert flow.lines.endswith(b"\r\n")
    found: dict[str, str] = {}
    for line in flow.lines.decode().removesuffix("\r\n").split("\r\n"):
        name, _, value = line.partition(": ")
        assert name.lower() not in found, line
        found[name.lower()] = value
    return found


_REPLIED = _Outcome(
    200,
    fields=_fields("Ce-Specversion: 1.0", "Ce-Id: 2", "Ce-Source: /r", "Ce-Type: r", "Knative-X: y", "Server: z"),
    body=b"reply",
)


def test_the_destination_gets_the_event_what_is_passed_on_and_prefer_reply() -> None:
    flow = Flow(_ALL, _parcel())
    assert flow.recipient is _DESTINATION
    assert flow.body == b"data"
    assert _headers(flow) == {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/s",
        "ce-type": "t",
        "content-type": "text/plain",
        "x-request-id": "r",
        "traceparent": _TRACE.partition(": ")[2],
        "kn-namespace": "ns",
        "prefer": "reply",
    }


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_2xx_without_an_event_is_a_success(status: int) -> None:
    flow = Flow(_ALL, _parcel())
    assert flow.answered(_Outcome(status, body=b"ok", fields=_fields("Content-Type: text/plain")), 0) is None
    assert flow.is_success
    assert flow.status == status


@pytest.mark.parametrize("status", [200, 202])
def test_39_41_43_a_reply_goes_to_the_reply_address_with_the_headers_of_the_response(status: int) -> None:
    flow = Flow(_ALL, _parcel())
    assert flow.answered(replace(_REPLIED, status=status), 0) == 0
    assert flow.leg is Leg.REPLY
    assert flow.recipient is _REPLY
    assert flow.body == b"reply"
    assert _headers(flow) == {
        "ce-specversion": "1.0",
        "ce-id": "2",
        "ce-source": "/r",
        "ce-type": "r",
        "knative-x": "y",
        "traceparent": _TRACE.partition(": ")[2],
        "kn-namespace": "ns",
    }
    assert flow.answered(_Outcome(204), 0) is None
    assert flow.is_success


@pytest.mark.parametrize("kind", ["application/cloudevents+json", "application/cloudevents-batch+json; charset=utf-8"])
def test_40_a_structured_reply_stays_structured_byte_for_byte(kind: str) -> None:
    flow = Flow(_ALL, _parcel())
    flow.answered(_Outcome(200, fields=_fields(f"Content-Type: {kind}"), body=b'{ "a" : 1 }'), 0)
    assert flow.leg is Leg.REPLY
    assert flow.body == b'{ "a" : 1 }'
    assert _headers(flow)["content-type"] == kind


def test_44_a_reply_without_a_reply_address_is_dropped() -> None:
    flow = Flow(replace(_ALL, reply=None), _parcel())
    assert flow.answered(_REPLIED, 0) is None
    assert flow.is_success


def test_a_response_that_broke_off_counts_as_accepted_without_a_reply() -> None:
    flow = Flow(_ALL, _parcel())
    assert flow.answered(replace(_REPLIED, reason="the response broke off"), 0) is None
    assert flow.is_success


def test_a_reply_too_large_to_keep_is_a_failed_delivery() -> None:
    flow = Flow(_ALL, _parcel())
    flow.answered(replace(_REPLIED, is_cut=True, reason="too large"), 0)
    assert flow.leg is Leg.DEAD_LETTER
    assert base64.b64decode(_headers(flow)["ce-knativeerrordata"]) == b"dispatch error: too large"


def test_46_52_a_dead_letter_is_the_original_event_and_why_it_failed() -> None:
    flow = Flow(_ALL, _parcel())
    assert flow.answered(_Outcome(400, body=b"bad", fields=_fields("Knative-X: y")), 0) == 0
    assert flow.leg is Leg.DEAD_LETTER
    assert flow.recipient is _SINK
    assert flow.body == b"data"
    headers = _headers(flow)
    assert headers["ce-knativeerrordest"] == "http://destination/"
    assert headers["ce-knativeerrorcode"] == "400"
    assert base64.b64decode(headers["ce-knativeerrordata"]) == b"bad"
    assert headers["x-request-id"] == "r"
    assert headers["kn-namespace"] == "ns"
    assert "prefer" not in headers
    assert "knative-x" not in headers
    assert flow.answered(_Outcome(200), 0) is None
    assert flow.is_success


def test_48_no_response_is_500_and_a_dispatch_error() -> None:
    flow = Flow(_ALL, _parcel())
    flow.answered(_Outcome(reason="connection refused"), 0)
    headers = _headers(flow)
    assert headers["ce-knativeerrorcode"] == "500"
    assert base64.b64decode(headers["ce-knativeerrordata"]) == b"dispatch error: connection refused"


def test_a_request_that_cannot_be_built_is_not_retried_and_has_code_minus_one() -> None:
    flow = Flow(replace(_ALL, settings=DeliverySettings(retries=3)), _parcel())
    assert flow.refused("no token") == 0
    headers = _headers(flow)
    assert headers["ce-knativeerrorcode"] == "-1"
    assert base64.b64decode(headers["ce-knativeerrordata"]) == b"dispatch error: no token"


def test_45_49_when_the_reply_fails_the_dead_letter_is_the_original_event_with_the_headers_of_the_response() -> None:
    flow = Flow(_ALL, _parcel())
    flow.answered(_REPLIED, 0)
    flow.answered(_Outcome(403, body=b"no"), 0)
    assert flow.leg is Leg.DEAD_LETTER
    headers = _headers(flow)
    assert headers["ce-id"] == "1"
    assert headers["ce-knativeerrordest"] == "http://reply/"
    assert headers["ce-knativeerrorcode"] == "403"
    assert headers["knative-x"] == "y"
    assert "x-request-id" not in headers
    assert flow.body == b"data"


def test_50_an_event_that_was_dead_lettered_before_tells_of_its_first_failure() -> None:
    flow = Flow(_ALL, _parcel("ce-knativeerrordest: http://first/"))
    flow.answered(_Outcome(400), 0)
    assert _headers(flow)["ce-knativeerrordest"] == "http://first/"


def test_51_a_sink_that_fails_makes_the_delivery_fail() -> None:
    flow = Flow(_ALL, _parcel())
    flow.answered(_Outcome(400), 0)
    assert flow.answered(_Outcome(405), 0) is None
    assert not flow.is_success
    assert flow.status == 405
    assert flow.failure is not None
    assert flow.failure.destination == "http://destination/"


def test_without_a_sink_the_delivery_fails() -> None:
    flow = Flow(replace(_ALL, dead_letter=None), _parcel())
    assert flow.answered(_Outcome(400), 0) is None
    assert not flow.is_success


def test_53_a_failure_at_the_filter_is_its_subscriber_s() -> None:
    flow = Flow(replace(_ALL, unwraps_errors=True), _parcel())
    body = b'{"errdestination":"http://subscriber/","errresponsebody":"Z29uZQ=="}'
    flow.answered(_Outcome(410, body=body), 0)
    headers = _headers(flow)
    assert headers["ce-knativeerrordest"] == "http://subscriber/"
    assert headers["ce-knativeerrorcode"] == "410"
    assert base64.b64decode(headers["ce-knativeerrordata"]) == b"gone"


def test_a_filter_that_tells_of_nothing_adds_no_extensions() -> None:
    flow = Flow(replace(_ALL, unwraps_errors=True), _parcel())
    flow.answered(_Outcome(reason="EOF"), 0)
    assert flow.leg is Leg.DEAD_LETTER
    assert not [name for name in _headers(flow) if name.startswith("ce-knativeerror")]


def test_26_each_leg_has_the_retries_of_the_settings() -> None:
    settings = DeliverySettings(retries=2, backoff_policy="exponential", backoff_s=1)
    flow = Flow(replace(_ALL, settings=settings), _parcel())
    assert [flow.answered(_Outcome(503), 0) for _ in range(3)] == [1, 2, 0]
    assert flow.leg is Leg.DEAD_LETTER
    assert [flow.answered(_Outcome(), 0) for _ in range(3)] == [1, 2, None]
    assert not flow.is_success


def test_36_retry_after_is_asked_for_in_the_response() -> None:
    settings = DeliverySettings(retries=2, retry_after_max_s=2)
    flow = Flow(replace(_ALL, settings=settings), _parcel())
    asks = _Outcome(429, fields=_fields("Retry-After: Thu, 01 Jan 1970 00:00:11 GMT"))
    assert flow.answered(asks, 10.0) == 1
    assert flow.answered(replace(asks, status=500), 10.0) == 0


def test_a_subscription_without_a_subscriber_sends_the_event_to_the_reply_address() -> None:
    flow = Flow(replace(_ALL, destination=None), _parcel())
    assert flow.recipient is _REPLY
    assert "prefer" not in _headers(flow)
    assert flow.answered(_REPLIED, 0) is None
    assert flow.is_success


def test_who_redelivers_itself_may_end_a_delivery_without_a_dead_letter() -> None:
    settings = DeliverySettings(retries=3)
    asked: list[int] = []

    def after_failure(outcome: object) -> bool:
        asked.append(outcome.status)  # type: ignore[attr-defined]
        return len(asked) > 1

    for is_last in (False, True):
        flow = Flow(replace(_ALL, settings=settings), _parcel(), destination_retries=0, after_failure=after_failure)
        assert flow.answered(_Outcome(503), 0) == (0 if is_last else None)
        assert (flow.leg is Leg.DEAD_LETTER) is is_last
    assert asked == [503, 503]
    assert flow.answered(_Outcome(503), 0) == 0, "the dead letter has the retries of the settings"


def test_a_delivery_that_is_resumed_goes_on_counting() -> None:
    flow = Flow(replace(_ALL, settings=DeliverySettings(retries=3)), _parcel(), retry=2)
    assert flow.answered(_Outcome(503), 0) == 0
    assert flow.leg is Leg.DESTINATION
    flow.answered(_Outcome(503), 0)
    assert flow.leg is Leg.DEAD_LETTER


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("http://a/b?c", "http://a/b?c"),
        ("https://a:1/b", "https://a:1/b"),
        ("ftp://a/b?c", "http://a/"),
        ("//a:1/b", "http://a:1/"),
    ],
)
def test_of_a_url_that_is_not_http_only_the_host_counts(url: str, cleaned: str) -> None:
    assert cleaned_url(url) == cleaned


_statuses = st.sampled_from([0, 200, 204, 301, 400, 404, 429, 500, 503])


@given(st.lists(_statuses, min_size=1), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans())
def test_every_delivery_ends_within_its_attempts(
    statuses: list[int], retries: int, has_reply: bool, has_sink: bool, replies: bool
) -> None:
    subscription = Subscription(
        uid="u",
        destination=_DESTINATION,
        reply=_REPLY if has_reply else None,
        dead_letter=_SINK if has_sink else None,
        settings=DeliverySettings(retries=retries),
    )
    flow = Flow(subscription, _parcel())
    posts: list[Leg] = []
    for step in range(1000):
        posts.append(flow.leg)
        outcome = _Outcome(statuses[step % len(statuses)], fields=_REPLIED.fields if replies else [])
        if flow.answered(outcome, 0) is None:
            break
    assert len(posts) <= 3 * (1 + retries)
    assert posts == sorted(posts, key=list(Leg).index), "no leg is gone back to"
    assert flow.is_success == (200 <= outcome.status < 300)


def test_only_of_a_possible_reply_much_is_kept() -> None:
    flow = Flow(_ALL, _parcel())
    assert flow.response_bytes_max == 4 << 20
    flow.answered(_REPLIED, 0)
    assert flow.response_bytes_max == 64 << 10
    assert Flow(replace(_ALL, reply=None), _parcel()).response_bytes_max == 64 << 10
    # What the filter answers is JSON, which is worth nothing in part.
    assert Flow(replace(_ALL, reply=None, unwraps_errors=True), _parcel()).response_bytes_max == 4 << 20
