"""A gRPC app as a process: `python tests/interop/grpc_app.py [ADDRESS]` prints its port and serves until it is ended.

Messages are bytes, made by nobody's compiler. `Seen` tells what became of the calls that `Hold` was asked to hold.

| method           | answers                                                                                   |
|------------------|-------------------------------------------------------------------------------------------|
| `Unary`          | the request; `x-said` of its metadata first, and `x-sum-bin`, its checksum, as a trailer   |
| `Gather`         | number and checksum of the messages that came                                             |
| `Scatter`        | `COUNT SIZE`: so many messages, each beginning with its number                            |
| `Chat`           | each message, as it comes                                                                 |
| `Fail`           | `CODE TEXT` and nothing else: a response of trailers only                                 |
| `FailLate`       | two messages, then `CODE TEXT`                                                            |
| `Hold`           | nothing, until the client gives up                                                        |
| `Seen`           | JSON: how many calls of `Hold` began, were cancelled, and the seconds that the last one had |
| `Health/Check`   | SERVING for the service `ready`, NOT_SERVING for others                                   |
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

SERVICE = "interop.Echo"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = Any
"""grpc.aio's `ServicerContext`; the package has no types."""


def checksum(*messages: bytes) -> bytes:
    """Of all the messages behind each other."""
    hasher = hashlib.sha256()
    for message in messages:
        hasher.update(message)
    return hasher.digest()


def numbered(number: int, size: int) -> bytes:
    """A message of `Scatter`."""
    return (b"%d " % number).ljust(size, b"x")


class Echo:
    """The service."""

    def __init__(self) -> None:
        self.held = 0
        self.cancelled = 0
        self.time_left_s: float | None = None

    async def unary(self, message: bytes, context: Context) -> bytes:
        metadata = dict(context.invocation_metadata())
        await context.send_initial_metadata((("x-said", metadata.get("x-said", "")),))
        context.set_trailing_metadata((("x-sum-bin", checksum(message)),))
        return message

    async def gather(self, messages: AsyncIterator[bytes], context: Context) -> bytes:
        got = [message async for message in messages]
        return b"%d %s" % (len(got), checksum(*got).hex().encode())

    async def scatter(self, message: bytes, context: Context) -> AsyncIterator[bytes]:
        count, size = map(int, message.split())
        for number in range(count):
            yield numbered(number, size)

    async def chat(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    async def fail(self, message: bytes, context: Context) -> None:
        await _abort(message, context)

    async def fail_late(self, message: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"
        await _abort(message, context)

    async def hold(self, message: bytes, context: Context) -> AsyncIterator[bytes]:
        self.held += 1
        self.time_left_s = context.time_remaining()
        yield b"held"
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def seen(self, message: bytes, context: Context) -> bytes:
        return json.dumps({"held": self.held, "cancelled": self.cancelled, "time_left_s": self.time_left_s}).encode()

    async def check(self, message: bytes, context: Context) -> bytes:
        # Field 1 of the request is the service's name: one byte of tag, one of length.
        return SERVING if message[2:] == b"ready" else NOT_SERVING


async def _abort(message: bytes, context: Context) -> None:
    code, _, text = message.partition(b" ")
    await context.abort(_CODES[int(code)], text.decode())


def handlers(echo: Echo) -> tuple[Any, ...]:
    """What a grpc.aio server is told about the service and its health."""
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Gather": grpc.stream_unary_rpc_method_handler(echo.gather),
        "Scatter": grpc.unary_stream_rpc_method_handler(echo.scatter),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat),
        "Fail": grpc.unary_unary_rpc_method_handler(echo.fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(echo.fail_late),
        "Hold": grpc.unary_stream_rpc_method_handler(echo.hold),
        "Seen": grpc.unary_unary_rpc_method_handler(echo.seen),
    }
    health = {"Check": grpc.unary_unary_rpc_method_handler(echo.check)}
    return (
        grpc.method_handlers_generic_handler(SERVICE, methods),
        grpc.method_handlers_generic_handler(HEALTH, health),
    )


async def serve(address: str) -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server(options=(*UNLIMITED, ("grpc.so_reuseport", 0)))
    server.add_generic_rpc_handlers(handlers(Echo()))
    port = server.add_insecure_port(address)
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:] or ["127.0.0.1:0"]))
