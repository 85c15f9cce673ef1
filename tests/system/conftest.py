"""One stack for a module's tests, as a user would start it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kube.client import Client
from kube.config import ApiConfig
from kube.models.core import ConfigMap
from loadtests.scenario import RunningStack
from local_cluster.manifests import Kinds
from local_cluster.system import SYSTEM_NAMESPACE

BIN = Path(sys.executable).parent
EXAMPLE_APP = Path(__file__).parent.parent.parent / "examples" / "hello.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named on the command line; everywhere else the default counts."""
    parser.addoption("--restart-seconds", type=int, default=20, help="how long the autoscaler is restarted")
    parser.addoption("--away-seconds", type=int, default=5, help="how long there is no autoscaler for the activator")
    parser.addoption("--stack-transitions", type=int, default=24, help="changes of pods and modes on the stack")
    parser.addoption("--stack-rate", type=int, default=100, help="requests a second meanwhile")


@dataclass(frozen=True, slots=True)
class Output:
    """What a program printed, and how it ended."""

    code: int
    out: str
    err: str


async def program(
    *command: object, stdin: str | None = None, env: dict[str, str] | None = None, seconds: float = 60
) -> Output:
    """Run a program to its end; killed after `seconds`."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin.encode() if stdin is not None else None), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Output(process.returncode, out.decode(), err.decode())


class System:
    """A running stack and the tools that people use on it."""

    def __init__(self, stack: RunningStack, client: Client, kinds: Kinds) -> None:
        self.stack = stack
        self.client = client
        self.kinds = kinds

    async def knuv(self, *arguments: str) -> Output:
        """The command line of the project."""
        return await program(BIN / "knuv", *arguments, "--state-dir", self.stack.state_dir)

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> Output:
        """The real kubectl, with the stack's kubeconfig."""
        cache = self.stack.state_dir / "kubectl-cache"
        return await program(
            *(BIN / "kubectl", "--kubeconfig", self.stack.kubeconfig, "--cache-dir", cache, *arguments), stdin=stdin
        )


@contextlib.asynccontextmanager
async def running_system(state_dir: Path, *arguments: str, module: str = "local_cluster") -> AsyncIterator[System]:
    """A stack with the shortest windows that validation admits; stopped at the end, whatever happened."""
    stack = RunningStack(state_dir, *arguments, module=module)
    try:
        await stack.start()
        async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig)) as client:
            data = {"stable-window": "6s", "scale-to-zero-grace-period": "1s"}
            await client.patch(ConfigMap, "config-autoscaler", SYSTEM_NAMESPACE, {"data": data})
            yield System(stack, client, await Kinds.discover(client))
    finally:
        await stack.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The module's stack."""
    async with running_system(tmp_path_factory.mktemp("stack")) as running:
        yield running


def service(name: str, *, command: list[str] | None = None, **env: str) -> dict[str, Any]:
    """A Knative Service that runs the example app, or `command`."""
    container = {
        "image": "dev.local/hello",
        "command": command or [sys.executable, str(EXAMPLE_APP)],
        "env": [{"name": key, "value": value} for key, value in env.items()],
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [container], "timeoutSeconds": 10}}},
    }
