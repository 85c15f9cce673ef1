"""Processes that are killed while events come, NATS among them: every event that got 202 is delivered.

Once with a channel between ingress and filter, once on the direct path (class JetStreamBroker); and with two filters
that share the work, of which one is killed.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import nats as nats_client
import pytest

from kube.models.duck import Addressable, DeliverySpec, Destination
from kube.models.eventing import CHANNEL_ADDRESS_ANNOTATION, Broker, BrokerStatus, Trigger, TriggerSpec, TriggerStatus
from kube.models.meta import ObjectMeta
from tests.faults.eventing.plant import DEADLINE_S, PORT, READY, Flow, Process, all_arrived, ids_of
from tests.support.dispatcher import EVENT, NAMESPACE, SYSTEM, Sink, World, subscriber, surroundings
from tests.support.http import fetch
from tests.support.jetstream_dispatcher import JetStreamWorld, config_nats
from tests.support.nats import PASSWORD, USER, RunningNats, running_nats
from tests.support.processes import eventually

PATIENT = {"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.1S", "timeout": "PT2S"}
"""Longer than any process is away, however busy the machine: without a dead letter sink, what is used up is lost."""


@dataclass
class Plant:
    """Ingress, filter and perhaps a dispatcher, and the NATS behind them."""

    world: World
    server: RunningNats
    processes: dict[str, Process]

    async def trigger(self, broker: str, number: int, sink: Sink, delivery: dict[str, Any]) -> Trigger:
        """A Trigger of a Broker, whose subscriber is known."""
        created = await self.world.client.create(
            Trigger(
                metadata=ObjectMeta(name=f"{broker}-{number}", namespace=NAMESPACE),
                spec=TriggerSpec(
                    broker=broker,
                    subscriber=Destination(uri=sink.url),
                    delivery=msgspec.convert(delivery, DeliverySpec),
                ),
            )
        )
        return await self.world.client.patch_status(created, TriggerStatus(conditions=READY, subscriber_uri=sink.url))

    async def direct_broker(self, name: str, *sinks: Sink) -> str:
        """A Broker of class JetStreamBroker with a Trigger for each sink; its path at the ingress."""
        client = self.world.client
        annotations = {"eventing.knative.dev/broker.class": "JetStreamBroker"}
        metadata = ObjectMeta(name=name, namespace=NAMESPACE, annotations=annotations)
        await client.create(Broker(metadata=metadata))
        for number, sink in enumerate(sinks):
            await self.trigger(name, number, sink, PATIENT)

        async def is_told() -> bool:
            triggers = (await client.list(Trigger, NAMESPACE)).items
            ready = [
                any((each.type, each.status) == ("ConsumerReady", "True") for each in trigger.status.conditions)
                for trigger in triggers
                if trigger.spec.broker == name
            ]
            return len(ready) == len(sinks) and all(ready)

        await eventually(is_told, timeout_s=DEADLINE_S)
        await eventually(lambda: self._accepts(f"/{NAMESPACE}/{name}"), timeout_s=DEADLINE_S)
        return f"/{NAMESPACE}/{name}"

    async def broker_with_channel(self, name: str, *sinks: Sink) -> str:
        """A Broker before a NatsJetStreamChannel, with a Trigger for each sink; its path at the ingress."""
        client = self.world.client
        entries = []
        for number, sink in enumerate(sinks):
            trigger = await self.trigger(name, number, sink, PATIENT)
            path = f"triggers/{NAMESPACE}/{trigger.name}/{trigger.metadata.uid}"
            url = f"http://broker-filter.{SYSTEM}.svc.cluster.local/{path}"
            entries.append(subscriber(url, delivery=msgspec.convert(PATIENT, DeliverySpec)))
        connection = await nats_client.connect(self.server.url, user=USER, password=PASSWORD)
        try:
            channel = await JetStreamWorld(self.world, self.server, connection).channel(*entries)
        finally:
            await connection.close()
        found = await client.create(Broker(metadata=ObjectMeta(name=name, namespace=NAMESPACE)))
        status = BrokerStatus(
            conditions=READY,
            address=Addressable(name="http", url=f"http://broker-ingress/{NAMESPACE}/{name}"),
            annotations={CHANNEL_ADDRESS_ANNOTATION: f"http://{channel.host}/"},
        )
        await self.world.service_at(channel.host.split(".")[0], NAMESPACE, self.processes["dispatcher"].address, PORT)
        await client.patch_status(found, status)
        await eventually(lambda: self._accepts(f"/{NAMESPACE}/{name}"), timeout_s=DEADLINE_S)
        return f"/{NAMESPACE}/{name}"

    async def told_by_nats(self) -> str:
        """What the server has of streams and consumers."""
        connection = await nats_client.connect(self.server.url, user=USER, password=PASSWORD)
        try:
            context, told = connection.jetstream(), []
            for stream in await context.streams_info():
                told.append(f"{stream.config.name}: {stream.state.messages} messages up to {stream.state.last_seq}")
                told += [
                    f"{each.name}: {each.num_pending} pending, {each.num_ack_pending} under way, "
                    f"{each.num_waiting} pulls, delivered {each.delivered}, acknowledged {each.ack_floor}"
                    for each in await context.consumers_info(str(stream.config.name))
                ]
            return "; ".join(told)
        finally:
            await connection.close()

    async def restart(self, name: str) -> None:
        """Kill one and start it anew."""
        if name == "nats":
            await self.server.restart()
        else:
            await self.processes[name].kill()
            await self.processes[name].start()

    async def _accepts(self, path: str) -> bool:
        answer = await fetch(self.processes["ingress"].address, PORT, path, method="POST", headers=EVENT, body=b"{}")
        return answer.status == 202


@asynccontextmanager
async def plant(directory: Path, *names: str) -> AsyncIterator[Plant]:
    """NATS and these processes; `filter-2` is a second filter."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(running_nats(directory))
        world = await stack.enter_async_context(surroundings(starts=False, KNUV_CHANNELS="jetstream"))
        await config_nats(world.client, server)
        base, _, _ = world.address.rpartition(".")
        processes = {}
        for number, name in enumerate(names):
            address = f"{base}.{number + 2}"
            environ = {**world.environ, "KNUV_BIND_ADDRESS": address, "NAMESPACE": SYSTEM, "POD_NAME": name}
            processes[name] = Process(name.partition("-")[0], address, environ)
            stack.push_async_callback(processes[name].kill)
        await world.service_at("broker-filter", SYSTEM, processes["filter"].address, PORT)
        await asyncio.gather(*(process.start() for process in processes.values()))
        yield Plant(world, server, processes)


