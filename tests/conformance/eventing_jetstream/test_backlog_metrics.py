"""Retries, dead letters and the backlog of NatsJetStreamChannels, as a scraper reads them."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from tests.conformance.eventing_channels.test_backlog_metrics import (
    AGE,
    BACKLOG,
    DEAD_LETTERS,
    RETRIES,
    has,
    labels,
    told,
)
from tests.support.dispatcher import EVENT, SYSTEM, dead_letters_to, subscriber
from tests.support.jetstream_dispatcher import JetStreamWorld, jetstream_surroundings
from tests.support.prometheus import Scraped

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def jetstream(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JetStreamWorld]:
    config = ConfigMap(
        metadata=ObjectMeta(name="config-observability", namespace=SYSTEM), data={"metrics-protocol": "prometheus"}
    )
    async with jetstream_surroundings(tmp_path_factory.mktemp("jetstream"), config) as world:
        yield world


def is_older(wanted: dict[str, str], seconds: float) -> Callable[[Scraped], bool]:
    """Whether the age is known, and more than that."""

    def holds(reading: Scraped) -> bool:
        return any(wanted.items() <= own.items() and value > seconds for own, value in reading.samples.get(AGE, []))

    return holds


async def test_the_backlog_is_what_the_consumer_has_not_settled(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    sink = await world.sink()
    sink.gate.clear()
    await jetstream.subscription("bounded", "owing", max_ack_pending="2")
    channel = await jetstream.channel(subscriber(sink.url, name="bounded"), name="owing")
    await told(world, has(BACKLOG, 0, labels(channel, "bounded")))
    for number in range(5):
        assert (await world.send(channel, event=(EVENT[0], f"Ce-Id: {number}", *EVENT[2:]))).status == 202
    # Two of them are under way, three have not left the stream.
    owing = labels(channel, "bounded")
    await told(world, has(BACKLOG, 5, owing))
    age_s = (await told(world, is_older(owing, 0))).value(AGE, **owing)
    await told(world, is_older(owing, age_s))
    sink.gate.set()
    await told(world, has(BACKLOG, 0, owing))
    await told(world, has(AGE, 0, owing))


async def test_the_age_is_that_of_the_oldest_event_that_is_not_settled(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    quick, slow = await world.sink(), await world.sink()
    slow.gate.clear()
    entries = (subscriber(quick.url, name="quick"), subscriber(slow.url, name="slow"))
    channel = await jetstream.channel(*entries, name="ages")
    # Large: NATS gives it whole when it is asked for its time.
    assert (await world.send(channel, body=bytes(780_000))).status == 202
    await slow.until(1)
    age_s = (await told(world, is_older(labels(channel, "slow"), 0))).value(AGE, **labels(channel, "slow"))
    assert (await world.send(channel, event=(EVENT[0], "Ce-Id: 2", *EVENT[2:]))).status == 202
    await told(world, has(BACKLOG, 2, labels(channel, "slow")))
    await told(world, is_older(labels(channel, "slow"), age_s))
    await told(world, has(AGE, 0, labels(channel, "quick")))
    # A consumer that comes now has nothing before it.
    await jetstream.subscribe(channel, *entries, subscriber(quick.url, name="late"))
    await told(world, has(BACKLOG, 0, labels(channel, "late")))
    await told(world, has(AGE, 0, labels(channel, "late")))
    slow.gate.set()
    await told(world, has(AGE, 0, labels(channel, "slow")))


async def test_retries_and_dead_letters_count(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    sink, dead = await world.sink(503), await world.sink()
    delivery = {"retry": 2, "backoffPolicy": "linear", "backoffDelay": "PT0.05S"}
    channel = await jetstream.channel(
        subscriber(sink.url, name="sunk", delivery=dead_letters_to(dead.url, **delivery)),
        subscriber(sink.url, name="kept", delivery=delivery),
    )
    assert (await world.send(channel)).status == 202
    for name, result in (("sunk", "sent"), ("kept", "kept")):
        await told(world, has(DEAD_LETTERS, 1, {**labels(channel, name), "result": result}))
        await told(world, has(RETRIES, 2, {**labels(channel, name), "reason": "5xx"}))
