"""`/debug/state`, and the audit that it tells of."""

import asyncio
import json
from typing import Any

from tests.conformance.activator.world import DEADLINE_S, Message, World, activator, read_message
from tests.support.processes import eventually


async def ask(world: World, path: str = "/debug/state", host: str = "localhost") -> Message:
    port = (await world.logged("debug_listening"))["port"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE_S):
        message = await read_message(reader)
    writer.close()
    return message


async def state(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await ask(world)).body)
    return found


async def test_the_state_of_each_revision_and_audits_that_find_nothing() -> None:
    async with activator(KNUV_DEBUG_ADDRESS="127.0.0.1:0", KNUV_AUDIT_SECONDS="0.05") as world:
        waiting = world.start_get()
        await world.autoscaler.heard_of(1)
        found = await state(world)
        assert found["autoscaler_connected"] is True
        revision = found["revisions"]["ns/rev"]
        assert (revision["waiting"], revision["running"], revision["capacity"]) == (1, 0, 0)
        assert revision["waiting_bytes"] > 0
        pod, deaf = await world.pod(10), await world.pod(11, listens=False)
        pod.gate.clear()
        await world.endpoints(ready=[pod], not_ready=[deaf])
        await pod.until(lambda pod: pod.active == 1, "the request")
        revision = (await state(world))["revisions"]["ns/rev"]
        address = f"{pod.host}:{pod.port}"
        assert (revision["pods"], revision["unsettled"]) == ([address], [f"{deaf.host}:{deaf.port}"])
        assert revision["targets"][address][0] == 1
        runs = found["audit"]["runs"]
        await eventually(lambda: _has_audited(world, runs + 3))
        assert (await state(world))["audit"]["differences"] == 0
        pod.gate.set()
        assert (await waiting).status == 200


async def _has_audited(world: World, runs: int) -> bool:
    found: int = (await state(world))["audit"]["runs"]
    return found >= runs


async def test_only_this_machine_may_ask_and_only_for_what_there_is() -> None:
    async with activator(KNUV_DEBUG_ADDRESS="127.0.0.1:0") as world:
        assert (await ask(world, host="evil.example")).status == 403
        assert (await ask(world, "/")).status == 404
