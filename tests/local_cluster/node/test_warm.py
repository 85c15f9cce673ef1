"""Spare processes: given away as what the command asks for, replaced, and ended with the node."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_cluster.node.logs import ContainerLog
from local_cluster.node.process import ContainerProcess, Started
from local_cluster.node.warm import WarmProcesses
from tests.support.processes import eventually, is_running

PROGRAM = """
import os, sys
print("imported", flush=True)
def main():
    print(os.environ["WHO"], os.getcwd(), sys.argv, len(sys.stdin.read()), sorted(os.environ), flush=True)
    return 3
"""

BOOT = """
import runpy, sys
sys.path.insert(0, {path!r})
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    package = tmp_path / "warm_example"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(PROGRAM)
    return (sys.executable, "-c", BOOT.format(path=str(tmp_path)), "-m", "warm_example")


@pytest.fixture
async def warm(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WarmProcesses]:
    monkeypatch.setattr("local_cluster.node.warm._REFILL_S", 0.0)
    kept = WarmProcesses(command, guardian=None, spares=1)
    kept.start()
    try:
        yield kept
    finally:
        kept.stop()


async def taken(warm: WarmProcesses, command: tuple[str, ...], cwd: Path) -> Started:
    found: list[Started] = []

    def take() -> bool:
        started = warm.take(command, {"WHO": "me"}, str(cwd))
        found.extend([started] if started else [])
        return bool(found)

    await eventually(take)
    return found[0]


async def test_a_spare_becomes_the_container_with_its_environment_folder_and_exit_code(
    warm: WarmProcesses, command: tuple[str, ...], tmp_path: Path
) -> None:
    started = await taken(warm, command, tmp_path)
    ended: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    log = ContainerLog(tmp_path / "0.log")
    ContainerProcess(
        started,
        log=log,
        guardian=None,
        clock=time.time,
        ended=lambda code, number: ended.set_result((code, number)),
    )
    assert await asyncio.wait_for(ended, 10) == (3, 0)
    said = b"".join([chunk async for chunk in log.read()]).decode()
    assert said == f"imported\nme {tmp_path} ['warm_example'] 0 ['WHO']\n"


async def test_another_command_gets_no_spare(warm: WarmProcesses, command: tuple[str, ...], tmp_path: Path) -> None:
    started = await taken(warm, command, tmp_path)
    started.popen.wait()
    started.output.close()
    assert warm.take((sys.executable, "-m", "other"), {}, str(tmp_path)) is None


async def test_spares_end_with_the_node(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_cluster.node.warm._REFILL_S", 0.0)
    kept = WarmProcesses(command, guardian=None, spares=2)
    kept.start()
    await eventually(lambda: len(kept.spare_pids) == 2)
    pids = kept.spare_pids
    kept.stop()
    assert kept.spare_pids == []
    assert not any(is_running(pid) for pid in pids)


def test_a_command_without_a_module_is_refused() -> None:
    with pytest.raises(ValueError, match="-m MODULE"):
        WarmProcesses(("python3", "x.py"), guardian=None)
