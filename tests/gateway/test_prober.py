"""Proof that a version is served (spec ingress.md 4.4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.faces import EXTERNAL, EXTERNAL_TLS, INTERNAL, INTERNAL_TLS
from gateway.targets import targets
from kube.addresses import Address
from kube.ingress.prober import Prober, Target, Verdict, verdict
from tests.gateway.objects import ingress, rule
from tests.support.processes import eventually

FACES = {
    EXTERNAL: Address("127.0.0.1", 8080),
    INTERNAL: Address("127.0.0.1", 8081),
    EXTERNAL_TLS: Address("127.0.0.1", 8443),
    INTERNAL_TLS: Address("127.0.0.1", 8444),
}


@pytest.mark.parametrize(
    ("status", "answered", "expected"),
    [
        (200, "v2", Verdict.SERVED),
        (200, None, Verdict.SERVED),
        (200, "v1", Verdict.RETRY),
        (200, "", Verdict.RETRY),
        (404, None, Verdict.RETRY),
        (404, "v2", Verdict.RETRY),
        (503, None, Verdict.RETRY),
        (503, "v2", Verdict.RETRY),
        (301, None, Verdict.SERVED),
        (401, None, Verdict.SERVED),
        (500, None, Verdict.SERVED),
        (502, "v1", Verdict.SERVED),
    ],
)
def test_16_verdicts(status: int, answered: str | None, expected: Verdict) -> None:
    assert verdict(status, answered, "v2") is expected


def test_every_host_is_probed_once_at_the_face_of_its_visibility() -> None:
    spec = ingress(
        "web", rule("b.com", "a.com"), rule("a.com"), rule("web.shop", visibility="ClusterLocal"), rule()
    ).spec
    assert targets(spec, FACES) == [
        Target("127.0.0.1:8080", "a.com"),
        Target("127.0.0.1:8080", "b.com"),
        Target("127.0.0.1:8081", "web.shop"),
    ]


class Face:
    """A gateway that answers each host as a test says; `answers`: host -> (status, hash)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.seen: list[web.BaseRequest] = []
        self.connections: set[object] = set()
        self.address = ""
        self.late_s = 0.0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request)
        await asyncio.sleep(self.late_s)
        self.connections.add(request.transport)
        status, version = self.answers.get(request.host, (404, ""))
        headers = {"K-Network-Hash": version, "Location": "/elsewhere"} if version else {}
        return web.Response(status=status, headers=headers)

    def tries(self, host: str) -> int:
        return sum(request.host == host for request in self.seen)


@asynccontextmanager
async def probing() -> AsyncIterator[tuple[Face, Prober]]:
    """A face on a free port, and a prober."""
    face, prober = Face(), Prober()
    runner = web.ServerRunner(web.Server(face.answer))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        face.address = f"{host}:{port}"
        yield face, prober
    finally:
        await runner.cleanup()


async def test_15_a_probe_is_the_originals_request() -> None:
    async with probing() as (face, prober):
        face.answers["web.example.com"] = (200, "v1")
        await prober.probe_until_served([Target(face.address, "web.example.com")], "v1")
        (request,) = face.seen
    assert (request.method, request.path, request.host) == ("GET", "/healthz", "web.example.com")
    assert request.headers["User-Agent"] == "Knative-Ingress-Probe"
    assert request.headers["K-Network-Probe"] == "probe"
    assert request.headers["K-Network-Hash"] == "override"


async def test_it_ends_when_every_host_answers_for_the_version() -> None:
    async with probing() as (face, prober):
        face.answers = {"a.com": (200, "v1"), "b.com": (200, "v2")}
        wanted = [Target(face.address, host) for host in ("a.com", "b.com", "c.com")]
        waiting = asyncio.get_running_loop().create_task(prober.probe_until_served(wanted, "v2"))
        await eventually(lambda: face.tries("a.com") > 2 and face.tries("c.com") > 2)
        assert not waiting.done()
        face.answers["a.com"] = (200, "v2")
        seen = face.tries("c.com")
        await eventually(lambda: face.tries("c.com") > seen)
        assert not waiting.done()
        face.answers["c.com"] = (200, "v2")
        await asyncio.wait_for(waiting, 10)
        assert face.tries("b.com") == 1, "what is proved is not asked again"


async def test_redirects_are_not_followed() -> None:
    async with probing() as (face, prober):
        face.answers["a.com"] = (301, "x")
        await asyncio.wait_for(prober.probe_until_served([Target(face.address, "a.com")], "v1"), 10)
        assert [request.path for request in face.seen] == ["/healthz"]


async def test_every_try_has_a_connection_of_its_own() -> None:
    async with probing() as (face, prober):
        waiting = asyncio.get_running_loop().create_task(
            prober.probe_until_served([Target(face.address, "a.com")], "v1")
        )
        await eventually(lambda: face.tries("a.com") >= 3)
        face.answers["a.com"] = (200, "v1")
        await asyncio.wait_for(waiting, 10)
        assert len(face.connections) == len(face.seen)


async def test_a_face_that_cuts_connections_is_tried_again() -> None:
    tries = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        await reader.readuntil(b"\r\n\r\n")
        if tries == 3:
            writer.write(b"HTTP/1.1 200 OK\r\nK-Network-Hash: v1\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    prober = Prober()
    try:
        await asyncio.wait_for(prober.probe_until_served([Target(f"{host}:{port}", "a.com")], "v1"), 10)
    finally:
        server.close()
    assert tries == 3


async def test_a_face_that_answers_late_is_asked_with_more_patience() -> None:
    async with probing() as (face, _):
        face.answers["a.com"], face.late_s = (200, "v1"), 0.3
        await asyncio.wait_for(Prober(0.05).probe_until_served([Target(face.address, "a.com")], "v1"), 60)
    assert len(face.seen) > 1


async def test_a_face_that_does_not_listen_proves_nothing() -> None:
    async with probing() as (face, prober):
        face.answers["a.com"] = (200, "v1")
        wanted = [Target("127.0.0.1:1", "a.com"), Target(face.address, "a.com")]
        waiting = asyncio.get_running_loop().create_task(prober.probe_until_served(wanted, "v1"))
        await eventually(lambda: face.tries("a.com") == 1)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_without_hosts_there_is_nothing_to_prove() -> None:
    await asyncio.wait_for(Prober().probe_until_served([], "v1"), 1)
