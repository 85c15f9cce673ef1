"""The machine's authorities: the bundle is left out where the folder has all of them, and only there."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from local_cluster.authorities import authority_variables
from local_cluster.stack_config import StackConfig

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


SCRIPT = """
from local_cluster import up
code = up.main()
from aiohttp import connector
print(code, len(connector._SSL_CONTEXT_VERIFIED.get_ca_certs()))
"""


def test_the_stack_reads_no_authority_before_it_needs_one(tmp_path: Path) -> None:
    if not authority_variables():
        pytest.skip(f"{ssl.get_default_verify_paths().openssl_capath} has fewer authorities than the bundle beside it")
    taken = tmp_path / "file"
    taken.touch()
    config = StackConfig(http_port=0, api_port=0, state_dir=taken)
    command = [sys.executable, "-c", SCRIPT, config.to_json()]
    done = subprocess.run(command, env={"PATH": os.defpath}, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "2 0\n"
