"""`proxies/metrics/process.py`: figures of this very process."""

import gc
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proxies.metrics import process
from proxies.metrics.instruments import Attributes, Registry
from proxies.metrics.process import add_process_series, add_runtime_metrics


def collected(add: Callable[[Registry], None]) -> dict[str, list[tuple[Attributes, float]]]:
    registry = Registry()
    add(registry)
    registry.collect()
    return {
        instrument.name: [(series.attributes, series.value) for series in instrument.all_series()]  # type: ignore[union-attr]
        for scope in registry.scopes
        for instrument in scope.instruments
    }


def test_the_series_of_prometheus_clients() -> None:
    found = {name: series[0][1] for name, series in collected(add_process_series).items()}
    assert found["process_cpu_seconds_total"] == pytest.approx(time.process_time(), abs=0.5)
    assert found["process_resident_memory_bytes"] == pytest.approx(resident_bytes(), rel=0.2)
    assert found["process_virtual_memory_bytes"] > found["process_resident_memory_bytes"]
    assert found["process_open_fds"] == len(os.listdir("/proc/self/fd")) - 1
    assert found["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert time.time() - 24 * 3600 < found["process_start_time_seconds"] < time.time()


def test_the_runtime_in_opentelemetrys_names() -> None:
    found = collected(add_runtime_metrics)
    assert found["process.thread.count"] == [({}, len(os.listdir("/proc/self/task")))]
    assert threading.active_count() <= len(os.listdir("/proc/self/task"))
    assert found["process.memory.usage"][0][1] == pytest.approx(resident_bytes(), rel=0.2)
    assert {attributes["cpu.mode"] for attributes, _ in found["process.cpu.time"]} == {"user", "system"}
    before = {attributes["cpython.gc.generation"]: count for attributes, count in found["cpython.gc.collections"]}
    gc.collect()
    after = {
        attributes["cpython.gc.generation"]: count
        for attributes, count in collected(add_runtime_metrics)["cpython.gc.collections"]
    }
    assert set(after) == {0, 1, 2}
    assert after[2] >= before[2] + 1


def test_what_a_system_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_lines", lambda path: [])
    found = collected(add_process_series)
    assert found["process_resident_memory_bytes"] == []
    assert found["process_start_time_seconds"] == []
    assert len(found["process_cpu_seconds_total"]) == 1


def resident_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
