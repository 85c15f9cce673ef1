"""One request to each service: in turn, or all at the same moment with `--storm`. Services should have no pods."""

import time
from typing import Any

import gevent
from geventhttpclient import HTTPClient
from locust import User, events, task
from locust.exception import StopUser

from loadtests.locust.common import tell, virtual_hosts


@events.init_command_line_parser.add_listener
def _add_options(parser: Any, **_: Any) -> None:
    parser.add_argument("--storm", action="store_true", help="all requests at once")


class ColdStart(User):
    """Asks each service once and stops."""

    fixed_count = 1

    @task
    def ask(self) -> None:
        """Ask, in turn or at once."""
        hosts = virtual_hosts(self.environment)
        if self.environment.parsed_options.storm:
            gevent.joinall([gevent.spawn(self._first, host) for host in hosts])
        else:
            for host in hosts:
                self._first(host)
        self.environment.runner.quit()
        raise StopUser

    def _first(self, host: str) -> None:
        began_s = time.perf_counter()
        problem: Exception | None = None
        client = HTTPClient.from_url(self.host, connection_timeout=120, network_timeout=120)
        try:
            response = client.get(self.environment.parsed_options.path, headers={"Host": host})
            response.read()
            if response.status_code != 200:
                problem = RuntimeError(f"status {response.status_code}")
        except Exception as error:  # noqa: BLE001 - whatever it was is told and counted
            problem = error
        finally:
            client.close()
        tell(self.environment, "COLD", "first request", began_s, problem=problem)
