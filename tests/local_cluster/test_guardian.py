"""`local_cluster/guardian.py` and `reaper.py`: nothing survives the process that started it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from local_cluster.guardian import Guardian
from tests.support.processes import eventually, is_running, kill_group, wait_until

PARENT = """
import asyncio, os, subprocess, sys
from local_cluster.guardian import Guardian

async def main():
    guardian = Guardian()
    await guardian.start()
    env = {**os.environ, **guardian.environment}
    def sleeper(command="exec sleep 600", listed=True):
        child = subprocess.Popen(["sh", "-c", command], start_new_session=True, env=env, stdout=subprocess.PIPE)
        if listed:
            guardian.add(child.pid)
        return child
    listed = sleeper()
    family = sleeper("sleep 600 & echo $!; wait")
    grandchild = int(family.stdout.readline())
    deserter = sleeper("setsid sleep 600 & echo $!; wait")
    escaped = int(deserter.stdout.readline())
    unlisted = sleeper(listed=False)
    print(guardian.pid, listed.pid, family.pid, grandchild, deserter.pid, escaped, unlisted.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def parent() -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A process with a guardian and several kinds of children; (it, process ids: the reaper first)."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    try:
        yield process, pids
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        for pid in pids:
            kill_group(pid)


@pytest.fixture
async def guardian() -> AsyncIterator[Guardian]:
    guardian = Guardian()
    await guardian.start()
    yield guardian
    await guardian.stop()


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], start_new_session=True)


def test_kill_9_of_the_parent_leaves_no_process(parent: tuple[subprocess.Popen[bytes], list[int]]) -> None:
    process, pids = parent
    assert len(pids) == 7
    assert all(is_running(pid) for pid in pids)
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_the_reaper_ignores_the_terminals_signals(parent: tuple[subprocess.Popen[bytes], list[int]]) -> None:
    process, pids = parent
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wait_until(lambda: all(_ignores(pids[0], number) for number in numbers))
    for number in numbers:
        os.kill(pids[0], number)
    assert os.getsid(pids[0]) != os.getsid(process.pid)
    process.kill()
    wait_until(lambda: not any(is_running(pid) for pid in pids))


async def test_stop_ends_what_is_listed_and_spares_what_was_removed() -> None:
    guardian = Guardian()
    await guardian.start()
    listed, removed = sleeper(), sleeper()
    try:
        guardian.add(listed.pid)
        guardian.add(removed.pid)
        guardian.remove(removed.pid)
        await guardian.stop()
        assert listed.wait(2) == -signal.SIGKILL
        assert removed.poll() is None
        assert guardian.pid is None
    finally:
        for child in (listed, removed):
            kill_group(child.pid)
            child.wait()


async def test_a_reaper_that_dies_is_replaced_and_knows_everything(guardian: Guardian) -> None:
    before, after = sleeper(), sleeper()
    try:
        guardian.add(before.pid)
        first = guardian.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: guardian.pid not in (None, first))
        guardian.add(after.pid)
        await guardian.stop()
        assert before.wait(2) == after.wait(2) == -signal.SIGKILL
    finally:
        for child in (before, after):
            kill_group(child.pid)
            child.wait()


async def test_a_reaper_that_does_not_read_is_replaced(guardian: Guardian) -> None:
    first = guardian.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    for _ in range(20_000):
        guardian.add(2**30)
        guardian.remove(2**30)
    await eventually(lambda: guardian.pid not in (None, first))


async def test_the_reaper_is_small(guardian: Guardian) -> None:
    await eventually(lambda: guardian.pid is not None and _ignores(guardian.pid, signal.SIGTERM))
    await asyncio.sleep(0)
    status = Path(f"/proc/{guardian.pid}/status").read_text()  # noqa: ASYNC240
    resident_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident_kb < 14_000


def _ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored, 16) & 1 << number - 1)
