"""What the scenarios share: options, where to, open arrivals, and the check that locust was not the bottleneck.

Importing it adds the options and listeners to locust.
"""

import random
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import gevent
import locust.stats
from gevent.pool import Pool
from geventhttpclient import HTTPClient
from locust import User, constant, events, task
from locust.runners import MasterRunner

from loadtests.locust.busy import BUSY_MAX, LATE_MS_MAX, WINDOW_S, Busy, Lateness
from loadtests.locust.samples import Sample, Writer

__all__ = ["UNANSWERED", "OpenLoop", "Target", "headers", "refusal", "target", "tell", "virtual_hosts"]

_FAILED: Final = 1
_USAGE: Final = 2
_INVALID: Final = 3
_TIMEOUT_S: Final = 60.0
_AT_ONCE_MAX: Final = 5000
_NAP_S: Final = 0.05
"""How often it is measured whether the load wakes in time."""
_DRAIN_S: Final = 30.0
"""How long answers are waited for at the end (`--stop-timeout`): what is cut off would be missing from the figures."""
UNANSWERED: Final = "no answer when the test ended"

# A point each second in the report's charts; locust's own five leave nothing to see of half a minute.
locust.stats.HISTORY_STATS_INTERVAL_SEC = 1


class Target(NamedTuple):
    """Where `--host` leads."""

    address: str
    port: int
    is_tls: bool


def target(environment: Any) -> Target:
    """Host and port of `--host`."""
    url = urlsplit(environment.host)
    is_tls = url.scheme == "https"
    return Target(url.hostname or "", url.port or (443 if is_tls else 80), is_tls)


def virtual_hosts(environment: Any) -> list[str]:
    """Return the services' host names; that of the URL when none is given."""
    given: list[str] = environment.parsed_options.virtual_host
    return given or [urlsplit(environment.host).netloc]


def headers(environment: Any) -> dict[str, str]:
    """Return the headers that lead to any of the services."""
    return {"Host": random.choice(virtual_hosts(environment))}


def tell(
    environment: Any, kind: str, name: str, began_s: float, size: int = 0, problem: BaseException | None = None
) -> None:
    """Count one request that should have begun at `began_s` (of `time.perf_counter`)."""
    environment.events.request.fire(
        request_type=kind,
        name=name,
        response_time=(time.perf_counter() - began_s) * 1000,
        response_length=size,
        exception=problem,
        context={},
    )


def refusal(status: int, body: bytes) -> RuntimeError | None:
    """What is wrong with an answer; None for a good one."""
    if 200 <= status < 300:
        return None
    reason = body[:80].decode(errors="replace").strip()
    return RuntimeError(f"status {status}: {reason}" if reason else f"status {status}")


class OpenLoop(User):
    """One user makes all arrivals, each in a greenlet of its own. `rate_at` says how many a second."""

    abstract = True
    wait_time = constant(0)
    _kind = "GET"
    """What the requests are called in the figures."""
    _is_over = False

    def on_start(self) -> None:
        """Open nothing yet: connections come with the arrivals that need them."""
        options = {"concurrency": _AT_ONCE_MAX, "connection_timeout": _TIMEOUT_S, "network_timeout": _TIMEOUT_S}
        self._client = HTTPClient.from_url(self.host, **options)
        self._under_way = Pool(_AT_ONCE_MAX)

    def on_stop(self) -> None:
        """Wait for the answers that are under way; those that do not come are failures."""
        try:
            self._under_way.join(timeout=self.environment.stop_timeout)
        finally:
            self._under_way.kill()

    def stop(self, force: bool = False) -> Any:
        """Let no more arrive."""
        self._is_over = True
        return super().stop(force)

    def rate_at(self, elapsed_s: float) -> float:
        """Arrivals a second, so long after the beginning."""
        return float(self.environment.parsed_options.rate)

    @task
    def arrivals(self) -> None:
        """Begin each request when it is due, late ones at once."""
        began_s = due_s = time.perf_counter()
        while not self._is_over:
            due_s += 1.0 / max(0.001, self.rate_at(due_s - began_s))
            # More than once: after a busy moment the loop's clock is behind, and a sleep ends before its time.
            while (left_s := due_s - time.perf_counter()) > 0.0:
                gevent.sleep(left_s)
            if self._under_way.full():
                problem = RuntimeError(f"{_AT_ONCE_MAX} requests are under way")
                tell(self.environment, self._kind, self._name, due_s, problem=problem)
                gevent.sleep(0)
            else:
                self._under_way.spawn(self._one, due_s)

    @property
    def _name(self) -> str:
        return str(self.environment.parsed_options.path)

    def _one(self, due_s: float) -> None:
        problem: BaseException | None = None
        size = 0
        try:
            response = self._answer()
            body = response.read()
            size = len(body)
            problem = refusal(response.status_code, body)
        except gevent.GreenletExit:
            problem = RuntimeError(UNANSWERED)
        except Exception as error:  # noqa: BLE001 - whatever it was is told and counted
            problem = error
        tell(self.environment, self._kind, self._name, due_s, size, problem)

    def _answer(self) -> Any:
        return self._client.get(self._name, headers=headers(self.environment))


