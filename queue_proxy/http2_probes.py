"""Readiness probes that speak HTTP/2: gRPC's health check, and HTTP where its version is to be found out.

Loaded only by a pod that has such a probe. Both return why the app is not ready; empty when it is.

Source: spec queue-proxy.md 13; the gRPC health checking protocol (grpc/health/v1).
"""

import asyncio
from typing import Final

from proxies.http2.asking import Response, ask
from proxies.wire.protobuf import VARINT, WireError, read_tag, read_varint, skip, text_field

__all__ = ["check_grpc", "get_status"]

_CHECK: Final = b"/grpc.health.v1.Health/Check"
_SERVING: Final = 1
_STATUS_NAMES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_PREFIX_BYTES: Final = 5
"""Of a gRPC message: one byte that says whether it is compressed, its length in four."""


async def check_grpc(
    loop: asyncio.AbstractEventLoop, host: str, port: int, *, service: str, agent: bytes, authority: bytes
) -> str:
    """Ask `Health/Check` for a service; empty: for the app as a whole. Raises `OSError`."""
    message = text_field(1, service) if service else b""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", _CHECK),
        (b":authority", authority),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"user-agent", agent),
    ]
    response = await ask(loop, host, port, fields, b"\0" + len(message).to_bytes(4) + message)
    if response.head.status != 200:
        return f"gRPC probe got HTTP status {response.head.status}"
    status = _field(response, b"grpc-status")
    if status != b"0":
        return f"gRPC probe failed with status {status.decode()}: {_field(response, b'grpc-message').decode()[:256]}"
    try:
        serving = _serving_status(response.body)
    except WireError as error:
        return f"gRPC probe got no health check response: {error}"
    if serving == _SERVING:
        return ""
    name = _STATUS_NAMES[serving] if serving < len(_STATUS_NAMES) else str(serving)
    return f"gRPC probe did not respond SERVING, got {name}"


async def get_status(
    loop: asyncio.AbstractEventLoop, host: str, port: int, *, target: bytes, fields: list[tuple[bytes, bytes]]
) -> int:
    """GET over plaintext with prior knowledge; `fields` has the `host`. Raises `OSError` when HTTP/2 is not spoken."""
    pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", target)]
    for name, value in fields:
        pseudo.append((b":authority" if name.lower() == b"host" else name.lower(), value))
    pseudo.sort(key=lambda field: field[0][:1] != b":")
    return (await ask(loop, host, port, pseudo)).head.status


def _field(response: Response, name: bytes) -> bytes:
    """A status stands in the trailers, or in the head of a response that has nothing else."""
    in_trailers = next((field.value for field in response.trailers if field.name == name), b"")
    return in_trailers or response.head.get(name)


def _serving_status(body: bytes) -> int:
    """Return the first field of a `HealthCheckResponse` in a gRPC message; 0 when it is not there."""
    message = body[_PREFIX_BYTES:]
    if body[:1] != b"\0" or int.from_bytes(body[1:_PREFIX_BYTES]) != len(message):
        raise WireError(f"expected one uncompressed message, got {len(body)} bytes")
    status = 0
    position = 0
    while position < len(message):
        number, kind, position = read_tag(message, position)
        if (number, kind) == (1, VARINT):
            status, position = read_varint(message, position)
        else:
            position = skip(message, position, kind)
    return status
