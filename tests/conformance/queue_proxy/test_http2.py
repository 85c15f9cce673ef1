"""Statements 8 to 49 for HTTP/2, as far as they differ: what reaches the app of a request, the client of a response."""

import asyncio
import gzip
import time
from functools import partial

import pytest

from tests.support.h2_peers import Http2Call, Http2Client, running_http2_app
from tests.support.http import fetch, running_app
from tests.support.processes import LATE_S, eventually
from tests.support.queue_proxy import MAIN_PORT, QueueProxy, running_queue_proxy

PROBE = (("user-agent", "Knative-Activator-Probe"), ("k-network-probe", "queue"))


async def connect(proxy: QueueProxy, port: int = MAIN_PORT) -> Http2Client:
    """A connection of HTTP/2 by prior knowledge, closed at the end."""
    client = await Http2Client.open(proxy.host, port)
    proxy.clients.append(client)
    return client


async def seen_by_app(*fields: tuple[str, str], target: str = "/", authority: str = "app.example") -> Http2Call:
    async with running_http2_app() as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        response = await client.finish(await client.start(target, *fields, authority=authority))
        assert (response.status, response.body) == (200, b"hello")
        (call,) = app.calls
        return call


# Probes


async def test_08_a_probe_gets_exactly_queue_and_does_not_reach_the_app() -> None:
    async with running_http2_app() as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        for method in ("GET", "POST", "BREW"):
            response = await client.fetch("/any", *PROBE, method=method)
            assert (response.status, response.body, response.is_ended) == (200, b"queue", True)
        assert app.calls == []


async def test_10_kubelets_probe_without_the_marker_is_refused() -> None:
    async with running_queue_proxy() as proxy:
        response = await (await connect(proxy)).fetch("/", ("user-agent", "kube-probe/1.34"))
        assert (response.status, response.body) == (400, b"unexpected probe header value: \n")


async def test_13_the_marker_alone_makes_no_probe() -> None:
    assert (await seen_by_app(("k-network-probe", "queue"), ("user-agent", "curl/8"))).values("k-network-probe") == [
        "queue"
    ]


async def test_14_a_network_probe_gets_its_hash_back() -> None:
    async with running_queue_proxy() as proxy:
        response = await (await connect(proxy)).fetch("/", ("k-network-probe", "probe"), ("k-network-hash", "abc"))
        assert (response.status, response.body, response.value("k-network-hash")) == (200, b"", "abc")


# Headers


async def test_30_the_authority_is_the_clients() -> None:
    call = await seen_by_app(authority="app.example:8080")
    assert (call.values(":authority"), call.values("host")) == (["app.example:8080"], [])


async def test_31_the_authority_is_restored_from_the_original_host() -> None:
    call = await seen_by_app(("k-original-host", "a.example"), authority="10.0.0.1:8012")
    assert (call.values(":authority"), call.values("k-original-host")) == (["a.example"], [])


async def test_32_what_the_activator_reads_goes_no_further() -> None:
    call = await seen_by_app(("knative-serving-revision", "r"), ("knative-serving-namespace", "n"))
    assert (call.values("knative-serving-revision"), call.values("knative-serving-namespace")) == ([], [])


async def test_33_the_app_hears_that_the_activator_proxied() -> None:
    assert (await seen_by_app(("k-proxy-request", "activator"))).values("k-proxy-request") == ["activator"]


async def test_34_the_peer_is_told_and_forwarded_is_not_made_up() -> None:
    call = await seen_by_app()
    assert (call.values("x-forwarded-for"), call.values("forwarded")) == (["127.0.0.1"], [])


async def test_35_forwarded_is_made_of_its_predecessors() -> None:
    call = await seen_by_app(
        ("x-forwarded-for", "127.0.0.1, ::1"), ("x-forwarded-host", "h"), ("x-forwarded-proto", "p")
    )
    assert call.values("forwarded") == ['for=127.0.0.1;host=h;proto=p, for="[::1]"']
    assert call.values("x-forwarded-for") == ["127.0.0.1, ::1, 127.0.0.1"]


