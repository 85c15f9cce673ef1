"""What the scenarios share: options, open arrivals, and the check that locust was not the bottleneck.

Importing it adds the options and listeners to locust.
"""

import random
import time
from typing import Any, Final

import gevent
from geventhttpclient import HTTPClient
from locust import User, constant, events, task

__all__ = ["OpenLoop", "headers", "tell", "virtual_hosts"]

_BUSY_MAX: Final = 0.9
"""Beyond this use of one core locust waits for itself (it has one thread)."""
_INVALID: Final = 3
_TIMEOUT_S: Final = 60.0
_AT_ONCE_MAX: Final = 5000


@events.init_command_line_parser.add_listener
def _add_options(parser: Any, **_: Any) -> None:
    group = parser.add_argument_group("knuv")
    group.add_argument("--virtual-host", action="append", default=[], help="host name of a service; may be repeated")
    group.add_argument("--path", default="/", help="what is asked for (default /)")
    group.add_argument("--rate", type=float, default=100.0, help="arrivals a second, where they are open (default 100)")


class _Clock:
    """Processor time of this process between the test's start and end."""

    cpu_s = 0.0
    at_s = 0.0


@events.test_start.add_listener
def _started(**_: Any) -> None:
    _Clock.cpu_s, _Clock.at_s = time.process_time(), time.perf_counter()


@events.quitting.add_listener
def _ended(environment: Any, **_: Any) -> None:
    busy = (time.process_time() - _Clock.cpu_s) / max(1e-9, time.perf_counter() - _Clock.at_s)
    print(f"locust used {busy:.0%} of a core")
    if busy > _BUSY_MAX:
        print("INVALID: locust was the bottleneck; lower the rate or the number of users, or use --processes")
        environment.process_exit_code = _INVALID


def virtual_hosts(environment: Any) -> list[str]:
    """Return the services' host names; that of the URL when none is given."""
    given: list[str] = environment.parsed_options.virtual_host
    return given or [environment.host.partition("://")[2]]


def headers(environment: Any) -> dict[str, str]:
    """Return the headers that lead to any of the services."""
    return {"Host": random.choice(virtual_hosts(environment))}


def tell(
    environment: Any, kind: str, name: str, began_s: float, size: int = 0, problem: Exception | None = None
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


class OpenLoop(User):
    """One user makes all arrivals, each in a greenlet of its own. `rate_at` says how many a second."""

    abstract = True
    wait_time = constant(0)

    def on_start(self) -> None:
        """Open nothing yet: connections come with the arrivals that need them."""
        options = {"concurrency": _AT_ONCE_MAX, "connection_timeout": _TIMEOUT_S, "network_timeout": _TIMEOUT_S}
        self._client = HTTPClient.from_url(self.host, **options)
        self._under_way = 0

    def rate_at(self, elapsed_s: float) -> float:
        """Arrivals a second, so long after the beginning."""
        return float(self.environment.parsed_options.rate)

    @task
    def arrivals(self) -> None:
        """Begin each request when it is due, late ones at once."""
        began_s = due_s = time.perf_counter()
        while True:
            due_s += 1.0 / max(0.001, self.rate_at(due_s - began_s))
            gevent.sleep(max(0.0, due_s - time.perf_counter()))
            if self._under_way >= _AT_ONCE_MAX:
                problem = RuntimeError(f"{_AT_ONCE_MAX} requests are under way")
                tell(self.environment, "GET", self._name, due_s, problem=problem)
                continue
            self._under_way += 1
            gevent.spawn(self._one, due_s)

    @property
    def _name(self) -> str:
        return str(self.environment.parsed_options.path)

    def _one(self, due_s: float) -> None:
        problem: Exception | None = None
        size = 0
        try:
            response = self._client.get(self._name, headers=headers(self.environment))
            size = len(response.read())
            if response.status_code != 200:
                problem = RuntimeError(f"status {response.status_code}")
        except Exception as error:  # noqa: BLE001 - whatever it was is told and counted
            problem = error
        finally:
            self._under_way -= 1
        tell(self.environment, "GET", self._name, due_s, size, problem)
