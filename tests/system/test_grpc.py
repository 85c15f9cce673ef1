"""A gRPC Service on a whole local stack: through Envoy, activator and queue-proxy, from zero pods and back."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from kube.models.networking import ServerlessService
from local_cluster.manifests import apply
from tests.interop.calls import CALL_S, Echo, failure
from tests.interop.grpc_app import UNLIMITED, numbered
from tests.system.conftest import System, service
from tests.system.test_serving import NAMESPACE, at_zero, host, ready

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("stack-grpc")]
APP = Path(__file__).parent.parent / "interop" / "grpc_app.py"
LARGE = bytes(range(256)) * (10 * 1024 * 1024 // 256)


def grpc_service(name: str, **annotations: str) -> dict[str, Any]:
    """A Service whose only port is one of h2c."""
    command = f"exec {sys.executable} {APP} 0.0.0.0:$PORT"
    made: dict[str, Any] = service(name, command=["/bin/sh", "-c", command])
    made["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"name": "h2c", "containerPort": 8080}]
    made["spec"]["template"]["metadata"] = {
        "annotations": {f"autoscaling.knative.dev/{key}": text for key, text in annotations.items()}
    }
    return made


@asynccontextmanager
async def calling(system: System, authority: str) -> AsyncIterator[Echo]:
    """A channel to the gateway."""
    options = (*UNLIMITED, ("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{system.stack.http_port}", options=options) as channel:
        yield Echo(channel)


async def test_calls_of_every_kind_reach_a_pod_and_wake_one_from_zero(system: System) -> None:
    await apply(system.client, system.kinds, grpc_service("talker"), NAMESPACE)
    found = await ready(system, "talker")
    messages = [numbered(number, 1000) for number in range(50)]
    async with calling(system, host(found)) as echo:
        assert await echo.unary(LARGE, timeout=CALL_S) == LARGE
        assert [message async for message in echo.chat(iter(messages), timeout=CALL_S)] == messages
        assert await failure(echo.fail(b"5 no such thing", timeout=CALL_S)) == ("NOT_FOUND", "no such thing")

        await at_zero(system, "talker")
        # The first ones wait in the activator; none may fail, whatever its kind.
        answers = await asyncio.gather(
            *(echo.unary(message, timeout=CALL_S) for message in messages),
            echo.gather(iter(messages), timeout=CALL_S),
        )
        assert answers[:-1] == messages
        assert answers[-1].startswith(b"50 ")


async def test_a_stream_that_was_opened_through_the_activator_goes_on_when_it_steps_aside(system: System) -> None:
    await apply(system.client, system.kinds, grpc_service("streamer", **{"target-burst-capacity": "0"}), NAMESPACE)
    found = await ready(system, "streamer")
    await at_zero(system, "streamer")

    async def mode() -> str:
        return (await system.client.get(ServerlessService, "streamer-00001", NAMESPACE)).spec.mode

    assert await mode() == "Proxy"
    async with calling(system, host(found)) as echo, asyncio.timeout(CALL_S):
        call = echo.chat(timeout=CALL_S)
        number = left = 0
        while left < 50:
            left += await mode() == "Serve"
            await call.write(numbered(number, 100))
            assert await call.read() == numbered(number, 100)
            number += 1
        # Calls that begin now go past it, the stream goes on.
        assert await echo.unary(b"hello", timeout=CALL_S) == b"hello"
        await call.done_writing()
        assert await failure(call) == ("OK", "")
