"""A sink that answers as it is told and keeps what it got, and an adapter that waits in no time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from eventing.sending import Sender
from proxies.logs import Logger
from proxies.metrics.instruments import Registry
from sources.adapter import Adapter, Target
from sources.metrics import SourceMetrics
from sources.tokens import TokenError
from sources.tracing import Tracing


@dataclass
class Got:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Sink:
    """Answers with `statuses` in turn, the last of them for ever."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [202])
    got: list[Got] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Requests are answered while it is set."""

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Got(request.method, request.path_qs, headers, await request.read()))
        self.arrived.set()
        await self.gate.wait()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        headers = {"Location": "/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status, text="ignored", headers=headers)

    async def until(self, count: int) -> list[Got]:
        """Wait until that many requests came."""
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.got


@asynccontextmanager
async def running_sink(*statuses: int) -> AsyncIterator[Sink]:
    """A sink on a free port."""
    sink = Sink(statuses=list(statuses) or [202])
    sink.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", sink.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sink.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield sink
    finally:
        await runner.cleanup()


class AsIs:
    """Names are addresses already."""

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        return [(host, port)]


class FixedTokens:
    """Tokens that say for whom they are; for the audience `none` there is none."""

    async def get(self, namespace: str, account: str, audience: str) -> str:
        if audience == "none":
            raise TokenError("no token")
        return f"{namespace}/{account}/{audience}"


@dataclass
class Bench:
    """An adapter and what it did beside sending."""

    adapter: Adapter
    waits: list[float]
    log: list[bytes]
    registry: Registry


@asynccontextmanager
async def running_adapter(tracing: Tracing | None = None) -> AsyncIterator[Bench]:
    """An adapter whose waits are noted and not waited."""
    sender = Sender(asyncio.get_running_loop(), AsIs())
    registry = Registry({})
    waits: list[float] = []
    lines: list[bytes] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    adapter = Adapter(
        sender,
        tokens=FixedTokens(),
        metrics=SourceMetrics(registry),
        log=Logger("test", write=lines.append),
        tracing=tracing,
        sleep=sleep,
    )
    try:
        yield Bench(adapter, waits, lines, registry)
    finally:
        await sender.close()


def target(url: str, **more: object) -> Target:
    """A target of the source `shop/orders`."""
    return Target(**{"url": url, "namespace": "shop", "name": "orders", **more})  # type: ignore[arg-type]
