"""What a dead letter says of the failure: the extensions `knativeerrordest`, `knativeerrorcode`, `knativeerrordata`.

The event's own values are kept, so that one that is dead-lettered twice still tells of its first failure.

Source: spec eventing-channels.md 3.4, 3.5; eventing-broker.md 7.2.
"""

import base64
import binascii
import json
import re
from typing import Final, NamedTuple

__all__ = ["NO_RESPONSE", "Failure", "unwrapped", "with_error_extensions"]

NO_RESPONSE: Final = 500
"""`knativeerrorcode` where there was no response."""
_DATA_CHARACTERS_MAX: Final = 1024
_UNSAFE: Final = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")


class Failure(NamedTuple):
    """Why a leg failed in the end."""

    destination: str
    """URL."""
    code: int
    body: bytes
    """Of the failed response; `dispatch error: <reason>` where there was none."""


def with_error_extensions(lines: bytes, failure: Failure) -> bytes:
    """Return the header lines of an event in binary mode, each with its end, with the extensions that they lack.

    An empty one counts as lacking. The data is cut after it was encoded, so it need not decode to its end.
    """
    data = base64.b64encode(failure.body[:_DATA_CHARACTERS_MAX])[:_DATA_CHARACTERS_MAX]
    wanted = {
        b"ce-knativeerrordest": _UNSAFE.sub(b"", failure.destination.encode()),
        b"ce-knativeerrorcode": b"%d" % failure.code,
        b"ce-knativeerrordata": data,
    }
    kept = []
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        key = name.strip().lower()
        if key in wanted:
            if not value.strip():
                continue
            del wanted[key]
        kept.append(line)
    return b"\r\n".join(kept) + b"".join(b"Ce-%s: %s\r\n" % (key[3:].title(), value) for key, value in wanted.items())


def unwrapped(failure: Failure) -> Failure | None:
    """Return the subscriber's failure that the broker filter's answer tells of; None when it tells of none.

    The status is the filter's, which is the subscriber's.
    """
    try:
        told = json.loads(failure.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    destination, encoded = told.get("errdestination", ""), told.get("errresponsebody")
    if not isinstance(destination, str) or not (encoded is None or isinstance(encoded, str)):
        return None
    try:
        body = base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return Failure(destination, failure.code, body)
