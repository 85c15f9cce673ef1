"""What the process itself uses: the runtime's counters, and the `process_*` series that every Prometheus client has.

Read when somebody asks, from /proc where there is one; what a system does not tell is left out.

Source: OpenTelemetry semantic conventions "Process metrics" and "CPython runtime metrics"; prometheus.io "Writing
client libraries", process metrics.
"""

import gc
import os
from collections.abc import Callable
from typing import Final

from proxies.metrics.instruments import Observations, Registry

__all__ = ["add_process_series", "add_runtime_metrics"]

_SCOPE: Final = "knuv/process"
_GENERATION: Final = "cpython.gc.generation"

# Positions in /proc/self/stat behind the name in parentheses (proc_pid_stat(5) counts from 3 there).
_THREADS: Final = 20 - 3
_STARTED: Final = 22 - 3
_VIRTUAL_BYTES: Final = 23 - 3
_RESIDENT_PAGES: Final = 24 - 3


def add_runtime_metrics(registry: Registry) -> None:
    """Tell of CPU time, memory, threads, descriptors and garbage collection, in OpenTelemetry's names."""
    scope = registry.scope(_SCOPE)
    scope.counter("process.cpu.time", unit="s", description="Processor time used.").observe(_cpu_times)
    scope.gauge("process.memory.usage", unit="By", description="Resident memory.").observe(_resident)
    scope.gauge("process.memory.virtual", unit="By", description="Virtual memory.").observe(_virtual)
    scope.gauge("process.thread.count", unit="{thread}", description="Threads.").observe(_threads)
    scope.gauge(
        "process.unix.file_descriptor.count", unit="{file_descriptor}", description="Open file descriptors."
    ).observe(_descriptors)
    for name, key, unit, description in (
        ("cpython.gc.collections", "collections", "{collection}", "Collections of a generation."),
        ("cpython.gc.collected_objects", "collected", "{object}", "Objects that a collection freed."),
        ("cpython.gc.uncollectable_objects", "uncollectable", "{object}", "Objects that could not be freed."),
    ):
        scope.counter(name, unit=unit, description=description).observe(_collections(key))


def add_process_series(registry: Registry) -> None:
    """Tell the same in the names that Prometheus' own clients give."""
    scope = registry.scope("", is_plain=True)
    scope.counter("process_cpu_seconds_total", description="Total user and system CPU time spent in seconds.").observe(
        _cpu_sum
    )
    scope.gauge("process_resident_memory_bytes", description="Resident memory size in bytes.").observe(_resident)
    scope.gauge("process_virtual_memory_bytes", description="Virtual memory size in bytes.").observe(_virtual)
    scope.gauge("process_open_fds", description="Number of open file descriptors.").observe(_descriptors)
    scope.gauge("process_max_fds", description="Maximum number of open file descriptors.").observe(_descriptors_max)
    scope.gauge(
        "process_start_time_seconds", description="Start time of the process since unix epoch in seconds."
    ).observe(_start_time)


def _cpu_times() -> Observations:
    times = os.times()
    return [({"cpu.mode": "user"}, times.user), ({"cpu.mode": "system"}, times.system)]


def _cpu_sum() -> Observations:
    times = os.times()
    return [({}, times.user + times.system)]


def _resident() -> Observations:
    return [({}, pages * os.sysconf("SC_PAGESIZE")) for pages in _stat(_RESIDENT_PAGES)]


def _virtual() -> Observations:
    return [({}, size) for size in _stat(_VIRTUAL_BYTES)]


def _threads() -> Observations:
    return [({}, count) for count in _stat(_THREADS)]


def _descriptors() -> Observations:
    try:
        # Listing the folder opens one more.
        return [({}, len(os.listdir("/proc/self/fd")) - 1)]
    except OSError:
        return []


def _descriptors_max() -> Observations:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [({}, soft)]


def _start_time() -> Observations:
    boot = next((int(line[6:]) for line in _lines("/proc/stat") if line.startswith("btime ")), None)
    if boot is None:
        return []
    return [({}, boot + ticks / os.sysconf("SC_CLK_TCK")) for ticks in _stat(_STARTED)]


def _collections(key: str) -> Callable[[], Observations]:
    return lambda: [({_GENERATION: index}, stats[key]) for index, stats in enumerate(gc.get_stats())]


def _stat(position: int) -> list[int]:
    """Return one number of /proc/self/stat, or nothing."""
    return [int(line.rpartition(")")[2].split()[position]) for line in _lines("/proc/self/stat")[:1]]


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.readlines()
    except OSError:
        return []
