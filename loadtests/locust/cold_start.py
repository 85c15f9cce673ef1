"""One request to each service: in turn, or all at the same moment with `--storm`. Services should have no pods."""

import time
from typing import Any

import gevent
from gevent.pool import Group
from geventhttpclient import HTTPClient
from locust import User, events, task
from locust.exception import StopUser

from loadtests.locust.common import UNANSWERED, refusal, tell, virtual_hosts


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
        group, due_s = Group(), time.perf_counter()
        try:
            for host in hosts:
                group.spawn(self._first, host, due_s)
                if not self.environment.parsed_options.storm:
                    group.join()
                    due_s = time.perf_counter()
            group.join()
        finally:
            group.kill()
        self.environment.runner.quit()
        raise StopUser

    def _first(self, host: str, due_s: float) -> None:
        problem: BaseException | None = None
        size = 0
        client = HTTPClient.from_url(self.host, connection_timeout=120, network_timeout=120)
        try:
            response = client.get(self.environment.parsed_options.path, headers={"Host": host})
            body = response.read()
            size = len(body)
            problem = refusal(response.status_code, body)
        except gevent.GreenletExit:
            problem = RuntimeError(UNANSWERED)
        except Exception as error:  # noqa: BLE001 - whatever it was is told and counted
            problem = error
        finally:
            client.close()
        tell(self.environment, "COLD", "first request", due_s, size, problem)
