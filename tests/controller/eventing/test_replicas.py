"""More than one controller, and which of them a process runs."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from controller.app import App as ServingApp
from controller.eventing.app import App
from controller.eventing.config import EventingConfig
from controller.together import make_controllers
from kube.models.eventing import Broker
from proxies.environment import ConfigError
from proxies.logs import Logger
from tests.controller.eventing.cluster import SYSTEM, running
from tests.support.api import running_api_server


async def test_a_second_replica_waits_and_takes_over() -> None:
    async with running() as eventing:
        assert eventing.app is not None
        lines: list[bytes] = []
        config = EventingConfig(api=eventing.controller_api, pod_name="second")
        second = App(config, Logger("eventing-controller", write=lines.append))
        try:
            await second.start()
            await eventing.broker("first")
            assert not [line for line in lines if b"lease_acquired" in line]
            await eventing.app.stop()
            await eventing.create(Broker, "second", {})
            await eventing.until_ready(Broker, "second")
        finally:
            await second.stop()


@pytest.fixture
async def environ(tmp_path: Path) -> Mapping[str, str]:
    """What a controller needs to be made; nothing is asked yet."""
    async with running_api_server() as api:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_bytes(api.kubeconfig.read_bytes())
    return {"KUBECONFIG": str(kubeconfig), "SYSTEM_NAMESPACE": SYSTEM}


async def test_a_process_runs_what_it_is_told(environ: Mapping[str, str]) -> None:
    assert isinstance(make_controllers(environ), ServingApp)
    assert isinstance(make_controllers({**environ, "KNUV_CONTROLLERS": "serving"}), ServingApp)
    assert isinstance(make_controllers({**environ, "KNUV_CONTROLLERS": " eventing "}), App)
    both = make_controllers({**environ, "KNUV_CONTROLLERS": "serving,eventing"})
    assert not isinstance(both, App | ServingApp)
    for text in ("", "all", "serving,gateway"):
        with pytest.raises(ConfigError, match="expected some of serving, eventing"):
            make_controllers({**environ, "KNUV_CONTROLLERS": text})


@pytest.mark.parametrize("step", ["drain", "stop"])
async def test_what_cannot_end_keeps_nobody_beside_it_from_ending(
    environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ended = []

    async def fail(_app: ServingApp) -> None:
        raise LookupError("cannot")

    async def end(_app: App) -> None:
        ended.append(step)

    both = make_controllers({**environ, "KNUV_CONTROLLERS": "serving,eventing"})
    monkeypatch.setattr(ServingApp, step, fail)
    monkeypatch.setattr(App, step, end)
    with pytest.raises(LookupError, match="cannot"):
        await getattr(both, step)()
    assert ended == [step]


def test_eventings_namespace_is_its_own_unless_it_runs_alone(environ: Mapping[str, str]) -> None:
    serving = {**environ, "SYSTEM_NAMESPACE": "knative-serving"}
    assert EventingConfig.from_env(serving).system_namespace == "knative-eventing"
    assert EventingConfig.from_env({**serving, "KNUV_EVENTING_NAMESPACE": "mine"}).system_namespace == "mine"
    alone = EventingConfig.from_env({**environ, "SYSTEM_NAMESPACE": "theirs"}, is_alone=True)
    assert alone.system_namespace == "theirs"
    with pytest.raises(ConfigError, match="SYSTEM_NAMESPACE"):
        EventingConfig.from_env({"KUBECONFIG": environ["KUBECONFIG"]}, is_alone=True)
