"""The client's side of `grpc_app`: channels with a connection of their own, and the calls."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from tests.interop.grpc_app import HEALTH, SERVICE, UNLIMITED

__all__ = ["Echo", "calling", "failure"]

CALL_S = 40.0


class Echo:
    """The app's methods over one channel. Calls and messages are grpc.aio's and bytes."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.unary = channel.unary_unary(f"/{SERVICE}/Unary")
        self.gather = channel.stream_unary(f"/{SERVICE}/Gather")
        self.scatter = channel.unary_stream(f"/{SERVICE}/Scatter")
        self.chat = channel.stream_stream(f"/{SERVICE}/Chat")
        self.fail = channel.unary_unary(f"/{SERVICE}/Fail")
        self.fail_late = channel.unary_stream(f"/{SERVICE}/FailLate")
        self.hold = channel.unary_stream(f"/{SERVICE}/Hold")
        self.unknown = channel.unary_unary(f"/{SERVICE}/Unknown")
        self.unknown_chat = channel.stream_stream(f"/{SERVICE}/Unknown")
        self.check = channel.unary_unary(f"/{HEALTH}/Check")

    async def seen(self) -> dict[str, Any]:
        """What the app says about calls of `Hold`."""
        told: dict[str, Any] = json.loads(await self.channel.unary_unary(f"/{SERVICE}/Seen")(b"", timeout=CALL_S))
        return told


@asynccontextmanager
async def calling(host: str, port: int) -> AsyncIterator[Echo]:
    """A channel, with a connection that it shares with no other one."""
    options = (*UNLIMITED, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(f"{host}:{port}", options=options) as channel:
        yield Echo(channel)


async def failure(call: Any) -> tuple[str, str]:
    """The code's name and the message with which a call ends."""
    return (await call.code()).name, await call.details()
