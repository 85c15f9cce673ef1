"""Events to a Broker or a channel, in binary mode, with open arrivals: `--path /NAMESPACE/BROKER`."""

import time
import uuid

from loadtests.locust.common import OpenLoop, headers, tell

DATA = b'{"load":"' + b"x" * 1000 + b'"}'


class Producer(OpenLoop):
    """All events."""

    fixed_count = 1

    def _one(self, due_s: float) -> None:
        problem: Exception | None = None
        fields = {
            **headers(self.environment),
            "Content-Type": "application/json",
            "Ce-Specversion": "1.0",
            "Ce-Id": str(uuid.uuid4()),
            "Ce-Source": "/loadtests/locust",
            "Ce-Type": "load.event",
            "Ce-Time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        try:
            response = self._client.post(self._name, body=DATA, headers=fields)
            response.read()
            if not 200 <= response.status_code < 300:
                problem = RuntimeError(f"status {response.status_code}")
        except Exception as error:  # noqa: BLE001 - whatever it was is told and counted
            problem = error
        finally:
            self._under_way -= 1
        tell(self.environment, "EVENT", self._name, due_s, len(DATA), problem)
