"""`broker/oidc.py`, the part that fetches keys: who waits for them, how often they are asked for, whom it believes."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from broker.oidc import Verifier
from kube.client import Client
from kube.config import ApiConfig
from proxies.logs import Logger
from tests.broker.issuer import Issuer
from tests.support.http import App, Call, running_app
from tests.support.processes import eventually


@dataclass
class Published:
    """An issuer's web server, and a verifier that was told of it."""

    issuer: Issuer
    app: App
    verifier: Verifier
    log: list[bytes] = field(default_factory=list)
    now_s: float = 0.0

    @property
    def keys_asked(self) -> int:
        return len([call for call in self.app.calls if call.target == "/keys"])

    async def subject(self, token: bytes, audience: str = "a") -> str:
        found: list[str] = []
        self.verifier.verify(token, audience, found.append)
        return (await eventually(lambda: found))[0]


@asynccontextmanager
async def publishing() -> AsyncIterator[Published]:
    issuer = Issuer()

    async def answer(call: Call) -> None:
        if call.target == "/keys":
            await call.respond(200, published.issuer.jwks())
        else:
            content = {"issuer": issuer.url, "jwks_uri": f"http://127.0.0.1:{app.port}/keys"}
            await call.respond(200, json.dumps(content).encode())

    async with running_app(answer) as app:
        log: list[bytes] = []
        client = Client(ApiConfig(server="http://unused"))
        verifier = Verifier(client, Logger("test", write=log.append), unix_s=lambda: time.time() + published.now_s)
        published = Published(issuer, app, verifier, log)
        try:
            yield published
        finally:
            await verifier.stop()


async def test_who_asks_before_the_keys_are_here_waits_for_them() -> None:
    async with publishing() as published:
        published.verifier.discover(f"http://127.0.0.1:{published.app.port}")
        token = published.issuer.token("me", "a")
        assert await asyncio.gather(published.subject(token), published.subject(token, "b")) == ["me", ""]
        assert published.keys_asked == 1


async def test_a_token_that_was_good_is_so_until_it_ends() -> None:
    async with publishing() as published:
        published.verifier.discover(f"http://127.0.0.1:{published.app.port}")
        token = published.issuer.token("me", "a")
        assert await published.subject(token) == "me"
        found: list[str] = []
        published.verifier.verify(token, "a", found.append)
        published.verifier.verify(token, "", found.append)
        published.now_s = 61
        published.verifier.verify(token, "a", found.append)
        assert found == ["me", "", ""]


async def test_unknown_keys_are_asked_for_but_not_all_the_time() -> None:
    async with publishing() as published:
        published.verifier.discover(f"http://127.0.0.1:{published.app.port}")
        await published.subject(published.issuer.token("me", "a"))
        other = published.issuer.token("me", "a", kid="rsa")
        unknown = Issuer().token("me", "a", kid="new", alg="ES256")
        # Just asked: refused at once.
        found: list[str] = []
        published.verifier.verify(unknown, "a", found.append)
        assert found == [""]
        assert published.keys_asked == 1
        published.verifier._asked_s -= 10
        assert await published.subject(unknown) == ""
        assert published.keys_asked == 2
        assert await published.subject(other) == "me"


async def test_another_issuer_means_other_keys() -> None:
    async with publishing() as first, publishing() as second:
        first.verifier.discover(f"http://127.0.0.1:{first.app.port}")
        token = first.issuer.token("me", "a")
        assert await first.subject(token) == "me"
        first.verifier.discover(f"http://127.0.0.1:{second.app.port}/")
        assert await first.subject(second.issuer.token("you", "a")) == "you"
        assert await first.subject(token) == ""


async def test_keys_that_make_no_sense_leave_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async with publishing() as published:
        monkeypatch.setattr(published.issuer, "jwks", lambda: b'{"keys": 5}')
        published.verifier.discover(f"http://127.0.0.1:{published.app.port}")
        token = published.issuer.token("me", "a")
        assert await published.subject(token) == ""
        monkeypatch.undo()
        published.verifier._asked_s -= 10
        assert await published.subject(token) == "me"


async def test_an_answer_that_is_too_large_is_refused() -> None:
    async def answer(call: Call) -> None:
        with contextlib.suppress(ConnectionError):
            await call.respond(200, b"{" + b" " * (1 << 20))

    async with running_app(answer) as app:
        log: list[bytes] = []
        verifier = Verifier(Client(ApiConfig(server="http://unused")), Logger("test", write=log.append))
        verifier.discover(f"http://127.0.0.1:{app.port}")
        await eventually(lambda: any(b"oidc_keys_unavailable" in line and b"1048576" in line for line in log))
        await verifier.stop()


async def test_an_issuer_that_cannot_be_asked_is_believed_nothing() -> None:
    async with publishing() as published:
        port = published.app.port
        published.verifier.discover(f"http://127.0.0.1:{port}/nowhere")
        published.verifier.discover("http://127.0.0.1:1")
        assert await published.subject(published.issuer.token("me", "a")) == ""
        assert any(b"oidc_keys_unavailable" in line for line in published.log)
        # What is too long to be a token is not looked at.
        assert await published.subject(b"x" * 20_000) == ""
