"""`python -m tests.deploy.record_metrics`: write `recorded_metrics.json`, what a stack's components tell Prometheus.

One Service and one Broker live for half a minute, one Trigger has a subscriber that is not there. Kept are the series
that a dashboard or an alert names, with the labels that a scrape by `deploy/manifests/monitoring` adds. To be run again
when metrics or their labels have changed; tests/deploy/test_dashboards.py asks the recorded series what the dashboards
ask.
"""

import asyncio
import json
import math
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.__main__ import FOLDER, files
from kube.client import Client
from kube.config import ApiConfig
from kube.models.core import ConfigMap
from kube.models.eventing import Broker
from loadtests.lab.cold_start import NAMESPACE, SHORTENED, at_zero, ready_host
from loadtests.load import fetch
from loadtests.locust.scenarios import SCENARIOS, service
from loadtests.scenario import RunningStack, until
from local_cluster.manifests import Kinds, apply
from local_cluster.settings import StackInfo
from local_cluster.system import SYSTEM_NAMESPACE

ROOT: Final = Path(__file__).parents[2]
RECORDED: Final = Path(__file__).parent / "recorded_metrics.json"
_PROGRAMS: Final = {"activator", "autoscaler", "controller", "gateway", "broker", "queue_proxy"}
_SWITCHED_ON: Final = {"metrics-protocol": "prometheus", "request-metrics-protocol": "prometheus"}


def programs(pid: int) -> dict[int, str]:
    """Process id -> name of our programs below this process."""
    children: dict[int, list[tuple[int, list[str]]]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (path / "cmdline").read_text().strip("\0").split("\0")
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append((int(path.name), words))
    found: dict[int, str] = {}
    waiting = children.get(pid, [])
    while waiting:
        at, words = waiting.pop()
        waiting += children.get(at, [])
        name = next((word for word in words if word in _PROGRAMS), "")
        if name:
            found[at] = " ".join(words[words.index(name) :]) if name == "broker" else name
    return found


def listening(pids: dict[int, str]) -> dict[str, str]:
    """Address -> program."""
    told = subprocess.run(["ss", "-ltnpH"], check=True, capture_output=True, text=True).stdout
    pairs = ((line.split()[3], re.search(r"pid=(\d+)", line)) for line in told.splitlines())
    return {address: pids[int(pid[1])] for address, pid in pairs if pid and int(pid[1]) in pids}


async def live(client: Client, stack: RunningStack) -> None:
    """A Service goes from zero to pods, and a Broker's events reach it and reach nobody."""
    kinds = await Kinds.discover(client)
    subscriber = service("recorded", SCENARIOS["events"])
    subscriber["spec"]["template"]["spec"]["containerConcurrency"] = 10
    await apply(client, kinds, subscriber, NAMESPACE)
    host, _ = await ready_host(client, "recorded")
    await until(lambda: at_zero(client, "recorded"), 120, "the Service to be at zero")
    there = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "recorded"}}
    api = "eventing.knative.dev/v1"
    made: list[dict[str, Any]] = [
        {"apiVersion": api, "kind": "Broker", "metadata": {"name": "default"}, "spec": {"delivery": {"retry": 1}}},
        *(
            {
                "apiVersion": api,
                "kind": "Trigger",
                "metadata": {"name": name},
                "spec": {"broker": "default", "subscriber": to},
            }
            for name, to in (("good", there), ("bad", {"uri": "http://127.0.0.1:9/"}))
        ),
    ]
    for each in made:
        await apply(client, kinds, each, NAMESPACE)

    async def is_ready() -> bool | None:
        broker = await client.get(Broker, "default", NAMESPACE)
        return True if any(c.type == "Ready" and c.status == "True" for c in broker.status.conditions) else None

    await until(is_ready, 60, "the Broker to be ready")
    info = StackInfo.load(stack.state_dir)
    assert info is not None
    for _ in range(20):
        assert (await fetch(stack.http_port, host, "/")).status == 200
    async with aiohttp.ClientSession() as session:
        for number in range(21):
            event = {"Ce-Specversion": "1.0", "Ce-Id": str(number), "Ce-Source": "/recorded", "Ce-Type": "recorded"}
            if number == 20:
                del event["Ce-Type"]  # refused
            url = f"http://127.0.0.1:{stack.http_port}/{NAMESPACE}/default"
            async with session.post(url, data=b"{}", headers={"Host": info.brokers_host, **event}) as response:
                assert response.status in (202, 400)
    await asyncio.sleep(8)


async def read(stack: RunningStack, wanted: set[str]) -> list[dict[str, Any]]:
    """The series of all that listen."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session:
        for address, program in sorted(listening(programs(stack.pid)).items()):
            if not address.endswith((":9090", ":9091", ":9092")):
                continue
            async with session.get(f"http://{address}/metrics") as response:
                # Port 9090 of a queue-proxy has what the autoscaler reads, in protobuf.
                text = await response.text() if response.content_type == "text/plain" else ""
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name in wanted and math.isfinite(sample.value):
                        own = {key: text for key, text in sample.labels.items() if not key.startswith("otel_scope_")}
                        labels = {**own, **scraped_labels(program)}
                        key = sample.name, json.dumps(labels, sort_keys=True)
                        rises = family.type in ("counter", "histogram")
                        if float(sample.labels.get("le", 1)) not in (1, math.inf):
                            continue  # two of a histogram's buckets have the labels of all
                        found[key] = {"name": sample.name, "labels": labels, "value": sample.value, "rises": rises}
    return [found[key] for key in sorted(found)]


def scraped_labels(program: str) -> dict[str, str]:
    """What a scrape adds, for one pod of each program."""
    if program == "queue_proxy":
        return {
            "namespace": NAMESPACE,
            "pod": "recorded-00001-deployment-1",
            "container": "queue-proxy",
            "job": "revisions",
        }
    namespace = "knative-eventing" if program.startswith("broker") else "knative-serving"
    name = program.replace("broker dispatcher", "imc-dispatcher").replace("broker ", "broker-")
    return {"namespace": namespace, "pod": f"{name}-1", "job": name}


async def main() -> None:
    """Record."""
    texts = [(FOLDER / name).read_text() for name in files()] + [(ROOT / "deploy/prometheus/rules.yaml").read_text()]
    wanted = set(re.findall(r"\w+", " ".join(texts)))
    with tempfile.TemporaryDirectory(prefix="knuv-recorded-") as folder:
        stack = RunningStack(Path(folder) / "stack")
        try:
            await stack.start(60)
            async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig), user_agent="knuv-record") as client:
                for namespace in (SYSTEM_NAMESPACE, "knative-eventing"):
                    await client.patch(ConfigMap, "config-observability", namespace, {"data": _SWITCHED_ON})
                await client.patch(ConfigMap, "config-autoscaler", SYSTEM_NAMESPACE, {"data": SHORTENED})
                # It is read at start: those that run are exchanged.
                before = programs(stack.pid)
                for pid in before:
                    os.kill(pid, signal.SIGTERM)

                async def is_exchanged() -> bool | None:
                    opened = [address for address in listening(programs(stack.pid)) if address.endswith(":9090")]
                    return True if len(opened) >= 4 else None

                await until(is_exchanged, 60, "the components to be there again")
                await live(client, stack)
            series = await read(stack, wanted)
        finally:
            await stack.stop()
    lines = ",\n".join(json.dumps(each, sort_keys=True) for each in series)
    RECORDED.write_text(f"[\n{lines}\n]\n")
    print(f"{RECORDED}: {len(series)} series")


if __name__ == "__main__":
    uvloop.run(main())
