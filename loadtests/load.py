"""A closed-loop load for demonstrations: so many users, each sending its next request when it has the last answer.

Closed loops hide latency from whoever does not look (a slow server gets fewer requests); figures about latency under a
given rate need an open loop.
"""

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp

__all__ = ["Answer", "Load", "Second", "fetch"]

_TIMEOUT_S = 60.0
_PROBLEMS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's end. `status` 0 means that no answer came; `problem` then says why. Times in seconds."""

    status: int
    body: bytes
    first_byte_s: float
    total_s: float
    problem: str = ""


@dataclass(slots=True)
class Second:
    """What was measured since the last look."""

    latencies_ms: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Answers, good ones and others."""
        return len(self.latencies_ms) + len(self.problems)

    @property
    def p50_ms(self) -> float:
        """Median latency of good answers, in milliseconds; 0 without any."""
        return self._quantile(0.5)

    @property
    def p99_ms(self) -> float:
        """99th percentile, likewise."""
        return self._quantile(0.99)

    def _quantile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def fetch(port: int, host: str, path: str, session: aiohttp.ClientSession | None = None) -> Answer:
    """GET through the gateway at 127.0.0.1:`port` for virtual host `host`. Never raises for what a server may do."""
    if session is None:
        async with aiohttp.ClientSession() as own:
            return await fetch(port, host, path, own)
    began = time.perf_counter()
    try:
        async with session.get(
            f"http://127.0.0.1:{port}{path}",
            headers={"Host": host},
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        ) as response:
            first_byte_s = time.perf_counter() - began
            body = await response.read()
            return Answer(response.status, body, first_byte_s, time.perf_counter() - began)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        elapsed_s = time.perf_counter() - began
        return Answer(0, b"", elapsed_s, elapsed_s, f"{type(error).__name__}: {error}")


class Load:
    """`users` concurrent users of one path. `start`, `take` what was measured, `stop`."""

    def __init__(self, port: int, host: str, path: str, *, users: int) -> None:
        self._port, self._host, self._path, self._users = port, host, path, users
        self._second = Second()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.total = 0
        self.problems: list[str] = []

    def start(self) -> None:
        """Let all users begin at once."""
        self._tasks = [asyncio.get_running_loop().create_task(self._user()) for _ in range(self._users)]

    def take(self) -> Second:
        """Everything since the last call."""
        taken, self._second = self._second, Second()
        return taken

    async def stop(self) -> None:
        """Let every user finish the request under way; none is cut off, so none is missing from the count."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _user(self) -> None:
        async with aiohttp.ClientSession() as session:
            while not self._stopping:
                answer = await fetch(self._port, self._host, self._path, session)
                self.total += 1
                if answer.status == 200:
                    self._second.latencies_ms.append(answer.total_s * 1000)
                else:
                    problem = (
                        answer.problem or f"status {answer.status}: {answer.body[:120].decode('utf-8', 'replace')}"
                    )
                    self._second.problems.append(problem)
                    if len(self.problems) < _PROBLEMS_MAX:
                        self.problems.append(problem)
                    await asyncio.sleep(0.1)  # a refusing server is not hammered
