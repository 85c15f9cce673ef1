"""Events to a Broker or a channel, in binary mode, with open arrivals: `--path /NAMESPACE/BROKER`."""

import time
import uuid
from typing import Any

from loadtests.locust.common import OpenLoop, headers

DATA = b'{"load":"' + b"x" * 1000 + b'"}'


class Producer(OpenLoop):
    """All events."""

    fixed_count = 1
    _kind = "EVENT"

    def _answer(self) -> Any:
        fields = {
            **headers(self.environment),
            "Content-Type": "application/json",
            "Ce-Specversion": "1.0",
            "Ce-Id": str(uuid.uuid4()),
            "Ce-Source": "/loadtests/locust",
            "Ce-Type": "load.event",
            "Ce-Time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        return self._client.post(self._name, body=DATA, headers=fields)
