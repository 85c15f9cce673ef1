"""An app to be killed: `python -m tests.faults.restarting_app FD LOG`.

Serves the listening socket FD, which its starter keeps open over its deaths, as a supervisor with socket activation
does. Appends to LOG, before it goes on, a line for everything that a test has to know of a process that cannot be asked
any more: `accept CONNECTION`, `request CONNECTION /target`.

`/barrier/N` is answered when N such requests are inside at once; anything else after a few milliseconds.
"""

import asyncio
import os
import socket
import sys

WORK_S = 0.003


class App:
    def __init__(self, log: int) -> None:
        self._log = log
        self._connections = 0
        self._inside = 0
        self._is_full = asyncio.Event()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._connections = self._connections + 1
        os.write(self._log, b"accept %d\n" % connection)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ")[1]
                os.write(self._log, b"request %d %s\n" % (connection, target))
                await self._work(target)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _work(self, target: bytes) -> None:
        if not target.startswith(b"/barrier/"):
            await asyncio.sleep(WORK_S)
            return
        self._inside += 1
        if self._inside == int(target.rpartition(b"/")[2]):
            self._is_full.set()
        await self._is_full.wait()


async def main(listening: int, log: str) -> None:
    app = App(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    server = await asyncio.start_server(app.converse, sock=socket.socket(fileno=listening))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
