"""Images without a command run by podman, here a stand-in that tells how it was called."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kube.models.core import ConfigMap, Pod
from tests.support.cluster import running_cluster
from tests.support.processes import eventually

STAND_IN = f"""#!{sys.executable}
import json, os, sys, time
if sys.argv[1] == "exec":
    sys.exit(0 if sys.argv[3:] == ["is-up"] else 1)
told = {{"arguments": sys.argv[1:], "word": os.environ.get("WORD"), "port": os.environ.get("PORT")}}
print(json.dumps(told), flush=True)
if "--crash" in sys.argv:
    sys.exit(3)
time.sleep(600)
"""


async def test_an_image_runs_by_podman_with_everything_that_the_pod_asks_for(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    podman = programs / "podman"
    podman.write_text(STAND_IN)
    podman.chmod(0o755)
    environ = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": "/root"}
    container: dict[str, Any] = {
        "image": "docker.io/library/app:v1",
        "args": ["--serve", "$(WORD)"],
        "env": [{"name": "WORD", "value": "sesame"}],
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        "volumeMounts": [{"name": "m", "mountPath": "/etc/app"}],
        "securityContext": {"runAsUser": 1234},
        "workingDir": "/srv",
        "readinessProbe": {"exec": {"command": ["is-up"]}, "periodSeconds": 1},
    }
    async with running_cluster(tmp_path / "state", workloads=False, environ=environ, working_dir=Path("/")) as cluster:
        await cluster.create(ConfigMap, "m", data={"a": "1"})
        volumes = [{"name": "m", "configMap": {"name": "m"}}]
        made = await cluster.create_pod("p", container, volumes=volumes, terminationGracePeriodSeconds=1)
        await cluster.until(Pod, "p", Pod.is_ready)
        text = await cluster.logs("p")
        volume = cluster.state_dir / "pods" / made["metadata"]["uid"] / "volumes" / "m"
        assert (volume / "a").read_text() == "1"
        await cluster.create_pod("crash", {"image": "x", "args": ["--crash"]}, restartPolicy="Never")
        crashed = await cluster.until(Pod, "crash", lambda pod: pod.status.phase == "Failed")
        await cluster.client.delete(Pod, "p", "default")
        await cluster.until_gone(Pod, "p")
    found = json.loads(text)
    assert (found["word"], found["port"]) == ("sesame", None)
    arguments = " ".join(found["arguments"])
    name = f"knuv-{made['metadata']['uid']}-c"
    assert arguments.startswith(f"run --rm --replace --name {name} --log-driver none --network host --env ")
    assert f"--volume {volume}:/etc/app:ro --user 1234:0 --workdir /srv --memory 67108864 --cpus 0.5 " in arguments
    assert arguments.endswith(" docker.io/library/app:v1 --serve sesame")
    named = {found["arguments"][at + 1] for at, word in enumerate(found["arguments"]) if word == "--env"}
    assert {"WORD", "HOSTNAME", "KNUV_POD_UID", "KNUV_GUARDIAN"} <= named
    assert not {"PATH", "HOME"} & named
    assert "sesame" not in found["arguments"][:-1]
    ended = crashed.status.container_statuses[0].state.terminated
    assert ended is not None
    assert ended.exit_code == 3


@pytest.mark.skipif(os.path.exists("/usr/bin/podman"), reason="podman is installed here")
async def test_without_podman_the_advice_stays(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, workloads=False) as cluster:
        await cluster.create_pod("p", {"image": "docker.io/library/app:v1"})

        async def advice() -> str:
            pod = await cluster.get(Pod, "p")
            statuses = pod.status.container_statuses
            waiting = statuses[0].state.waiting if statuses else None
            return waiting.message if waiting is not None and "Err" in waiting.reason else ""

        assert "or install podman" in await eventually(advice)
