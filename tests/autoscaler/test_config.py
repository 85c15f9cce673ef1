"""`autoscaler.config`: the environment, read once, all problems together."""

from pathlib import Path

import pytest

from autoscaler.config import Config
from proxies.environment import ConfigError

KUBECONFIG = """
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    return {
        "KUBECONFIG": str(path),
        "SYSTEM_NAMESPACE": "knative-serving",
        "POD_NAME": "autoscaler-0",
        "POD_IP": "127.9.0.3",
    }


def test_defaults_are_the_originals(environ: dict[str, str]) -> None:
    config = Config.from_env(environ)
    assert (config.stat_port, config.bind_address, config.debug_address) == (8080, None, None)
    assert config.cluster_domain == "cluster.local"
    assert not config.resolves_by_endpoints


def test_the_local_stack_sets_its_addresses(environ: dict[str, str]) -> None:
    config = Config.from_env(
        environ
        | {
            "KNUV_BIND_ADDRESS": "127.9.0.3",
            "KNUV_DEBUG_ADDRESS": "127.9.0.3:8081",
            "KNUV_SERVICE_RESOLUTION": "endpoints",
        }
    )
    assert config.bind_address == "127.9.0.3"
    assert config.debug_address == ("127.9.0.3", 8081)
    assert config.resolves_by_endpoints


def test_everything_that_is_wrong_is_said_at_once() -> None:
    wrong = {"POD_NAME": "", "KNUV_DEBUG_ADDRESS": "0.0.0.0:80", "KNUV_SERVICE_RESOLUTION": "guess"}
    with pytest.raises(ConfigError) as refused:
        Config.from_env(wrong)
    text = "\n".join(refused.value.problems)
    for name in (
        "KUBECONFIG",
        "SYSTEM_NAMESPACE",
        "POD_NAME",
        "POD_IP",
        "KNUV_DEBUG_ADDRESS",
        "KNUV_SERVICE_RESOLUTION",
    ):
        assert name in text