class _Run:
    """What belongs to the process."""

    busy = Busy(0.0, 0.0)
    lateness = Lateness()
    writer: Writer | None = None


@events.init_command_line_parser.add_listener
def _add_options(parser: Any, **_: Any) -> None:
    group = parser.add_argument_group("knuv")
    group.add_argument("--virtual-host", action="append", default=[], help="host name of a service; may be repeated")
    group.add_argument("--path", default="/", help="what is asked for (default /)")
    group.add_argument("--rate", type=float, default=100.0, help="arrivals a second, where they are open (default 100)")
    group.add_argument("--samples", default="", help="file to which each request is written as a line of CSV")


@events.init.add_listener
def _begun(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    if options.headless and not str(environment.host or "").startswith(("http://", "https://")):
        print(f"expected --host http://GATEWAY or https://GATEWAY, got {environment.host!r}", file=sys.stderr)
        sys.exit(_USAGE)
    if options.rate <= 0:
        print(f"expected --rate above 0, got {options.rate:g}", file=sys.stderr)
        sys.exit(_USAGE)
    environment.stop_timeout = environment.stop_timeout or _DRAIN_S
    # The loop's clock stood still while modules were imported, and --run-time would begin in the past.
    gevent.get_hub().loop.update_now()


@events.test_start.add_listener
def _started(environment: Any, **_: Any) -> None:
    _Run.busy, _Run.lateness = Busy(time.perf_counter(), time.process_time()), Lateness()
    gevent.spawn(_watch, _Run.busy)
    path = environment.parsed_options.samples
    _Run.writer = Writer(Path(path)) if path else None


def _watch(busy: Busy) -> None:
    now_s = sampled_s = time.perf_counter()
    while _Run.busy is busy:
        due_s = now_s + _NAP_S
        gevent.sleep(_NAP_S)
        now_s = time.perf_counter()
        _Run.lateness.woke(now_s - due_s)
        if now_s - sampled_s >= 1.0:
            sampled_s = now_s
            busy.sample(now_s, time.process_time())


@events.request.add_listener
def _counted(request_type: str, name: str, response_time: float, exception: Any, **_: Any) -> None:
    if _Run.writer is not None:
        due_s = time.perf_counter() - response_time / 1000
        problem = f"{type(exception).__name__}: {exception}" if exception else ""
        _Run.writer.add(Sample(due_s, f"{request_type} {name}", response_time, problem))


@events.quitting.add_listener
def _ended(environment: Any, **_: Any) -> None:
    busy, runner = _Run.busy, environment.runner
    busy.sample(time.perf_counter(), time.process_time())
    if _Run.writer is not None:
        _Run.writer.flush()
    peak = f", {busy.peak_ratio:.0%} in its busiest {WINDOW_S:.0f} s" if busy.peak_ratio else ""
    late_ms = _Run.lateness.p95_ms
    noise = "; NOISY: it was kept from the processor, and times hold its own delay" if late_ms > LATE_MS_MAX else ""
    print(f"locust used {busy.ratio:.0%} of a core{peak}, and woke up to {late_ms} ms late (95th percentile){noise}")
    if busy.is_saturated or (isinstance(runner, MasterRunner) and runner.worker_cpu_warning_emitted):
        print(f"INVALID: locust was the bottleneck (above {BUSY_MAX:.0%}); lower --rate or --users, or use --processes")
        environment.process_exit_code = _INVALID
    elif runner is not None and not runner.stats.total.num_requests and not environment.parsed_options.worker:
        print("FAILED: no request was made")
        environment.process_exit_code = _FAILED
