"""Ways to the debug ports of pods that have networks of their own: sockets in the stack's directory, one a component.

Such a port listens on its pod's loopback address alone, where only the node reaches it. A door is a Unix socket that
the stack's owner may open and pods cannot see; what comes in by it is passed on to the pod that runs at that moment.
The debug port asks for its token all the same.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

__all__ = ["Dial", "Doors", "door", "short_path"]

Dial = Callable[[str], Awaitable[socket.socket]]
"""From a component to a connection with its debug port. Raises `OSError` when there is none."""

_AT_ONCE_MAX: Final = 32
_CHUNK_BYTES: Final = 64 << 10
_CONNECT_S: Final = 5.0


def door(component: str) -> str:
    """The name of a component's socket in the state directory."""
    return f"eventing-debug-{component}.sock"


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """While the context lasts, a path that is short enough for a Unix socket: 107 bytes. Raises `OSError`."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


class Doors:
    """Those of one stack. `stop` in any state."""

    def __init__(self, folder: Path, dial: Dial) -> None:
        self._folder = folder
        self._dial = dial
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self, component: str) -> None:
        """Listen. Raises `OSError`."""
        path = self._folder / door(component)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            with short_path(path) as short:
                listener.bind(short)
            self._paths.append(path)
            path.chmod(0o600)
            self._servers.append(await asyncio.start_unix_server(partial(self._accept, component), sock=listener))
        except OSError:
            listener.close()
            raise

    async def stop(self) -> None:
        """Listen no more, cut what is open."""
        for server in self._servers:
            server.close()
        for path in self._paths:
            path.unlink(missing_ok=True)
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def _accept(self, component: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= _AT_ONCE_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(component, reader, writer), name="door")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, component: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever came sees the connection end when nobody is there, or either side has gone.
        with contextlib.closing(writer), contextlib.suppress(OSError):  # the time that is over is one, too
            async with asyncio.timeout(_CONNECT_S):
                inside = await self._dial(component)
                there, back = await asyncio.open_connection(sock=inside)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pass_on(reader, back))
                    group.create_task(_pass_on(there, writer))
            finally:
                back.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # uvloop's word for a transport that is closed is RuntimeError
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
