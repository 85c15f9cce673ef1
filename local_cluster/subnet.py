"""A /16 of 127.0.0.0/8 for one stack, so that several stacks run side by side.

A stack owns the subnet as long as it holds a socket on a known port of the subnet's first address: the kernel gives it
to one process only, and takes it back when that process ends, however it ends.
"""

import random
import socket
from ipaddress import IPv4Network

__all__ = ["Subnet", "SubnetsExhausted"]

_CLAIM_PORT = 19999
_SECOND_BYTES = range(16, 250)
"""127.0 is everybody's; low ones are used by habit (systemd-resolved, Debian's host name)."""


class SubnetsExhausted(Exception):
    """Every subnet is claimed by another stack."""


class Subnet:
    """A claimed subnet; `release` gives it back."""

    def __init__(self, network: IPv4Network, claim: socket.socket) -> None:
        self.network = network
        self._claim = claim

    @classmethod
    def claim(cls, before: str = "") -> "Subnet":
        """Take a subnet that no other stack holds: `before` if it is free. Raises `SubnetsExhausted`."""
        order = random.sample(_SECOND_BYTES, len(_SECOND_BYTES))
        order.sort(key=lambda second: f"127.{second}.0.0/16" != before)
        for second in order:
            claim = socket.socket()
            try:
                claim.bind((f"127.{second}.0.1", _CLAIM_PORT))
                claim.listen(1)
            except OSError:
                claim.close()
                continue
            return cls(IPv4Network(f"127.{second}.0.0/16"), claim)
        raise SubnetsExhausted(f"all {len(_SECOND_BYTES)} loopback subnets are in use by other stacks")

    def release(self) -> None:
        """Let another stack have it."""
        self._claim.close()
