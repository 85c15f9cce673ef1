"""What every source does with an event: what is sent, tried again and told (spec eventing-sources.md 1)."""

import asyncio
import json

import pytest

from eventing.event import Event
from kube.timestamps import parse_time_s
from proxies.metrics.exposition import render
from sources.overrides import Overrides, OverridesError
from sources.retrying import ATTEMPTS_MAX, wait_s
from tests.sources.support import running_adapter, running_sink, target


def event(**attributes: str) -> Event:
    return Event({"type": "t", "source": "/s", **attributes}, None)


async def test_an_event_is_completed_and_posted_in_binary_mode() -> None:
    async with running_sink() as sink, running_adapter() as bench:
        outcome = await bench.adapter.deliver(target(sink.url + "/in?x=1"), event())
        assert outcome.is_delivered
        (got,) = sink.got
    assert (got.method, got.path, got.body) == ("POST", "/in?x=1", b"")
    assert (got.headers["ce-specversion"], got.headers["ce-type"], got.headers["ce-source"]) == ("1.0", "t", "/s")
    assert len(got.headers["ce-id"]) == 36
    parse_time_s(got.headers["ce-time"])
    assert got.headers["kn-namespace"] == "shop"
    assert not {"prefer", "content-type", "authorization"} & got.headers.keys()


async def test_what_the_source_has_set_stays() -> None:
    async with running_sink() as sink, running_adapter() as bench:
        sent = event(id="7", time="2026-01-01T00:00:00Z", datacontenttype="text/plain")
        sent.data = "é".encode()
        await bench.adapter.deliver(target(sink.url), sent)
    assert (sink.got[0].headers["ce-id"], sink.got[0].headers["ce-time"]) == ("7", "2026-01-01T00:00:00Z")
    assert (sink.got[0].headers["content-type"], sink.got[0].body) == ("text/plain", "é".encode())


async def test_overrides_replace_extensions_of_the_same_name() -> None:
    overrides = Overrides.parse('{"extensions": {"a": "new", "b": "2"}}')
    async with running_sink() as sink, running_adapter() as bench:
        await bench.adapter.deliver(target(sink.url, overrides=overrides), event(a="old"))
    assert (sink.got[0].headers["ce-a"], sink.got[0].headers["ce-b"]) == ("new", "2")


@pytest.mark.parametrize("name", ["type", "source", "id", "specversion", "datacontenttype", "data", "a-b", ""])
async def test_an_override_that_is_no_extension_stops_all_sending(name: str) -> None:
    overrides = Overrides({name: "x"})
    async with running_sink() as sink, running_adapter() as bench:
        outcome = await bench.adapter.deliver(target(sink.url, overrides=overrides), event())
        assert (outcome.status, outcome.attempts) == (0, 0)
        assert sink.got == []
    assert "ceOverrides" in bench.log[0].decode()


@pytest.mark.parametrize("text", ["{", "[]", '{"extensions": []}', '{"extensions": {"a": 1}}', "[" * 100_000])
def test_overrides_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(OverridesError):
        Overrides.parse(text)


@pytest.mark.parametrize("text", ["", " ", "{}", '{"extensions": null}'])
def test_no_overrides_are_fine(text: str) -> None:
    assert Overrides.parse(text).problem == ""


async def test_the_sixth_attempt_may_succeed() -> None:
    async with running_sink(503, 503, 503, 503, 503, 202) as sink, running_adapter() as bench:
        outcome = await bench.adapter.deliver(target(sink.url), event())
        assert outcome.is_delivered
        assert len({got.headers["ce-id"] for got in sink.got}) == 1
    assert (outcome.attempts, len(sink.got)) == (6, 6)
    assert bench.waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


@pytest.mark.parametrize("status", [404, 413, 425, 429, 502, 503, 504])
async def test_statuses_that_are_tried_again(status: int) -> None:
    async with running_sink(status) as sink, running_adapter() as bench:
        outcome = await bench.adapter.deliver(target(sink.url), event())
    assert (outcome.status, len(sink.got)) == (status, ATTEMPTS_MAX)


