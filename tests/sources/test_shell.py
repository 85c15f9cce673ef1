"""What the process of every adapter has around it: probes, tokens, metrics."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from eventing.event import Event
from kube.client import Client
from kube.models.core import Event as KubernetesEvent
from kube.models.meta import ObjectMeta
from kube.models.sources import PingSource
from kube.timestamps import format_time
from proxies.environment import ConfigError, Environment
from proxies.logs import Logger
from sources.app import Shell
from sources.config import AdapterConfig
from sources.tokens import TokenError, Tokens
from tests.sources.support import running_sink, target
from tests.support.api import running_api_server
from tests.support.processes import eventually


class TokenApi:
    """Makes tokens that say for whom, and for how long."""

    def __init__(self, lifetime_s: float = 3600) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.lifetime_s = lifetime_s
        self.gates: dict[str, asyncio.Event] = {}
        """Of accounts whose questions wait."""

    async def raw(self, method: str, path: str, *, body: bytes) -> bytes:
        assert method == "POST"
        spec = json.loads(body)["spec"]
        self.asked.append((path, spec))
        token = f"token-{len(self.asked)}"
        if gate := self.gates.get(path.split("/")[-2]):
            await gate.wait()
        expires = format_time(1000 + self.lifetime_s)
        return json.dumps({"status": {"token": token, "expirationTimestamp": expires}}).encode()


async def test_a_token_is_asked_for_once_and_renewed_before_it_runs_out() -> None:
    api, now = TokenApi(), [1000.0]
    client: Any = api
    tokens = Tokens(client, lambda: now[0])
    assert await asyncio.gather(*(tokens.get("ns", "me", "aud") for _ in range(3))) == ["token-1"] * 3
    assert api.asked == [
        ("/api/v1/namespaces/ns/serviceaccounts/me/token", {"audiences": ["aud"], "expirationSeconds": 3600})
    ]
    now[0] += 3600 - 301
    assert await tokens.get("ns", "me", "aud") == "token-1"
    now[0] += 2
    assert await tokens.get("ns", "me", "aud") == "token-2"
    assert await tokens.get("ns", "me", "other") == "token-3"


async def test_a_question_that_hangs_holds_up_nobody_elses_and_outlives_who_asked_first() -> None:
    api = TokenApi()
    api.gates["slow"] = asyncio.Event()
    client: Any = api
    tokens = Tokens(client, lambda: 1000.0)
    waiting = [asyncio.create_task(tokens.get("ns", "slow", "aud")) for _ in range(3)]
    await eventually(lambda: len(api.asked) == 1)
    async with asyncio.timeout(30):
        assert await tokens.get("ns", "me", "aud") == "token-2"
    waiting[0].cancel()
    api.gates["slow"].set()
    assert await asyncio.gather(*waiting[1:]) == ["token-1"] * 2
    assert len(api.asked) == 2


async def test_the_name_of_an_account_leads_nowhere_else() -> None:
    """Whoever may write the status of a source chooses it."""
    api = TokenApi()
    client: Any = api
    await Tokens(client, lambda: 1000.0).get("ns", "../../kube-system/serviceaccounts/admin", "aud")
    ((path, _),) = api.asked
    assert path == ("/api/v1/namespaces/ns/serviceaccounts/..%2F..%2Fkube-system%2Fserviceaccounts%2Fadmin/token")


async def test_without_a_service_account_the_reason_is_told() -> None:
    async with running_api_server() as api, Client(api.config) as client:
        with pytest.raises(TokenError, match=r"no token of service account ns/none for aud: .*none"):
            await Tokens(client, time.time).get("ns", "none", "aud")


async def test_a_source_is_ready_when_it_says_so_and_healthy_from_the_start() -> None:
    async with running_api_server() as api:
        environ = {
            "KUBECONFIG": str(api.kubeconfig),
            "KNUV_BIND_ADDRESS": "127.0.0.1",
            "KNUV_HEALTH_PORT": "0",
        }
        reading = Environment(environ)
        shell = Shell(AdapterConfig.read(reading, environ), "test", Logger("test", write=lambda _line: None))
        reading.finish()
        try:
            await shell.start()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{shell.port}") as session:

                async def status(path: str) -> int:
                    async with session.get(path) as response:
                        return response.status

                assert (await status("/health"), await status("/readiness")) == (200, 503)
                shell.ready()
                assert await status("/readiness") == 200
                await shell.drain()
                assert (await status("/health"), await status("/readiness")) == (200, 503)
        finally:
            await shell.stop()


async def test_losses_are_events_of_the_source_when_that_is_asked_for() -> None:
    async with running_api_server() as api, Client(api.config) as client, running_sink(400) as sink:
        for is_on in (False, True):
            environ = {
                "KUBECONFIG": str(api.kubeconfig),
                "KNUV_BIND_ADDRESS": "127.0.0.1",
                "KNUV_HEALTH_PORT": "0",
                "K_OBSERVABILITY_CONFIG": json.dumps({"sink-event-error-reporting.enable": str(is_on).lower()}),
            }
            config = AdapterConfig.read(Environment(environ), environ)
            shell = Shell(config, "test", Logger("test", write=lambda _line: None))
            try:
                await shell.start()
                about = PingSource(metadata=ObjectMeta(name="orders", namespace="default"))
                lost = Event({"type": "t", "source": "/s"}, None)
                await shell.adapter.deliver(target(f"{sink.url}?token=secret", about=about), lost)

                async def events() -> list[KubernetesEvent]:
                    return (await client.list(KubernetesEvent, "default")).items

                if is_on:
                    (event,) = await eventually(events)
                    assert (event.type, event.reason) == ("Warning", "SinkSendFailed")
                    assert event.involved_object.name == "orders"
                    assert event.message == f"{sink.url}: status 400 after 1 attempt"
            finally:
                await shell.stop()
            if not is_on:
                assert (await client.list(KubernetesEvent, "default")).items == []


@pytest.mark.parametrize("setting", ["metrics-protocol", "tracing-protocol"])
async def test_what_cannot_be_told_is_a_problem_of_the_configuration(setting: str) -> None:
    async with running_api_server() as api:
        environ = {"KUBECONFIG": str(api.kubeconfig), "K_OBSERVABILITY_CONFIG": json.dumps({setting: "smoke"})}
        shell = Shell(AdapterConfig.read(Environment(environ), environ), "test")
        try:
            with pytest.raises(ConfigError, match="smoke"):
                await shell.start()
        finally:
            await shell.stop()


async def test_events_begin_traces_when_that_is_asked_for() -> None:
    data = {"tracing-protocol": "stdout", "tracing-sampling-rate": "1"}
    async with running_api_server() as api, running_sink() as sink:
        environ = {
            "KUBECONFIG": str(api.kubeconfig),
            "KNUV_BIND_ADDRESS": "127.0.0.1",
            "KNUV_HEALTH_PORT": "0",
            "K_OBSERVABILITY_CONFIG": json.dumps(data),
        }
        config = AdapterConfig.read(Environment(environ), environ)
        shell = Shell(config, "test", Logger("test", write=lambda _line: None))
        try:
            await shell.start()
            await shell.adapter.deliver(target(sink.url), Event({"type": "t", "source": "/s"}, None))
        finally:
            await shell.stop()
    assert sink.got[0].headers["traceparent"].endswith("-01")
