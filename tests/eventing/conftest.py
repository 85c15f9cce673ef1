"""Broker, channels and sources run on uvloop's transports, and so do their tests."""

from tests.proxies.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
