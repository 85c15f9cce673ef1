"""The gateway's environment."""

from pathlib import Path

import pytest

from gateway.config import Config
from kube.addresses import Address
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
    return {"KUBECONFIG": str(path), "SYSTEM_NAMESPACE": "knative-serving"}


def test_faces_are_kouriers_ports_and_probed_on_the_same_machine(environ: dict[str, str]) -> None:
    config = Config.from_env(environ)
    assert (str(config.external), str(config.internal)) == ("0.0.0.0:8080", "0.0.0.0:8081")
    assert (str(config.external_probe), str(config.internal_probe)) == ("127.0.0.1:8080", "127.0.0.1:8081")
    assert config.xds_address == "0.0.0.0:18000"
    assert (config.ingress_class, config.cluster_domain) == ("knuv.ingress.networking.knative.dev", "cluster.local")
    assert config.access_log == ""
    assert config.api.server == "https://10.0.0.1"


def test_everything_can_be_set(environ: dict[str, str]) -> None:
    config = Config.from_env(
        environ
        | {
            "CLUSTER_DOMAIN": "c.test",
            "KNUV_GATEWAY_CLASS": "other",
            "KNUV_XDS_ADDRESS": "unix:/run/xds",
            "KNUV_GATEWAY_EXTERNAL_ADDRESS": ":80",
            "KNUV_GATEWAY_INTERNAL_ADDRESS": "[::1]:81",
            "KNUV_GATEWAY_EXTERNAL_PROBE_ADDRESS": "10.0.0.9:80",
            "KNUV_GATEWAY_INTERNAL_PROBE_ADDRESS": "10.0.0.9:81",
            "KNUV_GATEWAY_ACCESS_LOG": "/dev/stdout",
        }
    )
    assert (config.cluster_domain, config.ingress_class, config.xds_address) == ("c.test", "other", "unix:/run/xds")
    assert (config.external, config.internal) == (Address("0.0.0.0", 80), Address("::1", 81))
    assert (str(config.external_probe), str(config.internal_probe)) == ("10.0.0.9:80", "10.0.0.9:81")
    assert config.access_log == "/dev/stdout"


def test_a_face_on_one_address_is_probed_there(environ: dict[str, str]) -> None:
    config = Config.from_env(
        environ | {"KNUV_GATEWAY_EXTERNAL_ADDRESS": "127.9.0.1:8080", "KNUV_GATEWAY_INTERNAL_ADDRESS": "127.9.0.6:8081"}
    )
    assert (str(config.external_probe), str(config.internal_probe)) == ("127.9.0.1:8080", "127.9.0.6:8081")
    v6 = Config.from_env(environ | {"KNUV_GATEWAY_EXTERNAL_ADDRESS": "[::1]:8080"})
    assert str(v6.external_probe) == "[::1]:8080"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        Config.from_env(
            {
                "KNUV_GATEWAY_EXTERNAL_ADDRESS": "8080",
                "KNUV_GATEWAY_INTERNAL_ADDRESS": "127.0.0.1:0",
                "KNUV_GATEWAY_EXTERNAL_PROBE_ADDRESS": "127.0.0.1:http",
                "KNUV_GATEWAY_INTERNAL_PROBE_ADDRESS": "127.0.0.1:70000",
            }
        )
    text = "\n".join(refused.value.problems)
    for name in (
        "KUBECONFIG",
        "SYSTEM_NAMESPACE",
        "KNUV_GATEWAY_EXTERNAL_ADDRESS",
        "KNUV_GATEWAY_INTERNAL_ADDRESS",
        "KNUV_GATEWAY_EXTERNAL_PROBE_ADDRESS",
        "KNUV_GATEWAY_INTERNAL_PROBE_ADDRESS",
    ):
        assert name in text
    assert len(refused.value.problems) == 6
    assert "expected host:port" in text
