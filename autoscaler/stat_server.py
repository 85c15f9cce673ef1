"""The WebSocket server that activators push their stats to.

One binary frame is one `WireStatMessages`; whatever else arrives is logged once per connection and dropped, and the
connection stays. Every path is served, since clients differ in what they ask for. A kubelet's probe gets 200. A client
that asked for a bucket (by the Host's first label) that this replica does not own gets 200 without an upgrade, which
fails its handshake and makes it look elsewhere. At the end each client is told 1012, come back soon.

Stats are handled as they are read, so there is no queue to bound: a server that cannot keep up stops reading, and TCP
holds the clients back. Source: knative/serving `pkg/autoscaler/statserver/server.go`; spec autoscaler.md 8.1.
"""

import asyncio
import http
import logging
from collections.abc import Callable

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from autoscaler.plausibility import is_plausible
from proxies.logs import Logger
from proxies.wire.stat import Stat, StatMessage, WireError, decode_messages

__all__ = ["StatServer"]

_MESSAGE_BYTES_MAX = 16 << 20
"""One activator's second for some hundred thousand revisions."""
_FRAMES_AHEAD = 16
_HEAD_TIMEOUT_S = 60.0
_YIELD_EVERY = 500
"""Stats of one frame handled before others get their turn; about 5 ms."""
_RESTARTING = 1012
_BUCKET_PREFIX = "autoscaler-bucket"


class StatServer:
    """Serves one address. `on_stat(message)` is called for each stat that makes sense."""

    def __init__(
        self, on_stat: Callable[[StatMessage], None], *, owns_bucket: Callable[[str], bool], log: Logger
    ) -> None:
        self._on_stat = on_stat
        self._owns_bucket = owns_bucket
        self._log = log
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    async def start(self, host: str | None, port: int) -> None:
        """Listen. Raises `OSError` when the address cannot be had."""
        self._server = await serve(
            self._receive,
            host,
            port,
            process_request=self._answer_without_upgrade,
            compression=None,
            ping_interval=None,  # clients ping; the original's server does not
            open_timeout=_HEAD_TIMEOUT_S,
            max_size=_MESSAGE_BYTES_MAX,
            max_queue=_FRAMES_AHEAD,
            server_header=None,
            logger=_quiet_logger(),
        )

    async def stop(self, timeout_s: float) -> None:
        """Close the listener and every connection with 1012; wait at most `timeout_s` for the clients' answers."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close(close_connections=False)
        closing = [
            asyncio.get_running_loop().create_task(connection.close(_RESTARTING, "Restarting"))
            for connection in server.connections
        ]
        if closing:
            _, late = await asyncio.wait(closing, timeout=timeout_s)
            for task in late:
                task.cancel()
        server.close()
        await server.wait_closed()

    def _answer_without_upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = request.headers
        if headers.get("User-Agent", "").startswith("kube-probe/") or headers.get("K-Kubelet-Probe"):
            return _empty(http.HTTPStatus.OK)
        host = headers.get("Host", "")
        bucket = host.partition(".")[0].partition(":")[0]
        if host.startswith(_BUCKET_PREFIX) and not self._owns_bucket(bucket):
            self._log.debug("stat_client_for_another_replica", bucket=bucket)  # it tries again twice a second
            return _empty(http.HTTPStatus.OK)
        origin = headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return _empty(http.HTTPStatus.FORBIDDEN)
        return None

    async def _receive(self, connection: ServerConnection) -> None:
        has_complained = False
        try:
            while True:
                frame = await connection.recv()
                problem = "text frame" if isinstance(frame, str) else await self._take(frame)
                if problem and not has_complained:
                    has_complained = True
                    self._log.warning("stat_frame_dropped", peer=str(connection.remote_address), problem=problem)
        except ConnectionClosed:
            return

    async def _take(self, frame: bytes) -> str | None:
        """Hand on the stats of a frame; what is wrong with it, or None."""
        try:
            messages = decode_messages(frame)
        except WireError as error:
            return str(error)
        problem = None
        for index, message in enumerate(messages, 1):
            stat = message.stat
            if stat == _NO_STAT:
                continue
            if is_plausible(stat):
                self._on_stat(message)
            else:
                problem = f"{message.namespace}/{message.name}: expected finite figures from 0 on, got {stat}"
            if index % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return problem


def _empty(status: http.HTTPStatus) -> Response:
    return Response(status.value, status.phrase, Headers({"Content-Length": "0", "Connection": "close"}), b"")


def _quiet_logger() -> logging.Logger:
    """What the library says about single connections (broken handshakes, mostly) is not for our log."""
    logger = logging.getLogger("autoscaler.stat_server.websockets")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return logger


_NO_STAT = Stat()
"""What an entry without a stat decodes to; it says nothing, not even zero."""
