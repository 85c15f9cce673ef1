"""The app behind load tests: `/echo` a WebSocket, `/events` an event stream, POST takes an event. Listens on $PORT."""

import asyncio
import json
import os
import time

from aiohttp import WSMsgType, web

EVERY_S = 0.1


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send each message back."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def stream(request: web.Request) -> web.StreamResponse:
    """Ten events a second until the client leaves."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    number = 0
    while True:
        await response.write(f"id: {number}\ndata: {time.time():.3f}\n\n".encode())
        number += 1
        await asyncio.sleep(EVERY_S)


async def hello(_: web.Request) -> web.Response:
    """Anything else."""
    return web.Response(text="Hello World!\n")


async def event(request: web.Request) -> web.Response:
    """Take an event. A body that is none would be an answer that the Broker refuses, and the event would come again."""
    await request.read()
    return web.Response(status=204)


def main() -> None:
    """Serve until told to end."""
    app = web.Application()
    app.add_routes([web.get("/echo", echo), web.get("/events", stream), web.get("/{path:.*}", hello)])
    app.router.add_post("/{path:.*}", event)
    port = int(os.environ.get("PORT", "8080"))  # noqa: TID251 - an app of a user reads its environment as users do
    print(json.dumps({"message": "listening", "at": time.time(), "port": port}), flush=True)
    web.run_app(app, host="127.0.0.1", port=port, print=None, handle_signals=True)


if __name__ == "__main__":
    main()
