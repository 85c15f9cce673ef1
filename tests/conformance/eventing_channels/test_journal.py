"""Channels on a journal: what 202 promises, seen from outside the process."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kube.models.messaging import InMemoryChannel
from tests.support.dispatcher import Reply, World, dead_letters_to, subscriber, surroundings
from tests.support.http import fetch
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "the token"
RETRY = {"backoffPolicy": "exponential", "backoffDelay": "PT0.1S"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with surroundings(
        KNUV_CHANNELS="journal",
        KNUV_JOURNAL_DIR=str(tmp_path_factory.mktemp("journal")),
        KNUV_JOURNAL_BYTES_MAX=str(1 << 20),
        KNUV_DEBUG_ADDRESS="127.0.0.1:0",
        KNUV_DEBUG_TOKEN=TOKEN,
    ) as world:
        yield world


async def debug(world: World, target: str, method: str = "GET", *lines: str) -> tuple[int, Any]:
    port = world.logged("debug_listening")[0]["port"]
    headers = lines or (f"Authorization: Bearer {TOKEN}", "Host: localhost")
    answer = await fetch("127.0.0.1", port, target, method=method, headers=headers)
    return answer.status, json.loads(answer.body) if answer.status == 200 else answer.body.decode()


async def restart(world: World) -> None:
    """In order, as opposed to `kill`."""
    assert world.process is not None
    world.process.send_signal(signal.SIGTERM)
    assert await world.process.wait() == 0
    await world.start()


async def test_202_comes_before_the_delivery_and_the_event_survives_the_process(world: World) -> None:
    sink = await world.sink()
    sink.gate.clear()
    channel = await world.channel(subscriber(sink.url, delivery={"retry": 9, **RETRY}))
    answer = await world.send(channel, "Content-Type: text/plain", "X-Request-Id: r", body=b"kept")
    assert (answer.status, answer.body) == (202, b"")
    await sink.until(1)
    await world.kill()
    sink.gate.set()
    await world.start()
    again = (await sink.until(2))[1]
    assert again.body == b"kept"
    assert [again.get(name) for name in ("ce-id", "content-type", "x-request-id", "kn-namespace")] == [
        "1", "text/plain", "r", "ns",
    ]  # fmt: skip


async def test_what_was_delivered_is_not_delivered_again_after_an_orderly_restart(world: World) -> None:
    sink, slow, failing = await world.sink(), await world.sink(), await world.sink(500, 202)
    slow.gate.clear()
    delivery = {"retry": 5, "backoffPolicy": "exponential", "backoffDelay": "PT1S"}
    channel = await world.channel(
        subscriber(sink.url), subscriber(slow.url), subscriber(failing.url, delivery=delivery)
    )
    assert (await world.send(channel)).status == 202
    for each in (sink, slow, failing):
        await each.until(1)
    ending = asyncio.create_task(restart(world))
    await eventually(lambda: world.logged("draining"))
    slow.gate.set()
    await ending
    await failing.until(2)
    assert (len(sink.got), len(slow.got)) == (1, 1)


async def test_retries_go_on_counting_after_a_restart(world: World) -> None:
    sink, dead = await world.sink(503), await world.sink()
    delivery = dead_letters_to(dead.url, retry=3, backoffPolicy="linear", backoffDelay="PT0.3S")
    channel = await world.channel(subscriber(sink.url, delivery=delivery))
    assert (await world.send(channel)).status == 202
    await sink.until(3)
    await world.kill()
    await world.start()
    await dead.until(1)
    # What became of an attempt is written a little later, as nobody waits for it. Counted anew there would be seven.
    assert 4 <= len(sink.got) <= 6


async def test_a_subscriber_that_hangs_delays_nobody_else(world: World) -> None:
    sink, hanging = await world.sink(), await world.sink()
    hanging.gate.clear()
    channel = await world.channel(subscriber(sink.url), subscriber(hanging.url))
    for _ in range(10):
        answers = await asyncio.gather(*(world.send(channel) for _ in range(30)))
        assert {answer.status for answer in answers} == {202}
    await sink.until(300)
    assert len(hanging.got) <= 256, "no more are under way than a subscription may have"
    hanging.gate.set()
    await hanging.until(300)


async def test_dead_letters_are_kept_listed_and_redriven(world: World) -> None:
    sink, dead = await world.sink(Reply(400, (), b"broken"), Reply(400, (), b"broken"), 202), await world.sink()
    sunk, unsunk = subscriber(sink.url, delivery=dead_letters_to(dead.url)), subscriber(sink.url)
    channel = await world.channel(sunk, unsunk)
    assert (await world.send(channel, body=b"again")).status == 202
    await dead.until(1)

    async def listed() -> list[dict[str, Any]] | None:
        _, found = await debug(world, "/debug/dead-letters")
        mine = [each for each in found["dead_letters"] if each["channel"] == f"ns/{channel.name}"]
        return mine if len(mine) == 2 else None

    letters = {each["subscription"]: each for each in await eventually(listed)}
    assert letters[sunk.uid]["sink"] is True
    assert letters[unsunk.uid]["sink"] is False
    for letter in letters.values():
        assert (letter["id"], letter["source"], letter["type"]) == ("1", "/source", "type")
        assert (letter["destination"], letter["code"], letter["body"]) == (sink.url, 400, "broken")
    assert await debug(world, f"/debug/redrive?subscription={unsunk.uid}", "POST") == (200, {"redriven": 1})
    assert (await sink.until(3))[2].body == b"again"
    await restart(world)
    _, found = await debug(world, f"/debug/dead-letters?subscription={sunk.uid}")
    assert [each["seq"] for each in found["dead_letters"]] == [letters[sunk.uid]["seq"]]


async def test_the_debug_port_tells_where_an_event_went_to_who_has_the_token(world: World) -> None:
    sink = await world.sink(500, 202)
    channel = await world.channel(subscriber(sink.url, delivery={"retry": 1}))
    event = ("Ce-Specversion: 1.0", "Ce-Id: traced", "Ce-Source: /source", "Ce-Type: type")
    assert (await world.send(channel, event=event)).status == 202
    await sink.until(2)

    async def notes() -> list[dict[str, Any]] | None:
        _, found = await debug(world, "/debug/events?id=traced")
        return found["events"] if len(found["events"]) == 3 else None

    received, first, second = await eventually(notes)
    assert (received["step"], received["channel"]) == ("received", f"ns/{channel.name}")
    assert (first["step"], first["status"], first["again_in_s"]) == ("sent to destination", 500, 0)
    assert (second["status"], second["result"]) == (202, "delivered")
    assert (await debug(world, "/debug/events", "GET", "Host: localhost"))[0] == 401
    assert (await debug(world, "/debug/events", "GET", "Host: localhost", "Authorization: Bearer no"))[0] == 401
    assert (await debug(world, "/debug/events", "GET", "Host: a.example", f"Authorization: Bearer {TOKEN}"))[0] == 403
    assert (await debug(world, "/debug/nothing"))[0] == 404
    assert (await debug(world, "/debug/redrive", "POST"))[0] == 400
    assert (await debug(world, "/debug/redrive?subscription=u&seq=x", "POST"))[0] == 400


async def test_notes_tell_which_host_was_asked_and_an_address_that_is_none_ends_the_delivery(world: World) -> None:
    """Behind the attempt the delivery is on its next leg already."""
    sink = await world.sink(400)
    entry = subscriber(sink.url, delivery=dead_letters_to("http://["))
    channel = await world.channel(entry)
    event = ("Ce-Specversion: 1.0", "Ce-Id: no-address", "Ce-Source: /source", "Ce-Type: type")
    assert (await world.send(channel, event=event)).status == 202

    async def kept() -> list[dict[str, Any]]:
        _, found = await debug(world, f"/debug/dead-letters?subscription={entry.uid}")
        return list(found["dead_letters"])

    (letter,) = await eventually(kept)
    assert (letter["code"], letter["sink"]) == (400, False)
    _, found = await debug(world, "/debug/events?id=no-address")
    sent = next(note for note in found["events"] if note["step"] == "sent to destination")
    assert sink.url == f"http://{sent['host']}/"


async def test_a_full_journal_is_503_and_recovers(world: World) -> None:
    sink = await world.sink()
    sink.gate.clear()
    channel = await world.channel(subscriber(sink.url))
    accepted = 0
    while (answer := await world.send(channel, body=bytes(100_000))).status == 202:
        accepted += 1
        assert accepted < 20
    assert answer.status == 503
    assert b"the journal is full" in answer.body
    sink.gate.set()
    await sink.until(accepted)

    async def accepts() -> bool:
        return (await world.send(channel)).status == 202

    await eventually(accepts)


async def test_a_channel_that_is_gone_owes_nothing(world: World) -> None:
    sink = await world.sink(503)
    channel = await world.channel(subscriber(sink.url, delivery={"retry": 100, **RETRY}))
    assert (await world.send(channel)).status == 202
    await sink.until(1)
    await world.client.delete(InMemoryChannel, channel.name, "ns")
    await eventually(lambda: sink.got)

    async def is_gone() -> bool:
        return (await world.send(channel)).status == 500

    await eventually(is_gone)
    count = len(sink.got)
    await world.kill()
    await world.start()
    assert world.logged("journal_opened")
    assert len(sink.got) <= count + 1
