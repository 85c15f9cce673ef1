"""`broker/tokens.py`: a token is asked for once, kept while it lasts, and never shown to another audience."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.tokens import Tokens
from kube.client import Client
from kube.config import ApiConfig
from kube.errors import Forbidden
from kube.timestamps import format_time
from proxies.logs import Logger
from tests.support.processes import eventually

START_S = 1_700_000_000.0


class Api(Client):
    """Issues `token-1`, `token-2`, ... for an hour each."""

    def __init__(self) -> None:
        super().__init__(ApiConfig(server="http://unused"))
        self.asked: list[tuple[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_refusing = False
        self.now_s = START_S

    async def raw(self, method: str, path: str, *, body: bytes | None = None, **_: Any) -> bytes:
        self.asked.append((path, json.loads(body or b"")))
        await self.gate.wait()
        if self.is_refusing:
            raise Forbidden(403, "Forbidden", "no")
        status = {"token": f"token-{len(self.asked)}", "expirationTimestamp": format_time(self.now_s + 3600)}
        return json.dumps({"status": status}).encode()


class Asking:
    def __init__(self) -> None:
        self.api = Api()
        self.log: list[bytes] = []
        self.tokens = Tokens(self.api, Logger("test", write=self.log.append), unix_s=lambda: self.api.now_s)
        self.lines: list[bytes | None] = []

    async def line(self, audience: str = "a", account: str = "me") -> bytes | None:
        count = len(self.lines)
        self.tokens.line("ns", account, audience, self.lines.append)
        await eventually(lambda: len(self.lines) > count)
        return self.lines[-1]


async def test_a_token_is_asked_for_as_the_api_wants_it() -> None:
    asking = Asking()
    assert await asking.line() == b"Authorization: Bearer token-1"
    ((path, request),) = asking.api.asked
    assert path == "/api/v1/namespaces/ns/serviceaccounts/me/token"
    assert request["spec"] == {"audiences": ["a"], "expirationSeconds": 3600}


async def test_a_token_is_kept_until_five_minutes_before_its_end() -> None:
    asking = Asking()
    await asking.line()
    asking.api.now_s = START_S + 3299
    assert await asking.line() == b"Authorization: Bearer token-1"
    asking.api.now_s = START_S + 3300
    assert await asking.line() == b"Authorization: Bearer token-2"


async def test_each_audience_and_account_has_its_own() -> None:
    asking = Asking()
    assert await asking.line("a") != await asking.line("b")
    assert await asking.line("a", "you") == b"Authorization: Bearer token-3"
    assert await asking.line("a") == b"Authorization: Bearer token-1"


async def test_those_who_want_the_same_share_one_question() -> None:
    asking = Asking()
    asking.api.gate.clear()
    for _ in range(3):
        asking.tokens.line("ns", "me", "a", asking.lines.append)
    asking.api.gate.set()
    await eventually(lambda: len(asking.lines) == 3)
    assert set(asking.lines) == {b"Authorization: Bearer token-1"}
    assert len(asking.api.asked) == 1


async def test_what_cannot_be_had_is_asked_again_after_a_second() -> None:
    asking = Asking()
    asking.api.is_refusing = True
    assert [await asking.line(), await asking.line()] == [None, None]
    assert len(asking.api.asked) == 1
    assert b"token_refused" in asking.log[0]
    asking.api.is_refusing = False
    asking.api.now_s += 1
    assert await asking.line() == b"Authorization: Bearer token-2"


async def test_who_waits_is_told_also_when_our_own_token_cannot_be_read(tmp_path: Path) -> None:
    api = Client(ApiConfig(server="http://127.0.0.1:1", token_file=tmp_path / "gone"))
    lines: list[bytes | None] = []
    Tokens(api, Logger("test", write=lambda line: None)).line("ns", "me", "a", lines.append)
    await eventually(lambda: lines == [None])


async def test_an_account_is_one_part_of_the_path() -> None:
    asking = Asking()
    await asking.line(account="../../other/serviceaccounts/you?x=")
    path = "/api/v1/namespaces/ns/serviceaccounts/..%2F..%2Fother%2Fserviceaccounts%2Fyou%3Fx%3D/token"
    assert asking.api.asked[0][0] == path


async def test_without_an_account_nobody_is_asked() -> None:
    asking = Asking()
    assert await asking.line(account="") is None
    assert asking.api.asked == []


async def test_stop_leaves_nothing_behind() -> None:
    asking = Asking()
    asking.api.gate.clear()
    asking.tokens.line("ns", "me", "a", asking.lines.append)
    await eventually(lambda: asking.api.asked)
    async with asyncio.timeout(5):
        await asking.tokens.stop()
    asking.api.gate.set()
    assert asking.lines == []


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"status":{"token":"x"}}', b'{"status":{"token":1}}'])
async def test_an_answer_that_makes_no_sense(answer: bytes) -> None:
    asking = Asking()

    async def raw(*_: Any, **__: Any) -> bytes:
        return answer

    asking.api.raw = raw  # type: ignore[method-assign] # scripted
    assert await asking.line() is None


async def test_a_clock_that_is_set_back_keeps_no_failure_alive() -> None:
    asking = Asking()
    asking.api.is_refusing = True
    assert await asking.line() is None
    asking.api.is_refusing = False
    asking.api.now_s -= 3600
    assert await asking.line() == b"Authorization: Bearer token-2"
