"""Knocking over real sockets: what is found out, and that nothing stays open."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from activator.knock import Knock

DEADLINE_S = 30.0


def knock(address: tuple[str, int], timeout_s: float = DEADLINE_S) -> tuple[Knock, asyncio.Future[int]]:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[int] = loop.create_future()
    return Knock(loop, *address, timeout_s=timeout_s, done=result.set_result), result


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        try:
            listener.bind((host, 0))
        except OSError as error:
            pytest.skip(f"{host}: {error}")
        listener.listen(1)
        listener.settimeout(DEADLINE_S)
        yield listener


@contextmanager
def deaf() -> Iterator[tuple[str, int]]:
    """An address that says neither yes nor no: whose queue of connections is full."""
    with listening() as listener, ExitStack() as filling:
        for _ in range(4):
            connection = filling.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_somebody_listens_and_is_told_nothing(host: str) -> None:
    with listening(host) as listener:
        _, result = knock(listener.getsockname()[:2])
        async with asyncio.timeout(DEADLINE_S):
            assert await result == 0
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == b""


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        _, result = knock(bound.getsockname())
        assert not result.done(), "told before it returned"
        async with asyncio.timeout(DEADLINE_S):
            assert await result == errno.ECONNREFUSED


async def test_nobody_answers() -> None:
    with deaf() as address:
        _, result = knock(address, timeout_s=0.01)
        async with asyncio.timeout(DEADLINE_S):
            assert await result == errno.ETIMEDOUT


@pytest.mark.parametrize("answers", [True, False])
async def test_who_does_not_want_to_know_any_more_is_told_nothing(answers: bool) -> None:
    with ExitStack() as stack:
        address = stack.enter_context(listening()).getsockname() if answers else stack.enter_context(deaf())
        knocking, result = knock(address, timeout_s=0.01)
        knocking.cancel()
        # Whatever was under way comes before this one is done.
        _, last = knock(address, timeout_s=0.02)
        async with asyncio.timeout(DEADLINE_S):
            await last
        assert not result.done()


async def test_names_are_not_looked_up() -> None:
    _, result = knock(("localhost", 1))
    async with asyncio.timeout(DEADLINE_S):
        assert await result == errno.EADDRNOTAVAIL


async def test_without_descriptors_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_arguments: Any) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("activator.knock.socket.socket", none_left)
        _, result = knock(("127.0.0.1", 1))
    async with asyncio.timeout(DEADLINE_S):
        assert await result == errno.EMFILE
