"""Following a collection: what is handed on, and from where a watch goes on, against a scripted API."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from kube.errors import ApiError, ApiUnreachable, Forbidden, Gone
from proxies.logs import Logger
from sources.watching import Watcher

Step = list[int] | Exception
"""The versions of the changes that one watch brings before it ends, or why it does not begin."""


@dataclass
class ScriptedApi:
    """Lists say version 10, 20, ...; watches follow the script and then hang."""

    steps: list[Step]
    lists: int = 0
    asked: list[str] = field(default_factory=list)
    is_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def raw(self, method: str, path: str, *, params: dict[str, str]) -> bytes:
        assert (method, path, params) == ("GET", "/api/v1/pods", {"limit": "1", "labelSelector": "a=b"})
        self.lists += 1
        return json.dumps({"metadata": {"resourceVersion": str(self.lists * 10)}, "items": [{}]}).encode()

    async def watch_raw(
        self, path: str, *, resource_version: str, label_selector: str
    ) -> AsyncGenerator[tuple[str, msgspec.Raw], None]:
        self.asked.append(resource_version)
        if not self.steps:
            self.is_done.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        for version in step:
            obj = {"metadata": {"name": f"p{version}", "resourceVersion": str(version)}}
            yield "ADDED", msgspec.Raw(json.dumps(obj).encode())


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep
    monkeypatch.setattr("sources.watching.asyncio.sleep", lambda _seconds: sleep(0))


async def followed(*steps: Step, fails_fast: bool = False) -> tuple[ScriptedApi, list[str], list[str]]:
    """The API, what was handed on, and what the log says."""
    api, handed, log = ScriptedApi(list(steps)), list[str](), list[bytes]()

    async def handle(_type: str, obj: dict[str, Any], _whole: bytes) -> None:
        handed.append(obj["metadata"]["name"])

    client: Any = api
    watcher = Watcher(
        client,
        "/api/v1/pods",
        label_selector="a=b",
        handle=handle,
        fails_fast=fails_fast,
        log=Logger("test", write=log.append),
    )
    running = asyncio.ensure_future(watcher.run())
    waiting = asyncio.ensure_future(api.is_done.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    running.cancel()
    await asyncio.wait([running, waiting])
    return api, handed, [json.loads(line)["message"] for line in log]


async def test_a_watch_that_ends_is_resumed_behind_the_last_change() -> None:
    api, handed, log = await followed([11, 12], [], [13])
    assert api.asked == ["10", "12", "12", "13"]
    assert handed == ["p11", "p12", "p13"]
    assert (api.lists, log) == (1, [])


async def test_a_connection_that_breaks_loses_nothing() -> None:
    api, handed, log = await followed([11], ApiUnreachable("reset"), ApiUnreachable("refused"), [12])
    assert api.asked == ["10", "11", "11", "11", "12"]
    assert handed == ["p11", "p12"]
    assert log == ["watch_lost", "watch_regained"]


async def test_a_version_that_is_too_old_means_to_begin_anew_and_says_so() -> None:
    api, _, log = await followed([11], Gone(410, "Expired", "too old"), [21])
    assert api.asked == ["10", "11", "20", "21"]
    assert (api.lists, log) == (2, ["changes_may_be_lost"])


async def test_a_server_that_was_set_back_is_listed_again_in_the_end() -> None:
    refusal = ApiError(504, "Timeout", "Too large resource version")
    api, _, log = await followed([11], *[refusal] * 8, [21])
    assert api.asked[-2:] == ["20", "21"]
    assert log == ["watch_lost", "changes_may_be_lost", "watch_regained"]


async def test_what_fails_fast_ends_with_the_first_end_or_error() -> None:
    with pytest.raises(ApiUnreachable, match="ended"):
        await followed([11], fails_fast=True)
    with pytest.raises(Forbidden):
        await followed(Forbidden(403, "Forbidden", "no"), fails_fast=True)
    with pytest.raises(Gone):
        await followed(Gone(410, "Expired", "too old"), fails_fast=True)


async def test_watches_that_end_at_once_are_begun_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server, or a proxy before it, that answers so is not asked in a circle."""
    sleep, waits = asyncio.sleep, list[float]()

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("sources.watching.asyncio.sleep", wait)
    _, handed, _ = await followed([], [], [], [], [7])
    assert handed == ["p7"]
    assert len(waits) == 4
    assert all(later > earlier for earlier, later in zip(waits, waits[2:], strict=False))
