"""`queue_proxy/observers.py`: what is off costs nothing, not even its import."""

import asyncio
import io
import json
import subprocess
import sys
from typing import Any

import pytest

from proxies.logs import Logger
from queue_proxy.config import Config
from queue_proxy.observers import Observers
from queue_proxy.request_log import RequestLog
from queue_proxy.request_metrics import RequestMetrics
from queue_proxy.traces import Traces
from tests.support.queue_proxy import environment

TRACES = {"tracing": {"protocol": "stdout"}}
METRICS = {"requestMetrics": {"protocol": "prometheus"}}
LOG = {"enableRequestLog": True}


def observers(settings: dict[str, Any]) -> tuple[Observers, list[dict[str, Any]]]:
    log = io.BytesIO()
    config = Config.from_env(environment(OBSERVABILITY_CONFIG=json.dumps(settings)))
    made = Observers(asyncio.get_running_loop(), config, Logger("test", write=log.write), lambda: 0)
    return made, [json.loads(line) for line in log.getvalue().splitlines()]


async def test_nothing_is_on_by_default() -> None:
    made, events = observers({})
    assert (made.telemetry, events) == (None, [])
    await made.start()
    await made.stop()


@pytest.mark.parametrize(("settings", "kind"), [(TRACES, Traces), (METRICS, RequestMetrics), (LOG, RequestLog)])
async def test_one_that_is_on_is_told_directly(settings: dict[str, Any], kind: type) -> None:
    made, events = observers(settings)
    assert (type(made.telemetry), events) == (kind, [])
    await made.stop()


async def test_of_several_the_traces_edit() -> None:
    made, _ = observers(TRACES | METRICS | LOG)
    assert isinstance(made.telemetry.edits.__self__, Traces)  # type: ignore[union-attr]
    await made.stop()


@pytest.mark.parametrize(
    ("settings", "event"),
    [
        ({"tracing": {"protocol": "grpc", "endpoint": "c:4317"}}, "traces_not_exported"),
        ({"requestMetrics": {"protocol": "grpc", "endpoint": "c:4317"}}, "metrics_not_exported"),
        (LOG | {"requestLogTemplate": "{{"}, "request_log_disabled"),
    ],
)
async def test_what_cannot_be_on_is_said_and_off(settings: dict[str, Any], event: str) -> None:
    made, events = observers(settings)
    assert made.telemetry is None
    assert [each["message"] for each in events] == [event]


async def test_an_empty_template_is_no_log_and_no_mistake() -> None:
    made, events = observers(LOG | {"requestLogTemplate": ""})
    assert (made.telemetry, events) == (None, [])


LOADED = """
import asyncio, sys
from queue_proxy.config import Config
from queue_proxy.observers import Observers
from proxies.logs import Logger
from tests.support.queue_proxy import environment
async def main():
    config = Config.from_env(environment(OBSERVABILITY_CONFIG=sys.argv[1]))
    Observers(asyncio.get_running_loop(), config, Logger("test"), int)
asyncio.run(main())
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, set()),
        (LOG, {"queue_proxy.request_log", "proxies.gotemplate.template", "proxies.stdout"}),
        (TRACES, {"queue_proxy.traces", "proxies.spans", "proxies.stdout"}),
    ],
)
def test_what_is_off_is_not_imported(settings: dict[str, Any], wanted: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(settings)], check=True, stdout=subprocess.PIPE, text=True
    )
    telling = {"queue_proxy.request_log", "proxies.gotemplate.template", "proxies.stdout"}
    telling |= {"queue_proxy.traces", "proxies.spans", "queue_proxy.metrics"}
    assert set(done.stdout.split()) & telling == wanted
