"""`make demo`: a Knative Service from zero pods to many and back to zero, shown live.

The demo is a user of the stack: it starts `knuv up` as a process of its own, applies the manifest, sends requests
through the gateway and reads what the API and the autoscaler say. It succeeds only when every step happened.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from rich.console import Console

from kube.client import Client
from kube.config import ApiConfig
from kube.models.core import ConfigMap, Pod
from kube.models.serving import Service
from loadtests.load import Load, fetch
from loadtests.scenario import RunningStack, StackState, until
from local_cluster.manifests import Kinds, apply, load
from local_cluster.system import SYSTEM_NAMESPACE
from local_cluster.timeline import assemble, read_events

MANIFEST = Path(__file__).parent.parent / "examples" / "hello.yaml"
NAMESPACE = "default"
USERS = 60
WORK_MS = 200
LOAD_S = 20.0

# Knative's defaults stay what they are; a demonstration is not the place to wait a minute for a window. The small
# target burst capacity lets the activator leave the path once there are pods enough, so that both modes can be seen.
SHORTENED = {
    "stable-window": "6s",
    "scale-to-zero-grace-period": "6s",
    # Of the short stable window the default tenth would be less than a second: too short to see a burst in.
    "panic-window-percentage": "50",
    "target-burst-capacity": "20",
}


class StepFailed(Exception):
    """A step of the demo did not happen; the text says which and what was seen."""


@dataclass(slots=True)
class Summary:
    """What the last lines tell."""

    requests: int = 0
    errors: list[str] = field(default_factory=list)
    cold_start_s: float = 0.0
    most_pods: int = 0
    modes: list[str] = field(default_factory=list)


async def demo(stack: RunningStack, console: Console, *, fixed_port: bool = False) -> Summary:
    """All steps against a running stack. Raises `StepFailed`.

    `fixed_port`: with an app that listens on 8080 whatever it is told.
    """
    summary = Summary()
    async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig), user_agent="knuv-demo") as client:
        await client.patch(ConfigMap, "config-autoscaler", SYSTEM_NAMESPACE, {"data": SHORTENED})
        kinds = await Kinds.discover(client)
        _title(
            console,
            "1. Apply a Service",
            "It runs while requests come. Nobody asks yet, so that its first pod goes again.",
        )
        started = time.perf_counter()
        for manifest in load(MANIFEST):
            if fixed_port:
                container = manifest["spec"]["template"]["spec"]["containers"][0]
                container["command"] = ["env", "-u", "PORT", *container["command"]]
            done = await apply(client, kinds, manifest, NAMESPACE)
            console.print(f"{done.kind.lower()}/{done.name} {done.outcome}  ({MANIFEST.parent.name}/{MANIFEST.name})")
        service = await _ready(client, "hello")
        revision = service.status.latest_ready_revision_name
        host = service.status.url.removeprefix("http://")
        console.print(f"Ready after {time.perf_counter() - started:.1f} s at {service.status.url}:{stack.http_port}")
        state = StackState(client, stack, NAMESPACE, revision)
        await _to_zero(state, console)

        _title(
            console,
            "2. The first request meets no pods",
            "The activator holds it and tells the autoscaler, which wants a pod; with the pod there it goes on.",
        )
        await _cold_start(stack, host, revision, summary, console)

        _title(
            console,
            f"3. {USERS} users, {WORK_MS} ms of work a request",
            "A pod is to have 7 requests at a time (70 % of the target, 10). Mode: proxy, through an activator, while\n"
            "room is scarce; serve, from the gateway to pods, with enough of it. Panic: a burst; no pod is taken away.",
        )
        await _load(stack, host, state, summary, console)

        _title(
            console,
            "4. The load ends",
            "Pods go as the load leaves the window that is looked at; the last one after a grace period.",
        )
        await _to_zero(state, console)
        await until(lambda: _no_pods(client, revision), 60, "the last pod's process to end")
    return summary


def _title(console: Console, title: str, meaning: str) -> None:
    console.rule(title, align="left")
    console.print(meaning, style="dim")


async def _ready(client: Client, name: str) -> Service:
    async def ready() -> Service | None:
        service = await client.get(Service, name, NAMESPACE)
        is_ready = any(c.type == "Ready" and c.status == "True" for c in service.status.conditions)
        return service if is_ready else None

    return await until(ready, 30, f"Service {name} to be Ready")


async def _to_zero(state: StackState, console: Console) -> None:
    began = time.perf_counter()
    shown = ""
    while (seen := await state.read()).wanted_pods != 0 or seen.ready_pods != 0:
        desired = "" if seen.desired < 0 else f", desired {seen.desired}"
        line = f"pods ready {seen.ready_pods}{desired}, mode {seen.mode}"
        if line != shown:
            console.print(f"{time.perf_counter() - began:5.1f} s  {line}")
            shown = line
        if time.perf_counter() - began > 60:
            raise StepFailed(f"scale to zero: after 60 s {line}")
        await asyncio.sleep(0.25)
    console.print(f"{time.perf_counter() - began:5.1f} s  zero pods")


async def _cold_start(stack: RunningStack, host: str, revision: str, summary: Summary, console: Console) -> None:
    sent = time.time()
    answer = await fetch(stack.http_port, host, "/")
    first_byte = sent + answer.first_byte_s
    summary.requests += 1
    summary.cold_start_s = answer.first_byte_s
    if answer.status != 200:
        summary.errors.append(answer.problem or f"status {answer.status}")
        raise StepFailed(f"first request: status {answer.status} {answer.problem}")
    console.print(
        f"GET / -> {answer.status} {answer.body.decode().strip()!r} after {answer.first_byte_s * 1000:.0f} ms"
    )

    async def told() -> list[dict[str, object]] | None:
        # Envoy writes its access log in batches; the request's own line is the last to arrive.
        events = read_events(stack.state_dir, since=sent - 0.001)
        return events if any(event["message"] == "request" for event in events) else None

    cold = assemble(await until(told, 15, "the components' logs"), revision=revision, sent=sent, first_byte=first_byte)
    at = 0.0
    for phase in cold.phases:
        at += phase.seconds
        note = "" if phase.ours else "   (the app's)"
        console.print(f"  {phase.name:28}{phase.seconds * 1000:8.1f} ms   at {at * 1000:7.1f} ms{note}")
    console.print(f"  {'our share':28}{cold.ours_s * 1000:8.1f} ms   (all but process spawn and the app's own boot)")
    if cold.missing:
        raise StepFailed(f"cold start: no event for {', '.join(cold.missing)}")


async def _load(stack: RunningStack, host: str, state: StackState, summary: Summary, console: Console) -> None:
    load_ = Load(stack.http_port, host, f"/?sleep={WORK_MS}", users=USERS)
    load_.start()
    console.print("    s  concurrency  panic  desired  ready  mode   requests/s   p50 ms   p99 ms  errors")
    panicked = False
    began = time.perf_counter()
    while (elapsed_s := time.perf_counter() - began) < LOAD_S:
        await asyncio.sleep(1.0 - (elapsed_s % 1.0))
        seen = await state.read()
        second = load_.take()
        panicked |= seen.panicking
        summary.most_pods = max(summary.most_pods, seen.ready_pods)
        if not summary.modes or summary.modes[-1] != seen.mode:
            summary.modes.append(seen.mode)
        console.print(
            f"{time.perf_counter() - began:5.0f}  {seen.stable:11.1f}  {'yes' if seen.panicking else 'no':5}"
            f"  {seen.desired:7}  {seen.ready_pods:5}  {seen.mode:5}  {second.count:10}"
            f"  {second.p50_ms:7.0f}  {second.p99_ms:7.0f}  {len(second.problems):6}"
        )
    await load_.stop()
    summary.requests += load_.total
    summary.errors += load_.problems
    if summary.most_pods < 2:
        raise StepFailed(f"scale up: at most {summary.most_pods} pod(s) under {USERS} concurrent requests")
    if not panicked:
        raise StepFailed("panic mode: the burst did not start it")


async def _no_pods(client: Client, revision: str) -> bool | None:
    pods = await client.list(Pod, NAMESPACE, label_selector=f"serving.knative.dev/revision={revision}")
    return not pods.items or None


def _report(summary: Summary, stack: RunningStack, console: Console) -> None:
    console.rule("Summary", align="left")
    console.print(f"requests    {summary.requests}")
    console.print(f"errors      {len(summary.errors)}")
    for problem in sorted(set(summary.errors))[:5]:
        console.print(f"            {problem}", markup=False)
    console.print(f"cold start  {summary.cold_start_s * 1000:.0f} ms, request sent to first byte")
    console.print(f"most pods   {summary.most_pods}")
    console.print(f"modes       {' -> '.join(summary.modes)}")
    console.print("\nBy hand, the first in a terminal of its own:")
    console.print("  .venv/bin/knuv up -f examples/hello.yaml")
    console.print(f"  curl -H 'Host: hello.{NAMESPACE}.127.0.0.1.sslip.io' http://127.0.0.1:8080")
    console.print("  .venv/bin/knuv get services")
    console.print("  .venv/bin/kubectl --kubeconfig ~/.local/state/knuv/kubeconfig get ksvc,revision,pods")
    console.print(
        "Windows were shortened to some seconds here; Knative's own, a minute and more, are what `knuv up` has."
    )
    console.print("The words: docs/concepts.md; the way of a request: docs/life-of-a-request.md.")


async def _main(state_dir: Path, network: str, console: Console) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    stack = RunningStack(state_dir, "--network", network)
    try:
        begun = time.perf_counter()
        await stack.start()
        console.print(
            f"local stack up after {time.perf_counter() - begun:.1f} s: gateway http://127.0.0.1:{stack.http_port}"
        )
        summary = await demo(stack, console, fixed_port=network == "netns")
        _report(summary, stack, console)
        return 1 if summary.errors else 0
    except asyncio.CancelledError:
        console.print("interrupted; stopping the stack")
        return 130
    except (StepFailed, TimeoutError) as error:
        console.print(f"demo failed: {error}", markup=False)
        console.print(stack.last_lines(), markup=False)
        return 1
    finally:
        await stack.stop()


def main() -> int:
    """Run the demo; the exit code is 0 only when every step happened."""
    parser = argparse.ArgumentParser(description="Take a Knative Service from zero to many pods and back.")
    parser.add_argument("--state-dir", type=Path, help="keep the stack's files here (default: a temporary folder)")
    parser.add_argument(
        "--network",
        choices=["loopback", "netns"],
        default="loopback",
        help="netns: a network for each pod, and an app that listens on 8080 whatever it is told (root)",
    )
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 110)
    with tempfile.TemporaryDirectory(prefix="knuv-demo-") as folder:
        code: int = uvloop.run(_main(arguments.state_dir or Path(folder), arguments.network, console))
        return code


if __name__ == "__main__":
    sys.exit(main())
