"""Statements 85 to 89: ingress, in-memory channel and filter together, wired as the control plane does it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from kube.models.core import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Service,
    ServicePort,
    ServiceSpec,
)
from kube.models.eventing import Broker, Trigger
from kube.models.messaging import InMemoryChannel
from kube.models.meta import ObjectMeta
from tests.conformance.eventing_broker.world import (
    DATA,
    EVENT,
    SYSTEM,
    Process,
    Sink,
    World,
    environment,
    running_sink,
)
from tests.support.http import fetch
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILTER = f"broker-filter.{SYSTEM}.svc.cluster.local"
REPLY = ["ce-specversion: 1.0", "ce-id: r", "ce-source: /reply", "ce-type: b"]


@dataclass
class Wired:
    """A Broker behind which a channel and Triggers can be put."""

    world: World
    dispatcher: Process
    is_early: bool
    """The dispatcher knows the Triggers' filters."""
    names: list[str] = field(default_factory=list)

    async def broker(self) -> tuple[Broker, str]:
        """A Broker with a channel of its own, and that channel's name."""
        name = f"channel-{len(self.names)}{'-early' if self.is_early else ''}"
        self.names.append(name)
        return await self.world.broker(f"http://{self.dispatcher.host}:8080/ns/{name}"), name

    async def subscribe(self, channel: str, broker: Broker, triggers: list[Trigger], **delivery: Any) -> None:
        """Make the channel, with a subscription for each Trigger as the control plane makes them."""
        ingress = f"http://{self.world.ingress.host}:8080/{broker.namespace}/{broker.name}"
        subscribers = [
            {
                "uid": trigger.metadata.uid,
                "name": trigger.name,
                "generation": 1,
                "subscriberUri": f"http://{FILTER}{self.world.path(trigger)}",
                "replyUri": ingress,
                **({"delivery": delivery} if delivery else {}),
            }
            for trigger in triggers
        ]
        metadata = ObjectMeta(name=channel, namespace="ns")
        host = f"{channel}-kn-channel.ns.svc.cluster.local"
        status = {"conditions": [{"type": "Ready", "status": "True"}], "address": {"url": f"http://{host}"}}
        created = await self.world.client.create(InMemoryChannel(metadata=metadata))
        await self.world.client.patch(InMemoryChannel, channel, "ns", {"spec": {"subscribers": subscribers}})
        await self.world.client.patch_status(created, status)

        async def is_served() -> bool:
            response = await fetch(self.dispatcher.host, 8080, f"/ns/{channel}", method="OPTIONS")
            found = await self.world.client.get(InMemoryChannel, channel, "ns")
            return response.status == 200 and len(found.status.subscribers) == len(triggers)

        await eventually(is_served)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def filter_service(world: World) -> None:
    """The name under which channels know the filter."""
    client = world.client
    port = ServicePort(name="http", port=80)
    metadata = ObjectMeta(name="broker-filter", namespace=SYSTEM)
    await client.create(Service(metadata=metadata, spec=ServiceSpec(ports=[port])))
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip=world.filter.host)], ports=[EndpointPort(name="http", port=8080)]
    )
    await client.create(Endpoints(metadata=metadata, subsets=[subset]))


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["", "1"], ids=["", "early filters"])
async def wired(world: World, filter_service: None, request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    is_early = bool(request.param)
    host = f"{world.subnet}.{5 if is_early else 4}"
    variables = {
        "KNUV_CHANNELS": "memory",
        "MAX_IDLE_CONNS": "1000",
        "MAX_IDLE_CONNS_PER_HOST": "1000",
        "KNUV_SERVICE_RESOLUTION": "endpoints",
        **({"KNUV_EARLY_FILTERS": "1"} if is_early else {}),
    }
    environ = environment("dispatcher", host, world.api, **variables)
    del environ["NAMESPACE"]
    dispatcher = Process("dispatcher", host, environ)
    await dispatcher.spawn()
    try:
        await dispatcher.logged("broker_started")
        yield Wired(world, dispatcher, is_early)
    finally:
        await dispatcher.stop()


async def test_statements_85_and_86_each_trigger_that_matches_gets_the_event(world: World, wired: Wired) -> None:
    async with running_sink() as sink, running_sink() as other:
        broker, channel = await wired.broker()
        spec = {"broker": broker.name}
        triggers = [
            await world.trigger(sink, spec=spec),
            await world.trigger(sink, spec={**spec, "filters": [{"exact": {"type": "a"}}]}),
            await world.trigger(other, spec={**spec, "filters": [{"exact": {"type": "z"}}]}),
        ]
        await wired.subscribe(channel, broker, triggers)
        assert (await world.produce(broker, [*EVENT, "Content-Type: a/b"], DATA)).status == 202
        # Synchronous: everything has been delivered.
        assert sink.bodies == [DATA, DATA]
        assert [call.values("content-type") for call in sink.app.calls] == [["a/b"], ["a/b"]]
        assert other.bodies == []


async def asked(world: World) -> int:
    """How often the filter has answered 200 so far."""
    text = (await fetch(world.filter.host, 9092, "/metrics")).body.decode()
    lines = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_count{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if 'status_code="200"' in line)


async def test_a_dispatcher_may_know_what_the_filter_would_say(world: World, wired: Wired) -> None:
    async with running_sink() as sink:
        broker, channel = await wired.broker()
        filters = [{"exact": {"type": "z"}}]
        triggers = [await world.trigger(sink, spec={"broker": broker.name, "filters": filters}) for _ in range(2)]
        await wired.subscribe(channel, broker, triggers)

        async def is_asked_as_often_as_it_should() -> bool:
            before = await asked(world)
            assert (await world.produce(broker)).status == 202
            return await asked(world) - before == (0 if wired.is_early else 2)

        # What the dispatcher does not know yet it leaves to the filter.
        await eventually(is_asked_as_often_as_it_should)
        assert (await world.produce(broker, [*EVENT[:3], "ce-type: z"])).status == 202
        assert len(sink.bodies) == 2


async def test_statement_87_a_reply_goes_to_every_trigger(world: World, wired: Wired) -> None:
    async with running_sink(200, b"", *REPLY) as replies, running_sink() as sink:
        broker, channel = await wired.broker()
        triggers = [
            await world.trigger(replies, spec={"broker": broker.name, "filters": [{"exact": {"type": "a"}}]}),
            await world.trigger(sink, spec={"broker": broker.name}),
        ]
        await wired.subscribe(channel, broker, triggers)
        assert (await world.produce(broker, [*EVENT, "ce-knativearrivaltime: 2000-01-01T00:00:00Z"])).status == 202
        types = [call.values("ce-type")[0] for call in sink.app.calls]
        assert sorted(types) == ["a", "b"]
        times = {call.values("ce-knativearrivaltime")[0] for call in sink.app.calls}
        assert len(times) == 2
        assert min(times) > "2026"


async def test_statement_88_a_loop_ends(world: World, wired: Wired) -> None:
    async with running_sink(200, b"", *REPLY) as loop:
        broker, channel = await wired.broker()
        await wired.subscribe(channel, broker, [await world.trigger(loop, spec={"broker": broker.name})])
        await world.produce(broker, [*EVENT, "ce-knativebrokerttl: 6"])
        # With 5 left behind the first passage: 5 requests, whose last reply is taken in no more.
        await eventually(lambda: len(loop.bodies) >= 5)
        assert len(loop.bodies) == 5


async def test_statement_89_dead_letters_say_what_failed(world: World, wired: Wired) -> None:
    async with running_sink(503, b"sorry") as failing, running_sink() as sink:
        broker, channel = await wired.broker()
        trigger = await world.trigger(failing, spec={"broker": broker.name})
        delivery = {"retry": 2, "backoffPolicy": "linear", "backoffDelay": "PT0S", "deadLetterSink": {"uri": sink.url}}
        await wired.subscribe(channel, broker, [trigger], **delivery)
        assert (await world.produce(broker, [*EVENT, "ce-foo: bar"], DATA)).status == 202
        assert len(failing.bodies) == 3
        call, data = await sink.call()
        assert data == DATA
        assert call.values("ce-foo") == ["bar"]
        assert call.values("ce-knativeerrordest") == [failing.url]
        assert call.values("ce-knativeerrorcode") == ["503"]
        assert call.values("ce-knativeerrordata") == ["c29ycnk="]


async def test_a_chain_of_triggers_ends_in_a_sink(world: World, wired: Wired) -> None:
    async with running_sink(200, b"", *REPLY) as first, running_sink() as second:
        broker, channel = await wired.broker()
        sinks: list[tuple[Sink, str]] = [(first, "a"), (second, "b")]
        triggers = [
            await world.trigger(sink, spec={"broker": broker.name, "filters": [{"exact": {"type": kind}}]})
            for sink, kind in sinks
        ]
        await wired.subscribe(channel, broker, triggers)
        trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        assert (await world.produce(broker, [*EVENT, trace, "X-Request-Id: 5"])).status == 202
        call, _ = await first.call()
        assert f"traceparent: {call.values('traceparent')[0]}" == trace
        assert call.values("x-request-id") == ["5"]
        call, _ = await second.call()
        assert (call.values("ce-type"), call.values("ce-knativebrokerttl")) == (["b"], [])
