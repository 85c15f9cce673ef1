"""`make demo`, as a new user runs it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.system.conftest import program
from tests.system.test_stack import processes_of

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
pytestmark = [pytest.mark.system, pytest.mark.xdist_group("demo"), pytest.mark.timeout(240)]


@pytest.mark.parametrize("network", ["loopback", pytest.param("netns", marks=ROOT)])
async def test_the_demo_takes_a_service_from_zero_to_many_and_back(tmp_path: Path, network: str) -> None:
    arguments = ("--state-dir", tmp_path, "--network", network)
    ended = await program(sys.executable, "-m", "loadtests.demo", *arguments, seconds=200)
    assert ended.code == 0, ended.out + ended.err
    for line in ("our share", "yes", "serve", "zero pods", "errors      0", "knuv up -f examples/hello.yaml"):
        assert line in ended.out
    assert processes_of(str(tmp_path)) == []


async def test_ctrl_c_ends_the_demo_and_leaves_nothing(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.demo", "--state-dir", str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(150):
            while b"Apply a Service" not in await process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            rest, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130
    assert b"interrupted" in rest
    assert processes_of(str(tmp_path)) == []
