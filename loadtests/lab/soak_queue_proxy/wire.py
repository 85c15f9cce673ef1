"""HTTP/1.1 and WebSocket on asyncio streams, as app and visitors speak them.

Written from the RFCs, apart from the engine under test, and plain rather than fast. Both ends are ours, so what is not
expected is an error.
"""

import asyncio
import hashlib
import os
import random
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "CLOSE",
    "TEXT",
    "Head",
    "Unexpected",
    "body",
    "chunk",
    "content",
    "digest",
    "frame",
    "read_body",
    "read_frame",
    "read_head",
]

_BLOCK: Final = random.Random(2).randbytes(1024 * 1024)
_PIECE_BYTES: Final = 64 * 1024
TEXT: Final = 1
CLOSE: Final = 8


class Unexpected(Exception):
    """The peer sent something else than it should."""


@dataclass(frozen=True, slots=True)
class Head:
    """First line and fields of a message; names in lower case."""

    line: str
    fields: Mapping[str, str]

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.line.split()[1])

    @property
    def target(self) -> str:
        """Of a request."""
        return self.line.split()[1]


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read one head. Raises `Unexpected` at an early end."""
    try:
        data = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise Unexpected(f"a head, got an end after {error.partial[:80]!r}") from error
    line, *lines = data.decode("latin-1").split("\r\n")[:-2]
    fields = {}
    for each in lines:
        name, _, value = each.partition(":")
        fields[name.lower()] = value.strip()
    return Head(line, fields)


async def body(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """Read a body piece by piece, framed as its head says. Raises `Unexpected` when it ends early."""
    try:
        if head.fields.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
                yield await reader.readexactly(size)
                _expect(b"\r\n", await reader.readexactly(2))
            _expect(b"\r\n", await reader.readuntil(b"\r\n"))
            return
        missing = int(head.fields.get("content-length", 0))
        while missing:
            piece = await reader.readexactly(min(missing, _PIECE_BYTES))
            missing -= len(piece)
            yield piece
    except asyncio.IncompleteReadError as error:
        raise Unexpected(f"more of the body, got an end after {len(error.partial)} bytes of a piece") from error


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """Read a whole body."""
    return b"".join([piece async for piece in body(reader, head)])


def content(seed: int, size: int) -> bytes:
    """The bytes that both sides know for a seed; at most a MiB."""
    at = seed % (len(_BLOCK) - size + 1)
    return _BLOCK[at : at + size]


def digest(data: bytes) -> str:
    """A checksum that tells what went wrong from what did not."""
    return hashlib.sha256(data).hexdigest()


def chunk(data: bytes) -> bytes:
    """One chunk of a body; the last one when empty."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def frame(opcode: int, payload: bytes, *, is_masked: bool) -> bytes:
    """A whole WebSocket message in one frame (RFC 6455 5.2). Clients mask."""
    size = len(payload)
    mask_bit = 0x80 if is_masked else 0
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, mask_bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, mask_bit | 127, size)
    if not is_masked:
        return head + payload
    key = os.urandom(4)
    return head + key + _masked(payload, key)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one frame; return its opcode and its payload, unmasked. Raises `Unexpected` at an early end."""
    try:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await reader.readexactly(8))
        key = await reader.readexactly(4) if second & 0x80 else b""
        payload = await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise Unexpected(f"a frame, got an end after {error.partial[:20]!r}") from error
    return first & 0x0F, _masked(payload, key) if key else payload


def _masked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def _expect(wanted: bytes, came: bytes) -> None:
    if came != wanted:
        raise Unexpected(f"{wanted!r}, got {came[:40]!r}")
