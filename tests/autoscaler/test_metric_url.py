"""Scaling by a gauge of the app's own, with the app of `examples/queue_worker.py`: from its queue to replicas."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from autoscaler import scrape_client
from tests.autoscaler.cluster import Cluster, cluster, condition
from tests.support.api import running_api_server
from tests.support.processes import eventually

APP = Path(__file__).parent.parent.parent / "examples" / "queue_worker.py"
FAST = {"stable-window": "6s", "panic-window-percentage": "50", "scale-to-zero-grace-period": "1s"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def queue_worker(*, work_ms: int) -> AsyncIterator[int]:
    """The app; its port."""
    port = free_port()
    environ = {"PORT": str(port), "WORK_MS": str(work_ms)}
    app = await asyncio.create_subprocess_exec(sys.executable, "-S", "-E", str(APP), env=environ)
    try:
        await eventually(lambda: accepts(port))
        yield port
    finally:
        app.kill()
        await app.wait()


async def job(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
    try:
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        writer.close()


@asynccontextmanager
async def scaled_by(kn: Cluster, monkeypatch: pytest.MonkeyPatch, port: int, name: str) -> AsyncIterator[None]:
    annotations = {
        "metric": "url",
        "autoscaling.knuv.dev/metric-url": f":{port}/metrics#{name}",
        "target": "5",
        "target-utilization-percentage": "100",
        "target-burst-capacity": "0",
        # All pods lead to the one app here, so each of them reports the whole queue.
        "max-scale": "3",
    }
    await kn.create(FAST, annotations)
    async with kn.running():
        monkeypatch.setattr(scrape_client, "METRICS_PORT", kn.metrics_port)
        await kn.until("ready", lambda pa: condition(pa, "Ready")[0] == "True")
        yield


async def test_replicas_follow_the_queue_and_go_with_the_last_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        queue_worker(work_ms=400) as port,
        running_api_server() as api,
        cluster(api, []) as kn,
        scaled_by(kn, monkeypatch, port, "jobs_waiting"),
    ):
        kn.concurrency = 1.0
        jobs = asyncio.gather(*(job(port) for _ in range(20)))
        await kn.until("three pods for the queue", lambda pa: pa.status.actual_scale == 3)
        await jobs
        await kn.until("one pod for the requests", lambda pa: pa.status.actual_scale == 1)
        kn.concurrency = 0.0
        await kn.until("none", lambda pa: pa.status.actual_scale == 0)
    assert kn.replicas[0] == 1
    assert max(kn.replicas) == 3


async def test_a_gauge_that_is_not_there_is_told_in_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        queue_worker(work_ms=1) as port,
        running_api_server() as api,
        cluster(api, []) as kn,
        scaled_by(kn, monkeypatch, port, "jobs_wating"),
    ):
        problem = f"127.0.0.1:{port}/metrics#jobs_wating: no metric jobs_wating"
        await kn.until_metric(
            "told",
            lambda metric: any(problem in told.message for told in metric.status.conditions if told.type == "Ready"),
        )
        # Nothing is known about the queue, so nobody takes the pod away.
        await kn.settled()
        assert kn.replicas == [1]
