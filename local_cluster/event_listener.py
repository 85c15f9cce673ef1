"""A sink on this machine that hands every event it gets to a function, for `knuv events tail`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from eventing.event import Event, EventError, event_from

__all__ = ["ListenError", "listening"]

_EVENT_BYTES_MAX = 64 << 20


class ListenError(Exception):
    """Nobody can listen there; says where, and why."""


@asynccontextmanager
async def listening(host: str, port: int, handle: Callable[[Event], None]) -> AsyncIterator[str]:
    """Listen while the context lasts; its URL. Raises `ListenError` when the address cannot be had."""

    async def receive(request: web.Request) -> web.Response:
        try:
            event = event_from(request.raw_headers, await request.read())
        except EventError as error:
            return web.Response(status=400, text=str(error))
        handle(event)
        return web.Response(status=202)

    app = web.Application(client_max_size=_EVENT_BYTES_MAX)
    app.router.add_post("/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ListenError(f"{host}:{port}: {error.strerror}") from error
        bound = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}/"
    finally:
        await runner.cleanup()
