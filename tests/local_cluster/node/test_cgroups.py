"""`local_cluster/node/cgroups.py`: on a folder that looks like cgroup v2, and on the machine's where it may be used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kube.models.core import Event, Pod
from local_cluster.node.cgroups import Cgroups, CgroupsUnavailable, Limits
from tests.support.cluster import running_cluster
from tests.support.processes import eventually


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cgroup file system of ordinary files: what is written to it can be read."""
    folder = tmp_path / "cgroup"
    folder.mkdir()
    (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (folder / "cgroup.procs").write_text("1\n2\n")
    return folder


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "own"
    file.write_text(text)
    return file


def test_limits_are_read_as_quantities() -> None:
    assert Limits.of({"limits": {"memory": "64Mi", "cpu": "250m"}}) == Limits(64 << 20, 0.25)
    assert Limits.of({"limits": {"memory": "1.5G", "ephemeral-storage": "1Gi"}}) == Limits(1_500_000_000, None)
    assert Limits.of({"requests": {"memory": "64Mi"}}) == Limits.of({}) == Limits()
    with pytest.raises(ValueError, match="expected a quantity"):
        Limits.of({"limits": {"memory": "much"}})


def test_a_group_gets_its_limits_and_its_first_process(root: Path, tmp_path: Path) -> None:
    cgroups = Cgroups.open(root, own(tmp_path, "0::/\n"))
    assert (root / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (cgroups.folder / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    group = cgroups.create(Limits(64 << 20, 0.25))
    group.enter(42)
    written = {path.name: path.read_text() for path in group.path.iterdir()}
    assert written == {
        "pids.max": "16384",
        "memory.max": str(64 << 20),
        "memory.oom.group": "1",
        "cpu.max": "25000 100000",
        "cgroup.procs": "42",
    }
    (group.path / "memory.events").write_text("low 0\noom 3\noom_kill 0\n")
    assert not group.was_out_of_memory()
    (group.path / "memory.events").write_text("low 0\noom 3\noom_kill 1\n")
    assert group.was_out_of_memory()


def test_a_folder_that_is_gone_already_is_closed_all_the_same(root: Path, tmp_path: Path) -> None:
    cgroups = Cgroups.open(root, own(tmp_path, "0::/\n"))
    shutil.rmtree(cgroups.folder)
    cgroups.close()
    assert not cgroups.folder.exists()


def test_the_node_leaves_a_group_in_which_it_is_alone(root: Path, tmp_path: Path) -> None:
    here = root / "user.slice" / "run-1.scope"
    here.mkdir(parents=True)
    (here / "cgroup.controllers").write_text("cpu memory pids")
    (here / "cgroup.procs").write_text(f"{os.getpid()}\n")
    Cgroups.open(root, own(tmp_path, "12:pids:/\n0::/user.slice/run-1.scope\n"))
    assert (here / f"knuv-{os.getpid()}-node" / "cgroup.procs").read_text() == str(os.getpid())
    assert (here / "cgroup.subtree_control").exists()


@pytest.mark.parametrize(
    ("controllers", "processes", "reason"),
    [
        ("cpu memory pids", "us\n7\n", "holds other processes; start the stack alone in a group"),
        ("cpu pids", "", "has no controllers memory"),
        ("", "", "has no controllers cpu, memory, pids"),
        (None, "", "No such file or directory"),
    ],
)
def test_what_stands_in_the_way_is_told(
    root: Path, tmp_path: Path, controllers: str | None, processes: str, reason: str
) -> None:
    here = root / "shell.scope"
    here.mkdir()
    (here / "cgroup.procs").write_text(processes.replace("us", str(os.getpid())))
    if controllers is not None:
        (here / "cgroup.controllers").write_text(controllers)
    with pytest.raises(CgroupsUnavailable, match=reason):
        Cgroups.open(root, own(tmp_path, "0::/shell.scope\n"))
    assert not list(here.glob("knuv-*"))


def test_a_machine_without_cgroup_v2_is_told(tmp_path: Path) -> None:
    with pytest.raises(CgroupsUnavailable, match="there is no cgroup v2"):
        Cgroups.open(tmp_path)


async def test_a_pod_whose_limits_count_for_nothing_is_told_so(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, workloads=False) as cluster:
        limits = {"limits": {"memory": "64Mi"}}
        await cluster.create_pod("p", {"command": ["sleep", "600"], "resources": limits})
        await cluster.create_pod("bad", {"command": ["sleep", "600"], "resources": {"limits": {"cpu": "much"}}})
        await cluster.until(Pod, "p", Pod.is_ready)

        async def told() -> list[str]:
            events = (await cluster.client.list(Event, "default")).items
            return [event.message for event in events if event.reason == "LimitsNotEnforced"]

        assert await eventually(told) == ["resources.limits count for nothing: this node was given no cgroups"]
        pod = await cluster.until(Pod, "bad", lambda pod: pod.status.container_statuses)
        waiting = pod.status.container_statuses[0].state.waiting
        assert waiting is not None
        assert waiting.message == "resources.limits: expected a quantity such as 250m or 64Mi, got 'much'"


def test_the_machines_own_groups_hold_a_process_to_its_memory() -> None:
    try:
        cgroups = Cgroups.open()
    except CgroupsUnavailable as error:
        pytest.skip(f"no resource limits here: {error}")
    try:
        group = cgroups.create(Limits(memory_bytes=64 << 20))
        script = "import sys; sys.stdin.readline(); x = bytearray(256 << 20); print(len(x))"
        with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as process:
            group.enter(process.pid)
            process.communicate(b"go\n", timeout=20)
        assert process.returncode == -9
        assert group.was_out_of_memory()
        group.remove()
        assert not group.path.exists()
    finally:
        cgroups.close()
