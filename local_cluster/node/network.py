"""Addresses for pods out of a loopback subnet, and free ports on 127.0.0.1.

Linux answers on every address of 127.0.0.0/8 without any set-up, so a pod can have an address of its own without
privileges. Both pools are bounded; a pool that is used up says so with `PoolExhausted`.
"""

import random
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

__all__ = ["AddressPool", "PoolExhausted", "PortPool", "is_bindable"]

_FIRST_BLOCK, _LAST_BLOCK = 1, 199
"""Third byte of pods' addresses; block 0 is the stack's own, those from 240 on are ClusterIPs."""
_PORT_FIRST, _PORT_LAST = 20000, 32000
"""Below Linux' ephemeral range (32768-60999), so that outgoing connections never take a port that was handed out."""
_PORT_ATTEMPTS_MAX = 500


class PoolExhausted(Exception):
    """Nothing left to hand out; the text names the pool and its size."""


class AddressPool:
    """Pod addresses of one stack: 127.S.1.1 to 127.S.199.254 (hosts 0 and 255 of a block are left out).

    An address is used again only after all the others were, so that a late packet or probe for a pod that ended does
    not reach its successor.
    """

    def __init__(self, subnet: IPv4Network, *, taken_max: int | None = None) -> None:
        """`taken_max` addresses may be in use at once; None: all."""
        if subnet.prefixlen != 16:
            raise ValueError(f"expected a /16, got {subnet}")
        self._network = int(subnet.network_address)
        self._size = (_LAST_BLOCK - _FIRST_BLOCK + 1) * 254
        self._taken_max = self._size if taken_max is None else min(taken_max, self._size)
        self._next = 0
        self._taken: set[int] = set()

    def take(self) -> str:
        """A free address. Raises `PoolExhausted` when as many as allowed are in use."""
        if len(self._taken) >= self._taken_max:
            raise PoolExhausted(f"all {self._taken_max} pod addresses are in use")
        while self._next in self._taken:
            self._next = (self._next + 1) % self._size
        index = self._next
        self._taken.add(index)
        self._next = (index + 1) % self._size
        block, host = divmod(index, 254)
        return str(IPv4Address(self._network + ((block + _FIRST_BLOCK) << 8) + host + 1))

    def release(self, address: str) -> None:
        """Give an address back; unknown ones are ignored."""
        offset = int(IPv4Address(address)) - self._network
        self._taken.discard(((offset >> 8) - _FIRST_BLOCK) * 254 + (offset & 0xFF) - 1)


def is_bindable(port: int) -> bool:
    """Whether a program could listen on `port`, on all addresses as well as on 127.0.0.1."""
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - asks only, never listens
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do: connections of a predecessor that linger in TIME_WAIT are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


class PortPool:
    """Ports that nobody else on the machine listens on. Each stack begins at a random place, so two rarely meet."""

    def __init__(self, *, bindable: Callable[[int], bool] = is_bindable, start: int | None = None) -> None:
        self._bindable = bindable
        self._next = start if start is not None else random.randrange(_PORT_FIRST, _PORT_LAST)
        self._taken: set[int] = set()

    def take(self) -> int:
        """A free port. Raises `PoolExhausted` after 500 ports in a row that are in use."""
        for _ in range(_PORT_ATTEMPTS_MAX):
            port = self._next
            self._next = port + 1 if port < _PORT_LAST else _PORT_FIRST
            if port not in self._taken and self._bindable(port):
                self._taken.add(port)
                return port
        raise PoolExhausted(f"no free port: {_PORT_ATTEMPTS_MAX} in a row from {_PORT_FIRST}-{_PORT_LAST} are in use")

    def release(self, port: int) -> None:
        """Give a port back; unknown ones are ignored."""
        self._taken.discard(port)
