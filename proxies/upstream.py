"""Connections towards the peers that requests are forwarded to: a bounded keep-alive pool for each.

A service makes one `Pool`, asks it for an `Endpoint` per peer address, keeps that, and names it in `Exchange.forward`.
"""

import asyncio
from typing import Final

__all__ = ["Endpoint", "Pool"]

_IDLE_S: Final = 90.0


class Endpoint:
    """One peer address and its idle connections. Made by `Pool.endpoint`; keep it as long as the peer is wanted."""

    host: str
    port: int

    def close(self) -> None:
        """The peer is not wanted any more: close what is idle; connections in use close after their exchange."""
        raise NotImplementedError


class Pool:
    """All endpoints of one process. Not a look-up on the hot path: keep the endpoints."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        idle_max: int = 1000,
        idle_per_endpoint_max: int = 1000,
        idle_s: float = _IDLE_S,
    ) -> None:
        """`idle_max`, `idle_per_endpoint_max`: idle connections kept at most; `idle_s`: for how long each is kept."""
        raise NotImplementedError

    def endpoint(self, host: str, port: int) -> Endpoint:
        """Return a new endpoint. `host` is an address, never a name: nothing is resolved here."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close every connection."""
        raise NotImplementedError
