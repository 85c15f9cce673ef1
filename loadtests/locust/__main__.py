"""`python -m loadtests.locust SCENARIO`: a local stack, the services that the scenario needs, and locust against them.

Arguments behind the scenario go to locust as they are (`--rate 200 --run-time 20s`). The exit code is locust's: 0 when
nothing failed, 1 when a request did, 3 when locust itself was the bottleneck.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from kube.client import Client
from kube.config import ApiConfig
from kube.models.core import ConfigMap
from kube.models.eventing import Broker
from kube.models.meta import ObjectMeta
from loadtests.lab.cold_start import NAMESPACE, SHORTENED, at_zero, manifest, ready_host
from loadtests.scenario import RunningStack, until
from local_cluster.manifests import Kinds, apply
from local_cluster.settings import StackInfo
from local_cluster.system import SYSTEM_NAMESPACE

__all__ = ["SCENARIOS", "main"]

_FOLDER: Final = Path(__file__).parent
_REPORTS: Final = Path("report")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a scenario needs, and what locust is told."""

    file: str
    arguments: tuple[str, ...]
    services: int = 1
    command: tuple[str, ...] = ()
    """Of the app; empty: examples/hello.py."""
    port_name: str = ""
    starts_at_zero: bool = True
    rolls_out: bool = False
    has_broker: bool = False
    settings: dict[str, str] = field(default_factory=lambda: dict(SHORTENED))


_APP: Final = (sys.executable, "-m", "loadtests.locust.app")
_GRPC_APP: Final = ("sh", "-c", f"exec {sys.executable} -m loadtests.lab.soak_queue_proxy_h2.app $PORT")

SCENARIOS: Final[dict[str, Scenario]] = {
    "cold-start": Scenario(file="cold_start.py", services=8, arguments=("--run-time", "120s")),
    "storm": Scenario(file="cold_start.py", services=25, arguments=("--storm", "--run-time", "120s")),
    "burst": Scenario(file="burst.py", arguments=("--users", "300", "--run-time", "30s", "--path", "/?sleep=100")),
    "ramp": Scenario(file="ramp.py", arguments=("--rate", "100", "--run-time", "60s")),
    "steady": Scenario(
        file="steady.py",
        arguments=("--rate", "50", "--run-time", "30s"),
        starts_at_zero=False,
        rolls_out=True,
    ),
    "trickle": Scenario(file="trickle.py", arguments=("--rate", "50", "--run-time", "60s")),
    "grpc": Scenario(
        file="grpc_calls.py",
        arguments=("--users", "5", "--run-time", "20s"),
        command=_GRPC_APP,
        port_name="h2c",
    ),
    "websocket": Scenario(
        file="websocket.py", arguments=("--users", "10", "--run-time", "20s", "--path", "/echo"), command=_APP
    ),
    "sse": Scenario(file="sse.py", arguments=("--users", "20", "--run-time", "20s", "--path", "/events"), command=_APP),
    "events": Scenario(
        file="cloud_events.py",
        arguments=("--rate", "50", "--run-time", "20s", "--path", f"/{NAMESPACE}/default"),
        services=0,
        has_broker=True,
    ),
}


def main(arguments: list[str]) -> int:
    """Command line; locust's exit code, or 2 when the stack does not come up."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.locust", description="Run one load test on a local stack.", epilog=_shown()
    )
    parser.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    options, more = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory(prefix="knuv-load-") as folder:
        try:
            code: int = uvloop.run(_run(options.scenario, more, Path(folder)))
            return code
        except TimeoutError as error:
            print(f"loadtest: {error}", file=sys.stderr)
            return 2


async def _run(name: str, more: list[str], folder: Path) -> int:
    scenario = SCENARIOS[name]
    stack = RunningStack(folder / "stack")
    try:
        await stack.start(60)
        async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig), user_agent="knuv-load") as client:
            await client.patch(ConfigMap, "config-autoscaler", SYSTEM_NAMESPACE, {"data": scenario.settings})
            hosts = await _prepared(client, scenario)
            if scenario.has_broker:
                hosts = [await _broker_host(client, stack)]
            words = [sys.executable, "-m", "locust", "-f", str(_FOLDER / scenario.file), "--headless", "--only-summary"]
            words += ["--host", f"http://127.0.0.1:{stack.http_port}", *(f"--virtual-host={host}" for host in hosts)]
            _REPORTS.mkdir(exist_ok=True)
            words += ["--html", str(_REPORTS / f"{name}.html"), "--csv", str(_REPORTS / name)]
            if scenario.rolls_out:
                words += ["--rollout-command", _rollout(stack)]
            process = await asyncio.create_subprocess_exec(*words, *scenario.arguments, *more)
            code: int = await process.wait()
            print(f"report: {_REPORTS / name}.html")
            return code
    finally:
        await stack.stop()


async def _prepared(client: Client, scenario: Scenario) -> list[str]:
    """Apply the services and return their host names, when they are as the scenario wants them."""
    kinds = await Kinds.discover(client)
    names = [f"load-{number}" for number in range(scenario.services)]
    for name in names:
        await apply(client, kinds, _service(name, scenario), NAMESPACE)
    hosts = [(await ready_host(client, name))[0] for name in names]
    for name in names if scenario.starts_at_zero else ():
        await until(lambda name=name: at_zero(client, name), 120, f"{name} to be at zero", every_s=0.1)  # type: ignore[misc]
    return hosts


def _service(name: str, scenario: Scenario) -> dict[str, Any]:
    service = manifest(name)
    template = service["spec"]["template"]
    container = template["spec"]["containers"][0]
    if scenario.command:
        container["command"] = list(scenario.command)
    if scenario.port_name:
        container["ports"] = [{"name": scenario.port_name, "containerPort": 8080}]
    return service


async def _broker_host(client: Client, stack: RunningStack) -> str:
    """Make a Broker and return the host name at which the gateway takes events for it."""
    await client.create(Broker(metadata=ObjectMeta(name="default", namespace=NAMESPACE)))

    async def is_ready() -> bool | None:
        broker = await client.get(Broker, "default", NAMESPACE)
        return True if any(c.type == "Ready" and c.status == "True" for c in broker.status.conditions) else None

    await until(is_ready, 60, "the Broker to be ready", every_s=0.1)
    info = StackInfo.load(stack.state_dir)
    assert info is not None
    return info.brokers_host


def _rollout(stack: RunningStack) -> str:
    patch = '{"spec":{"template":{"metadata":{"annotations":{"example.com/version":"2"}}}}}'
    return (
        f"{Path(sys.executable).with_name('kubectl')} --kubeconfig {stack.kubeconfig} -n {NAMESPACE}"
        f" patch ksvc load-0 --type merge -p '{patch}'"
    )


def _shown() -> str:
    return "Behind the scenario: any of locust's options. Reports go to the folder report/."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
