"""Subscribers that do all that can be done wrong: they delay nobody else, and memory does not grow."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from loadtests.lab.broker.bad_subscribers import BEHAVIOURS, subscriber_that
from tests.faults.eventing.plant import PATIENT, Flow, Plant, all_arrived, plant
from tests.support.dispatcher import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(tmp_path_factory.mktemp("plant")) as world:
        yield world


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_a_subscriber_that_misbehaves_delays_nobody_else_and_takes_no_memory(world: Plant, name: str) -> None:
    async with subscriber_that(BEHAVIOURS[name]) as bad:
        good = await world.world.sink()
        path = await world.broker((good.url, PATIENT), (bad, {**PATIENT, "retry": 3, "timeout": "PT1S"}))
        # Each of the large replies keeps the filter, the dispatcher and this process busy.
        flow = Flow(world.address("ingress"), path, 5 if name == "replies-hugely" else 100)
        flow.start()
        await asyncio.sleep(0.5)
        before_mb = {name: process.rss_mb() for name, process in world.processes.items()}
        await asyncio.sleep(1.5)
        accepted = await flow.end()
        sent_s = time.monotonic()
        assert not flow.refused
        await all_arrived(good, accepted)
        assert time.monotonic() - sent_s < 10, "the good one is far behind"
        for name, process in world.processes.items():
            assert process.rss_mb() - before_mb[name] < 30, name


async def test_a_poison_event_ends_in_the_dead_letter_sink_and_tells_why(world: Plant) -> None:
    poisoned = await world.world.sink(Reply(422, (), b"poison"))
    dead = await world.world.sink()
    path = await world.broker((poisoned.url, {"retry": 2, "deadLetterSink": {"uri": dead.url}}))
    flow = Flow(world.address("ingress"), path, 20)
    flow.start()
    await asyncio.sleep(0.5)
    accepted = await flow.end()
    counts = await all_arrived(dead, accepted)
    assert set(counts.values()) == {1}
    for got in dead.got:
        assert got.get("ce-knativeerrordest") == poisoned.url
        assert got.get("ce-knativeerrorcode") == "422"
        assert base64.b64decode(got.get("ce-knativeerrordata") or "") == b"poison"
