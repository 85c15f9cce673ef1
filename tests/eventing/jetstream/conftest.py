"""One NATS server for this folder's tests; each test has streams of its own."""

from collections.abc import Iterator

import pytest

from tests.support.nats import RunningNats, running_nats


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNats]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server
