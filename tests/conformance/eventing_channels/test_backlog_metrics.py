"""Retries, dead letters and the backlog of channels in memory and on a journal, as a scraper reads them."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from tests.support.dispatcher import DEADLINE_S, SYSTEM, Channel, World, dead_letters_to, subscriber, surroundings
from tests.support.processes import eventually
from tests.support.prometheus import Scraped, scraped

pytestmark = pytest.mark.asyncio(loop_scope="module")

RETRIES = "knuv_eventing_delivery_retries_total"
DEAD_LETTERS = "knuv_eventing_dead_letters_total"
BACKLOG = "knuv_eventing_backlog"
DAMAGES = "knuv_eventing_journal_damages_total"
AGE = "knuv_eventing_backlog_age_seconds"


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["memory", "journal"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    environ = {"KNUV_CHANNELS": request.param}
    if request.param == "journal":
        environ["KNUV_JOURNAL_DIR"] = str(tmp_path_factory.mktemp("journal"))
    async with surroundings(starts=False, **environ) as world:
        metadata = ObjectMeta(name="config-observability", namespace=SYSTEM)
        await world.client.create(ConfigMap(metadata=metadata, data={"metrics-protocol": "prometheus"}))
        await world.start()
        yield world


def labels(channel: Channel, name: str) -> dict[str, str]:
    return {
        "messaging_destination_name": f"subscription:{name}.ns",
        "kn_channel_name": channel.name,
        "kn_channel_namespace": "ns",
    }


async def told(world: World, holds: Callable[[Scraped], bool]) -> Scraped:
    """A reading of the dispatcher's of which it holds."""
    return await told_at(f"{world.address}:9090", holds)


async def told_at(address: str, holds: Callable[[Scraped], bool]) -> Scraped:
    """A reading of which it holds."""

    async def read() -> Scraped | None:
        reading = await scraped(address)
        return reading if holds(reading) else None

    return await eventually(read, timeout_s=DEADLINE_S)


def has(name: str, value: float, wanted: dict[str, str]) -> Callable[[Scraped], bool]:
    """Whether there is one series with these labels, and its value."""

    def holds(reading: Scraped) -> bool:
        found = [own for own, _ in reading.samples.get(name, []) if wanted.items() <= own.items()]
        return len(found) == 1 and reading.value(name, **wanted) == value

    return holds


async def test_the_backlog_has_what_is_owed_to_each_subscription_and_how_long(world: World) -> None:
    quick, hanging = await world.sink(), await world.sink()
    hanging.gate.clear()
    channel = await world.channel(
        subscriber(quick.url, name="quick"),
        subscriber(hanging.url, name="hanging"),
        annotations={"messaging.knative.dev/async-handler": "true"},
    )
    before = await scraped(f"{world.address}:9090")
    assert before.value(BACKLOG, **labels(channel, "hanging")) == 0
    assert before.value(AGE, **labels(channel, "hanging")) == 0
    for _ in range(3):
        assert (await world.send(channel)).status == 202
    await quick.until(3)
    await hanging.until(3)
    await told(world, has(BACKLOG, 0, labels(channel, "quick")))
    reading = await told(world, has(BACKLOG, 3, labels(channel, "hanging")))
    age_s = reading.value(AGE, **labels(channel, "hanging"))
    await told(world, lambda later: later.value(AGE, **labels(channel, "hanging")) > age_s)
    hanging.gate.set()
    reading = await told(world, has(BACKLOG, 0, labels(channel, "hanging")))
    assert reading.value(AGE, **labels(channel, "hanging")) == 0


async def test_damage_of_a_journal_counts_and_only_there(world: World) -> None:
    reading = await scraped(f"{world.address}:9090")
    assert [value for _, value in reading.samples.get(DAMAGES, [])] == (
        [0] if world.environ["KNUV_CHANNELS"] == "journal" else []
    )


async def test_each_attempt_beyond_the_first_counts_by_what_came_of_the_one_before(world: World) -> None:
    sink = await world.sink(503, 429, 202)
    delivery = {"retry": 5, "backoffPolicy": "linear", "backoffDelay": "PT0.01S"}
    channel = await world.channel(
        subscriber(sink.url, name="retried", delivery=delivery),
        subscriber("http://127.0.0.1:1/", name="refused", delivery={**delivery, "retry": 3}),
    )
    await world.send(channel)
    retried, refused = labels(channel, "retried"), labels(channel, "refused")
    await told(world, has(RETRIES, 1, {**retried, "reason": "5xx"}))
    await told(world, has(RETRIES, 1, {**retried, "reason": "4xx"}))
    await told(world, has(RETRIES, 3, {**refused, "reason": "no_response"}))
    reading = await scraped(f"{world.address}:9090")
    assert sum(value for own, value in reading.samples[RETRIES] if retried.items() <= own.items()) == 2


async def test_dead_letters_count_by_what_became_of_them(world: World) -> None:
    sink, dead, away = await world.sink(400), await world.sink(), await world.sink(500)
    channel = await world.channel(
        subscriber(sink.url, name="sunk", delivery=dead_letters_to(dead.url)),
        subscriber(sink.url, name="unsunk"),
        subscriber(sink.url, name="refused", delivery=dead_letters_to(away.url)),
    )
    for _ in range(2):
        await world.send(channel)
    kept = "kept" if world.environ["KNUV_CHANNELS"] == "journal" else "lost"
    for name, result in (("sunk", "sent"), ("unsunk", kept), ("refused", kept)):
        await told(world, has(DEAD_LETTERS, 2, {**labels(channel, name), "result": result}))
