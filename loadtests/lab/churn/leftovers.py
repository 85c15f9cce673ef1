"""What a stack holds: objects, processes, clusters of Envoy. What there was before may be there after; nothing else."""

import asyncio
import contextlib
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from kube.client import Client
from kube.errors import ApiError
from loadtests.lab.churn.changes import NAMESPACE
from loadtests.scenario import RunningStack, until
from local_cluster.manifests import KindInfo, Kinds

__all__ = ["Inventory", "Memory"]

_WITHIN_S = 180.0
"""How long it may take until nothing is left; pods may take their whole grace period."""
_SAMPLE_S = 5.0
_GROWTH_RATIO_MAX = 1.1
_GROWTH_MB_MAX = 4.0
"""Below that, a program has not grown: allocators round up."""
_NAME = re.compile(r"-m\0(local_cluster|controller|autoscaler|activator|gateway)\0|/(envoy)\0")


_SETTLING_S = 3.0


class Inventory:
    """What there was before the churn, and the question what of it is new."""

    def __init__(self, client: Client, kinds: list[KindInfo], stack: RunningStack) -> None:
        self._client = client
        self._kinds = kinds
        self._stack = stack
        self._before: Counter[str] = Counter()

    @classmethod
    async def taken(cls, client: Client, kinds: Kinds, stack: RunningStack) -> "Inventory":
        """Of every kind that can be listed but events, which are meant to stay a while."""
        found = cls(client, [kind for kind in kinds.all if kind.namespaced and kind.kind != "Event"], stack)
        found._before = await found._now()

        async def has_settled() -> bool | None:
            """A stack that is ready starts what it keeps in reserve: processes that wait to become queue-proxies."""
            await asyncio.sleep(_SETTLING_S)
            found._before, last = await found._now(), found._before
            return True if found._before == last else None

        await until(has_settled, _WITHIN_S, "the stack to settle")
        return found

    async def left(self) -> list[str]:
        """What is there beyond what was, when waiting does not help."""
        left: list[str] = []

        async def check() -> bool | None:
            left[:] = sorted((await self._now() - self._before).elements())
            return True if not left else None

        with contextlib.suppress(TimeoutError):
            await until(check, _WITHIN_S, "nothing to be left", every_s=1.0)
        return left

    async def _now(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for kind in self._kinds:
            with contextlib.suppress(ApiError):  # a kind that cannot be listed
                items = json.loads(await self._client.raw("GET", kind.path(NAMESPACE))).get("items", [])
                found.update(f"{kind.kind} {item['metadata']['name']}" for item in items)
        found.update(f"process {command}" for _pid, command in _processes(self._stack.pid))
        found.update(f"cluster of Envoy {name}" for name in await self._clusters())
        return found

    async def _clusters(self) -> set[str]:
        """Names of the clusters that Envoy has."""
        bootstrap = json.loads((self._stack.state_dir / "envoy.json").read_text())
        address = bootstrap["admin"]["address"]["socket_address"]
        url = f"http://{address['address']}:{address['port_value']}/clusters"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return {line.partition("::")[0] for line in (await response.text()).splitlines()}


class Memory:
    """Resident memory of each program of a stack, sampled while `watch` runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: dict[str, list[float]] = {}

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            for name, megabytes in self._now().items():
                self._samples.setdefault(name, []).append(megabytes)
            await asyncio.sleep(_SAMPLE_S)

    def last_mb(self) -> dict[str, float]:
        """By program, at the end."""
        return {name: _tail(samples) for name, samples in self._samples.items()}

    def growth_mb(self) -> dict[str, float]:
        """By program: how much more it had at the end than when the first third was over."""
        return {name: round(_tail(samples) - _third(samples), 1) for name, samples in self._samples.items()}

    def grown(self) -> list[str]:
        """Programs whose memory is not flat."""
        return [
            name
            for name, samples in self._samples.items()
            if _tail(samples) > max(_third(samples) * _GROWTH_RATIO_MAX, _third(samples) + _GROWTH_MB_MAX)
        ]

    def _now(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for pid, command in _processes(self._pid):
            if name := _NAME.search(command):
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    if rss := re.search(r"VmRSS:\s+(\d+) kB", status):
                        found[name[1] or name[2]] = int(rss[1]) / 1024
        return found


def _third(samples: list[float]) -> float:
    """The median of a tenth of the samples, where the first third ends."""
    begin, width = len(samples) // 3, max(1, len(samples) // 10)
    return statistics.median(samples[begin : begin + width])


def _tail(samples: list[float]) -> float:
    return statistics.median(samples[-max(1, len(samples) // 10) :])


def _processes(stack_pid: int) -> Iterator[tuple[int, str]]:
    """Pid and command line (words end with NUL) of `knuv up` and of all that it started, whoever is its parent."""
    mark = b""
    found: list[tuple[int, str, bytes]] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            environ = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            own = next((word for word in environ if word.startswith(b"KNUV_GUARDIAN=")), b"")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == stack_pid and own:
                mark = own
            if own or int(entry.name) == stack_pid:
                found.append((int(entry.name), command, own))
    return ((pid, command) for pid, command, own in found if own == mark or pid == stack_pid)
