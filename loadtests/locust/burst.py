"""From nobody to 300 users within a second. Each sends its next request when it has the last answer."""

from typing import Any

from locust import FastHttpUser, LoadTestShape, constant, task

from loadtests.locust.common import headers

USERS = 300
HOLD_S = 60.0


class Visitor(FastHttpUser):
    """One of the crowd."""

    wait_time = constant(0)
    connection_timeout = network_timeout = 60.0

    @task
    def ask(self) -> None:
        """Ask once."""
        self.client.get(self.environment.parsed_options.path, headers=headers(self.environment))


class AllAtOnce(LoadTestShape):
    """All come in the first second and stay; `--run-time` may end it earlier."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return (users, users a second); None ends the test."""
        runner: Any = self.runner
        options = runner.environment.parsed_options
        users = options.num_users or USERS
        return (users, float(users)) if self.get_run_time() < (options.run_time or HOLD_S) else None
