"""`python -m loadtests.locust SCENARIO`: a local stack, the services that the scenario needs, and locust against them.

Arguments behind the scenario go to locust as they are (`--rate 200 --run-time 20s`). The exit code is locust's: 0 when
nothing failed, 1 when a request did, 3 when locust itself was the bottleneck; 2 when nothing could be measured, 130
after Ctrl-C.
"""

import argparse
import asyncio
import contextlib
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import uvloop

from kube.client import Client
from kube.config import ApiConfig
from kube.errors import ApiError, ApiUnreachable
from kube.models.core import ConfigMap, Pod
from kube.models.eventing import Broker
from kube.models.meta import ObjectMeta
from loadtests.lab.cold_start import NAMESPACE, at_zero, ready_host
from loadtests.locust.page import Story, page
from loadtests.locust.samples import Row, Sample, read_samples, rows, write_tables
from loadtests.locust.scenarios import SCENARIOS, SETTINGS, Scenario, service
from loadtests.scenario import RunningStack, until
from local_cluster.manifests import Kinds, apply
from local_cluster.settings import StackInfo
from local_cluster.system import SYSTEM_NAMESPACE

__all__ = ["main"]

_FOLDER: Final = Path(__file__).parent
_REPORTS: Final = Path("report")
_EVERY_S: Final = 0.5
_OK, _FAILED, _NOTHING, _INVALID, _INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: list[str]) -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.locust",
        description="Run one load test on a local stack.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                "Behind the scenario: any of locust's options. Reports go to the folder report/.\n",
                *(f"  {name:<11} {scenario.about}" for name, scenario in SCENARIOS.items()),
            ]
        ),
    )
    parser.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    options, more = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory(prefix="knuv-load-") as folder:
        try:
            code: int = uvloop.run(_run(options.scenario, more, Path(folder)))
            return code
        except (TimeoutError, ApiError, ApiUnreachable) as error:
            print(f"loadtest: {error}", file=sys.stderr)
            return _NOTHING
        except KeyboardInterrupt:
            return _INTERRUPTED


async def _run(name: str, more: list[str], folder: Path) -> int:
    scenario = SCENARIOS[name]
    stack = RunningStack(folder / "stack")
    _say(f"{name}: {scenario.about}")
    _say("starting a local stack ...")
    try:
        await stack.start(60)
        async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig), user_agent="knuv-load") as client:
            await client.patch(ConfigMap, "config-autoscaler", SYSTEM_NAMESPACE, {"data": dict(SETTINGS)})
            hosts = await _prepared(client, scenario)
            if scenario.has_broker:
                hosts = [await _broker_host(client, stack)]
            pods: list[tuple[float, int]] = []
            counting = asyncio.create_task(_count_pods(client, pods))
            try:
                code, told = await _locust(name, scenario, stack, hosts, more, folder)
            finally:
                counting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await counting
        return _report(name, more, code, told, read_samples(folder / "samples.csv"), pods)
    except TimeoutError as error:
        raise TimeoutError(f"{error}; the stack said at last:\n{stack.last_lines(5)}") from error
    finally:
        await stack.stop()


def _say(text: str) -> None:
    print(text, flush=True)


async def _prepared(client: Client, scenario: Scenario) -> list[str]:
    """Apply the services and return their host names, when they are as the scenario wants them."""
    kinds = await Kinds.discover(client)
    names = [f"load-{number}" for number in range(scenario.services)]
    which = "the service" if len(names) == 1 else f"{len(names)} services"
    _say(f"waiting for {which} to be ready{' and at zero' if scenario.starts_at_zero else ''} ...")
    for name in names:
        await apply(client, kinds, service(name, scenario), NAMESPACE)
    hosts = [(await ready_host(client, name))[0] for name in names]
    for name in names if scenario.starts_at_zero else ():
        await until(lambda name=name: at_zero(client, name), 120, f"{name} to be at zero", every_s=0.1)  # type: ignore[misc]
    return hosts


async def _broker_host(client: Client, stack: RunningStack) -> str:
    """Make a Broker and a Trigger; return the host name at which the gateway takes events for the Broker."""
    await client.create(Broker(metadata=ObjectMeta(name="default", namespace=NAMESPACE)))
    subscriber = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "load-0"}}
    trigger = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "load"},
        "spec": {"broker": "default", "subscriber": subscriber},
    }
    await apply(client, await Kinds.discover(client), trigger, NAMESPACE)

    async def is_ready() -> bool | None:
        broker = await client.get(Broker, "default", NAMESPACE)
        return True if any(c.type == "Ready" and c.status == "True" for c in broker.status.conditions) else None

    await until(is_ready, 60, "the Broker to be ready", every_s=0.1)
    info = StackInfo.load(stack.state_dir)
    assert info is not None
    return info.brokers_host


