"""Event streams that stay open: how soon the first event comes, and each one after it. The app streams at `--path`."""

import time

from geventhttpclient import HTTPClient
from locust import User, constant, task

from loadtests.locust.common import headers, tell

EVENTS = 50


class Listener(User):
    """One who listens."""

    wait_time = constant(0.1)

    @task
    def listen(self) -> None:
        """One stream, until enough events have come."""
        environment = self.environment
        path = environment.parsed_options.path
        began_s = time.perf_counter()
        client = HTTPClient.from_url(self.host, connection_timeout=60, network_timeout=60)
        try:
            response = client.get(path, headers={**headers(environment), "Accept": "text/event-stream"})
            if response.status_code != 200:
                raise RuntimeError(f"status {response.status_code}")
            buffer, count = b"", 0
            while count < EVENTS and (data := response.read(1)):
                buffer += data
                if buffer.endswith(b"\n\n"):
                    tell(environment, "SSE", f"{path} {'next' if count else 'first'} event", began_s, len(buffer))
                    buffer, count, began_s = b"", count + 1, time.perf_counter()
            if count < EVENTS:
                raise RuntimeError(f"the stream ended after {count} events")
        except Exception as error:  # noqa: BLE001 - whatever it was is told and counted
            tell(environment, "SSE", path, began_s, problem=error)
        finally:
            client.close()
