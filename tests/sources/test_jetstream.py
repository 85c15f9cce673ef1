"""JetStreamSource: messages of a stream as events at a sink, once each, whatever they were."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext

from kube.client import Client
from kube.models.core import Namespace
from kube.models.meta import ObjectMeta
from proxies.environment import ConfigError
from proxies.logs import Logger
from sources.jetstream import App, JetStreamConfig
from tests.sources.support import Got, running_sink
from tests.support.api import running_api_server
from tests.support.jetstream_dispatcher import config_nats
from tests.support.nats import PASSWORD, USER, RunningNats, running_nats
from tests.support.processes import eventually


@asynccontextmanager
async def surroundings(folder: Path) -> AsyncIterator[tuple[RunningNats, JetStreamContext, dict[str, str]]]:
    """NATS with a stream S for `s.>`, and what an adapter is told."""
    with running_nats(folder) as server:
        async with running_api_server() as api, Client(api.config) as client:
            await client.create(Namespace(metadata=ObjectMeta(name="knative-eventing")))
            await config_nats(client, server)
            connection = await nats.connect(server.url, user=USER, password=PASSWORD)
            try:
                context = connection.jetstream()
                await context.add_stream(name="S", subjects=["s.>"])
                yield (
                    server,
                    context,
                    {
                        "KUBECONFIG": str(api.kubeconfig),
                        "NAMESPACE": "ns",
                        "NAME": "src",
                        "KNUV_HEALTH_PORT": "0",
                        "KNUV_BIND_ADDRESS": "127.0.0.1",
                    },
                )
            finally:
                await connection.close()


@asynccontextmanager
async def running(
    environ: dict[str, str], sink: str, log: list[bytes] | None = None, **spec: Any
) -> AsyncIterator[App]:
    """The adapter of a source with this `spec`."""
    content = json.dumps({"stream": "S", **spec})
    config = JetStreamConfig.from_env({**environ, "K_SINK": sink, "K_SOURCE_CONFIG": content})
    app = App(config, Logger("test", write=(log if log is not None else []).append))
    await app.start()
    try:
        yield app
        await app.drain()
    finally:
        await app.stop()


def ids(got: list[Got]) -> list[str]:
    return [each.headers["ce-id"] for each in got]


async def test_messages_of_every_kind_arrive_as_events(tmp_path: Path) -> None:
    structured = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"n": 1}}
    binary = {"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/s", "ce-type": "t", "content-type": "text/plain"}
    async with surroundings(tmp_path) as (_, stream, environ), running_sink() as sink:
        await stream.publish("s.a", json.dumps(structured).encode())
        await stream.publish("s.a", b"text", headers=binary)
        await stream.publish("s.b", b"\x00raw")
        await stream.publish("s.b", b"{}", headers={"Content-Type": "application/json"})
        async with running(environ, sink.url, eventType="raw.type"):
            got = {each.headers["ce-id"]: each for each in await sink.until(4)}
        assert (got["1"].body, got["1"].headers["ce-type"]) == (b'{"n": 1}', "t")
        assert (got["2"].body, got["2"].headers["content-type"]) == (b"text", "text/plain")
        raw = next(each for each in got.values() if each.body == b"\x00raw")
        assert (raw.headers["ce-type"], raw.headers["ce-subject"]) == ("raw.type", "s.b")
        assert raw.headers["ce-source"] == "/apis/v1/namespaces/ns/jetstreamsources/src"
        assert raw.headers["content-type"] == "application/octet-stream"
        assert next(each for each in got.values() if each.body == b"{}").headers["content-type"] == "application/json"


HOSTILE = [
    (b"s.\xff", None),
    (b"s.\x01", None),
    (b"s.a", b"NATS/1.0\r\nContent-Type: a\x01b\r\n\r\n"),
    (b"s.a", b"NATS/1.0\r\nContent-Type: \xff\r\n\r\n"),
    (b"s.a", b"NATS/1.0\r\nCe-Specversion: \xff\r\n\r\n"),
    (b"s.a", b"NATS/1.0\r\nno colon\r\n: no name\r\n\r\n"),
    (b"s.a", b"NATS/1.0 503 \xff\r\n\r\n"),
    (b"s.a", b"NATS/1.0 100\r\n\r\n"),
    (b"s.a", b"NATS/1.0"),
    (b"s.a", b"x"),
]


async def test_whatever_somebody_publishes_others_behind_it_are_sent_and_nothing_is_owed(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as (server, stream, environ), running_sink() as sink:
        for subject, headers in HOSTILE:
            await server.publish_raw(subject, b"bad", headers)
        await stream.publish("s.b", b"good")
        log: list[bytes] = []

        async def is_over() -> bool:
            has_come = any(each.body == b"good" for each in sink.got)
            return has_come and not any(
                each.num_pending or each.num_ack_pending for each in await stream.consumers_info("S")
            )

        async with running(environ, sink.url, log):
            await eventually(is_over)
        assert not [line for line in log if b"nats_lost" in line or b"event_lost" in line]


async def test_only_the_subject_that_is_asked_for(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as (_, stream, environ), running_sink() as sink:
        for subject in ("s.a", "s.b", "s.a"):
            await stream.publish(subject, subject.encode())
        async with running(environ, sink.url, subject="s.a"):
            assert [each.body for each in await sink.until(2)] == [b"s.a", b"s.a"]


async def test_it_goes_on_where_it_was_and_over_a_restart_of_nats(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as (server, stream, environ), running_sink() as sink:
        await stream.publish("s.a", b"1")
        async with running(environ, sink.url):
            await sink.until(1)
            await server.restart()
            connection = await nats.connect(server.url, user=USER, password=PASSWORD)
            await connection.jetstream().publish("s.a", b"2")
            await sink.until(2)
            await connection.jetstream().publish("s.a", b"3")
            await sink.until(3)
        await connection.jetstream().publish("s.a", b"4")
        await connection.close()
        async with running(environ, sink.url):
            await sink.until(4)
        assert [each.body for each in sink.got] == [b"1", b"2", b"3", b"4"]


async def test_what_is_not_taken_is_not_acknowledged_and_keeps_its_id(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as (_, stream, environ), running_sink() as sink:
        sink.gate.clear()
        await stream.publish("s.a", b"x")
        async with running(environ, sink.url, ackWait="500ms") as app:
            await sink.until(1)
            await app.stop()  # killed while it sends
        sink.gate.set()
        info = await stream.consumer_info("S", "KN_SOURCE_NS__SRC")
        assert info.num_ack_pending == 1
        async with running(environ, sink.url, ackWait="500ms"):
            await sink.until(2)
        assert len(set(ids(sink.got))) == 1


async def test_what_the_sink_refuses_for_good_is_ended(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as (_, stream, environ), running_sink(400) as sink:
        await stream.publish("s.a", b"x")
        await stream.publish("s.a", b"y")
        async with running(environ, sink.url):
            await sink.until(2)
        info = await stream.consumer_info("S", "KN_SOURCE_NS__SRC")
        assert (info.num_ack_pending, len(sink.got)) == (0, 2)


async def test_a_stream_that_is_missing_is_told_and_taken_from_when_it_is_there(tmp_path: Path) -> None:
    log: list[bytes] = []
    async with surroundings(tmp_path) as (_, stream, environ), running_sink() as sink:
        await stream.delete_stream("S")
        async with running(environ, sink.url, log):
            await eventually(lambda: b"stream_unavailable" in b"".join(log), timeout_s=20)
            assert b"stream not found" in b"".join(log)
            await stream.add_stream(name="S", subjects=["s.>"])
            await stream.publish("s.a", b"x")
            await sink.until(1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "stream: expected the name of a stream"),
        ('{"stream": 1}', "stream: expected text"),
        ('{"stream": "S", "deliverPolicy": "First"}', "deliverPolicy: expected All, Last or New"),
        ('{"stream": "S", "maxAckPending": "1"}', "maxAckPending: expected a number"),
        ('{"stream": "S", "maxAckPending": -1}', "maxAckPending: expected a number above 0"),
        ('{"stream": "S", "ackWait": "soon"}', "ackWait"),
        ('{"stream": "S", "ackWait": "0s"}', "ackWait: expected a duration above 0"),
        ("[", "K_SOURCE_CONFIG"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(content: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        JetStreamConfig.from_env({"K_SOURCE_CONFIG": content, "K_SINK": "http://x", "NAMESPACE": "ns"})
    assert told in str(raised.value)
