"""What the client of the API sends, and what it makes of the answers. With a real server: `test_informer.py`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube.client import Client
from kube.config import ApiConfig
from kube.errors import ApiError, ApiUnreachable, Gone, NotFound, TooManyRequests
from kube.models.core import ConfigMap
from tests.kube.scripted_server import Peer, Server, serving

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def fine(peer: Peer, _request: bytes) -> None:
    await peer.answer(b"{}")


@asynccontextmanager
async def client_of(
    server: Server, path: str = "", *, timeout_s: float = 30.0, **config: object
) -> AsyncIterator[Client]:
    api = ApiConfig(server=server.url + path, **config)  # type: ignore[arg-type]
    async with asyncio.timeout(10), Client(api, user_agent="test", timeout_s=timeout_s) as client:
        yield client


async def lines_of(client: Client, *, silence_max_s: float = 10.0) -> list[bytes]:
    return [line async for line in client.stream("/api/v1/pods", {"watch": "true"}, silence_max_s=silence_max_s)]


async def test_a_request_says_who_asks_what() -> None:
    async with serving(fine) as server, client_of(server, "/k8s/clusters/c-1", token="secret") as client:
        await client.raw("GET", "/apis/a/b c?#%2F", params={"labelSelector": "a in (b,c),d=é"})
        await client.raw("PATCH", "/x", body=b"[]", content_type="application/json-patch+json", accept="text/plain")
    port = str(server.port).encode()
    assert server.requests[0].split(b"\r\n") == [
        b"GET /k8s/clusters/c-1/apis/a/b%20c%3F%23%2F?labelSelector=a+in+%28b%2Cc%29%2Cd%3D%C3%A9 HTTP/1.1",
        b"Host: 127.0.0.1:" + port,
        b"User-Agent: test",
        b"Accept: application/json",
        b"Accept-Encoding: identity",
        b"Authorization: Bearer secret",
        b"",
        b"",
    ]
    assert server.requests[1].split(b"\r\n") == [
        b"PATCH /k8s/clusters/c-1/x HTTP/1.1",
        b"Host: 127.0.0.1:" + port,
        b"User-Agent: test",
        b"Accept: text/plain",
        b"Accept-Encoding: identity",
        b"Content-Type: application/json-patch+json",
        b"Authorization: Bearer secret",
        b"Content-Length: 2",
        b"",
        b"[]",
    ]


async def test_a_token_that_cannot_be_sent_is_told_without_showing_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with serving(fine) as server:
        for text in ("secret\r\nX: y", "secr\u20act"):
            file.write_text(text)
            async with client_of(server, token_file=file) as client:
                with pytest.raises(ApiUnreachable, match="printable") as refused:
                    await client.raw("GET", "/x")
                assert "'Authorization'" in str(refused.value)
                assert "secr" not in str(refused.value)
    assert server.requests == []


async def test_a_refusal_is_an_error_by_its_status() -> None:
    async def script(peer: Peer, request: bytes) -> None:
        status = int(request.split(b"/")[1][:3])
        await peer.answer(b'{"reason": "Why", "message": "told"}', status, "Location: /elsewhere")

    async with serving(script) as server, client_of(server) as client:
        with pytest.raises(NotFound, match="told"):
            await client.raw("GET", "/404")
        with pytest.raises(ApiError, match="told") as refused:
            await client.raw("GET", "/302")
        assert refused.value.code == 302
        assert server.connections == 1


@pytest.mark.parametrize(
    ("field", "body", "seconds"),
    [
        ("Retry-After: 3", b"Too many requests, please try again later.\n", 3),
        ("Retry-After: 3", b'{"details": {"retryAfterSeconds": 7}}', 7),
        ("Retry-After: Wed, 21 Oct 2015 07:28:10 GMT", b"{}", None),
        ("X: y", b"", None),
        ("X: y", b'{"details": {"retryAfterSeconds": -7}}', None),
        ("X: y", b'{"details": {"retryAfterSeconds": NaN}}', None),
        ("X: y", b'{"details": {"retryAfterSeconds": 1%s}}' % (b"0" * 400), 99_999),
    ],
)
async def test_an_api_that_sheds_load_says_when_to_come_again(field: str, body: bytes, seconds: float | None) -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.answer(body, 429, field)

    async with serving(script) as server, client_of(server) as client:
        with pytest.raises(TooManyRequests) as refused:
            await client.raw("GET", "/x")
        assert refused.value.retry_after_s == seconds
        with pytest.raises(TooManyRequests) as refused:
            await lines_of(client)
        assert refused.value.retry_after_s == seconds


async def test_who_does_not_answer_in_time_is_unreachable() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.left()

    async with serving(script) as server, client_of(server, timeout_s=0.05) as client:
        with pytest.raises(ApiUnreachable, match="GET /x: timed out"):
            await client.raw("GET", "/x")
        with pytest.raises(ApiUnreachable, match="watch of pods: timed out"):
            await lines_of(client, silence_max_s=0.05)


async def test_a_lost_answer_is_asked_for_again_if_that_changes_nothing() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        if peer.number == 0 and len(server.requests) == 2:
            raise EOFError
        await peer.answer(b"%d" % peer.number)

    for method, is_repeated in (("GET", True), ("PUT", True), ("DELETE", True), ("POST", False), ("PATCH", False)):
        async with serving(script) as server, client_of(server) as client:
            assert await client.raw("GET", "/x") == b"0"
            if is_repeated:
                assert await client.raw(method, "/x") == b"1"
            else:
                with pytest.raises(ApiUnreachable, match="closed"):
                    await client.raw(method, "/x")


async def test_lines_are_whole_however_they_are_cut() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.send(STREAM)
        for piece in (b'{"a', b'": 1}\n{"b": 2}\n', b"\n", b'{"c": "' + b"x" * 300_000 + b'"}', b"\n"):
            await peer.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await peer.send(b"0\r\n\r\n")

    async with serving(script) as server, client_of(server) as client:
        lines = await lines_of(client)
        assert lines[:2] == [b'{"a": 1}', b'{"b": 2}']
        assert [len(line) for line in lines[2:]] == [300_009]
        assert await lines_of(client) == lines
        assert server.connections == 1, "a watch that was ended well leaves a connection that can be used"


async def test_a_stream_that_is_refused_or_breaks_off_says_so() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        if peer.number == 0:
            await peer.answer(b'{"reason": "Expired", "message": "too old"}', 410)
        await peer.send(STREAM + b"4\r\n{}\n")
        raise EOFError

    async with serving(script) as server, client_of(server) as client:
        with pytest.raises(Gone, match="too old"):
            await lines_of(client)
        with pytest.raises(ApiUnreachable, match="watch of pods: "):
            await lines_of(client)


async def test_a_watch_that_is_left_early_leaves_nothing_open() -> None:
    left = asyncio.Event()

    async def script(peer: Peer, _request: bytes) -> None:
        event = b'{"type": "ADDED", "object": {"metadata": {"name": "a", "namespace": "n"}}}\n'
        await peer.send(STREAM + b"%x\r\n%s\r\n" % (len(event), event))
        await peer.left()
        left.set()

    async with serving(script) as server, client_of(server) as client:
        async for event in client.watch(ConfigMap, resource_version="1"):
            assert (event.type, event.object.name) == ("ADDED", "a")
            break
        await left.wait()


async def test_nothing_is_asked_before_it_is_opened_or_after_it_is_closed() -> None:
    async with serving(fine) as server:
        client = Client(ApiConfig(server=server.url))
        with pytest.raises(ApiUnreachable, match="closed"):
            await client.raw("GET", "/x")
        async with client:
            await client.raw("GET", "/x")
        with pytest.raises(ApiUnreachable, match="closed"):
            await client.raw("GET", "/x")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"metadata": {}, "items": [{"data": 1}]}', b'{"metadata": "x"}'])
async def test_who_answers_with_something_else_is_not_the_api(body: bytes) -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.answer(body)

    async with serving(script) as server, client_of(server) as client:
        with pytest.raises(ApiUnreachable, match="something else"):
            await client.list(ConfigMap)
        if not body.endswith(b"]}"):
            with pytest.raises(ApiUnreachable, match="ConfigMap: answered by something else"):
                await client.get(ConfigMap, "c", "ns")


@pytest.mark.parametrize("line", [b"<html>", b'{"type": "ADDED", "object": 1}', b'{"type": "ERROR", "object": "x"}'])
async def test_a_watch_that_tells_something_else_is_over(line: bytes) -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.send(STREAM + b"%x\r\n%s\n\r\n" % (len(line) + 1, line))

    async with serving(script) as server, client_of(server) as client:
        with pytest.raises(ApiUnreachable, match="something else"):
            await anext(aiter(client.watch(ConfigMap, resource_version="1")))


@pytest.mark.parametrize("code", [b'"x"', b"[1]", b"0", b"null", b"410.5"])
async def test_a_watch_that_ends_with_an_error_of_no_code_is_over(code: bytes) -> None:
    line = b'{"type": "ERROR", "object": {"code": %s, "message": "odd"}}' % code

    async def script(peer: Peer, _request: bytes) -> None:
        await peer.send(STREAM + b"%x\r\n%s\n\r\n" % (len(line) + 1, line))

    async with serving(script) as server, client_of(server) as client:
        with pytest.raises(ApiError, match="odd") as refused:
            await anext(aiter(client.watch(ConfigMap, resource_version="1")))
        assert refused.value.code == 500
