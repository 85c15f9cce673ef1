"""Pods behind queue-proxies, as cheaply as a loop allows: they answer probes with `queue` and requests with `ok`."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from loadtests.lab.queue_proxy.apps import OkApp

__all__ = ["Pod", "serving_pods"]

_PROBE: Final = b"K-Network-Probe"
_QUEUE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nqueue"
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Pod:
    """One pod: where it is, and how many requests it had at once."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        """Of each answer."""
        self.port = 0
        self.in_flight = 0
        self.in_flight_max = 0
        self._area = 0.0
        self._since_s = self._began_s = time.perf_counter()

    def begin(self) -> None:
        """Count anew."""
        self._area, self.in_flight_max = 0.0, self.in_flight
        self._since_s = self._began_s = time.perf_counter()

    def average(self) -> float:
        """Requests at once since `begin`, averaged over time."""
        self.change(0)
        return self._area / (self._since_s - self._began_s)

    def change(self, by: int) -> None:
        """A request came or went."""
        now_s = time.perf_counter()
        self._area += self.in_flight * (now_s - self._since_s)
        self._since_s = now_s
        self.in_flight += by
        self.in_flight_max = max(self.in_flight_max, self.in_flight)


class _PodApp(OkApp):
    """A connection to a pod."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    def data_received(self, data: bytes) -> None:
        if _PROBE in data:
            self._transport.write(_QUEUE)
        elif self._pod.delay_s:
            self._pod.change(1)
            asyncio.get_running_loop().call_later(self._pod.delay_s, self._answer)
        else:
            super().data_received(data)

    def _answer(self) -> None:
        self._pod.change(-1)
        if not self._transport.is_closing():
            self._transport.write(_OK)


@asynccontextmanager
async def serving_pods(count: int, delay_s: float = 0.0) -> AsyncIterator[list[Pod]]:
    """Listen on so many free ports of 127.0.0.1."""
    pods, servers = [], []
    loop = asyncio.get_running_loop()
    try:
        for _ in range(count):
            pod = Pod(delay_s)
            server = await loop.create_server(partial(_PodApp, pod), "127.0.0.1", 0, backlog=4096)
            pod.port = server.sockets[0].getsockname()[1]
            servers.append(server)
            pods.append(pod)
        yield pods
    finally:
        for server in servers:
            server.close()
