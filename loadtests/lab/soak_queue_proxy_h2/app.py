"""The gRPC app as a process: `python -m loadtests.lab.soak_queue_proxy_h2.app PORT` prints its port when it serves.

SIGTERM ends it in order: GOAWAY, a second for what runs, then the rest is cancelled. Messages are bytes.

| method    | answers                                                                |
|-----------|------------------------------------------------------------------------|
| `Unary`   | the message                                                            |
| `Gather`  | the checksum of all messages                                           |
| `Scatter` | `SEED SIZE COUNT`: so many messages of so many known bytes             |
| `Chat`    | each message, as it comes                                              |
| `Fail`    | `CODE`: nothing but this status                                        |
| `Hold`    | one message, then nothing                                              |
| `Busy`    | how many calls of the others are inside                                |
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

from loadtests.lab.soak_queue_proxy.wire import content, digest

__all__ = ["SERVICE", "scattered"]

SERVICE: Final = "soak.App"
_GRACE_S: Final = 1.0
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_connection_age_ms", 2000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.max_receive_message_length", -1),
)
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Messages = AsyncIterator[bytes]
Context = Any
"""grpc.aio's `ServicerContext`; the package has no types."""


def scattered(seed: int, size: int, number: int) -> bytes:
    """A message of `Scatter`."""
    return content(seed + number, size)


class App:
    """The methods; `busy` counts the calls inside."""

    def __init__(self) -> None:
        self.busy = 0

    def handlers(self) -> Any:
        """What a server is told."""
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._one(self._unary)),
            "Gather": grpc.stream_unary_rpc_method_handler(self._one(self._gather)),
            "Scatter": grpc.unary_stream_rpc_method_handler(self._many(self._scatter)),
            "Chat": grpc.stream_stream_rpc_method_handler(self._many(self._chat)),
            "Fail": grpc.unary_unary_rpc_method_handler(self._one(self._fail)),
            "Hold": grpc.unary_stream_rpc_method_handler(self._many(self._hold)),
            "Busy": grpc.unary_unary_rpc_method_handler(self._tell_busy),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _one(self, method: Callable[[Any, Context], Any]) -> Any:
        async def counted(message: Any, context: Context) -> bytes:
            self.busy += 1
            try:
                answer: bytes = await method(message, context)
                return answer
            finally:
                self.busy -= 1

        return counted

    def _many(self, method: Callable[[Any, Context], Messages]) -> Any:
        async def counted(message: Any, context: Context) -> Messages:
            self.busy += 1
            try:
                async for answer in method(message, context):
                    yield answer
            finally:
                self.busy -= 1

        return counted

    async def _unary(self, message: bytes, _context: Context) -> bytes:
        return message

    async def _gather(self, messages: Messages, _context: Context) -> bytes:
        return digest(b"".join([message async for message in messages])).encode()

    async def _scatter(self, message: bytes, _context: Context) -> Messages:
        seed, size, count = map(int, message.split())
        for number in range(count):
            yield scattered(seed, size, number)

    async def _chat(self, messages: Messages, _context: Context) -> Messages:
        async for message in messages:
            yield message

    async def _fail(self, message: bytes, context: Context) -> bytes:
        await context.abort(_CODES[int(message)], f"told to: {int(message)}")
        return b""

    async def _hold(self, message: bytes, _context: Context) -> Messages:
        yield message
        await asyncio.get_running_loop().create_future()

    async def _tell_busy(self, _message: bytes, _context: Context) -> bytes:
        return b"%d" % self.busy


async def _serve(port: int) -> None:
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((App().handlers(),))
    taken = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    print(taken, flush=True)
    await over.wait()
    await server.stop(_GRACE_S)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
