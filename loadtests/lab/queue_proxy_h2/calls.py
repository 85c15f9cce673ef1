"""gRPC as people use it: grpcio as client and as app, both in the load's process. Messages are bytes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

import grpc
import grpc.aio

from loadtests.lab.queue_proxy.subjects import HOST, PORT, LabError
from loadtests.lab.queue_proxy_h2.wire import MESSAGE_BYTES, Echoes

__all__ = ["app", "chatting", "unary"]

_SERVICE: Final = "lab.Echo"
_MESSAGE: Final = b"x" * MESSAGE_BYTES
_CALL_S: Final = 120.0
_CHANNELS: Final = 4
_CALLS_EACH: Final = 25


async def _unary(message: bytes, _context: Any) -> bytes:
    return message


async def _chat(messages: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    async for message in messages:
        yield message


@asynccontextmanager
async def app() -> AsyncIterator[int]:
    """A server that echoes; yields its port."""
    server = grpc.aio.server()
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Chat": grpc.stream_stream_rpc_method_handler(_chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    port: int = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def unary() -> AbstractAsyncContextManager[Echoes]:
    """Callers in a closed loop of unary calls: 25 on each of 4 connections."""
    return _calling(_call_unary)


def chatting() -> AbstractAsyncContextManager[Echoes]:
    """As many bidirectional streams, each of which sends its next message when the last one is back."""
    return _calling(_call_chat)


async def _call_unary(channel: Any, load: Echoes, is_over: asyncio.Event) -> None:
    call = channel.unary_unary(f"/{_SERVICE}/Unary")
    while not is_over.is_set():
        sent_s = time.perf_counter()
        _expect(await call(_MESSAGE, timeout=_CALL_S))
        load.latencies_s.append(time.perf_counter() - sent_s)


async def _call_chat(channel: Any, load: Echoes, is_over: asyncio.Event) -> None:
    stream = channel.stream_stream(f"/{_SERVICE}/Chat")(timeout=_CALL_S)
    while not is_over.is_set():
        sent_s = time.perf_counter()
        await stream.write(_MESSAGE)
        _expect(await stream.read())
        load.latencies_s.append(time.perf_counter() - sent_s)
    await stream.done_writing()
    await stream.code()


def _expect(message: object) -> None:
    if message != _MESSAGE:
        raise LabError(f"expected the message back, got {message!r}")


@asynccontextmanager
async def _calling(
    caller: Callable[[Any, Echoes, asyncio.Event], Coroutine[None, None, None]],
) -> AsyncIterator[Echoes]:
    load, is_over = Echoes(), asyncio.Event()
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    try:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for _ in range(_CHANNELS):
                channel = grpc.aio.insecure_channel(f"{HOST}:{PORT}", options=options)
                stack.push_async_callback(channel.close)
                for _ in range(_CALLS_EACH):
                    tasks.create_task(caller(channel, load, is_over))
            yield load
            is_over.set()
    except* grpc.aio.AioRpcError as group:
        raise LabError(f"a call failed: {group.exceptions[0]}") from group
