"""Conversations over WebSockets: twenty messages, each echoed before the next. The app echoes at `--path`."""

import secrets
import socket
import time
from typing import Any

from gevent import monkey

monkey.patch_all()

from locust import User, constant, task  # noqa: E402 - after the patch
from websockets.sync.client import connect  # noqa: E402

from loadtests.locust.common import headers, target, tell  # noqa: E402

MESSAGES = 20


class Talker(User):
    """One who talks."""

    wait_time = constant(0.1)

    @task
    def talk(self) -> None:
        """One conversation; the connection and each message are timed."""
        environment = self.environment
        began_s = time.perf_counter()
        name = environment.parsed_options.path
        try:
            with self._open(name) as connection:
                tell(environment, "WS", f"{name} connect", began_s)
                for _ in range(MESSAGES):
                    began_s, message = time.perf_counter(), secrets.token_hex(50)
                    connection.send(message)
                    echo = connection.recv(timeout=60)
                    problem = None if echo == message else RuntimeError("another message came back")
                    tell(environment, "WS", f"{name} message", began_s, len(message), problem)
        except Exception as error:  # noqa: BLE001 - whatever it was is told and counted
            tell(environment, "WS", name, began_s, problem=error)

    def _open(self, path: str) -> Any:
        """Connect to the gateway, asking for the service's host name."""
        host = headers(self.environment)["Host"]
        address, port, is_tls = target(self.environment)
        sock = socket.create_connection((address, port), timeout=60)
        if is_tls:
            return connect(f"wss://{host}{path}", sock=sock, open_timeout=60, server_hostname=address)
        return connect(f"ws://{host}{path}", sock=sock, open_timeout=60)
