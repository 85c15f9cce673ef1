"""Ingress, filter and dispatcher with a Broker and Triggers, and a steady flow of events through them.

A test reads

    async with plant(tmp_path) as world:
        path = await world.broker((sink.url, PATIENT))
        flow = Flow(world.address("ingress"), path, rate=100)
        flow.start()
        ...
        accepted = await flow.end()
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from kube.models.duck import Addressable, DeliverySpec, SubscriberSpec
from kube.models.eventing import CHANNEL_ADDRESS_ANNOTATION, Broker, BrokerStatus, Trigger, TriggerSpec, TriggerStatus
from kube.models.meta import Condition, ObjectMeta
from tests.support.dispatcher import EVENT, NAMESPACE, SYSTEM, Got, Sink, World, subscriber, surroundings
from tests.support.http import fetch
from tests.support.processes import eventually

PORT = 8080
DEADLINE_S = 60.0
READY = [Condition(type="Ready", status="True")]
PATIENT = {"retry": 30, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}
"""Longer than any process is away."""


class Process:
    """One of the processes, which can be killed and started anew."""

    def __init__(self, name: str, address: str, environ: dict[str, str]) -> None:
        self.name = name
        self.address = address
        self.environ = environ
        self.log: list[dict[str, Any]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it; return when it listens."""
        self.log.clear()
        command = (sys.executable, "-m", "broker", self.name)
        process = await asyncio.create_subprocess_exec(*command, env=self.environ, stderr=asyncio.subprocess.PIPE)
        self._process = process
        self._reading = asyncio.get_running_loop().create_task(self._read(process))
        await eventually(lambda: any(line["message"] == "broker_started" for line in self.log), timeout_s=DEADLINE_S)

    async def kill(self) -> None:
        """End it without a chance to do anything."""
        if self._process is not None and self._reading is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            await self._reading

    def rss_mb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self.log.append(json.loads(line) if line.startswith(b"{") else {"message": line.decode()})


@dataclass
class Plant:
    """All three, and what they follow."""

    world: World
    processes: dict[str, Process]
    count: int = 0

    def address(self, name: str) -> str:
        """Where a process listens."""
        return self.processes[name].address

    async def broker(self, *subscribers: tuple[str, dict[str, Any]]) -> str:
        """A Broker with a Trigger for each (URL, `delivery`), before a channel; return its path at the ingress."""
        client = self.world.client
        self.count += 1
        name = f"broker-{self.count}"
        entries: list[SubscriberSpec] = []
        for number, (url, delivery) in enumerate(subscribers):
            created = await client.create(
                Trigger(
                    metadata=ObjectMeta(name=f"{name}-{number}", namespace=NAMESPACE),
                    spec=TriggerSpec(broker=name),
                )
            )
            await client.patch_status(created, TriggerStatus(conditions=READY, subscriber_uri=url))
            path = f"triggers/{NAMESPACE}/{created.name}/{created.metadata.uid}"
            filter_url = f"http://broker-filter.{SYSTEM}.svc.cluster.local/{path}"
            entries.append(subscriber(filter_url, delivery=msgspec.convert(delivery, DeliverySpec)))
        channel = await self.world.channel(*entries)
        found = await client.create(Broker(metadata=ObjectMeta(name=name, namespace=NAMESPACE)))
        dispatcher = f"http://{self.address('dispatcher')}:{PORT}{channel.path}"
        status = BrokerStatus(
            conditions=READY,
            address=Addressable(name="http", url=f"http://broker-ingress/{NAMESPACE}/{name}"),
            annotations={CHANNEL_ADDRESS_ANNOTATION: dispatcher},
        )
        await client.patch_status(found, status)
        path = f"/{NAMESPACE}/{name}"
        await eventually(lambda: self._accepts(path), timeout_s=DEADLINE_S)
        return path

    async def _accepts(self, path: str) -> bool:
        """Whether the ingress knows a Broker with its channel by now."""
        answer = await fetch(self.address("ingress"), PORT, path, method="POST", headers=EVENT, body=b"{}")
        return answer.status == 202


