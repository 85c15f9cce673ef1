"""`python -m autoscaler` as a process: start, readiness, end, and a wrong environment."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.api import running_api_server


@asynccontextmanager
async def process(environ: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program with just this environment; killed at the end if it still runs."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "autoscaler", env={"PATH": os.defpath, **environ}, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    """The first line on stderr that contains `text`."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while line := (await process.stderr.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"ended without {text!r}")


async def test_it_may_open_as_many_files_as_it_is_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with running_api_server() as api:
        environ = {
            "KUBECONFIG": str(api.kubeconfig),
            "SYSTEM_NAMESPACE": "knative-serving",
            "POD_NAME": "autoscaler-0",
            "POD_IP": "127.0.0.1",
            "KNUV_BIND_ADDRESS": "127.0.0.1",
            "KNUV_STAT_PORT": "0",
        }
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        try:
            async with process(environ) as started:
                await line_with(started, "autoscaler_started")
                assert resource.prlimit(started.pid, resource.RLIMIT_NOFILE) == (hard, hard)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_it_serves_until_it_is_told_to_end() -> None:
    async with running_api_server() as api:
        environ = {
            "KUBECONFIG": str(api.kubeconfig),
            "SYSTEM_NAMESPACE": "knative-serving",
            "POD_NAME": "autoscaler-0",
            "POD_IP": "127.0.0.1",
            "KNUV_BIND_ADDRESS": "127.0.0.1",
            "KNUV_STAT_PORT": "0",
        }
        async with process(environ) as autoscaler:
            port = int((await line_with(autoscaler, "autoscaler_started")).partition('"port": ')[2].partition(",")[0])
            async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
                autoscaler.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            assert await asyncio.wait_for(autoscaler.wait(), 10) == 0


async def test_a_wrong_environment_is_said_line_by_line() -> None:
    async with process({"POD_NAME": ""}) as autoscaler:
        _, errors = await asyncio.wait_for(autoscaler.communicate(), 20)
    assert autoscaler.returncode == 1
    lines = errors.decode().splitlines()
    assert all(line.startswith("autoscaler: ") for line in lines)
    assert {"KUBECONFIG", "SYSTEM_NAMESPACE", "POD_NAME", "POD_IP"} <= {
        name for name in ("KUBECONFIG", "SYSTEM_NAMESPACE", "POD_NAME", "POD_IP") for line in lines if name in line
    }


async def test_it_ends_while_the_api_cannot_be_reached(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    async with running_api_server() as api:
        path.write_text(api.kubeconfig.read_text())
    # The server is gone; only its address is left.
    environ = {
        "KUBECONFIG": str(path),
        "SYSTEM_NAMESPACE": "knative-serving",
        "POD_NAME": "autoscaler-0",
        "POD_IP": "127.0.0.1",
        "KNUV_BIND_ADDRESS": "127.0.0.1",
        "KNUV_STAT_PORT": "0",
    }
    async with process(environ) as autoscaler:
        await line_with(autoscaler, "watch_lost")
        autoscaler.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(autoscaler.wait(), 10) == 0
