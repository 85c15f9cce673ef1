"""`--through nghttpx` or `envoy`: the same dialogues through another proxy, which tells a wrong test from a bug."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.interop.peers import proxy_by_envoy, proxy_by_nghttpx
from tests.support.queue_proxy import running_queue_proxy

Through = Callable[[int], AbstractAsyncContextManager[tuple[str, int]]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--through", choices=["queue-proxy", "nghttpx", "envoy"], default="queue-proxy")


@pytest.fixture
def through(request: pytest.FixtureRequest, tmp_path: Path) -> Through:
    """Start the proxy in front of an app's port; the block gets host and port."""
    name = request.config.getoption("--through")
    if name == "nghttpx":
        return lambda app_port: proxy_by_nghttpx(app_port, tmp_path)
    if name == "envoy":
        return lambda app_port: proxy_by_envoy("127.0.0.1", app_port, tmp_path)
    return _queue_proxy


@asynccontextmanager
async def _queue_proxy(app_port: int) -> AsyncIterator[tuple[str, int]]:
    async with running_queue_proxy(app_port) as proxy:
        yield proxy.host, proxy.port
