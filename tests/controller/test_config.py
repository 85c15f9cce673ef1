"""What a controller is told at start, and what it says when that is wrong."""

import asyncio
import sys
from pathlib import Path

import pytest

from controller.config import Config
from proxies.environment import ConfigError
from tests.support.api import running_api_server

KUBECONFIG = """
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


def test_the_environment_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    config = Config.from_env({"KUBECONFIG": str(path), "SYSTEM_NAMESPACE": "kn", "CLUSTER_DOMAIN": "c.test"})
    assert (config.api.server, config.system_namespace, config.cluster_domain) == (
        "https://127.0.0.1:1",
        "kn",
        "c.test",
    )


def test_everything_that_is_wrong_is_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env({"KUBECONFIG": "/does/not/exist"})
    assert len(caught.value.problems) == 2
    assert "SYSTEM_NAMESPACE" in str(caught.value)


async def run(environ: dict[str, str]) -> tuple[int | None, str]:
    """The program with this environment: its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controller"), env=environ, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


async def test_a_bad_environment_ends_the_program() -> None:
    code, said = await run({})
    assert code == 1
    assert "controller: required key SYSTEM_NAMESPACE missing value" in said


async def test_config_maps_that_cannot_be_used_end_the_program() -> None:
    async with running_api_server() as api:
        code, said = await run({"KUBECONFIG": str(api.kubeconfig), "SYSTEM_NAMESPACE": "knative-serving"})
    assert code == 1
    assert "controller: ConfigMaps: queue sidecar image cannot be empty or unset" in said