@pytest.mark.parametrize("status", [302, 307, 400, 401, 403, 408, 409, 500, 501])
async def test_statuses_that_lose_the_event_at_once(status: int) -> None:
    async with running_sink(status) as sink, running_adapter() as bench:
        outcome = await bench.adapter.deliver(target(sink.url), event())
    assert (outcome.status, len(sink.got), outcome.is_delivered) == (status, 1, False)


async def test_a_sink_that_refuses_connections_is_tried_again() -> None:
    async with running_sink() as sink:
        url = sink.url
    async with running_adapter() as bench:
        outcome = await bench.adapter.deliver(target(url), event())
    assert (outcome.status, outcome.attempts) == (0, ATTEMPTS_MAX)
    assert outcome.reason


@pytest.mark.parametrize("url", ["", "no url", "http://", "http://user@sink/"])
async def test_a_url_that_leads_nowhere_loses_the_event_and_says_so(url: str) -> None:
    async with running_adapter() as bench:
        outcome = await bench.adapter.deliver(target(url), event())
    assert (outcome.status, outcome.attempts) == (0, 0)
    assert outcome.reason


async def test_a_sink_with_an_audience_gets_a_token() -> None:
    async with running_sink() as sink, running_adapter() as bench:
        await bench.adapter.deliver(target(sink.url, audience="aud", service_account="me"), event())
    assert sink.got[0].headers["authorization"] == "Bearer shop/me/aud"


async def test_without_a_token_nothing_is_sent() -> None:
    async with running_sink() as sink, running_adapter() as bench:
        outcome = await bench.adapter.deliver(target(sink.url, audience="none", service_account="me"), event())
        assert sink.got == []
    assert (outcome.reason, outcome.attempts) == ("no token", ATTEMPTS_MAX)


async def test_the_log_tells_when_losses_begin_and_end() -> None:
    async with running_sink(500, 500, 202, 202) as sink, running_adapter() as bench:
        for _ in range(4):
            await bench.adapter.deliver(target(sink.url), event())
    lost, again = (json.loads(line) for line in bench.log)
    assert (lost["message"], lost["source"], lost["outcome"]) == (
        "event_lost",
        "shop/orders",
        "status 500 after 1 attempt",
    )
    assert (again["message"], again["lost"]) == ("sink_takes_events_again", 2)


async def test_each_attempt_is_measured() -> None:
    async with running_sink(503, 202) as sink, running_adapter() as bench:
        await bench.adapter.deliver(target(sink.url), event())
    text = render(bench.registry).decode()
    for status in ("503", "202"):
        (line,) = [
            line
            for line in text.splitlines()
            if line.startswith("http_client_request_duration_seconds_count") and f'code="{status}"' in line
        ]
        assert 'kn_source_name="orders"' in line
        assert 'kn_source_namespace="shop"' in line
        assert 'cloudevents_type="t"' in line


async def test_a_batch_is_sent_some_at_a_time_and_answered_in_order() -> None:
    async with running_sink() as sink, running_adapter() as bench:
        sink.gate.clear()
        events = [event(id=str(number)) for number in range(5)]
        sending = asyncio.ensure_future(bench.adapter.deliver_all(target(sink.url), events, at_once=2))
        await sink.until(2)
        assert len(sink.got) == 2
        sink.statuses = [202, 500, 202, 202, 202]
        sink.gate.set()
        outcomes = await sending
    assert len(sink.got) == 5
    assert sorted(outcome.status for outcome in outcomes) == [202, 202, 202, 202, 500]
    assert len(outcomes) == 5


async def test_a_delivery_that_is_given_up_ends_its_request() -> None:
    async with running_sink() as sink, running_adapter() as bench:
        sink.gate.clear()
        sending = asyncio.ensure_future(bench.adapter.deliver(target(sink.url), event()))
        await sink.until(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


def test_the_waits_are_those_of_the_original() -> None:
    assert [wait_s(attempts, 0) for attempts in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.6, None]
