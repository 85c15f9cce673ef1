"""Floods want a fast client, so these tests run on uvloop."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: object, item: object
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long waits first: the others pass meanwhile."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/faults/test_long_waits.py"))
