"""Dialling as a test wants it to go."""

import asyncio
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
