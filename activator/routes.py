"""The way to one pod: its connections, and how heads of requests are edited on it.

Source: spec activator.md 7.
"""

from typing import TYPE_CHECKING, Final

from activator.endpoints import TLS_CLUSTER_PORT, TLS_PORT, join_address, split_address
from proxies import headers
from proxies.dialling import Security
from proxies.headers import HeadEdits, HostRule
from proxies.pool import Endpoint, Pool

if TYPE_CHECKING:
    from proxies.traced import TraceEdits

__all__ = ["Route", "open_route"]

_REMOVED: Final = (headers.REVISION, headers.NAMESPACE, headers.PROBE_HASH)


class Route:
    """One way."""

    __slots__ = ("edits", "edits_of_begun", "endpoint", "trace_edits")

    def __init__(self, endpoint: Endpoint, edits: HeadEdits, edits_of_begun: HeadEdits) -> None:
        self.endpoint = endpoint
        self.edits = edits
        self.edits_of_begun = edits_of_begun
        """Of requests whose responses have begun, so that it is too late to say how a body is encoded."""
        self.trace_edits: dict[HeadEdits, TraceEdits] = {}

    def traced(self, edits: HeadEdits) -> "TraceEdits":
        """Return how heads of requests in traces are edited where others are by `edits`."""
        found = self.trace_edits.get(edits)
        if found is None:
            from proxies.traced import TraceEdits

            found = self.trace_edits[edits] = TraceEdits(edits)
        return found


def open_route(
    pool: Pool,
    address: str,
    *,
    is_cluster: bool,
    security: Security | None,
    passthrough_host: bytes,
) -> Route:
    """Return the way to `address`; nothing is connected yet.

    `is_cluster`: it is that of the private Service. `security`: of TLS; None: in plaintext. `passthrough_host`: `Host`
    of every request, where a mesh passes them on to single pods; else empty.
    """
    dialled, port = split_address(address)
    if security is not None:
        port = TLS_CLUSTER_PORT if is_cluster else TLS_PORT
    added = {b"K-Proxy-Request": b"activator"}
    if passthrough_host:
        added[b"K-Passthrough-Lb"] = b"true"
    host = passthrough_host or join_address(dialled, port).encode()

    usual = HeadEdits(remove=_REMOVED, set=added, host=host, host_rule=HostRule.SAVE)
    return Route(pool.endpoint(dialled, port, security=security), usual, usual.without(b"accept-encoding"))