async def _count_pods(client: Client, counts: list[tuple[float, int]]) -> None:
    """Add (monotonic seconds, ready pods of all services) now and then, until cancelled."""
    while True:
        found = (await client.list(Pod, NAMESPACE, label_selector="serving.knative.dev/revision")).items
        counts.append((time.perf_counter(), sum(pod.is_ready() for pod in found)))
        await asyncio.sleep(_EVERY_S)


async def _locust(
    name: str, scenario: Scenario, stack: RunningStack, hosts: list[str], more: list[str], folder: Path
) -> tuple[int, list[str]]:
    """Run it; its exit code and what it printed."""
    _REPORTS.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "locust", "-f", str(_FOLDER / scenario.file)]
    words += ["--headless", "--only-summary", "--loglevel", "ERROR"]
    words += ["--host", f"http://127.0.0.1:{stack.http_port}", *(f"--virtual-host={host}" for host in hosts)]
    words += ["--html", str(_REPORTS / f"{name}-locust.html")]
    # Instead of two tables as wide as two screens.
    words += ["--json-file", str(_REPORTS / name), "--samples", str(folder / "samples.csv")]
    if scenario.rolls_out:
        words += ["--rollout-command", _rollout(stack)]
    given = (*scenario.arguments, *more)
    _say(f"locust begins: {shlex.join(given)}")
    process = await asyncio.create_subprocess_exec(*words, *given, stdout=asyncio.subprocess.PIPE)
    told: list[str] = []
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            told.append(line.decode(errors="replace").rstrip())
            _say(told[-1])
        return await process.wait(), told
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _rollout(stack: RunningStack) -> str:
    patch = '{"spec":{"template":{"metadata":{"annotations":{"example.com/version":"2"}}}}}'
    return (
        f"{Path(sys.executable).with_name('kubectl')} --kubeconfig {stack.kubeconfig} -n {NAMESPACE}"
        f" patch ksvc load-0 --type merge -p '{patch}'"
    )


def _report(
    name: str, more: list[str], code: int, told: list[str], samples: list[Sample], pods: list[tuple[float, int]]
) -> int:
    """Write the page, print the table and the verdict, and return the exit code."""
    if not samples:
        _say(f"FAILED: locust ended with {code} and made no request")
        return code or _FAILED
    table = rows(samples)
    _say(_table(table))
    began_s, ended_s = samples[0].due_s, max(sample.due_s + sample.ms / 1000 for sample in samples)
    before = [count for at_s, count in pods if at_s <= began_s] or [0]
    during = [count for at_s, count in pods if began_s < at_s <= ended_s + 2 * _EVERY_S] or before
    _say(f"pods: {before[-1]} at the beginning, {max(during)} at most, {during[-1]} at the end")
    verdict = _verdict(code, table)
    beside = [*write_tables(_REPORTS, name, samples, table), f"{name}-locust.html", f"{name}.json"]
    story = Story(
        name=name,
        about=SCENARIOS[name].about,
        verdict=verdict,
        is_good=code == _OK,
        command=shlex.join(["make", "loadtest", f"SCENARIO={name}"])
        if not more
        else shlex.join(["python", "-m", "loadtests.locust", name, *more]),
        busy=next((line for line in told if line.startswith("locust used")), "locust did not say what it used"),
        date=time.strftime("%Y-%m-%d %H:%M"),
        samples=samples,
        rows=table,
        pods=pods,
        beside=[file for file in beside if (_REPORTS / file).exists()],
    )
    path = _REPORTS / f"{name}.html"
    path.write_text(page(story))
    _say(f"{verdict}\nreport: {path}")
    return code


def _verdict(code: int, table: list[Row]) -> str:
    count, failed = sum(row.count for row in table), sum(row.failed for row in table)
    match code:
        case 0:
            return f"PASSED: {count:,} requests, none failed"
        case 3:
            return (
                f"INVALID: {count:,} requests, {failed:,} failed, but locust was the bottleneck: the times are its own"
            )
        case _:
            return f"FAILED: {failed:,} of {count:,} requests failed, locust ended with {code}"


def _table(table: list[Row]) -> str:
    width = max(len(row.name) for row in table)
    head = f"{'':{width}}  {'requests':>9} {'failed':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'max ms':>8}"
    lines = [
        f"{row.name:{width}}  {row.count:>9,} {row.failed:>7,} {row.p50_ms:>8,.0f} {row.p95_ms:>8,.0f}"
        f" {row.p99_ms:>8,.0f} {row.max_ms:>8,.0f}"
        for row in table
    ]
    return "\n".join([head, *lines])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
