"""One control plane for a module's tests, each of which has a namespace of its own."""

import itertools
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable

import pytest_asyncio
import uvloop

from tests.controller.eventing.cluster import Eventing, running

_NUMBERS = itertools.count(1)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """The loop that the controller runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane() -> AsyncIterator[Eventing]:
    """The module's control plane, with the settings of a fresh installation."""
    async with running() as eventing:
        yield eventing


@pytest_asyncio.fixture(loop_scope="module")
async def eventing(plane: Eventing) -> Eventing:
    """A namespace of it."""
    return await plane.within(f"test-{next(_NUMBERS)}")
