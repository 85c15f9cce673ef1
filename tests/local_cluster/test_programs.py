"""The stack's own programs are its own, wherever it is started."""

import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from local_cluster.eventing import job_sink_manifests, pod_manifests
from local_cluster.source_images import adapter_images
from local_cluster.system import PROGRAM, Components, SystemLayout, workloads

LAYOUT = SystemLayout(
    subnet=IPv4Network("127.9.0.0/16"),
    http_host="127.0.0.1",
    http_port=8080,
    state_dir=Path("/state"),
    envoy=Path("/envoy"),
    pods_have_networks=False,
)


def commands(manifests: list[dict[str, Any]]) -> list[list[str]]:
    """Of containers that run Python."""
    specs = [each["spec"]["template"]["spec"] for each in manifests if each["kind"] == "Deployment"]
    found = [container["command"] for spec in specs for container in spec["containers"]]
    return [command for command in found if sys.executable in command]


@pytest.mark.parametrize("channels", ["journal", "jetstream"])
def test_every_program_is_started_the_same_way(channels: str) -> None:
    components = Components(eventing=channels)
    manifests = [*workloads(LAYOUT, components), *pod_manifests(LAYOUT, components, "t"), *job_sink_manifests(LAYOUT)]
    found = [*commands(manifests), *(list(command) for command in adapter_images(LAYOUT).values())]
    assert len(found) > 8
    for command in found:
        begin = command.index(sys.executable)
        assert tuple(command[begin : begin + len(PROGRAM)]) == PROGRAM


def test_a_module_of_the_same_name_where_the_stack_was_started_is_not_run(tmp_path: Path) -> None:
    for name in ("activator", "kube", "queue", "secrets"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')")
    ended = subprocess.run([*PROGRAM, "activator"], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "KUBECONFIG is not set" in ended.stderr