@pytest.mark.parametrize("way", ["channel", "direct"])
async def test_every_event_that_got_202_is_delivered_though_each_process_is_killed_in_turn(
    tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    seconds = pytestconfig.getoption("--kill-seconds", 9)
    every_s = pytestconfig.getoption("--kill-every", 1.5)
    rate = pytestconfig.getoption("--events", 100)
    names = ("ingress", "filter", *(("dispatcher",) if way == "channel" else ()))
    async with plant(tmp_path, *names) as world:
        sinks = [await world.world.sink(), await world.world.sink()]
        make = world.broker_with_channel if way == "channel" else world.direct_broker
        flow = Flow(world.processes["ingress"].address, await make("broker", *sinks), rate)
        flow.start()
        end_s = time.monotonic() + seconds
        killed = 0
        for name in itertools.cycle(("nats", *names)):
            await asyncio.sleep(every_s)
            if time.monotonic() > end_s:
                break
            await world.restart(name)
            killed += 1
        accepted = await flow.end()
        try:
            counts = [await all_arrived(sink, accepted) for sink in sinks]
        except AssertionError as error:
            raise AssertionError(f"{error}; {await world.told_by_nats()}") from error
    assert len(accepted) > seconds * rate / 4, flow.refused
    with capsys.disabled():
        for number, count in enumerate(counts):
            extra = sum(count.values()) - len(count)
            print(
                f"\n  {way}, subscriber {number}: {len(accepted)} accepted, {killed} kills, {extra} more deliveries",
                end="",
            )
        print(f"\n  refused, and so sent by their sender again: {dict(flow.refused)}", end=" ")


async def test_two_filters_share_the_work_and_one_goes_on_alone(tmp_path: Path) -> None:
    async with plant(tmp_path, "ingress", "filter", "filter-2") as world:
        sink = await world.world.sink()
        flow = Flow(world.processes["ingress"].address, await world.direct_broker("broker", sink), 100)
        flow.start()
        await sink.until(100)
        await world.processes["filter-2"].kill()
        before = len(sink.got)
        await sink.until(before + 100)
        accepted = await flow.end()
        counts = await all_arrived(sink, accepted)
    assert max(counts.values()) <= 2


async def test_a_dead_letter_sink_that_is_away_gets_the_letter_when_it_is_back(tmp_path: Path) -> None:
    """The subscriber is asked no more than it is to be, although the letter is sent again and again."""
    async with plant(tmp_path, "ingress", "filter") as world:
        poisoned, letters = await world.world.sink(400), Sink(500, 500, 202)
        await letters.start()
        client = world.world.client
        path = await world.direct_broker("broker")
        trigger = await world.trigger("broker", 0, poisoned, {"retry": 1})
        await client.patch(
            Trigger, trigger.name, NAMESPACE, {"status": {"deadLetterSinkUri": letters.url}}, subresource="status"
        )

        async def is_told() -> bool:
            found = await client.get(Trigger, trigger.name, NAMESPACE)
            return any((each.type, each.status) == ("ConsumerReady", "True") for each in found.status.conditions)

        await eventually(is_told, timeout_s=DEADLINE_S)
        try:
            answer = await fetch(
                world.processes["ingress"].address,
                PORT,
                path,
                method="POST",
                headers=["ce-id: poison", *EVENT[:1], *EVENT[2:]],
            )
            assert answer.status == 202
            await letters.until(3)
        finally:
            await letters.stop()
        assert [each.get("ce-id") for each in letters.got] == ["poison"] * 3
        assert ids_of(poisoned.got)["poison"] == 1
