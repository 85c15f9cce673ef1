"""The upgrade from HTTP/1.1 to HTTP/2 in plaintext, `Upgrade: h2c` (RFC 7540 section 3.2; gone from RFC 9113).

curl, nghttp and Java's client still offer it with their first request. An offer that is not taken costs nothing: both
sides go on in HTTP/1.1 (`http1.parse_request` ignores it). So it is taken only when there is nothing odd about it and
the request is here whole.
"""

import re
from base64 import urlsafe_b64decode
from typing import Final

from proxies.messages import RequestHead

__all__ = ["ACCEPTED", "SETTINGS", "offered_settings", "without_offer"]

ACCEPTED: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

SETTINGS: Final = b"http2-settings"
"""Listed by `Connection` where there is an offer."""

# Pieces of 6 bytes: without padding, and never one character alone behind groups of four.
_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?")
_SETTINGS_BYTES_MAX: Final = 1024


def offered_settings(request: RequestHead) -> bytes | None:
    """Return the payload of the SETTINGS that come with an offer; None when it is not one to be taken."""
    values = request.get_all(SETTINGS)
    if len(values) != 1 or request.get_all(b"upgrade") != [b"h2c"] or not request.minor or request.is_chunked:
        return None
    text = values[0].rstrip(b"=")
    if len(text) > _SETTINGS_BYTES_MAX or _BASE64.fullmatch(text) is None:
        return None
    payload = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    return payload if len(payload) % 6 == 0 else None


def without_offer(request: RequestHead) -> RequestHead:
    """Return the head in HTTP/2: without what concerned the connection."""
    drop = request.connection_options | {b"connection"}
    fields = [field for field in request.fields if field.name not in drop]
    marks = 0
    for field in fields:
        marks |= field.marks
    head = RequestHead(request.method, request.target, fields, marks)
    head.major = 2
    head.content_length = request.content_length
    return head
