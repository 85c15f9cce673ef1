"""Spans of ingress, dispatcher and filter (spec 10.3): one trace from who sent the event to who gets it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from kube.models.core import ConfigMap
from kube.models.eventing import Broker, Trigger
from kube.models.messaging import InMemoryChannel
from kube.models.meta import ObjectMeta
from tests.conformance.eventing_broker.world import (
    DEADLINE_S,
    EVENT,
    SYSTEM,
    Process,
    World,
    environment,
    running_sink,
)
from tests.support.http import fetch, running_app
from tests.support.processes import eventually
from tests.support.trace_collector import Collector

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
NAMES = ("ingress", "filter", "dispatcher")


@asynccontextmanager
async def traced(world: World) -> AsyncIterator[tuple[dict[str, Process], Collector]]:
    """Processes whose spans are collected: they have arrived when `end` was awaited."""
    collector, name = Collector(), "config-traced"
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(running_app(collector.take))
        data = {
            "tracing-protocol": "http/protobuf",
            "tracing-endpoint": f"http://127.0.0.1:{receiver.port}",
            "tracing-sampling-rate": "1",
        }
        await world.client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace=SYSTEM), data=data))
        processes: dict[str, Process] = {}
        for last, each in enumerate(NAMES, start=7):
            host = f"{world.subnet}.{last}"
            environ = environment(each, host, world.api, CONFIG_OBSERVABILITY_NAME=name)
            if each == "dispatcher":
                del environ["NAMESPACE"]
            processes[each] = Process(each, host, environ)
            await processes[each].spawn()
            stack.push_async_callback(processes[each].stop)
        for process in processes.values():
            await process.logged("broker_started")
        yield processes, collector


async def end(processes: dict[str, Process]) -> None:
    """End them in order, so that they send what waits."""
    for process in processes.values():
        process.process.terminate()
    for process in processes.values():
        await process.process.wait()


async def wired(world: World, processes: dict[str, Process], sink: str) -> tuple[Broker, Trigger]:
    """A Broker with one Trigger behind a channel, known to all of them."""
    name = "traced"
    broker = await world.broker(f"http://{processes['dispatcher'].host}:8080/ns/{name}")
    trigger = await world.trigger(sink, spec={"broker": broker.name})
    url = f"http://{processes['filter'].host}:8080{world.path(trigger)}"
    created = await world.client.create(InMemoryChannel(metadata=ObjectMeta(name=name, namespace="ns")))
    spec = {"spec": {"subscribers": [{"uid": "u", "generation": 1, "subscriberUri": url}]}}
    await world.client.patch(InMemoryChannel, name, "ns", spec)
    address = {"url": f"http://{name}-kn-channel.ns.svc.cluster.local"}
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "address": address}
    await world.client.patch_status(created, ready)
    refused = [*EVENT, "ce-knativebrokerttl: 0"]

    async def are_known() -> bool:
        found = await world.client.get(InMemoryChannel, name, "ns")
        path = f"/ns/{broker.name}"
        at_ingress = await fetch(processes["ingress"].host, 8080, path, method="POST", headers=refused)
        path = f"/triggers/ns/{trigger.name}/other"
        at_filter = await fetch(processes["filter"].host, 8080, path, method="POST", headers=refused)
        return bool(found.status.subscribers) and 404 not in (at_ingress.status, at_filter.status)

    await eventually(are_known, timeout_s=DEADLINE_S)
    return broker, trigger


def attributes_of(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def _bare(url: str) -> str:
    """A URL as spans tell it: what is behind the path may be a secret."""
    return url.partition("?")[0]


async def test_an_event_gives_its_spans_in_the_senders_trace_from_hop_to_hop(world: World) -> None:
    async with running_sink() as sink, traced(world) as (processes, collector):
        broker, trigger = await wired(world, processes, sink.url)
        headers = [*EVENT, f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b", "baggage: c=d"]
        path = f"/ns/{broker.name}"
        answer = await fetch(processes["ingress"].host, 8080, path, method="POST", headers=headers)
        assert answer.status == 202
        call, _ = await sink.call()
        await end(processes)
        spans = collector.spans()
        by_name = {span.name: span for span in spans}
        assert len(by_name) == len(spans) == 5
        ingress, filtering = by_name[f"broker:{broker.name}.ns"], by_name[f"trigger:{trigger.name}.ns"]
        channel = broker.status.annotations["knative.dev/channelAddress"]
        to_filter = f"http://{processes['filter'].host}:8080{world.path(trigger)}"
        sends = [by_name[f"send {_bare(url)}"] for url in (channel, to_filter, sink.url)]
        way = [ingress, sends[0], sends[1], filtering, sends[2]]
        assert {span.trace_id.hex() for span in way} == {TRACE}
        # Each is the next one's parent, over the processes, and the subscriber hears of the last.
        assert [span.parent_span_id.hex() for span in way] == [PARENT, *(span.span_id.hex() for span in way[:-1])]
        assert call.values("traceparent") == [f"00-{TRACE}-{way[-1].span_id.hex()}-01"]
        assert (call.values("tracestate"), call.values("baggage")) == (["a=b"], ["c=d"])
        assert [span.kind for span in way] == [2, 3, 3, 2, 3]
        assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in way)
        assert {span.trace_state for span in (ingress, filtering)} == {"a=b"}
        told = attributes_of(ingress)
        assert told == {
            "kn.broker.name": broker.name,
            "kn.broker.namespace": "ns",
            "messaging.system": "knative",
            "messaging.destination.name": _bare(channel),
            "messaging.operation.name": "send",
            "cloudevents.type": "a",
            "url.scheme": "http",
            "http.response.status_code": 202,
        }
        assert attributes_of(filtering)["messaging.destination.name"] == f"trigger:{trigger.name}.ns"
        assert attributes_of(sends[2])["url.full"] == _bare(sink.url)
