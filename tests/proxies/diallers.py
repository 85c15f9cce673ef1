"""Dialling as a test wants it to go."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from proxies.dialling import Unreachable
from tests.support.processes import eventually


class RefusedOnce:
    """Dials, but is refused the first time, when it is told so."""

    def __init__(self, dialler: Any, error: Unreachable) -> None:
        self.dialler, self.error = dialler, error
        self.address = dialler.address
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    async def connect(self, make: Any, is_wanted: Any) -> Any:
        if self.began.is_set():
            return await self.dialler.connect(make, is_wanted)
        self.began.set()
        await self.may_end.wait()
        raise self.error


class SettingsFirst:
    """Dials, and comes back when the peer has said how many streams it takes."""

    def __init__(self, dialler: Any) -> None:
        self.dialler = dialler
        self.address = dialler.address

    async def connect(self, make: Any, is_wanted: Any) -> Any:
        connection = await self.dialler.connect(make, is_wanted)
        await eventually(lambda: connection.core.streams_max != 100)
        return connection


class CutOnce:
    """Dials, but gives the first attempt up at the very moment at which it is connected, and makes another one."""

    def __init__(self, dialler: Any, port: int) -> None:
        self.dialler, self.port = dialler, port
        self.address = dialler.address
        self.is_cut = False

    async def connect(self, make: Any, is_wanted: Any) -> Any:
        if not self.is_cut:
            task = asyncio.ensure_future(
                asyncio.get_running_loop().create_connection(
                    lambda: _Cut(make(), lambda: task.cancel()), "127.0.0.1", self.port
                )
            )
            with suppress(asyncio.CancelledError):
                await task
            self.is_cut = task.cancelled()
        return await self.dialler.connect(make, is_wanted)


class _Cut(asyncio.Protocol):
    def __init__(self, protocol: Any, cut: Callable[[], object]) -> None:
        self.protocol, self.cut = protocol, cut

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.protocol.connection_made(transport)
        self.cut()

    def connection_lost(self, error: Exception | None) -> None:
        self.protocol.connection_lost(error)
