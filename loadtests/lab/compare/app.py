"""The app of the scenarios with a steady load: `ok` after 100 ms, on $PORT, at the least cost. Run as a script."""

import asyncio
import json
import os
import time
from typing import cast

import uvloop

DELAY_S = 0.1
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class App(asyncio.Protocol):
    """One connection; requests have no body and come one at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._partial = b""

    def data_received(self, data: bytes) -> None:
        self._partial += data
        if self._partial.endswith(b"\r\n\r\n"):
            self._partial = b""
            asyncio.get_running_loop().call_later(DELAY_S, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def main() -> None:
    """Serve until ended."""
    port = int(os.environ.get("PORT", "8080"))  # noqa: TID251 - an app of a user reads its environment as users do
    server = await asyncio.get_running_loop().create_server(App, "127.0.0.1", port, backlog=1024)
    print(json.dumps({"message": "listening", "at": time.time(), "port": port}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
