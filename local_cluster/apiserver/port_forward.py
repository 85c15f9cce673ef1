"""`pods/{name}/portforward` over a WebSocket: kubectl's connections, each carried to a port of the pod.

Inside the WebSocket runs SPDY (`spdy.py`). For every connection that kubectl accepts it opens two streams with the same
`requestid`: `error`, on which we may say why a connection failed, and `data`, which is the connection. What a pod does
not read holds the WebSocket, and with it the other connections of the same kubectl.
Source: Kubernetes API reference, pods/portforward; KEP-4006 (tunnelling over WebSockets).
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from local_cluster.apiserver.errors import StatusError, bad_request
from local_cluster.apiserver.spdy import Data, Opened, Reset, Session, SpdyError

__all__ = ["PROTOCOL", "Dialer", "forward_ports"]

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_CHUNK_BYTES = 32 << 10
_HEARTBEAT_S = 30.0

Dialer = Callable[[str, str, int], Awaitable[socket.socket]]
"""(namespace, pod, port) -> a connected socket. Raises `OSError`, or a `StatusError` when the pod does not run."""
_Dial = Callable[[int], Awaitable[socket.socket]]


async def forward_ports(request: web.BaseRequest, dial: _Dial) -> web.StreamResponse:
    """Serve one kubectl until it goes. Raises a 400 `StatusError` when it is not a WebSocket of that protocol."""
    response = web.WebSocketResponse(protocols=(PROTOCOL,), heartbeat=_HEARTBEAT_S, compress=False)
    ready = response.can_prepare(request)
    if not ready.ok or ready.protocol != PROTOCOL:
        raise bad_request(f"port forwarding needs a WebSocket with the protocol {PROTOCOL}")
    await response.prepare(request)
    tunnel = _Tunnel(response, dial)
    try:
        with contextlib.suppress(ConnectionError):  # kubectl is gone
            await tunnel.run()
    finally:
        await tunnel.stop()
    return response


class _Tunnel:
    """One kubectl."""

    def __init__(self, websocket: web.WebSocketResponse, dial: _Dial) -> None:
        self._websocket = websocket
        self._dial = dial
        self._session = Session()
        self._errors: dict[str, int] = {}
        """Request id -> stream on which to say what failed."""
        self._queues: dict[int, asyncio.Queue[bytes]] = {}
        """Data stream -> what kubectl sent; empty bytes are its end. Bounded, so that a full one holds the reading."""
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until the WebSocket ends, or speaks something else."""
        async for message in self._websocket:
            if message.type is not WSMsgType.BINARY:
                break
            try:
                events = self._session.receive(message.data)
            except SpdyError:
                break
            for event in events:
                await self._told(event)
            answers = self._session.to_send()
            if answers:
                await self._websocket.send_bytes(answers)

    async def stop(self) -> None:
        """End every connection."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _told(self, event: Opened | Data | Reset) -> None:
        match event:
            case Opened(stream, headers):
                await self._websocket.send_bytes(self._session.accept(stream))
                if headers.get("streamtype") == "error":
                    self._errors[headers.get("requestid", "")] = stream
                else:
                    self._begin(stream, headers)
            case Data(stream, data, is_ended):
                queue, task = self._queues.get(stream), self._tasks.get(stream)
                if queue is None or task is None:
                    return
                for part in ([data] if data else []) + ([b""] if is_ended else []):
                    await _put(queue, part, task)
            case Reset(stream):
                if stream in self._tasks:
                    self._tasks[stream].cancel()

    def _begin(self, stream: int, headers: dict[str, str]) -> None:
        error_stream = self._errors.pop(headers.get("requestid", ""), None)
        self._queues[stream] = asyncio.Queue(maxsize=16)
        work = self._carry(stream, error_stream, headers.get("port", ""))
        task = asyncio.get_running_loop().create_task(work, name="port-forward")
        self._tasks[stream] = task
        task.add_done_callback(lambda _: self._forget(stream, error_stream))  # also when it never ran

    def _forget(self, stream: int, error_stream: int | None) -> None:
        self._queues.pop(stream, None)
        self._tasks.pop(stream, None)
        for done in (stream, error_stream):
            if done is not None:
                self._session.close(done)

    async def _carry(self, stream: int, error_stream: int | None, port: str) -> None:
        """One connection, from its two streams' opening to their end."""
        problem = ""
        try:
            await self._connect(stream, int(port))
        except (OSError, ValueError, StatusError) as error:
            text = error.message if isinstance(error, StatusError) else getattr(error, "strerror", None) or str(error)
            problem = f"an error occurred forwarding to port {port}: {text}"
        with contextlib.suppress(ConnectionError):  # kubectl is gone
            if error_stream is not None:
                await self._websocket.send_bytes(self._session.data(error_stream, problem.encode(), end=True))
            if problem:
                await self._websocket.send_bytes(self._session.reset(stream))

    async def _connect(self, stream: int, port: int) -> None:
        connected = await self._dial(port)
        try:
            reader, writer = await asyncio.open_connection(sock=connected)
        except BaseException:
            connected.close()
            raise
        sending = asyncio.get_running_loop().create_task(self._send(self._queues[stream], writer))
        try:
            while data := await reader.read(_CHUNK_BYTES):
                await self._websocket.send_bytes(self._session.data(stream, data))
            await self._websocket.send_bytes(self._session.data(stream, b"", end=True))
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            writer.close()

    async def _send(self, queue: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
        try:
            while data := await queue.get():
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            return  # the pod closed it; the reading side tells


async def _put(queue: asyncio.Queue[bytes], part: bytes, task: asyncio.Task[None]) -> None:
    """Put, unless the connection ends before there is room."""
    if not queue.full():
        queue.put_nowait(part)
        return
    putting = asyncio.ensure_future(queue.put(part))
    await asyncio.wait({putting, task}, return_when=asyncio.FIRST_COMPLETED)
    if not putting.done():
        putting.cancel()
