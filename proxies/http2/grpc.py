"""Errors of our own in the terms of gRPC: a response of a head alone, with status 200 and `grpc-status`.

Clients of gRPC make UNAVAILABLE of a plain 503 by themselves, but of a 504, too, and the text is lost.

Source: the gRPC protocol over HTTP/2, "Responses"; status codes of gRPC.
"""

from typing import Final

from proxies.http2.hpack import encode
from proxies.messages import Answer, RequestHead

__all__ = ["GRPC_CODES", "grpc_block", "is_grpc"]

_DEADLINE_EXCEEDED: Final = b"4"
_UNAVAILABLE: Final = b"14"
GRPC_CODES: Final = {502: _UNAVAILABLE, 503: _UNAVAILABLE, 504: _DEADLINE_EXCEEDED}


def is_grpc(request: RequestHead) -> bool:
    """Whether the client speaks gRPC."""
    return request.get(b"content-type").startswith(b"application/grpc")


def grpc_block(answer: Answer) -> bytes:
    """Return the block of the response that says what `answer` does; its status is one of `GRPC_CODES`."""
    return b"".join(
        (
            encode(b":status", b"200"),
            encode(b"content-type", b"application/grpc"),
            encode(b"grpc-status", GRPC_CODES[answer.status]),
            encode(b"grpc-message", _percent_encoded(answer.body.strip())),
        )
    )


def _percent_encoded(text: bytes) -> bytes:
    """Return what may stand in `grpc-message`: printable ASCII but the percent sign."""
    return b"".join(b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in text)
