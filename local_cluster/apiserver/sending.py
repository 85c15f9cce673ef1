"""Answers as aiohttp's responses: complete ones, refusals, and streams that go on until their client leaves."""

from collections.abc import AsyncGenerator, AsyncIterator

import orjson
from aiohttp import web

from local_cluster.apiserver.errors import StatusError
from local_cluster.apiserver.handlers import Answer, Stream
from local_cluster.apiserver.watching import OpenWatch

__all__ = ["chunks", "complete", "refusal", "send_stream"]

WRITE_BUFFER_BYTES = 32 << 10
"""What may wait in the server for the client of a watch to read, beside its queue."""


def refusal(error: StatusError) -> Answer:
    """What a refused request is answered with."""
    retry_after_s = error.details.get("retryAfterSeconds")
    body = orjson.dumps(error.status())
    return Answer(status=error.code, body=body, retry_after_s=retry_after_s, allowed=error.allowed)


def complete(answer: Answer) -> web.Response:
    """A complete answer."""
    response = web.Response(status=answer.status, body=answer.body)
    response.headers["Content-Type"] = answer.content_type
    if answer.retry_after_s is not None:
        response.headers["Retry-After"] = str(answer.retry_after_s)
    if answer.allowed is not None:
        response.headers["Allow"] = ", ".join(answer.allowed)
    for warning in answer.warnings:
        printable = "".join(character if character.isprintable() else "?" for character in warning)
        quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response


async def send_stream(request: web.BaseRequest, answer: Answer, stream: Stream) -> web.StreamResponse:
    """Send a stream to its end; a client that leaves ends it."""
    response = web.StreamResponse(headers={"Content-Type": answer.content_type})
    response.enable_chunked_encoding()
    transport, protocol = request.transport, request.protocol
    if isinstance(stream, OpenWatch) and transport is not None:
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

        def write_now(chunk: bytes) -> bool:
            """A client that reads gets events without waking anybody; `response.write` waits for one that does not."""
            if protocol.writing_paused or transport.is_closing():
                return False
            transport.write(chunk)
            return True

        stream.attach(write_now)
    try:
        await response.prepare(request)
        async for chunk in stream:
            await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        pass  # the client is gone; there is nobody to tell
    finally:
        await stream.aclose()
    return response


async def chunks(lines: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Any iterator as one that can be closed."""
    async for chunk in lines:
        yield chunk
