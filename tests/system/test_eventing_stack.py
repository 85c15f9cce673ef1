"""Eventing in the stack: it costs nothing until somebody uses it, and takes events in from outside."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from kube.client import Client
from kube.config import ApiConfig
from kube.errors import ApiError
from kube.models.core import Pod
from kube.models.eventing import Broker, Trigger
from kube.models.messaging import InMemoryChannel
from loadtests.scenario import until
from local_cluster.originals import EVENTING_NAMESPACE
from tests.system.conftest import System, running_system

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("stack-eventing-life")]

HOST = "broker-ingress.knative-eventing.127.0.0.1.sslip.io"
HEADERS = {"Ce-Specversion": "1.0", "Ce-Type": "greeting", "Ce-Source": "/me", "Content-Type": "text/plain"}


@contextlib.asynccontextmanager
async def sink() -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """A subscriber in this process: its URL, and the headers of what it got."""
    got: list[dict[str, str]] = []

    async def take(request: web.Request) -> web.Response:
        got.append({name.lower(): text for name, text in request.headers.items()})
        return web.Response()

    app = web.Application()
    app.router.add_post("/{rest:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", got
    finally:
        await runner.cleanup()


async def manifest(system: System, kind: str, name: str, spec: dict[str, object]) -> None:
    """Apply an object as people do."""
    body = {"apiVersion": "eventing.knative.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    printed = await system.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    assert printed.code == 0, printed.err


async def send(system: System, event_id: str) -> int:
    """Send an event from outside, through the gateway; the answer's status."""
    url = f"http://127.0.0.1:{system.stack.http_port}/default/default"
    async with aiohttp.ClientSession() as session:
        headers = {**HEADERS, "Host": HOST, "Ce-Id": event_id}
        async with session.post(url, data=b"hello", headers=headers) as answer:
            return answer.status


async def components(system: System) -> list[str]:
    """The pods of eventing, by their labels."""
    pods = (await system.client.list(Pod, EVENTING_NAMESPACE)).items
    return sorted(pod.metadata.labels["app"] for pod in pods)


@pytest.mark.parametrize(
    ("channels", "dispatchers"),
    [("journal", ["imc-dispatcher"]), ("memory", ["imc-dispatcher"])],
)
async def test_the_pods_come_with_the_first_object_and_events_go_all_the_way(
    tmp_path: Path, channels: str, dispatchers: list[str]
) -> None:
    async with running_system(tmp_path, "--eventing", channels) as system, sink() as (url, got):
        assert await components(system) == []
        await manifest(system, "Broker", "default", {})
        trigger = {"broker": "default", "filters": [{"exact": {"type": "greeting"}}], "subscriber": {"uri": f"{url}/x"}}
        await manifest(system, "Trigger", "mine", trigger)

        async def is_ready() -> bool | None:
            return (await system.client.get(Trigger, "mine", "default")).status.is_ready() or None

        await until(is_ready, 90, "the Trigger to be ready")
        assert await components(system) == sorted(
            ["broker-filter", "broker-ingress", "eventing-controller", *dispatchers]
        )

        async def is_taken() -> bool | None:
            return await send(system, "first") == 202 or None

        await until(is_taken, 90, "the gateway to lead to the ingress")
        assert await send(system, "second") == 202

        async def has_both() -> bool | None:
            return {"first", "second"} <= {headers["ce-id"] for headers in got} or None

        await until(has_both, 90, "both events at the subscriber")
        assert got[0]["kn-namespace"] == "default"
        printed = await system.knuv("get", "brokers")
        assert "http://broker-ingress.knative-eventing.svc.cluster.local/default/default" in printed.out
        assert f"http://{HOST}:{system.stack.http_port}/NAMESPACE/BROKER" in printed.err
        await _refuses_others(system)


async def _refuses_others(system: System) -> None:
    """What a program of another service account would do to channels is refused, whatever else it may do."""
    entry = {"spec": {"subscribers": [{"uid": "u", "subscriberUri": "http://127.0.0.1:1"}]}}
    printed = await system.knuv("kubeconfig", "--as", f"{EVENTING_NAMESPACE}/imc-dispatcher")
    path = system.stack.state_dir / "imc-dispatcher.kubeconfig"
    path.write_text(printed.out)
    async with Client(ApiConfig.from_kubeconfig(path)) as client:
        with pytest.raises(ApiError, match="eventing-controller service account"):
            await client.patch(InMemoryChannel, "default-kne-trigger", "default", entry)


async def test_without_eventing_nothing_comes_up(tmp_path: Path) -> None:
    async with running_system(tmp_path, "--eventing", "none") as system:
        await manifest(system, "Broker", "default", {})
        await asyncio.sleep(0)
        assert await components(system) == []
        assert (await system.client.get(Broker, "default", "default")).status.conditions == []
        printed = await system.knuv("get", "brokers")
        assert "from outside" not in printed.err