async def test_38_te_is_kept_for_trailers() -> None:
    assert (await seen_by_app(("te", "trailers"))).values("te") == ["trailers"]


async def test_39_and_40_nothing_is_invented() -> None:
    call = await seen_by_app()
    assert (call.values("user-agent"), call.values("accept-encoding")) == ([], [])
    assert {name for name, _ in call.fields} == {":method", ":scheme", ":authority", ":path", "x-forwarded-for"}


async def test_40_a_compressed_body_arrives_as_it_was_sent() -> None:
    data = gzip.compress(b"hello" * 1000)

    async def answer(call: Http2Call) -> None:
        await call.respond(200, data, ("content-encoding", "gzip"))

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        response = await (await connect(proxy)).fetch()
        assert (response.body, response.value("content-encoding")) == (data, "gzip")


async def test_41_the_target_is_not_touched() -> None:
    assert (await seen_by_app(target="/a//b%2Fc?x=1;y")).target == "/a//b%2Fc?x=1;y"


# Bodies, trailers, errors, streams


async def test_42_trailers_reach_the_client_and_the_app() -> None:
    async def answer(call: Http2Call) -> None:
        await call.start(200)
        await call.send(await call.whole())
        await call.finish(*call.trailers, ("x-more", "1"))

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        response = await client.start(method="POST", is_done=False)
        await client.send_data(response.stream_id, b"abc", is_done=False)
        await client.send_headers(response.stream_id, [("x-sum", "7")], is_done=True)
        await client.finish(response)
        assert (response.body, response.trailers) == (b"abc", [("x-sum", "7"), ("x-more", "1")])


async def test_42_a_response_of_trailers_only_stays_one() -> None:
    """As gRPC answers errors: one head that ends the stream."""

    async def answer(call: Http2Call) -> None:
        await call.start(200, ("grpc-status", "5"), ("grpc-message", "no"), is_done=True)

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        response = await (await connect(proxy)).fetch()
        assert (response.value("grpc-status"), response.value("grpc-message")) == ("5", "no")
        assert (response.body, response.trailers, response.is_ended) == (b"", [], True)


@pytest.mark.parametrize("port", [MAIN_PORT, 8013])
async def test_43_prior_knowledge_on_either_main_port_reaches_the_app_as_http_2(port: int) -> None:
    async with running_http2_app() as app, running_queue_proxy(app.port) as proxy:
        response = await (await connect(proxy, port)).fetch("/x", method="POST", body=b"data")
        assert (response.status, response.body) == (200, b"hello")
        assert [(call.target, call.body) for call in app.calls] == [("/x", b"data")]


async def test_43_the_version_follows_each_request_whatever_came_before() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        assert (await fetch(proxy.host, 8013)).body == b"hello"
        assert [call.version for call in app.calls] == ["HTTP/1.1"]
    async with running_http2_app() as app2, running_queue_proxy(app2.port) as proxy:
        client = await connect(proxy)
        assert (await client.fetch()).body == b"hello"
        assert (await fetch(proxy.host, MAIN_PORT)).status == 502
        assert (await client.fetch()).body == b"hello"


async def test_44_an_app_that_is_down_is_a_quick_502() -> None:
    async with running_queue_proxy(1) as proxy:
        client = await connect(proxy)
        began_s = time.monotonic()
        response = await client.fetch()
        assert time.monotonic() - began_s < LATE_S
        assert (response.status, response.value("content-type")) == (502, "text/plain; charset=utf-8")
        assert response.body == b"dial tcp 127.0.0.1:1: connect: connection refused\n"
        assert response.is_ended


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "closed"])
async def test_45_a_body_that_the_app_cuts_off_does_not_end_well(is_reset: bool) -> None:
    async def answer(call: Http2Call) -> None:
        await call.start(200)
        await call.send(b"abcde")
        if is_reset:
            await call.reset()
        else:
            call.peer.writer.close()

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        response = await client.fetch()
        assert (response.status, response.body, response.is_ended) == (200, b"abcde", False)
        assert response.reset_code is not None
        assert not client.is_lost


