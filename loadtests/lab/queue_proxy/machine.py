"""Cores, CPU time and memory, as Linux tells them in /proc."""

import asyncio
import os
import platform
import resource
import signal
import subprocess
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import uvloop

__all__ = ["Cores", "Meter", "Process", "describe", "pinned", "raise_open_files_limit", "stoppable"]

T = TypeVar("T")

OPEN_FILES: Final = 16384
"""Enough for 5,000 connections in, as many out, and their rivals'."""
_LISTENS: Final = "0A"
"""A state of TCP in /proc."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where."""

    proxy: int
    load: int

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The first and the last core that we may use; on a machine with one core they are the same."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[-1])


async def stoppable(work: Coroutine[None, None, T]) -> T:
    """Await `work` so that SIGTERM cancels it, as Ctrl-C does anyway: what it has started is ended."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process on `core` for a while. What it starts meanwhile stays there for good."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_open_files_limit() -> int:
    """Let this process, and what it starts, open many files; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


class Process:
    """A process and its descendants: nginx's worker, or what a shell started, count with their parent."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def has_ended(self) -> bool:
        """Whether the process itself is over, and only waits to be asked for its exit code."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def cpu_ns(self) -> int:
        """CPU time that all their threads have used."""
        return sum(int(text.split()[0]) for text in self._texts("task/*/schedstat"))

    def wakeups(self) -> int:
        """How often their threads went to sleep and were woken."""
        return sum(_field(text, "voluntary_ctxt_switches") for text in self._texts("task/*/status"))

    def connections(self) -> dict[str, str]:
        """The sockets that they have open and do not listen on, by number: address, peer and state, as TCP has it."""
        links = {_link(path) for pid in self._pids(self.pid) for path in Path(f"/proc/{pid}/fd").iterdir()}
        lines = [line.split() for table in ("net/tcp", "net/tcp6") for line in _text(self.pid, table).splitlines()[1:]]
        told = {number: (own, peer, state) for _, own, peer, state, _, _, _, _, _, number, *_ in lines}
        found = {}
        for link in sorted(links):
            number = link.removeprefix("socket:[").rstrip("]")
            own, peer, state = told.get(number, ("", "", ""))
            if link.startswith("socket:") and state != _LISTENS:
                found[number] = (
                    f"{_address(own)} to {_address(peer)} in state {state}" if own else "closed, or not of TCP"
                )
        return found

    def rss_bytes(self) -> int:
        """Resident memory of the largest of them."""
        return max(_field(text, "VmRSS") for text in self._texts("status")) * 1024

    def peak_bytes(self) -> int:
        """Highest resident memory of the largest of them since `reset_peak`."""
        return max(_field(text, "VmHWM") for text in self._texts("status")) * 1024

    def reset_peak(self) -> None:
        """Forget the highest resident memory so far."""
        for pid in self._pids(self.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _pids(self, pid: int) -> Iterator[int]:
        yield pid
        for text in _texts(pid, "task/*/children"):
            for child in text.split():
                yield from self._pids(int(child))

    def _texts(self, pattern: str) -> Iterator[str]:
        for pid in self._pids(self.pid):
            yield from _texts(pid, pattern)


def _texts(pid: int, pattern: str) -> Iterator[str]:
    """What the files of a process in /proc say; those of threads and children that end meanwhile are left out."""
    for path in Path(f"/proc/{pid}").glob(pattern):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_text()


def _text(pid: int, name: str) -> str:
    return next(_texts(pid, name), "")


def _address(text: str) -> str:
    """IPv4 addresses as usual, of IPv6 the last word."""
    address, _, port = text.rpartition(":")
    return f"{'.'.join(str(byte) for byte in reversed(bytes.fromhex(address[-8:])))}:{int(port, 16)}"


def _link(path: Path) -> str:
    """What a descriptor in /proc is; empty when it has been closed meanwhile."""
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""


def _field(status: str, name: str) -> int:
    """A number of a `status` file; 0 where its line is missing, as for a process that has just ended."""
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


@dataclass(frozen=True, slots=True)
class _CoreTime:
    """What a core has done since the machine started, in seconds; the kernel counts in ticks of 10 ms."""

    processes_s: float
    """Programs, also those of other machines on the same host."""
    all_s: float
    """Interrupts too: everything but idling."""

    @classmethod
    def of(cls, core: int) -> "_CoreTime":
        line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
        processes = user + nice + system + steal
        return cls(processes / _TICKS_PER_S, (processes + irq + softirq) / _TICKS_PER_S)


class Meter:
    """Measures a process and both cores, from its making to `figures`."""

    def __init__(self, process: Process, cores: Cores) -> None:
        self._process = process
        self._cores = cores
        self._cpu_ns = process.cpu_ns()
        self._wakeups = process.wakeups()
        self._proxy_core = _CoreTime.of(cores.proxy)
        self._load_core = _CoreTime.of(cores.load)
        self._at_s = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._at_s

    def cpu_us(self) -> float:
        """CPU time of the process since the beginning."""
        return (self._process.cpu_ns() - self._cpu_ns) / 1000

    def wakeups(self) -> int:
        """Wake-ups since the beginning."""
        return self._process.wakeups() - self._wakeups

    def cores(self) -> dict[str, float]:
        """Return how busy the load's core was, and how much of the proxy's was used by others; 0 to 1."""
        elapsed_s = self.elapsed_s
        load_s = _CoreTime.of(self._cores.load).all_s - self._load_core.all_s
        others_s = _CoreTime.of(self._cores.proxy).processes_s - self._proxy_core.processes_s - self.cpu_us() / 1e6
        return {
            "load_core_ratio": min(1.0, load_s / elapsed_s),
            "noise_ratio": max(0.0, others_s / elapsed_s),
        }


def describe() -> dict[str, str]:
    """What a reader must know of this machine to compare figures."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "machine": f"{platform.machine()}, {model[0].partition(': ')[2] if model else 'unknown processor'}, "
        f"{len(os.sched_getaffinity(0))} cores, Linux {platform.release()}",
        "versions": f"Python {platform.python_version()}, uvloop {uvloop.__version__}",
        "limits": f"somaxconn {Path('/proc/sys/net/core/somaxconn').read_text().strip()}, "
        f"open files {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}",
        "commit": _commit() or "unknown",
        "date": time.strftime("%Y-%m-%d"),
    }


def _commit() -> str:
    """What git says of this tree; nothing without git, or in a folder that is no repository."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except FileNotFoundError:
        return ""
    return asked.stdout.strip()
