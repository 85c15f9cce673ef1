"""The machine's authorities: the bundle is left out where the folder has all of them, and only there."""

import os
import ssl
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from local_cluster.authorities import authority_variables
from local_cluster.system import Components, SystemLayout, workloads

_PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
LEFT_OUT = {"SSL_CERT_FILE": os.devnull}


@pytest.mark.parametrize(("bundled", "hashed", "found"), [(2, 2, LEFT_OUT), (2, 3, LEFT_OUT), (2, 1, {})])
def test_the_bundle_is_left_out_where_the_folder_has_everything(
    tmp_path: Path, bundled: int, hashed: int, found: dict[str, str]
) -> None:
    bundle, folder = tmp_path / "cert.pem", tmp_path / "certs"
    bundle.write_text(_PEM * bundled)
    folder.mkdir()
    for name in ("ca-certificates.crt", "0123456.0", "0123456g.0", *(f"0123abc{n}.0" for n in range(hashed))):
        (folder / name).touch()
    assert authority_variables(bundle, folder) == found


def test_nothing_is_left_out_where_there_is_no_folder_or_no_bundle(tmp_path: Path) -> None:
    assert authority_variables(tmp_path / "absent", tmp_path) == {}
    (tmp_path / "cert.pem").write_text(_PEM)
    assert authority_variables(tmp_path / "cert.pem", tmp_path / "absent") == {}


def test_the_stacks_programs_read_no_authority_before_they_need_one() -> None:
    variables = authority_variables()
    layout = SystemLayout(
        subnet=IPv4Network("127.99.0.0/16"), http_host="", http_port=0, state_dir=Path(), envoy=Path("envoy")
    )
    for manifest in workloads(layout, Components()):
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            declared = {variable["name"]: variable.get("value") for variable in container["env"]}
            assert variables.items() <= declared.items()
    if not variables:
        pytest.skip(f"{ssl.get_default_verify_paths().openssl_capath} has fewer authorities than the bundle beside it")
    script = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    done = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
