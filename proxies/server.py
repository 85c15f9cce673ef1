"""The listening side: accepts connections, reads requests, and gives each to the policy as an exchange."""

import asyncio

from proxies.exchange import Policy
from proxies.logs import Logger

__all__ = ["Server"]


class Server:
    """One policy on any number of listening addresses."""

    def __init__(self, loop: asyncio.AbstractEventLoop, policy: Policy, logger: Logger) -> None:
        raise NotImplementedError

    async def listen(self, host: str | None, port: int) -> int:
        """Accept on `host` (None or empty: all addresses) and return the port. May be repeated.

        Raises `OSError` when the address cannot be had.
        """
        raise NotImplementedError

    @property
    def in_flight(self) -> int:
        """Exchanges and tunnels under way."""
        raise NotImplementedError

    async def stop(self, *, tunnel_grace_s: float = 60.0) -> None:
        """Stop accepting, close idle connections, let running exchanges finish, wait so long for tunnels."""
        raise NotImplementedError
