"""Statements 48 to 51: events on their way through Sequences and Parallels, with the real dispatcher behind them."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kube.models.core import Endpoints
from kube.models.flows import Parallel, Sequence
from tests.conformance.eventing_broker.world import EVENT, SYSTEM, Process
from tests.controller.eventing.cluster import Eventing, running
from tests.support.http import App, Call, fetch, running_app
from tests.support.loopback import loopback_subnet

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLIED = ["ce-specversion: 1.0", "ce-source: /step", "ce-type: stepped", "Content-Type: text/plain"]


class Flows:
    """Flows that run, and an app that plays all their parts.

    `/append/x` answers with the event's text and an x at its end, `/echo` with the event as it is, all else with
    nothing.
    """

    def __init__(self, api: Eventing, dispatcher: str, app: App, got: dict[str, list[str]]) -> None:
        self.api = api
        self._dispatcher = dispatcher
        self._app = app
        self.got = got
        """What each path of the app was sent."""

    def to(self, path: str) -> dict[str, str]:
        """A destination of the app."""
        return {"uri": f"http://127.0.0.1:{self._app.port}{path}"}

    async def send(self, kind: type[Sequence] | type[Parallel], name: str, spec: dict[str, Any], text: str) -> None:
        """Make a flow, and send it an event when it is ready. Channels in memory answer when all has been delivered."""
        await self.api.create(kind, name, spec)
        flow = await self.api.until_ready(kind, name)
        assert flow.status.address is not None
        host = flow.status.address.url.removeprefix("http://")
        headers = [*EVENT, "Content-Type: text/plain", f"Host: {host}"]
        answer = await fetch(self._dispatcher, 8080, "/", method="POST", headers=headers, body=text.encode())
        assert answer.status == 202, answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def flows() -> AsyncIterator[Flows]:
    got: dict[str, list[str]] = {}

    async def play(call: Call) -> None:
        body, _ = await call.body()
        got.setdefault(call.target, []).append(body.decode())
        if call.target == "/echo":
            lines = [f"{name}: {value}" for name, value in call.fields if name.lower().startswith(("ce-", "content-t"))]
            await call.respond(200, body, *lines)
        elif call.target.startswith("/append/"):
            await call.respond(200, body + call.target[-1].encode(), *REPLIED, f"ce-id: {call.target[-1]}")
        else:
            await call.respond(202)

    with loopback_subnet() as subnet:
        host = f"{subnet}.2"
        async with running() as api, running_app(play) as app:
            # The real dispatcher tells of its subscribers itself.
            api.dispatchers.silent.add("default")
            subsets = [{"addresses": [{"ip": host}], "ports": [{"name": "http", "port": 8080}]}]
            await api.client.patch(Endpoints, "imc-dispatcher", SYSTEM, {"subsets": subsets})
            environ = {
                "PATH": os.defpath,
                "KUBECONFIG": str(api.kubeconfig),
                "SYSTEM_NAMESPACE": SYSTEM,
                "POD_NAME": "imc-dispatcher-1",
                "CONTAINER_NAME": "dispatcher",
                "MAX_IDLE_CONNS": "1000",
                "MAX_IDLE_CONNS_PER_HOST": "1000",
                "KNUV_BIND_ADDRESS": host,
                "KNUV_DRAIN_SECONDS": "0",
                "KNUV_SERVICE_RESOLUTION": "endpoints",
            }
            dispatcher = Process("dispatcher", host, environ)
            try:
                await dispatcher.start()
                yield Flows(api, host, app, got)
            finally:
                await dispatcher.stop()


async def test_48_a_sequence_changes_an_event_step_by_step(flows: Flows) -> None:
    steps = [flows.to("/append/a"), flows.to("/append/b")]
    await flows.send(Sequence, "steps", {"steps": steps, "reply": flows.to("/reply/48")}, "x")
    assert flows.got["/reply/48"] == ["xab"]


async def test_49_a_step_that_answers_with_nothing_ends_the_sequence(flows: Flows) -> None:
    steps = [flows.to("/append/c"), flows.to("/silent/49"), flows.to("/never/49")]
    await flows.send(Sequence, "ends", {"steps": steps, "reply": flows.to("/reply/49")}, "x")
    assert flows.got["/silent/49"] == ["xc"]
    assert not {"/never/49", "/reply/49"} & flows.got.keys()


async def test_50_branches_run_when_their_filter_answers_or_when_they_have_none(flows: Flows) -> None:
    branches = [
        {"filter": flows.to("/echo"), "subscriber": flows.to("/passed/50")},
        {"filter": flows.to("/silent/50"), "subscriber": flows.to("/stopped/50")},
        {"subscriber": flows.to("/open/50")},
    ]
    await flows.send(Parallel, "branches", {"branches": branches}, "y")
    assert (flows.got["/passed/50"], flows.got["/open/50"]) == (["y"], ["y"])
    assert "/stopped/50" not in flows.got


async def test_51_a_branchs_reply_goes_before_the_parallels(flows: Flows) -> None:
    branches = [
        {"subscriber": flows.to("/append/d"), "reply": flows.to("/reply/own")},
        {"subscriber": flows.to("/append/e")},
    ]
    await flows.send(Parallel, "replies", {"branches": branches, "reply": flows.to("/reply/all")}, "z")
    assert (flows.got["/reply/own"], flows.got["/reply/all"]) == (["zd"], ["ze"])
