"""`proxies/tls_reads.py` under the event loop's own TLS: all comes, and a protocol can be exchanged."""

import asyncio
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxies.tls_reads import SecureReads, hand_over
from tests.support.certificates import Authority

HOST = "127.0.0.1"


class Kept(asyncio.Protocol):
    """Keeps what it is told; `wait` returns when as much has come."""

    def __init__(self) -> None:
        self.data = b""
        self.calls: list[str] = []
        self.transport: asyncio.Transport
        self._change = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._change.set()

    def eof_received(self) -> None:
        self.told("eof")

    def connection_lost(self, error: Exception | None) -> None:
        self.told("lost")

    def pause_writing(self) -> None:
        self.told("pause")

    def resume_writing(self) -> None:
        self.told("resume")

    def told(self, what: str) -> None:
        self.calls.append(what)
        self._change.set()

    async def wait(self, size: int = 0, call: str = "") -> None:
        """Wait for `size` bytes in all, or for `call`."""
        async with asyncio.timeout(10):
            while len(self.data) < size or (call and call not in self.calls):
                self._change.clear()
                await self._change.wait()


@asynccontextmanager
async def pairs(
    folder: Path, count: int = 1
) -> AsyncIterator[list[tuple[Kept, asyncio.StreamReader, asyncio.StreamWriter]]]:
    """Connections in TLS: the server's protocol and the client's streams of each."""
    authority = Authority(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue(HOST))
    client = ssl.create_default_context(cafile=str(authority.ca_file))
    loop = asyncio.get_running_loop()
    opened = []
    with socket.create_server((HOST, 0)) as listening:
        listening.setblocking(False)
        for _ in range(count):
            kept = Kept()
            connecting = asyncio.ensure_future(asyncio.open_connection(*listening.getsockname(), ssl=client))
            accepted, _ = await loop.sock_accept(listening)
            await loop.connect_accepted_socket(lambda kept=kept: SecureReads(kept), accepted, ssl=server)  # type: ignore[misc]
            opened.append((kept, *await connecting))
    try:
        yield opened
    finally:
        for kept, _, writer in opened:
            writer.transport.abort()
            kept.transport.abort()


@pytest.mark.parametrize("size", [1, 16_384, 262_143, 262_144, 262_145, 3_000_000])
async def test_what_comes_is_received_whole_and_in_order(tmp_path: Path, size: int) -> None:
    async with pairs(tmp_path) as [(kept, _, writer)]:
        data = random.Random(size).randbytes(size)
        writer.write(data)
        await kept.wait(size)
        assert kept.data == data


def test_the_loop_of_the_standard_library_reads_as_well(tmp_path: Path) -> None:
    async def receive() -> None:
        async with pairs(tmp_path) as [(kept, _, writer)]:
            writer.write(bytes(300_000))
            await kept.wait(300_000)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(receive())


def test_a_process_that_forks_shares_nothing_that_it_reads() -> None:
    program = """
import asyncio, os
from proxies.tls_reads import SecureReads
buffer = SecureReads(asyncio.Protocol()).get_buffer(-1)
if not (child := os.fork()):
    buffer[0] = 1
    os._exit(0)
os.waitpid(child, 0)
print(buffer[0])
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"


async def test_connections_do_not_mix_what_they_read(tmp_path: Path) -> None:
    async with pairs(tmp_path, 8) as opened:
        for _ in range(40):
            for number, (_, _, writer) in enumerate(opened):
                writer.write(bytes([number]) * 30_000)
        for number, (kept, _, _) in enumerate(opened):
            await kept.wait(40 * 30_000)
            assert kept.data == bytes([number]) * (40 * 30_000)


async def test_data_that_is_kept_stays_as_it_was(tmp_path: Path) -> None:
    async with pairs(tmp_path) as [(kept, _, writer)]:
        writer.write(b"first")
        await kept.wait(5)
        first = kept.data
        writer.write(b"other")
        await kept.wait(10)
        assert (first, kept.data) == (b"first", b"firstother")


async def test_all_but_reads_reaches_the_protocol(tmp_path: Path) -> None:
    async with pairs(tmp_path) as [(kept, reader, writer)]:
        kept.transport.set_write_buffer_limits(high=1000)
        for _ in range(2):  # the first is encrypted and handed on whole
            kept.transport.write(bytes(10_000_000))
        await kept.wait(call="pause")
        await reader.readexactly(20_000_000)
        await kept.wait(call="resume")
        writer.close()
        await kept.wait(call="lost")
        assert kept.calls == ["pause", "resume", "eof", "lost"]


async def test_a_protocol_that_takes_over_is_told_the_rest(tmp_path: Path) -> None:
    async with pairs(tmp_path) as [(first, _, writer)]:
        writer.write(b"one")
        await first.wait(3)
        second = Kept()
        hand_over(first.transport, second)
        writer.write(b"two")
        await second.wait(3)
        writer.close()
        await second.wait(call="lost")
        assert (first.data, second.data, first.calls) == (b"one", b"two", [])


async def test_a_protocol_takes_over_in_plaintext() -> None:
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    one.setblocking(False)
    with other:
        transport, first = await loop.connect_accepted_socket(Kept, one)
        try:
            second = Kept()
            hand_over(transport, second)
            other.sendall(b"data")
            await second.wait(4)
            assert (first.data, second.data) == (b"", b"data")
        finally:
            transport.abort()
