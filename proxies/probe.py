"""One-shot HTTP and TCP probes over callbacks: no pool, no redirects unless asked, nothing left behind.

Used by queue-proxy for the readiness of the user container and by the activator for its pods.
"""

import asyncio
from collections.abc import Callable, Sequence

__all__ = ["Probe", "ProbeResult", "probe_http", "probe_tcp"]


class ProbeResult:
    """What a probe learnt."""

    __slots__ = ("body", "error", "status")

    def __init__(self, *, status: int = 0, body: bytes = b"", error: str = "") -> None:
        self.status = status
        """HTTP status; 0 when there was no response, and for TCP."""
        self.body = body
        """Beginning of the body, at most `body_bytes_max`."""
        self.error = error
        """Why there is no (whole) response; empty when there is one, for TCP when the connection was made."""


class Probe:
    """A probe under way."""

    def cancel(self) -> None:
        """Close the connection; the callback is not called."""
        raise NotImplementedError


def probe_http(
    loop: asyncio.AbstractEventLoop,
    host: str,
    port: int,
    *,
    request: bytes,
    timeout_s: float,
    done: Callable[[ProbeResult], None],
    body_bytes_max: int = 1024,
) -> Probe:
    """Connect, send `request` (a whole HTTP/1.1 request) and call `done` once with the result, or with a time-out."""
    raise NotImplementedError


def probe_tcp(
    loop: asyncio.AbstractEventLoop, host: str, port: int, *, timeout_s: float, done: Callable[[ProbeResult], None]
) -> Probe:
    """Connect and close; call `done` once."""
    raise NotImplementedError


def http_request(target: bytes, host: bytes, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a GET without keep-alive, to be sent by `probe_http`."""
    raise NotImplementedError
