"""`local_cluster/node/process.py`: real processes."""

import asyncio
import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from local_cluster.guardian import Guardian
from local_cluster.node.logs import ContainerLog
from local_cluster.node.process import ContainerProcess, StartError, find_executable, spawn
from tests.support.processes import eventually, is_running, wait_until


class Container:
    """A process and what became of it."""

    def __init__(self, folder: Path, command: list[str], guardian: Guardian | None = None, **options: Any) -> None:
        self.log = ContainerLog(folder / "0.log")
        self.ended: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        env = {"PATH": os.defpath, **options.get("env", {})}
        try:
            self.process = ContainerProcess(
                spawn(command, env=env, cwd=options.get("cwd", str(folder))),
                log=self.log,
                guardian=guardian,
                clock=time.time,
                ended=lambda code, number: self.ended.set_result((code, number)),
            )
        except StartError:
            self.log.close(time.time())
            raise

    async def end(self) -> tuple[int, int]:
        return await asyncio.wait_for(self.ended, 10)

    async def output(self) -> str:
        return b"".join([chunk async for chunk in self.log.read()]).decode()


@pytest.mark.parametrize(
    ("script", "ended"),
    [("exit 0", (0, 0)), ("exit 3", (3, 0)), ("kill -TERM $$", (143, 15)), ("kill -KILL $$", (137, 9))],
)
async def test_the_exit_is_seen_with_code_and_signal(tmp_path: Path, script: str, ended: tuple[int, int]) -> None:
    assert await Container(tmp_path, ["sh", "-c", script]).end() == ended


async def test_output_environment_and_folder(tmp_path: Path) -> None:
    container = Container(tmp_path, ["sh", "-c", "pwd; echo $X >&2; printf last"], env={"X": "1"})
    await container.end()
    assert await container.output() == f"{tmp_path}\n1\nlast\n"


async def test_everything_written_before_the_end_is_in_the_log_when_the_end_is_told(tmp_path: Path) -> None:
    container = Container(
        tmp_path, ["sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 1"]
    )
    await container.end()
    assert container.log.tail().endswith("line 2999\n")
    assert (await container.output()).count("\n") == 3000


async def test_sigterm_goes_to_the_first_process_only(tmp_path: Path) -> None:
    child = "trap 'echo child got it' TERM; echo up; while :; do sleep 0.01; done"
    script = f'trap "exit 7" TERM; sh -c "{child}" & wait'
    container = Container(tmp_path, ["sh", "-c", script])
    await eventually(lambda: b"up" in container.log.path.read_bytes())
    container.process.terminate()
    assert await container.end() == (7, 0)
    assert "child got it" not in await container.output()


async def test_children_end_with_the_container(tmp_path: Path) -> None:
    container = Container(tmp_path, ["sh", "-c", "sleep 600 & echo $!; exit 0"])
    await container.end()
    child = int(await container.output())
    await eventually(lambda: not is_running(child))


async def test_kill_ends_a_program_that_ignores_sigterm(tmp_path: Path) -> None:
    container = Container(tmp_path, ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"])
    await eventually(lambda: b"up" in container.log.path.read_bytes())
    container.process.terminate()
    container.process.kill()
    assert await container.end() == (137, 9)


async def test_a_signal_to_a_process_that_has_just_ended_does_not_lose_its_end(tmp_path: Path) -> None:
    container = Container(tmp_path, ["true"])
    # Without a turn of the loop, so that its end is not yet told: a zombie, and its group is empty.
    wait_until(lambda: not is_running(container.process.pid))
    container.process.terminate()
    container.process.kill()
    assert await container.end() == (0, 0)
    container.process.terminate()
    container.process.kill()


async def test_a_process_that_cannot_be_watched_does_not_run(
    tmp_path: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pidfd_open", exhausted)
    with pytest.raises(StartError, match="too many open files"):
        Container(tmp_path, ["sleep", "600"], guardian)
    monkeypatch.undo()
    assert guardian.watched == frozenset()
    assert set(os.listdir("/proc/self/fd")) == before


async def test_nothing_of_ours_is_inherited(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    try:
        os.set_inheritable(write_end, True)
        script = "ls /proc/self/fd | wc -l; cat; read -r _ _ _ _ _ session _ </proc/$$/stat; echo $session $$"
        container = Container(tmp_path, ["sh", "-c", script])
        await container.end()
        count, ids = (await container.output()).splitlines()
        assert int(count) == 4  # 0, 1, 2 and that of ls itself
        session, pid = ids.split()
        assert session == pid
    finally:
        os.close(read_end)
        os.close(write_end)


async def test_the_guardian_knows_the_group_while_it_lives(tmp_path: Path, guardian: Guardian) -> None:
    ended = Container(tmp_path / "a", ["true"], guardian, cwd="/")
    await ended.end()
    container = Container(tmp_path / "b", ["sleep", "600"], guardian, cwd="/")
    assert guardian.watched == {container.process.pid}
    await guardian.stop()
    assert await container.end() == (137, 9)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("no-such-program", 'exec: "no-such-program": executable file not found in $PATH'),
        ("./missing", 'exec: "./missing": stat {cwd}/missing: no such file or directory'),
        ("./plain", 'exec: "./plain": permission denied'),
    ],
)
async def test_a_command_that_cannot_start_says_why(tmp_path: Path, command: str, problem: str) -> None:
    (tmp_path / "plain").write_text("text")
    with pytest.raises(StartError) as caught:
        Container(tmp_path, [command])
    assert str(caught.value) == problem.format(cwd=tmp_path)


async def test_a_file_that_is_no_program_and_a_missing_folder_say_why(tmp_path: Path) -> None:
    program = tmp_path / "garbage"
    program.write_bytes(b"\0\1\2")
    program.chmod(0o755)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StartError, match="exec format error"):
        Container(tmp_path, ["./garbage"])
    with pytest.raises(StartError, match="no such directory"):
        Container(tmp_path, ["true"], cwd="/no/such/folder")
    assert len(os.listdir("/proc/self/fd")) == before


def test_relative_programs_and_path_entries_are_found_from_the_containers_folder(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "tool"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_executable("bin/tool", "", str(tmp_path)) == str(program)
    assert find_executable("tool", "/nowhere:bin", str(tmp_path)) == str(program)


async def test_descriptors_are_given_back(tmp_path: Path) -> None:
    await Container(tmp_path, ["true"]).end()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await Container(tmp_path, ["true"]).end()
    assert len(os.listdir("/proc/self/fd")) == before
