"""Statements 30 to 41: what the app gets to see of a request."""

import gzip

import pytest

from tests.support.http import Call, running_app
from tests.support.queue_proxy import running_queue_proxy


async def seen_by_app(*headers: str, target: str = "/") -> Call:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch(target, headers=headers)).status == 200
        (call,) = app.calls
        return call


async def test_30_host_is_the_clients() -> None:
    assert (await seen_by_app("Host: app.example:8080")).values("host") == ["app.example:8080"]


async def test_31_host_is_restored_from_the_original_one() -> None:
    call = await seen_by_app("Host: 10.0.0.1:8012", "K-Original-Host: a.example")
    assert (call.values("host"), call.values("k-original-host")) == (["a.example"], [])


async def test_32_what_the_activator_reads_goes_no_further() -> None:
    call = await seen_by_app("Knative-Serving-Revision: r", "Knative-Serving-Namespace: n", "Knative-Serving-Tag: t")
    assert (call.values("knative-serving-revision"), call.values("knative-serving-namespace")) == ([], [])
    assert call.values("knative-serving-tag") == ["t"]


async def test_33_the_app_hears_that_the_activator_proxied() -> None:
    assert (await seen_by_app("K-Proxy-Request: activator")).values("k-proxy-request") == ["activator"]


async def test_34_the_peer_is_told_and_forwarded_is_not_made_up() -> None:
    call = await seen_by_app()
    assert (call.values("x-forwarded-for"), call.values("forwarded")) == (["127.0.0.1"], [])
    assert (call.values("x-forwarded-host"), call.values("x-forwarded-proto")) == ([], [])


async def test_35_forwarded_is_made_from_what_is_known_of_earlier_hops() -> None:
    call = await seen_by_app("X-Forwarded-For: 127.0.0.1, ::1", "X-Forwarded-Host: h", "X-Forwarded-Proto: p")
    assert call.values("forwarded") == ['for=127.0.0.1;host=h;proto=p, for="[::1]"']
    assert call.values("x-forwarded-for") == ["127.0.0.1, ::1, 127.0.0.1"]


async def test_36_a_forwarded_that_is_not_empty_passes_unchanged() -> None:
    headers = ["X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: p"]
    assert (await seen_by_app("Forwarded: for=x", *headers)).values("forwarded") == ["for=x"]
    assert (await seen_by_app("Forwarded:", *headers)).values("forwarded") == ["for=10.0.0.1;proto=p"]


async def test_37_a_protocol_alone_is_forwarded() -> None:
    assert (await seen_by_app("X-Forwarded-Proto: p")).values("forwarded") == ["proto=p"]


async def test_38_hop_by_hop_headers_go_no_further() -> None:
    call = await seen_by_app(
        "Connection: close, X-Drop", "X-Drop: 1", "Keep-Alive: x", "Proxy-Authorization: x", "TE: gzip"
    )
    for gone in ("connection", "x-drop", "keep-alive", "proxy-authorization", "te"):
        assert call.values(gone) == []
    assert (await seen_by_app("TE: trailers")).values("te") == ["trailers"]


@pytest.mark.parametrize("target", ["/", "/?x=1;y"])
async def test_39_no_user_agent_is_made_up(target: str) -> None:
    assert (await seen_by_app(target=target)).values("user-agent") == []
    assert (await seen_by_app("User-Agent: curl/8", target=target)).values("user-agent") == ["curl/8"]


async def test_40_no_encoding_is_asked_for_and_a_compressed_body_arrives_byte_for_byte() -> None:
    packed = gzip.compress(b"x" * 1000)

    async def answer(call: Call) -> None:
        await call.respond(200, packed, "Content-Encoding: gzip")

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch()).body == packed
        assert app.calls[0].values("accept-encoding") == []


async def test_41_a_path_is_not_touched() -> None:
    assert (await seen_by_app(target="/a//b%2Fc?x=1;y")).target == "/a//b%2Fc?x=1;y"
    assert (await seen_by_app(target="//healthz/../%2e?&=?/")).target == "//healthz/../%2e?&=?/"
