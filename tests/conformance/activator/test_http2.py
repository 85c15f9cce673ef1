"""Statements 19 and 52 over HTTP/2: the version of a request is kept, a stream that is cancelled gives up its place."""

import asyncio
from collections import Counter

import pytest

from proxies.http2.errors import CANCEL
from tests.conformance.activator.world import Pod, World, activator, surroundings
from tests.support.http2 import App, Peer, running_app

TRUSTED = {"mesh-compatibility-mode": "disabled"}
"""Ready pods are used unprobed: the apps here speak HTTP/2 only, and probes are HTTP/1.1."""
REVISION = (("knative-serving-namespace", "ns"), ("knative-serving-revision", "rev"))


def pod_of(app: App) -> Pod:
    """An app of HTTP/2 in place of a pod, as `World.endpoints` wants it."""
    return Pod("127.0.0.1", "app", port=app.port)


async def connect(world: World, port: int = 8012) -> Peer:
    """A connection of HTTP/2 to the activator, closed at the end of the test."""
    peer = await Peer.connect(world.address, port)
    world.stack.callback(peer.close)
    return peer


async def answer_all(app: App) -> None:
    """Answer every request on every connection, for ever."""

    async def answer(peer: Peer) -> None:
        while True:
            try:
                _, _, stream = await peer.fields()
            except AssertionError:
                # A connection that took too long to come about was given up; the others must go on.
                if peer.is_closed:
                    return
                raise
            peer.head(stream, (":status", "200"), done=True)

    async with asyncio.TaskGroup() as connections:
        while True:
            connections.create_task(answer(await app.accepted()))


@pytest.mark.parametrize("port", [8012, 8013])
async def test_statement_19_an_http2_request_reaches_the_pod_as_http2(port: int) -> None:
    async with activator(network=TRUSTED) as world, running_app() as app:
        await world.endpoints(ready=[pod_of(app)])
        client = await connect(world, port)
        client.request(1, *REVISION, method="POST", done=False)
        client.data(1, b"order", done=True)
        pod = await app.accepted()
        fields, is_done, stream = await pod.fields()
        assert not is_done
        assert fields[":authority"] == f"127.0.0.1:{app.port}"
        assert fields["k-original-host"] == "h"
        assert fields["k-proxy-request"] == "activator"
        assert not {"knative-serving-namespace", "knative-serving-revision"} & set(fields)
        assert await pod.body(stream) == b"order"
        pod.head(stream, (":status", "200"))
        pod.data(stream, b"done", done=True)
        assert await client.response(1) == (200, b"done")


@pytest.mark.parametrize("port", [8012, 8013])
async def test_statement_19_an_http_1_1_request_reaches_the_pod_as_http_1_1(port: int) -> None:
    async with activator() as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        assert (await world.get(port=port)).body == b"pod-10"
        assert pod.requests[0].first_line == "GET / HTTP/1.1"


async def test_statement_40_ten_thousand_and_five_hundred_requests_wait_and_none_is_refused() -> None:
    """The default bound is 10,000, so that it has to be raised; streams, so that no connection each is needed."""
    async with surroundings(network=TRUSTED, KNUV_HELD_REQUESTS_MAX="10500") as world, running_app() as app:
        await world.revision(timeoutSeconds=600)
        await world.start()
        clients = [await connect(world, port) for port in (8012, 8013) for _ in range(21)]
        streams = range(1, 501, 2)
        for client in clients:
            for stream in streams:
                client.request(stream, *REVISION)
        await world.autoscaler.heard_of(10_500)
        await world.endpoints(ready=[pod_of(app)])
        answering = asyncio.get_running_loop().create_task(answer_all(app))
        statuses = Counter([(await client.response(stream))[0] for client in clients for stream in streams])
        assert statuses == {200: 10_500}
        answering.cancel()


async def test_statement_52_a_waiting_stream_that_is_cancelled_is_not_forwarded_later() -> None:
    async with activator(network=TRUSTED) as world, running_app() as app:
        client = await connect(world)
        for stream in (1, 3):
            client.request(stream, *REVISION, path=f"/{stream}")
        await world.autoscaler.heard_of(2)
        client.reset(1, CANCEL)
        await world.autoscaler.heard_of(1)
        await world.endpoints(ready=[pod_of(app)])
        pod = await app.accepted()
        fields, _, stream = await pod.fields()
        assert fields[":path"] == "/3"
        pod.head(stream, (":status", "200"), done=True)
        assert await client.response(3) == (200, b"")
        assert [each for each in pod.frames if type(each).__name__ == "HeadersFrame"] == []


async def test_streams_of_one_connection_are_requests_of_their_own() -> None:
    async with activator(network=TRUSTED) as world, running_app() as first, running_app() as second:
        await world.revision("narrow", cc=1)
        await world.endpoints(ready=[pod_of(first), pod_of(second)], name="narrow")
        client = await connect(world)
        for stream in (1, 3, 5):
            client.request(stream, REVISION[0], ("knative-serving-revision", "narrow"), path=f"/{stream}")
        pods = [await app.accepted() for app in (first, second)]
        running = [await pod.fields() for pod in pods]
        assert {fields[":path"] for fields, _, _ in running} == {"/1", "/3"}
        # The third one waits until one of the two is done, and then takes its place.
        client.request(7, ("k-network-probe", "activator"))
        assert await client.response(7) == (200, b"activator")
        assert not any(type(each).__name__ == "HeadersFrame" for pod in pods for each in pod.frames)
        pods[1].head(running[1][2], (":status", "200"), done=True)
        fields, _, stream = await pods[1].fields()
        assert fields[":path"] == "/5"
        pods[0].head(running[0][2], (":status", "200"), done=True)
        pods[1].head(stream, (":status", "200"), done=True)
        assert [await client.response(number) for number in (1, 3, 5)] == [(200, b"")] * 3


async def test_a_stream_that_a_pod_refuses_goes_to_another_one() -> None:
    async with activator(network=TRUSTED) as world, running_app() as app:
        await world.revision("narrow", cc=1)
        gone = await world.pod(10, listens=False)
        client = await connect(world)
        named = (REVISION[0], ("knative-serving-revision", "narrow"))
        # Both wait, so each pod gets one of them.
        for stream in (1, 3):
            client.request(stream, *named, method="POST", done=False)
            client.data(stream, b"order", done=True)
        await world.autoscaler.heard_of(2)
        await world.endpoints(ready=[gone, pod_of(app)], name="narrow")
        pod = await app.accepted()
        for _ in range(2):
            _, _, stream = await pod.fields()
            assert await pod.body(stream) == b"order"
            pod.head(stream, (":status", "200"), done=True)
        assert [await client.response(number) for number in (1, 3)] == [(200, b"")] * 2
        assert (await world.logged("pod_suspect"))["pod"] == f"{gone.host}:{gone.port}"
