"""`autoscaler.config`: the environment, read once, all problems together."""

from pathlib import Path

import pytest

from autoscaler.buckets import StatefulSet
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
    assert not config.strict_compat
    assert (config.election_config_map, config.stateful_set) == ("config-leader-election", None)


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


def test_the_originals_view_of_missing_samples_is_a_choice(environ: dict[str, str]) -> None:
    assert Config.from_env(environ | {"KNUV_STRICT_COMPAT": "1"}).strict_compat
    with pytest.raises(ConfigError, match="KNUV_STRICT_COMPAT='yes'"):
        Config.from_env(environ | {"KNUV_STRICT_COMPAT": "yes"})


def test_a_stateful_set_gives_each_replica_its_place(environ: dict[str, str]) -> None:
    place = {"STATEFUL_CONTROLLER_ORDINAL": "as-two-42", "STATEFUL_SERVICE_NAME": "autoscaler"}
    config = Config.from_env(environ | place | {"CONFIG_LEADERELECTION_NAME": "election"})
    assert config.stateful_set == StatefulSet(name="as-two", ordinal=42, service="autoscaler", port=80, protocol="http")
    assert config.election_config_map == "election"
    more = {"STATEFUL_SERVICE_PORT": "8080", "STATEFUL_SERVICE_PROTOCOL": "ws"}
    config = Config.from_env(environ | place | more)
    assert config.stateful_set is not None
    assert (config.stateful_set.port, config.stateful_set.protocol) == (8080, "ws")
    assert Config.from_env(environ | {"STATEFUL_CONTROLLER_ORDINAL": "as-1"}).stateful_set is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("STATEFUL_CONTROLLER_ORDINAL", "as"),
        ("STATEFUL_CONTROLLER_ORDINAL", "as-x"),
        ("STATEFUL_SERVICE_PORT", "http"),
        ("STATEFUL_SERVICE_PROTOCOL", "ftp"),
        ("POD_IP", "autoscaler-0"),
    ],
)
def test_what_replicas_could_not_use_is_refused(environ: dict[str, str], name: str, text: str) -> None:
    place = {"STATEFUL_CONTROLLER_ORDINAL": "as-1", "STATEFUL_SERVICE_NAME": "autoscaler"}
    with pytest.raises(ConfigError) as refused:
        Config.from_env(environ | place | {name: text})
    (problem,) = refused.value.problems
    assert problem.startswith(f"{name}={text!r}: expected ")


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
