"""A sink that hands every event it gets to a function, for `knuv events tail`: on this machine, or as a pod.

Pods with networks of their own reach nothing of the machine. There the sink is a pod (`python -m
local_cluster.event_listener`) that writes each event into its log as a line of JSON, and the log is followed.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from eventing.event import STRUCTURED, Event, EventError, event_from
from kube.client import Client
from kube.errors import ApiError, ApiUnreachable, NotFound
from kube.informer import Informer
from kube.models.core import Pod

__all__ = ["ListenError", "listening", "listening_in_pod"]

_EVENT_BYTES_MAX = 64 << 20
_PORT = 8080
_READY_S = 60.0
_SILENCE_MAX_S = 7 * 86_400.0


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


@asynccontextmanager
async def listening_in_pod(client: Client, namespace: str, handle: Callable[[Event], None]) -> AsyncIterator[str]:
    """Let a pod listen while the context lasts; its URL. Raises `ListenError` when it does not come up."""
    name = f"knuv-tail-{secrets.token_hex(4)}"
    path = Pod.RESOURCE.path(namespace)
    container = {
        "name": "tail",
        "image": "dev.local/knuv/event-listener",
        "command": [sys.executable, "-P", "-m", "local_cluster.event_listener"],
        "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
    }
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    await client.raw("POST", path, body=json.dumps(body).encode())
    following: asyncio.Task[None] | None = None
    try:
        pod = await _until_ready(client, name, namespace)
        following = asyncio.get_running_loop().create_task(_follow(client, Pod.RESOURCE.path(namespace, name), handle))
        yield f"http://{pod.status.pod_ip}:{_PORT}/"
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        with contextlib.suppress(NotFound):  # somebody else was faster
            await client.raw("DELETE", Pod.RESOURCE.path(namespace, name))


async def _until_ready(client: Client, name: str, namespace: str) -> Pod:
    informer = Informer(client, Pod, namespace=namespace, field_selector=f"metadata.name={name}")
    changed = asyncio.Event()
    informer.on_change(lambda _old, _new: changed.set())
    await informer.start()
    try:
        async with asyncio.timeout(_READY_S):
            while (pod := informer.get(namespace, name)) is None or not pod.is_ready():
                changed.clear()
                await changed.wait()
            return pod
    except TimeoutError:
        raise ListenError(f"pod {name} is not ready after {_READY_S:.0f} s; `knuv logs {name}` may say why") from None
    finally:
        await informer.stop()


async def _follow(client: Client, path: str, handle: Callable[[Event], None]) -> None:
    """Hand on what the pod writes until the log ends or cannot be read."""
    params = {"container": "tail", "follow": "true"}
    try:
        async for line in client.stream(f"{path}/log", params, silence_max_s=_SILENCE_MAX_S):
            try:
                event = event_from([(b"content-type", STRUCTURED.encode())], line)
            except EventError:
                continue  # what else the program may say is for `knuv logs`
            handle(event)
        problem = "the pod that listened has ended"
    except (ApiError, ApiUnreachable) as error:
        problem = str(error)
    print(f"knuv: no more events are heard of: {problem}", file=sys.stderr)  # noqa: T201 - for who sits at the terminal


async def _serve() -> None:
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)

    def write(event: Event) -> None:
        # Line breaks in JSON stand between its parts only.
        sys.stdout.buffer.write(event.structured().replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
        sys.stdout.buffer.flush()

    async with listening("0.0.0.0", _PORT, write):  # noqa: S104 - the pod's network is its own
        await over.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