@asynccontextmanager
async def plant(directory: Path, **environ: str) -> AsyncIterator[Plant]:
    """All three processes, with a journal; `environ` is more of the dispatcher's environment."""
    journal = {"KNUV_CHANNELS": "journal", "KNUV_JOURNAL_DIR": str(directory / "journal")}
    async with surroundings(starts=False, **{**journal, **environ}) as world:
        base, _, _ = world.address.rpartition(".")
        processes = {
            "dispatcher": Process("dispatcher", world.address, world.environ),
            "filter": Process("filter", f"{base}.3", _environ(world, f"{base}.3")),
            "ingress": Process("ingress", f"{base}.4", _environ(world, f"{base}.4")),
        }
        try:
            await world.service_at("broker-filter", SYSTEM, processes["filter"].address, PORT)
            await asyncio.gather(*(process.start() for process in processes.values()))
            yield Plant(world, processes)
        finally:
            await asyncio.gather(*(process.kill() for process in processes.values()))


def _environ(world: World, address: str) -> dict[str, str]:
    return {**world.environ, "KNUV_BIND_ADDRESS": address, "NAMESPACE": SYSTEM, "KNUV_CHANNELS": "memory"}


@dataclass
class Flow:
    """Events with ids of their own at a steady rate, whatever becomes of them."""

    address: str
    path: str
    rate: int
    body: bytes = b"{}"
    accepted: set[str] = field(default_factory=set)
    """Ids of those that were answered 202."""
    refused: Counter[str] = field(default_factory=Counter)
    """The others, by what was said or happened."""
    _number: int = 0
    _is_ending: bool = False
    _sending: set[asyncio.Task[None]] = field(default_factory=set)
    _running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def end(self) -> set[str]:
        """Send no more; return the ids that were accepted."""
        self._is_ending = True
        assert self._running is not None
        await self._running
        await asyncio.gather(*self._sending)
        return self.accepted

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = time.monotonic()
        while not self._is_ending:
            self._number += 1
            task = loop.create_task(self._send(f"{self.path}-{self._number}"))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
            await asyncio.sleep(max(0.0, began_s + self._number / self.rate - time.monotonic()))

    async def _send(self, event_id: str) -> None:
        lines = [
            f"POST {self.path} HTTP/1.1",
            "Host: ingress",
            "Ce-Specversion: 1.0",
            f"Ce-Id: {event_id}",
            "Ce-Source: /flow",
            "Ce-Type: flow",
            "Connection: close",
            f"Content-Length: {len(self.body)}",
            "",
            "",
        ]
        said = "no answer"
        try:
            async with asyncio.timeout(DEADLINE_S):
                reader, writer = await asyncio.open_connection(self.address, PORT)
                try:
                    writer.write("\r\n".join(lines).encode() + self.body)
                    said = (await reader.readline()).decode().strip() or said
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            said = type(error).__name__
        if said.startswith("HTTP/1.1 202 "):
            self.accepted.add(event_id)
        else:
            self.refused[said] += 1


def ids_of(got: list[Got]) -> Counter[str]:
    """How often each event came."""
    return Counter(each.get("ce-id") or "" for each in got)


async def all_arrived(sink: Sink, accepted: set[str], quiet_s: float = DEADLINE_S) -> Counter[str]:
    """Wait until a sink has every event that was accepted, or nothing has come for `quiet_s`; how often each came."""
    missing = set(accepted)
    seen, last_s = 0, time.monotonic()
    while missing and time.monotonic() - last_s < quiet_s:
        if len(sink.got) > seen:
            # Only what is new: there may be a hundred thousand, and the sink needs this processor, too.
            missing.difference_update(ids_of(sink.got[seen:]))
            seen, last_s = len(sink.got), time.monotonic()
        await asyncio.sleep(0.05)
    assert not missing, (
        f"{len(missing)} of {len(accepted)} events that got 202 were not delivered: {sorted(missing)[:5]}"
    )
    return ids_of(sink.got)
