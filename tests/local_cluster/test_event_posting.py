"""Posting events as `knuv events send` does, and getting them as `knuv events tail` does."""

import asyncio
import json

import aiohttp
import pytest

from eventing.event import Event
from eventing.sending import Sender
from local_cluster.event_listener import ListenError, listening
from local_cluster.event_posting import Posted, numbered, post_all
from tests.sources.support import AsIs, running_sink

ATTRIBUTES = {"specversion": "1.0", "type": "t", "source": "/s"}


async def post(url: str, *, is_structured: bool = False, count: int = 1, rate: float = 0, id_: str = "") -> Posted:
    sender = Sender(asyncio.get_running_loop(), AsIs())
    event = Event({**ATTRIBUTES, **({"id": id_} if id_ else {}), "datacontenttype": "application/json"}, b"{}")
    try:
        return await post_all(sender, url, event, is_structured=is_structured, count=count, rate=rate)
    finally:
        await sender.close()


async def test_an_event_is_posted_with_its_attributes_as_headers_or_in_one_piece() -> None:
    async with running_sink() as sink:
        await post(sink.url, id_="1")
        await post(sink.url, id_="1", is_structured=True)
    binary, structured = sink.got
    assert (binary.headers["ce-id"], binary.headers["content-type"], binary.body) == ("1", "application/json", b"{}")
    assert structured.headers["content-type"] == "application/cloudevents+json"
    assert json.loads(structured.body)["id"] == "1"


async def test_copies_have_ids_of_their_own_and_answers_are_counted() -> None:
    async with running_sink(202, 503, 202) as sink:
        posted = await post(sink.url, count=20, id_="x")
    assert {got.headers["ce-id"] for got in sink.got} == {f"x-{number}" for number in range(1, 21)}
    assert (posted.accepted, posted.answers["202"], posted.answers["503 ignored"]) == (19, 19, 1)


async def test_without_an_answer_the_reason_is_told() -> None:
    async with running_sink() as sink:
        url = sink.url
    posted = await post(url)
    assert posted.accepted == 0
    assert "refused" in next(iter(posted.answers))


def test_made_up_ids_differ() -> None:
    event = Event(dict(ATTRIBUTES), None)
    assert numbered(event, 1, 2).attributes["id"] != numbered(event, 2, 2).attributes["id"]
    assert "id" not in event.attributes


async def test_a_rate_is_kept() -> None:
    async with running_sink() as sink:
        posted = await post(sink.url, count=6, rate=50)
    assert posted.took_s >= 0.1


async def test_what_is_listened_to_arrives_whole_and_what_is_no_event_is_refused() -> None:
    seen: list[Event] = []
    async with listening("127.0.0.1", 0, seen.append) as url:
        posted = await post(url, id_="1")
        assert posted.accepted == 1
        async with aiohttp.ClientSession() as session, session.post(url, data=b"x") as response:
            assert response.status == 400
            assert "ce-specversion" in await response.text()
    (event,) = seen
    assert (event.attributes["id"], event.data) == ("1", b"{}")


async def test_a_port_that_is_taken_is_told() -> None:
    async with listening("127.0.0.1", 0, lambda _event: None) as url:
        port = int(url.rpartition(":")[2].rstrip("/"))
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}: .*in use"):
            async with listening("127.0.0.1", port, lambda _event: None):
                pass
