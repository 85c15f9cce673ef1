"""The environment and `config-network`."""

from pathlib import Path

import pytest

from activator.config import Config
from activator.network_config import NetworkConfig
from activator.pod_states import MeshMode
from proxies.environment import ConfigError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "kubeconfig"
    path.write_text(
        "current-context: c\n"
        "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
        "clusters: [{name: k, cluster: {server: 'https://10.0.0.1'}}]\n"
        "users: [{name: u, user: {token: t}}]\n"
    )
    return {"KUBECONFIG": str(path), "SYSTEM_NAMESPACE": "knative-serving", "POD_NAME": "a", "POD_IP": "10.0.0.2"}


def test_defaults_are_those_of_the_original(environ: dict[str, str]) -> None:
    config = Config.from_env(environ)
    assert (config.probe_timeout_s, config.probe_frequency_s) == (0.3, 0.2)
    assert (config.idle_connections_max, config.idle_connections_per_pod_max) == (1000, 100)
    assert (config.drain_s, config.is_strict) == (45.0, False)
    assert (config.held_requests_max, config.held_bytes_max) == (10_000, 64 * 1024 * 1024)
    assert (config.debug_address, config.audit_s, config.wake_s, config.check_s) == (None, 30.0, 2.0, 10.0)
    assert (config.cluster_domain, config.bind_address, config.resolves_by_endpoints) == ("cluster.local", None, False)


def test_everything_can_be_set(environ: dict[str, str]) -> None:
    config = Config.from_env(
        environ
        | {
            "PROBE_TIMEOUT": "1s",
            "PROBE_FREQUENCY": "50ms",
            "MAX_IDLE_PROXY_CONNS": "0x10",
            "KNUV_DRAIN_SECONDS": "0.5",
            "KNUV_HELD_REQUESTS_MAX": "0",
            "KNUV_HELD_BYTES_MAX": "4096",
            "KNUV_SERVICE_RESOLUTION": "endpoints",
            "KNUV_BIND_ADDRESS": "127.0.0.9",
            "KNUV_STRICT_COMPAT": "1",
            "KNUV_DEBUG_ADDRESS": "[::1]:8099",
            "KNUV_AUDIT_SECONDS": "5",
            "KNUV_WAKE_SECONDS": "0",
            "KNUV_POD_CHECK_SECONDS": "2.5",
        }
    )
    assert (config.probe_timeout_s, config.probe_frequency_s, config.idle_connections_max) == (1.0, 0.05, 16)
    assert (config.drain_s, config.is_strict) == (0.5, True)
    assert (config.held_requests_max, config.held_bytes_max) == (0, 4096)
    assert (config.debug_address, config.audit_s, config.wake_s, config.check_s) == (("::1", 8099), 5.0, 0.0, 2.5)
    assert (config.resolves_by_endpoints, config.bind_address) == (True, "127.0.0.9")


def test_all_problems_are_reported_together() -> None:
    wrong = {
        "POD_NAME": "",
        "PROBE_TIMEOUT": "300",
        "PROBE_FREQUENCY": "0s",
        "MAX_IDLE_PROXY_CONNS": "-1",
        "KNUV_DRAIN_SECONDS": "nan",
        "KNUV_SERVICE_RESOLUTION": "magic",
    }
    with pytest.raises(ConfigError) as refused:
        Config.from_env(wrong)
    text = str(refused.value)
    for name in (*wrong, "POD_IP", "SYSTEM_NAMESPACE", "KUBECONFIG"):
        assert name in text


@pytest.mark.parametrize(
    ("data", "mesh_mode", "passthrough"),
    [
        ({}, MeshMode.AUTO, False),
        ({"mesh-compatibility-mode": "Disabled"}, MeshMode.DISABLED, False),
        ({"mesh-compatibility-mode": "nonsense", "enable-mesh-pod-addressability": "True"}, MeshMode.AUTO, True),
        ({"system-internal-tls": "Disabled"}, MeshMode.AUTO, False),
    ],
)
def test_mesh_settings(data: dict[str, str], mesh_mode: MeshMode, passthrough: bool) -> None:
    assert NetworkConfig.from_data(data) == NetworkConfig(mesh_mode=mesh_mode, passthrough=passthrough)


@pytest.mark.parametrize(
    ("data", "is_on"),
    [
        ({}, False),
        ({"system-internal-tls": "Enabled"}, True),
        ({"internal-encryption": "true"}, True),
        ({"internal-encryption": "true", "system-internal-tls": "disabled"}, True),
    ],
)
def test_tls_is_on_by_the_new_key_or_the_old_one(data: dict[str, str], is_on: bool) -> None:
    assert NetworkConfig.from_data(data).internal_tls is is_on


def test_tls_that_is_neither_on_nor_off_is_refused() -> None:
    with pytest.raises(ConfigError, match="system-internal-tls='always'"):
        NetworkConfig.from_data({"system-internal-tls": "always"})
