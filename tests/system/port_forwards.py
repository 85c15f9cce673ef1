"""kubectl port-forward as a test uses it: started, its local port read, stopped at the end."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.system.conftest import BIN, System

__all__ = ["LISTENER", "forwarded", "talk"]

LISTENER = """
import os, socket, sys, threading
server = socket.create_server((os.environ.get("POD_IP", "127.0.0.1"), int(sys.argv[1])))
def serve(client):
    data = b""
    while chunk := client.recv(65536):
        data += chunk
    client.sendall(b"got %d " % len(data) + data[-5:])
    client.close()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
"""Listens on POD_IP, or on the loopback address only; answers at the end of what it is sent."""


@asynccontextmanager
async def forwarded(system: System, pod: str, port: int) -> AsyncIterator[int]:
    """A local port that leads to a pod's."""
    process = await asyncio.create_subprocess_exec(
        *(str(BIN / "kubectl"), "--kubeconfig", str(system.stack.kubeconfig), "port-forward", pod, f":{port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        found = re.fullmatch(rf"Forwarding from 127\.0\.0\.1:(\d+) -> {port}\n", line)
        assert found is not None, line
        yield int(found[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def talk(port: int, data: bytes) -> bytes:
    """Send, end, and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(-1), 60)
    finally:
        writer.close()
