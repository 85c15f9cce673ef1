"""Debug ports: what is found later is answered, however the finding ends."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from eventing.debugging import CannotTell, Debugging


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("wrong"), 400), (CannotTell("away"), 503), (RuntimeError("a bug"), 500)]
)
async def test_an_answer_that_comes_later_comes_whatever_happens(error: Exception, status: int) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # of the bug is told there
    debugging = Debugging("test", ("127.0.0.1", 0), "token")

    async def fail(_query: Mapping[str, str]) -> dict[str, Any]:
        await asyncio.sleep(0)
        raise error

    debugging.serve("GET", "/debug/fails", fail)
    port = await debugging.start()
    try:
        async with (
            aiohttp.ClientSession(headers={"Authorization": "Bearer token"}) as session,
            session.get(f"http://127.0.0.1:{port}/debug/fails", timeout=aiohttp.ClientTimeout(20)) as response,
        ):
            assert response.status == status
            assert str(error) in await response.text()
    finally:
        await debugging.stop()