async def test_46_events_reach_the_client_one_by_one() -> None:
    seen = asyncio.Semaphore(0)

    async def answer(call: Http2Call) -> None:
        await call.start(200, ("content-type", "text/event-stream"))
        for number in range(3):
            await call.send(b"data: %d\n\n" % number)
            await seen.acquire()
        await call.send(b"end", is_done=True)

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        response = await client.start()
        for number in range(3):
            await client.until(lambda number=number: response.body.endswith(b"data: %d\n\n" % number))
            seen.release()
        assert (await client.finish(response)).body.endswith(b"end")


async def test_46_full_duplex_is_how_streams_are() -> None:
    async def echo(call: Http2Call) -> None:
        await call.start(200)
        for size in range(4, 24, 4):
            await call.peer.until(lambda size=size: len(call.body) >= size)
            await call.send(call.body[size - 4 : size])
        await call.whole()
        await call.finish(("x-end", "1"))

    async with running_http2_app(echo) as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        response = await client.start(method="POST", is_done=False)
        for turn in range(1, 6):
            await client.send_data(response.stream_id, b"ping", is_done=False)
            await client.until(lambda turn=turn: response.body == b"ping" * turn)
        await client.send_headers(response.stream_id, [("x-last", "1")], is_done=True)
        assert (await client.finish(response)).trailers == [("x-end", "1")]


async def test_48_an_informational_response_and_the_final_one_are_both_seen() -> None:
    async def answer(call: Http2Call) -> None:
        await call.start(103, ("link", "</a.css>"))
        await call.respond(404, b"nothing")

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        response = await (await connect(proxy)).fetch()
        assert (response.informational, response.status, response.body) == ([103], 404, b"nothing")


async def test_49_a_head_above_1_mib_is_refused_and_the_connection_stays() -> None:
    """While a client may still use a dynamic table this costs the connection, hence the requests before it."""
    async with running_http2_app() as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        for _ in range(3):
            assert (await client.fetch()).body == b"hello"
        # Huffman's code would take the library seconds.
        client.core.encoder.encode = partial(client.core.encoder.encode, huffman=False)
        response = await client.fetch("/", *[("x-large", "a" * 1130)] * 920)
        assert (response.status, response.is_ended, len(app.calls)) == (431, True, 3)
        assert (await client.fetch()).body == b"hello"


# 3.2: the limit of streams, and a stream's own end


async def test_250_streams_are_offered_and_all_run_at_once() -> None:
    release = asyncio.Event()

    async def answer(call: Http2Call) -> None:
        await release.wait()
        await call.respond(200, b"done")

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        await client.until(lambda: client.core.remote_settings.max_concurrent_streams == 250)
        responses = [await client.start() for _ in range(250)]
        await eventually(lambda: len(app.calls) == 250)
        release.set()
        for response in responses:
            assert (await client.finish(response)).body == b"done"


async def test_a_stream_that_the_client_resets_is_reset_towards_the_app_and_its_neighbours_go_on() -> None:
    async def answer(call: Http2Call) -> None:
        await call.start(200)
        if call.target == "/hold":
            await call.cancelled()
        else:
            await call.send(b"hello", is_done=True)

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await connect(proxy)
        held = await client.start("/hold")
        await client.until(lambda: held.fields)
        await client.reset(held.stream_id, 8)
        assert await (await app.call()).cancelled() == 8
        assert (await client.fetch()).body == b"hello"
        assert app.connections == 1


async def test_client_and_app_may_speak_over_one_connection_each_for_many_streams() -> None:
    async with running_http2_app() as app, running_queue_proxy(app.port) as proxy:
        clients = [await connect(proxy) for _ in range(4)]
        for _ in range(5):
            responses = await asyncio.gather(*(client.fetch() for client in clients for _ in range(10)))
            assert {response.body for response in responses} == {b"hello"}
        assert len(app.calls) == 200
        assert app.connections <= 2
