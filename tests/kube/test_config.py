"""Kubeconfigs as people, clusters and the local stack write them."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.config import ApiConfig
from local_cluster.apiserver.certificates import render_kubeconfig
from proxies.environment import ConfigError
from tests.support.certificates import Authority

CONFIG = {
    "current-context": "b",
    "contexts": [
        {"name": "a", "context": {"cluster": "x", "user": "x"}},
        {"name": "b", "context": {"cluster": "c", "user": "u", "namespace": "n"}},
    ],
    "clusters": [
        {"name": "c", "cluster": {"server": "https://h:1/", "certificate-authority-data": "UEVN"}},
    ],
    "users": [{"name": "u", "user": {"token": "t", "client-certificate": "c.crt", "client-key": "c.key"}}],
}
READ = """
import pathlib, sys
from kube.config import ApiConfig
assert ApiConfig.from_kubeconfig(pathlib.Path(sys.argv[1])).token == "t"
assert "yaml" not in sys.modules
"""


@pytest.mark.parametrize(
    "text", [json.dumps(CONFIG), yaml.safe_dump(CONFIG), yaml.safe_dump(CONFIG, default_flow_style=True)]
)
def test_the_current_context_is_read_in_every_style(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    assert ApiConfig.from_kubeconfig(path) == ApiConfig(
        server="https://h:1",
        ca_pem="PEM",
        token="t",
        client_certificate=(str(tmp_path / "c.crt"), str(tmp_path / "c.key")),
        namespace="n",
    )


def test_the_stacks_own_is_yaml_as_well_and_needs_no_parser_of_it(tmp_path: Path) -> None:
    path = tmp_path / "config"
    text = render_kubeconfig("https://h:1", b"PEM", "t", "n")
    path.write_text(text)
    assert ApiConfig.from_kubeconfig(path) == ApiConfig(server="https://h:1", ca_pem="PEM", token="t", namespace="n")
    parsed: dict[str, Any] = yaml.safe_load(text)
    assert (parsed["apiVersion"], parsed["kind"], parsed["current-context"]) == ("v1", "Config", "knuv")
    subprocess.run([sys.executable, "-c", READ, str(path)], check=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not YAML"),
        ("{", "not YAML"),
        ("[]", "expected a mapping"),
        ('"text"', "expected a mapping"),
        ("current-context: x", "no entry named 'x' in contexts"),
    ],
)
def test_what_is_wrong_is_told_with_the_file(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"KUBECONFIG={path}: {problem}"):
        ApiConfig.from_kubeconfig(path)


@pytest.mark.parametrize(
    "server", ["", "h:1", "htps://h", "https://", "https://h:99999", "https://[::1", "/path", "https://a:b@h"]
)
def test_a_server_that_nobody_can_be_is_refused(tmp_path: Path, server: str) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps({**CONFIG, "clusters": [{"name": "c", "cluster": {"server": server}}]}))
    with pytest.raises(ConfigError, match="expected a server as https://HOST"):
        ApiConfig.from_kubeconfig(path)


@pytest.mark.parametrize(
    ("user", "got"),
    [
        ({"client-certificate-data": "QQ=="}, "client-certificate-data"),
        ({"client-certificate": "c.crt"}, "client-certificate"),
        ({"exec": {"command": "aws"}}, "exec"),
        ({"username": "a", "password": "b"}, "username, password"),
    ],
)
def test_credentials_that_cannot_be_used_are_refused_and_not_left_out(
    tmp_path: Path, user: dict[str, object], got: str
) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps({**CONFIG, "users": [{"name": "u", "user": user}]}))
    with pytest.raises(ConfigError, match=f"expected token, tokenFile, .* of the user, got {got}$"):
        ApiConfig.from_kubeconfig(path)
    path.write_text(json.dumps({**CONFIG, "users": [{"name": "u", "user": {**user, "token": "t"}}]}))
    assert ApiConfig.from_kubeconfig(path).token == "t"


@pytest.mark.parametrize("as_files", [False, True])
def test_a_client_certificate_may_stand_in_the_file_itself(tmp_path: Path, as_files: bool) -> None:
    certificate, key = Authority(tmp_path).issue("127.0.0.1", "client")
    texts = [base64.b64encode(file.read_bytes()).decode() for file in (certificate, key)]
    user = dict(zip(("client-certificate-data", "client-key-data"), texts, strict=True))
    if as_files:
        user |= {"client-certificate": "gone.crt", "client-key": "gone.key"}
    path = tmp_path / "config"
    cluster = {"server": "https://h"}
    path.write_text(
        json.dumps({**CONFIG, "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}]})
    )
    config = ApiConfig.from_kubeconfig(path)
    assert config.ssl_context() is not None
    assert key.read_text() not in repr(config)
    broken = ApiConfig(server="https://h", client_pem=(certificate.read_text(), "no key"))
    with pytest.raises(ConfigError, match="client-certificate-data and client-key-data: expected a certificate"):
        broken.ssl_context()


@pytest.mark.parametrize("name", ["insecure-skip-tls-verify", "proxy-url", "tls-server-name"])
def test_a_way_to_the_server_that_we_do_not_go_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config"
    cluster = {"server": "https://h", name: True}
    path.write_text(json.dumps({**CONFIG, "clusters": [{"name": "c", "cluster": cluster}]}))
    with pytest.raises(ConfigError, match=f"expected a cluster without {name}, which is not supported"):
        ApiConfig.from_kubeconfig(path)


def test_an_authority_that_is_not_there_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "config"
    cluster = {"server": "https://h", "certificate-authority": "ca.crt"}
    path.write_text(json.dumps({**CONFIG, "clusters": [{"name": "c", "cluster": cluster}]}))
    with pytest.raises(ConfigError, match=r"ca\.crt: No such file"):
        ApiConfig.from_kubeconfig(path)


def test_certificates_that_are_none_are_told_with_their_files(tmp_path: Path) -> None:
    nowhere = (str(tmp_path / "c.crt"), str(tmp_path / "c.key"))
    with pytest.raises(ConfigError, match=r"c\.crt and .*c\.key: expected a certificate and its key in PEM: .*No such"):
        ApiConfig(server="https://h", client_certificate=nowhere).ssl_context()
    for text in ("PEM", "\u20ac", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ConfigError, match="https://h: its authority: expected certificates in PEM: "):
            ApiConfig(server="https://h", ca_pem=text).ssl_context()
    commented = f"# Autoridad de Certificaci\u00f3n\n{Authority(tmp_path).ca_file.read_text()}"
    context = ApiConfig(server="https://h", ca_pem=commented).ssl_context()
    assert context is not None
    assert len(context.get_ca_certs()) == 1
