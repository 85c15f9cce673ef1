"""A hundred pods start, crash, start again and end, in both networks, and nothing of them is left."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kube.models.apps import Deployment
from kube.models.core import Pod
from loadtests.scenario import until
from local_cluster.manifests import apply
from tests.system.conftest import System, running_system
from tests.system.test_stack import guardian_mark, processes_of

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("stack-hundred")]

PODS = 100
SCRIPT = "test -e /knuv-volume/been && exec sleep 600; touch /knuv-volume/been; setsid sleep 600 & exit 1"
"""Crashes once and leaves a daemon behind."""
LOOPBACK_SCRIPT = SCRIPT.replace("/knuv-volume/", "$0/been-$HOSTNAME-")
SPARES = {"loopback": (0, 2), "netns": (3, 5)}
"""Links and processes that wait for pods."""
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def left(system: System) -> dict[str, int]:
    """What the stack holds: descriptors of its process, links of its network, folders of pods."""
    process = Path(f"/proc/{system.stack.pid}")
    folders = [system.stack.state_dir / "pods", system.stack.state_dir / "logs" / "pods"]
    return {
        "mounts": (process / "mountinfo").read_text().count("\n"),
        "links": (process / "net" / "dev").read_text().count("pod"),
        "cgroups": sum(1 for _ in Path("/sys/fs/cgroup").glob(f"**/knuv-{system.stack.pid}/container-*")),
        "folders": sum(len(list(folder.iterdir())) for folder in folders if folder.exists()),
    }


def descriptors(system: System) -> int:
    """Open pipes, files, pidfds and namespaces of the stack's process; connections are kept for later on purpose."""
    folder = Path(f"/proc/{system.stack.pid}/fd")
    return sum(not os.readlink(entry).startswith("socket:") for entry in folder.iterdir())


async def pods_that(system: System, holds: Callable[[Pod], bool], count: int) -> bool | None:
    pods = (await system.client.list(Pod, "default", label_selector="app=many")).items
    return sum(map(holds, pods)) == count == len(pods) or None


def crashed_and_up(pod: Pod) -> bool:
    return pod.is_ready() and pod.status.container_statuses[0].restart_count == 1


@pytest.mark.parametrize("network", ["loopback", pytest.param("netns", marks=ROOT)])
async def test_a_hundred_pods_come_crash_and_go(tmp_path: Path, network: str) -> None:
    async with running_system(tmp_path, "--network", network) as system:
        marks = (guardian_mark(tmp_path),)

        async def spares() -> bool | None:
            waiting = [line for _, line in processes_of(*marks) if "_child.py" in line]
            links, children = SPARES[network]
            return (left(system)["links"] == links and len(waiting) >= children) or None

        await until(spares, 90, "what waits for pods to be made")
        before, files = left(system), descriptors(system)
        processes = {pid for pid, _ in processes_of(*marks)}
        container: dict[str, Any] = {"name": "c", "image": "x", "command": ["sh", "-c", LOOPBACK_SCRIPT, str(tmp_path)]}
        container["resources"] = {"limits": {"memory": "256Mi"}}
        spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0}
        if network == "netns":
            container |= {
                "command": ["sh", "-c", SCRIPT],
                "volumeMounts": [{"name": "v", "mountPath": "/knuv-volume"}],
            }
            spec["volumes"] = [{"name": "v", "emptyDir": {}}]
        template = {"metadata": {"labels": {"app": "many"}}, "spec": spec}
        many = {"replicas": PODS, "selector": {"matchLabels": {"app": "many"}}, "template": template}
        manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": many}
        await apply(system.client, system.kinds, manifest, "default")
        await until(lambda: pods_that(system, crashed_and_up, PODS), 90, "a hundred pods to be up again")
        pods = (await system.client.list(Pod, "default", label_selector="app=many")).items
        assert len({pod.status.pod_ip for pod in pods}) == PODS
        await system.client.delete(Deployment, "many", "default")
        await until(lambda: pods_that(system, crashed_and_up, 0), 90, "the pods to be gone")

        async def gone() -> bool | None:
            new = {pid: line for pid, line in processes_of(*marks) if pid not in processes}
            # Spares of the node are made anew as they are used.
            return not [line for line in new.values() if "_child.py" not in line] or None

        await until(gone, 90, "the processes of the pods to be gone")

        async def as_before() -> bool | None:
            return (left(system) == before and descriptors(system) <= files + 10) or None

        try:
            await until(as_before, 90, "everything to be as before")
        except TimeoutError:
            assert (left(system), descriptors(system)) == (before, files)
