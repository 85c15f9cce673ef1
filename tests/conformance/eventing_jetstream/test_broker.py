"""Brokers of class JetStreamBroker: the contract of every Broker, with a stream instead of a channel."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client as NatsClient

from kube.errors import NotFound
from kube.models.eventing import Broker, Trigger
from kube.models.meta import ObjectMeta
from tests.conformance.eventing_broker.world import EVENT, World, running_world
from tests.conformance.eventing_channels.test_backlog_metrics import BACKLOG, DEAD_LETTERS, RETRIES, has, told_at
from tests.support.dispatcher import DEADLINE_S, Reply, Sink
from tests.support.jetstream_dispatcher import DEBUG, config_nats, debug, letters_of
from tests.support.nats import PASSWORD, USER, RunningNats, running_nats
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = "jetstream.eventing.knuv.dev/"
ANSWER = ("Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Source: /test", "Ce-Type: answer")


@dataclass
class Direct:
    """Ingress and filter, and the NATS between them."""

    world: World
    nats: NatsClient
    server: RunningNats
    stack: AsyncExitStack

    async def sink(self, *replies: Reply | int) -> Sink:
        sink = Sink(*replies)
        await sink.start()
        self.stack.push_async_callback(sink.stop)
        return sink

    async def broker(self, name: str, annotations: Mapping[str, str] | None = None) -> Broker:
        """A Broker of the class, when its stream is told of."""
        annotated = {"eventing.knative.dev/broker.class": "JetStreamBroker", **(annotations or {})}
        metadata = ObjectMeta(name=name, namespace="ns", annotations=annotated)
        await self.world.client.create(Broker(metadata=metadata))
        return await self.told(Broker, name, "StreamReady")

    async def trigger(
        self,
        broker: str,
        sink: Sink,
        *,
        spec: Mapping[str, Any] | None = None,
        annotations: Mapping[str, str] | None = None,
        name: str = "",
        has_address: bool = True,
        **status: Any,
    ) -> Trigger:
        """A Trigger of it, when its consumer is told of."""
        manifest = {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {
                "namespace": "ns",
                "annotations": dict(annotations or {}),
                **({"name": name} if name else {"generateName": "trigger-"}),
            },
            "spec": {"broker": broker, "subscriber": {"uri": sink.url}, **(spec or {})},
        }
        client = self.world.client
        answer = await client.raw("POST", Trigger.RESOURCE.path("ns"), body=json.dumps(manifest).encode())
        name = json.loads(answer)["metadata"]["name"]
        patch = {"status": {**({"subscriberUri": sink.url} if has_address else {}), **status}}
        await client.patch(Trigger, name, "ns", patch, subresource="status")
        return await self.told(Trigger, name, "ConsumerReady")

    async def left(self, stream: str) -> int:
        """How many events of a stream are not settled."""
        info = await self.nats.jetstream().stream_info(stream)
        return info.state.messages

    async def told(self, kind: Any, name: str, condition: str) -> Any:
        async def is_told() -> Any:
            found = await self.world.client.get(kind, name, "ns")
            # At first there may be no connection to NATS yet.
            is_true = any((each.type, each.status) == (condition, "True") for each in found.status.conditions)
            return found if is_true else None

        return await eventually(is_told, timeout_s=DEADLINE_S)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def direct(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Direct]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        async with AsyncExitStack() as stack, running_world(**DEBUG) as world:
            await config_nats(world.client, server)
            client = await nats.connect(server.url, user=USER, password=PASSWORD)
            stack.push_async_callback(client.close)
            yield Direct(world, client, server, stack)


async def test_an_event_is_202_when_stored_and_reaches_the_triggers_that_want_it(direct: Direct) -> None:
    broker = await direct.broker("wanted")
    sink, other = await direct.sink(), await direct.sink()
    await direct.trigger("wanted", sink, spec={"filter": {"attributes": {"type": "a"}}})
    await direct.trigger("wanted", other, spec={"filters": [{"exact": {"type": "b"}}]})
    headers = [*EVENT, "X-Request-Id: r", "Content-Type: text/plain", "Authorization: no"]
    response = await direct.world.produce(broker, headers, b"data")
    assert (response.status, response.body) == (202, b"")
    assert (await direct.world.produce(broker, [*EVENT[:1], "ce-id: 2", EVENT[2], "ce-type: b"])).status == 202
    (got,) = await sink.until(1)
    assert (got.get("ce-id"), got.get("x-request-id"), got.body) == ("1", "r", b"data")
    assert (got.get("prefer"), got.get("kn-namespace"), got.get("authorization")) == ("reply", "ns", None)
    assert got.get("ce-knativearrivaltime")
    assert got.get("ce-knativebrokerttl") is None
    (got,) = await other.until(1)
    assert got.get("ce-id") == "2"
    assert len(sink.got) == 1


async def test_a_reply_is_an_event_of_the_broker_with_one_passage_less(direct: Direct) -> None:
    broker = await direct.broker("replies")
    asked, answered = await direct.sink(Reply(200, ANSWER, b"yes")), await direct.sink()
    await direct.trigger("replies", asked, spec={"filter": {"attributes": {"type": "a"}}})
    await direct.trigger("replies", answered, spec={"filter": {"attributes": {"type": "answer"}}})
    assert (await direct.world.produce(broker)).status == 202
    # It has kept source and id, and is no duplicate of what it answers.
    (got,) = await answered.until(1)
    assert (got.get("ce-type"), got.get("ce-id"), got.body) == ("answer", "1", b"yes")


async def test_an_event_that_has_been_around_too_often_goes_no_further(direct: Direct) -> None:
    broker = await direct.broker("loops")
    letters = await direct.sink()
    loop = await direct.sink(Reply(200, ANSWER))
    await direct.trigger("loops", loop, deadLetterSinkUri=letters.url)
    assert (await direct.world.produce(broker, [*EVENT, "ce-knativebrokerttl: 4"])).status == 202
    (letter,) = await letters.until(1)
    assert letter.get("ce-knativeerrorcode") == "400"
    assert len(loop.got) == 3
    assert (await direct.world.produce(broker, [*EVENT, "ce-knativebrokerttl: 1"])).status == 400


async def test_what_fails_is_retried_and_then_a_dead_letter_of_the_subscriber(direct: Direct) -> None:
    broker = await direct.broker("fails")
    sink, letters = await direct.sink(Reply(503, body=b"why")), await direct.sink()
    spec = {"delivery": {"retry": 2, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}}
    await direct.trigger("fails", sink, spec=spec, deadLetterSinkUri=letters.url)
    assert (await direct.world.produce(broker)).status == 202
    (letter,) = await letters.until(1)
    assert len(sink.got) == 3
    assert (letter.get("ce-knativeerrordest"), letter.get("ce-knativeerrorcode")) == (sink.url, "503")
    assert letter.get("ce-knativeerrordata") == "d2h5"


async def test_what_failed_for_good_is_kept_and_delivered_again_through_the_filters_of_its_trigger(
    direct: Direct,
) -> None:
    broker = await direct.broker("redriven")
    sink, answered = await direct.sink(422, Reply(200, ANSWER, b"yes")), await direct.sink()
    trigger = await direct.trigger("redriven", sink, spec={"filter": {"attributes": {"type": "a"}}})
    await direct.trigger("redriven", answered, spec={"filter": {"attributes": {"type": "answer"}}})
    headers = [*EVENT, "X-Request-Id: r", "Content-Type: text/plain"]
    assert (await direct.world.produce(broker, headers, b"data")).status == 202
    log, uid = direct.world.filter.log, trigger.metadata.uid
    (letter,) = await letters_of(log, uid, 1)
    assert (letter["id"], letter["type"], letter["channel"]) == ("1", "a", "ns/redriven")
    assert (letter["destination"], letter["code"], letter["sink"]) == (sink.url, 422, False)
    assert await debug(log, f"/debug/redrive?subscription={uid}", "POST") == (200, {"redriven": 1})
    again = (await sink.until(2))[1]
    assert (again.get("ce-id"), again.get("x-request-id"), again.get("kn-namespace"), again.body) == (
        "1", "r", "ns", b"data",
    )  # fmt: skip
    # Its reply passes through the Broker, as every reply does.
    assert (await answered.until(1))[0].get("ce-type") == "answer"
    assert await letters_of(log, uid, 0) == []


async def test_a_subscriber_beyond_its_time_is_asked_again(direct: Direct) -> None:
    broker = await direct.broker("slow")
    sink = await direct.sink()
    sink.gate.clear()
    await direct.trigger("slow", sink, spec={"delivery": {"retry": 1, "timeout": "PT0.2S"}})
    assert (await direct.world.produce(broker)).status == 202
    await sink.until(2)
    assert sink.gaps_s[0] >= 0.2


async def test_a_trigger_of_the_same_name_resumes_where_the_last_one_was(direct: Direct) -> None:
    broker = await direct.broker("resumes")
    sink = await direct.sink()
    for name, annotations in (("resuming", {f"{PREFIX}resume": "PT1H"}), ("forgetful", {})):
        trigger = await direct.trigger("resumes", sink, annotations=annotations, name=name)
        await direct.world.client.delete(Trigger, trigger.name, "ns")

    async def is_cleaned() -> bool:
        infos = await direct.nats.jetstream().consumers_info("KNB_NS__RESUMES")
        return [info.name for info in infos] == ["KN_SUB_NS__RESUMING"]

    await eventually(is_cleaned, timeout_s=DEADLINE_S)
    assert (await direct.world.produce(broker)).status == 202
    await direct.trigger("resumes", sink, annotations={f"{PREFIX}resume": "PT1H"}, name="resuming")
    await direct.trigger("resumes", sink, name="forgetful")
    await sink.until(1)
    assert (await direct.world.produce(broker, [*EVENT[:1], "ce-id: 2", *EVENT[2:]])).status == 202
    await sink.until(3)
    assert sorted(str(got.get("ce-id")) for got in sink.got) == ["1", "2", "2"]


async def test_events_wait_until_it_is_known_to_whom_they_go(direct: Direct) -> None:
    broker = await direct.broker("waits")
    sink = await direct.sink()
    trigger = await direct.trigger("waits", sink, has_address=False)
    assert (await direct.world.produce(broker)).status == 202
    assert await direct.left("KNB_NS__WAITS") == 1
    patch = {"status": {"subscriberUri": sink.url}}
    await direct.world.client.patch(Trigger, trigger.name, "ns", patch, subresource="status")
    await sink.until(1)


async def test_a_full_stream_refuses_events_and_says_so(direct: Direct) -> None:
    broker = await direct.broker("full", {f"{PREFIX}max-bytes": "2000"})
    sink = await direct.sink()
    sink.gate.clear()
    await direct.trigger("full", sink)
    assert (await direct.world.produce(broker, [*EVENT, "Content-Type: text/plain"], b"x" * 1200)).status == 202
    refused = await direct.world.produce(
        broker, [EVENT[0], "ce-id: 2", *EVENT[2:], "Content-Type: text/plain"], b"x" * 1200
    )
    assert refused.status == 500
    assert b"maximum bytes exceeded" in refused.body
    sink.gate.set()


async def test_a_wrong_annotation_is_told_in_the_status(direct: Direct) -> None:
    metadata = ObjectMeta(
        name="wrong",
        namespace="ns",
        annotations={"eventing.knative.dev/broker.class": "JetStreamBroker", f"{PREFIX}max-age": "soon"},
    )
    await direct.world.client.create(Broker(metadata=metadata))

    async def problem() -> str | None:
        found = await direct.world.client.get(Broker, "wrong", "ns")
        return next((each.message for each in found.status.conditions if each.type == "StreamReady"), None)

    assert "max-age: expected an ISO 8601 period" in str(await eventually(problem, timeout_s=DEADLINE_S))


async def test_a_broker_goes_with_its_stream(direct: Direct) -> None:
    broker = await direct.broker("goes")
    assert broker.metadata.finalizers == ["jetstream.eventing.knuv.dev"]
    await direct.world.client.delete(Broker, "goes", "ns")

    async def is_gone() -> bool:
        try:
            await direct.world.client.get(Broker, "goes", "ns")
        except NotFound:
            return True
        return False

    await eventually(is_gone, timeout_s=DEADLINE_S)
    names = [info.config.name for info in await direct.nats.jetstream().streams_info()]
    assert "KNB_NS__GOES" not in names
    assert "KNB_NS__FULL" in names


async def test_the_filter_tells_retries_dead_letters_and_the_backlog_of_each_trigger(direct: Direct) -> None:
    broker = await direct.broker("counted")
    failing, hanging = await direct.sink(503), await direct.sink()
    hanging.gate.clear()
    delivery = {"retry": 2, "backoffPolicy": "linear", "backoffDelay": "PT0.05S"}
    await direct.trigger("counted", failing, name="failing", spec={"delivery": delivery})
    await direct.trigger("counted", hanging, name="hanging")
    assert (await direct.world.produce(broker)).status == 202
    metrics = f"{direct.world.filter.host}:9092"
    failed, owed = (
        {"messaging_destination_name": f"subscription:{name}.ns", "kn_channel_name": "counted"}
        for name in ("failing", "hanging")
    )
    await told_at(metrics, has(DEAD_LETTERS, 1, {**failed, "result": "kept"}))
    await told_at(metrics, has(RETRIES, 2, {**failed, "reason": "5xx"}))
    await told_at(metrics, has(BACKLOG, 1, owed))
    hanging.gate.set()
    await told_at(metrics, has(BACKLOG, 0, owed))
