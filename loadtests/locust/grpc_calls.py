"""gRPC over HTTP/2, with TLS where `--host` says https: unary calls, and streams of a hundred messages.

The service is that of `python -m loadtests.lab.soak_queue_proxy_h2.app`: raw bytes, echoed.
"""

import secrets
import time
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import User, constant, task

from loadtests.locust.common import headers, target, tell

grpc.experimental.gevent.init_gevent()

SERVICE = "soak.App"
MESSAGES = 100


class Caller(User):
    """One connection."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Connect when the first call needs it, asking for the service's host name."""
        options = [("grpc.default_authority", headers(self.environment)["Host"]), ("grpc.enable_http_proxy", 0)]
        address, port, is_tls = target(self.environment)
        place = f"{address}:{port}"
        if is_tls:
            self._channel = grpc.secure_channel(place, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(place, options)
        self._unary = self._channel.unary_unary(f"/{SERVICE}/Unary")
        self._chat = self._channel.stream_stream(f"/{SERVICE}/Chat")

    def on_stop(self) -> None:
        """Close it."""
        self._channel.close()

    @task(20)
    def unary(self) -> None:
        """One small message there and back."""
        message = secrets.token_bytes(100)
        self._timed("unary", lambda: self._unary(message, timeout=60) == message)

    @task(1)
    def chat(self) -> None:
        """A stream of messages, all of them echoed."""
        messages = [secrets.token_bytes(100) for _ in range(MESSAGES)]
        self._timed("stream", lambda: list(self._chat(iter(messages), timeout=60)) == messages)

    def _timed(self, name: str, call: Any) -> None:
        began_s, problem = time.perf_counter(), None
        try:
            if not call():
                problem = RuntimeError("another message came back")
        except grpc.RpcError as error:
            problem = RuntimeError(str(error.code()))
        tell(self.environment, "GRPC", name, began_s, problem=problem)
