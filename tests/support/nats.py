"""A real NATS server with JetStream for tests: on a free port, with a password, its files in a folder of its own."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventing.jetstream.settings import NatsSettings

__all__ = ["RunningNats", "running_nats"]

USER, PASSWORD = "knuv", "secret of the tests"
_START_S = 20.0


class RunningNats:
    """One server, which can be killed and started again."""

    def __init__(self, folder: Path, *, max_payload: int = 1 << 20) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._file = folder / "nats.conf"
        self._file.write_text(
            json.dumps(
                {
                    "host": "127.0.0.1",
                    "port": self.port,
                    "max_payload": max_payload,
                    "jetstream": {"store_dir": str(folder / "store")},
                    "authorization": {"user": USER, "password": PASSWORD},
                }
            )
        )
        self._log = folder / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without credentials."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def settings(self) -> NatsSettings:
        """With credentials."""
        return NatsSettings(servers=(self.url,), user=USER, password=PASSWORD, reconnect_wait_s=0.05)

    async def load(self) -> NatsSettings:
        """The settings, as a link asks for them."""
        return self.settings

    async def publish_raw(self, subject: bytes, data: bytes, headers: bytes | None = None) -> None:
        """Publish what no client library would; `headers`: the whole block. Return when the server has taken it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        options = {"user": USER, "pass": PASSWORD, "verbose": True, "headers": True}
        if headers is None:
            told = b"PUB %b %d\r\n%b\r\n" % (subject, len(data), data)
        else:
            sizes = len(headers), len(headers) + len(data)
            told = b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, *sizes, headers, data)
        writer.write(b"CONNECT %b\r\n%b" % (json.dumps(options).encode(), told))
        answers = [await asyncio.wait_for(reader.readline(), _START_S) for _ in range(3)]
        assert answers[1:] == [b"+OK\r\n"] * 2, answers
        writer.close()
        await writer.wait_closed()

    def start(self) -> None:
        """Start, and return when it accepts connections."""
        binary = Path(sys.executable).parent / "nats-server"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([binary, "-c", self._file], stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    if connection.recv(4) == b"INFO":
                        return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.01)
        raise AssertionError(f"nats-server did not start: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it answer nothing any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    async def restart(self) -> None:
        """Kill it and start it again, with what it had stored."""
        self.kill()
        await asyncio.to_thread(self.start)


@contextmanager
def running_nats(folder: Path, **options: int) -> Iterator[RunningNats]:
    """Start a server; it is gone at the end."""
    nats = RunningNats(folder, **options)
    nats.start()
    try:
        yield nats
    finally:
        nats.kill()
