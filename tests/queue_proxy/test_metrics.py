"""`queue_proxy/metrics.py`: pushing to the last request, and `docs/metrics.md` as true as the code."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from proxies.logs import Logger
from proxies.metrics.exposition import metric_name
from proxies.metrics.instruments import Kind, Registry
from proxies.metrics.process import add_process_series, add_runtime_metrics
from queue_proxy.config import Config
from queue_proxy.metric_names import OpenCensusNames, OpenTelemetryNames
from queue_proxy.metrics import Metrics
from tests.queue_proxy.test_request_metrics import ENDED_S, exchange
from tests.support.http import Call, running_app
from tests.support.otlp import ExportMetricsServiceRequest
from tests.support.queue_proxy import environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
EXPORTING = {
    *("proxies.metrics", "proxies.metrics.instruments", "proxies.metrics.process", "proxies.metrics.slices"),
    *("queue_proxy.metrics", "queue_proxy.metric_names", "queue_proxy.request_metrics"),
}
"""What is loaded when metrics are on, wherever they go."""


def config_for(port: int, timeout_ms: str = "10000") -> Config:
    metrics = {"protocol": "http/protobuf", "endpoint": f"http://127.0.0.1:{port}"}
    settings = json.dumps({"requestMetrics": metrics})
    return Config.from_env(environment(OBSERVABILITY_CONFIG=settings, OTEL_EXPORTER_OTLP_TIMEOUT=timeout_ms))


async def test_what_was_measured_last_is_pushed_before_it_stops() -> None:
    received: list[ExportMetricsServiceRequest] = []

    async def take(call: Call) -> None:
        received.append(ExportMetricsServiceRequest.FromString((await call.body())[0]))
        await call.respond(200)

    async with running_app(take) as sink:
        metrics = Metrics(asyncio.get_running_loop(), config_for(sink.port), Logger("test"), lambda: 0)
        await metrics.start()
        metrics.requests.ended(exchange(), ENDED_S)
        await metrics.stop()
    (request,) = received
    points = [
        metric.histogram.data_points[0].count
        for scope in request.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == "kn.serving.invocation.duration"
    ]
    assert points == [1]
    (point, *_) = request.resource_metrics[0].scope_metrics[-1].metrics[0].sum.data_points
    assert 0 < point.start_time_unix_nano < point.time_unix_nano


async def test_a_collector_that_hangs_does_not_keep_the_process() -> None:
    async with running_app(lambda call: call.closed()) as sink:
        lines: list[bytes] = []
        metrics = Metrics(
            asyncio.get_running_loop(), config_for(sink.port, "100"), Logger("test", write=lines.append), lambda: 0
        )
        await metrics.start()
        async with asyncio.timeout(5):
            await metrics.stop()
    assert [json.loads(line)["message"] for line in lines] == ["otlp_export_failed", "otlp_export_given_up"]


LOADED = """
import asyncio, os, sys
from queue_proxy.app import App
from queue_proxy.config import Config

async def main():
    App(Config.from_env(os.environ))

asyncio.run(main())
print(*(name for name in sys.modules if "metric" in name or "otlp" in name))
"""


@pytest.mark.parametrize(
    ("protocol", "loaded"),
    [
        ("none", set[str]()),
        ("grpc", set[str]()),
        ("prometheus", {*EXPORTING, "proxies.metrics.exposition", "proxies.metrics.scraped"}),
        ("http/protobuf", {*EXPORTING, "proxies.metrics.export", "proxies.metrics.pushed", "proxies.otlp"}),
    ],
)
def test_what_is_off_is_not_loaded(protocol: str, loaded: set[str]) -> None:
    endpoint = "http://127.0.0.1:1" if protocol in ("grpc", "http/protobuf") else ""
    settings = json.dumps({"requestMetrics": {"protocol": protocol, "endpoint": endpoint}})
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        env=environment(OBSERVABILITY_CONFIG=settings),
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert set(done.stdout.decode().split()) == loaded


def documented() -> set[tuple[str, ...]]:
    """(name, Prometheus name, kind, unit) of each row of the page's tables."""
    rows = re.findall(r"^\| `([\w.]*)` \| `([\w]+)` \| (\w+) \|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    return {(name, prometheus, kind, unit.strip(" `")) for name, prometheus, kind, unit in rows}


def told() -> Iterable[tuple[str, ...]]:
    registry = Registry()
    OpenTelemetryNames(registry, user_port="8080", queue_depth=lambda: 1)
    OpenCensusNames(registry, labels={}, queue_depth=lambda: 1)
    add_runtime_metrics(registry)
    add_process_series(registry)
    for scope in registry.scopes:
        for instrument in scope.instruments:
            exported = metric_name(instrument)
            name = exported if scope.is_plain else instrument.name
            yield name, exported, instrument.kind.value, instrument.unit


def test_the_page_lists_every_instrument_and_no_other() -> None:
    assert documented() == set(told())
    assert {kind for _, _, kind, _ in documented()} == {kind.value for kind in Kind}
