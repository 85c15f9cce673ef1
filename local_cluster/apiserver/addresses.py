"""ClusterIPs: every Service gets one address of the service network, for as long as it exists."""

import ipaddress

__all__ = ["AddressPool", "AddressRefused"]

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressRefused(Exception):
    """The wanted address is outside the network or taken, or the network is full."""


class AddressPool:
    """Addresses of one network, handed out in order and reused last; O(1) unless most are taken."""

    def __init__(self, network: IpNetwork) -> None:
        self._network = network
        # The first address is the network's own, the last an IPv4 network's broadcast address.
        self._count = network.num_addresses - 2
        if self._count < 1:
            raise ValueError(f"service network {network} has no usable address")
        self._next = 0
        self._taken: set[str] = set()

    def take(self, wanted: str = "") -> str:
        """Reserve `wanted`, or any free address when it is empty. Raises `AddressRefused`."""
        if wanted:
            return self._take_named(wanted)
        for _ in range(self._count):
            address = str(self._network[1 + self._next])
            self._next = (self._next + 1) % self._count
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise AddressRefused(f"the service network {self._network} is full")

    def release(self, address: str) -> None:
        """Give an address back; one that was never taken is ignored."""
        self._taken.discard(address)

    def _take_named(self, wanted: str) -> str:
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError as error:
            raise AddressRefused(f"{wanted!r} is no IP address") from error
        if address not in self._network:
            raise AddressRefused(f"the provided IP ({wanted}) is not in the valid range {self._network}")
        if str(address) in self._taken:
            raise AddressRefused("provided IP is already allocated")
        self._taken.add(str(address))
        return str(address)
