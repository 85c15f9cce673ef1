"""The command line of the churn, and its verdict."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from kube.client import Client
from kube.config import ApiConfig
from kube.models import core
from loadtests.lab.churn.changes import Changes
from loadtests.lab.churn.leftovers import Inventory, Memory
from loadtests.scenario import RunningStack
from local_cluster.manifests import Kinds

__all__ = ["main"]

_SYSTEM = "knative-serving"
_SETTINGS = {
    "config-autoscaler": {
        "stable-window": "6s",
        "scale-to-zero-grace-period": "1s",
        "allow-zero-initial-scale": "true",
    },
    # Old Revisions are part of the churn: with the default of 20 per Service, the first hour would only pile them up.
    "config-gc": {
        "min-non-active-revisions": "0",
        "max-non-active-revisions": "1",
        "retain-since-create-time": "disabled",
        "retain-since-last-active-time": "disabled",
    },
}


def main(arguments: list[str]) -> int:
    """Churn; 0 when nothing failed, leaked or grew."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.lab churn")
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long, once all are Ready (1800)")
    parser.add_argument("--services", type=int, default=200, help="how many there are (200)")
    parser.add_argument("--rate", type=float, default=2.0, help="changes a second (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    found = uvloop.run(_measure(options.seconds, options.services, options.rate))
    text = json.dumps(found, indent=1) if options.json else "\n".join(f"{k:28}{v}" for k, v in found.items())
    sys.stdout.write(text + "\n")
    return 0 if found["met"] else 1


async def _measure(seconds: float, services: int, rate: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="knuv-churn-") as directory:
        stack = RunningStack(Path(directory) / "state")
        try:
            await stack.start()
            async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig)) as client:
                for name, data in _SETTINGS.items():
                    await client.patch(core.ConfigMap, name, _SYSTEM, {"data": data})
                inventory = await Inventory.taken(client, await Kinds.discover(client), stack)
                changes = Changes(stack, client, services)
                await changes.fill()
                memory = Memory(stack.pid)
                watching = asyncio.get_running_loop().create_task(memory.watch())
                began_s = time.monotonic()
                await changes.run(seconds, rate)
                took_s = time.monotonic() - began_s
                watching.cancel()
                await changes.clear()
                left = await inventory.left()
                return _verdict(changes, memory, left, took_s)
        finally:
            await stack.stop()


def _verdict(changes: Changes, memory: Memory, left: list[str], took_s: float) -> dict[str, Any]:
    growth = memory.growth_mb()
    return {
        "seconds": round(took_s),
        "services_at_least": changes.count_min,
        "changes": dict(changes.done),
        "changes_a_second": round(sum(changes.done.values()) / took_s, 2),
        "requests": changes.requests,
        "failed_requests": len(changes.failed_requests),
        "failures": [*changes.failed_requests[:10], *changes.problems[:10]],
        "left": left[:20],
        "memory_mb": {name: round(value) for name, value in memory.last_mb().items()},
        "growth_mb_since_first_third": growth,
        "grew": memory.grown(),
        "met": not changes.failed_requests and not changes.problems and not left and not memory.grown(),
    }
