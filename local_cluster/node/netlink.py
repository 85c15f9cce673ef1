"""The few requests to the kernel that pod networks are made of: links, addresses, routes.

Messages are rtnetlink's (rtnetlink(7), RFC 3549): a header, a fixed part, attributes. A `Netlink` belongs to the
network namespace in which it was opened, wherever its owner goes later. Errors are `OSError`s that name the request.
"""

import os
import socket
import struct
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType

__all__ = ["Netlink", "attribute"]

_NEWLINK, _NEWADDR, _NEWROUTE = 16, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_ERROR = 2
_ADDRESS, _IFNAME, _MASTER, _LINKINFO, _NET_NS_FD = 1, 3, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_NESTED = 0x8000
_UP = 1
_TABLE_MAIN, _TABLE_LOCAL = 254, 255
_SCOPE_UNIVERSE, _SCOPE_HOST = 0, 254
_ROUTE_UNICAST, _ROUTE_LOCAL, _PROTOCOL_BOOT = 1, 2, 3
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_IFA_ADDRESS, _IFA_LOCAL = 1, 2


class Netlink:
    """A socket to the kernel in the calling thread's network namespace. Use it with `with`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the kernel; what was made stays."""
        self._socket.close()

    def add_bridge(self, name: str) -> None:
        """A bridge that is up, with an address of its own.

        Otherwise it has the lowest one of its ports: another one whenever that port goes, and the others' pods send to
        the one before for half a minute.
        """
        info = attribute(_INFO_KIND, b"bridge\0")
        address = attribute(_ADDRESS, b"\x02" + os.urandom(5))  # locally administered (IEEE 802)
        body = _link(flags=_UP) + _name(name) + address + attribute(_LINKINFO | _NESTED, info)
        self._ask(_NEWLINK, _CREATE | _EXCL, body, f"add bridge {name}")

    def add_veth(self, name: str, index: int, bridge: int, peer: str, namespace: int) -> None:
        """A pair of links: `name`, up, at the bridge of index `bridge`; `peer`, down, in the namespace behind a fd.

        Both get the index `index`, each in its namespace. The peer cannot be brought up before the pair is complete.
        """
        inner = _link(index) + _name(peer) + attribute(_NET_NS_FD, struct.pack("=I", namespace))
        data = attribute(_INFO_DATA | _NESTED, attribute(_VETH_PEER | _NESTED, inner))
        info = attribute(_LINKINFO | _NESTED, attribute(_INFO_KIND, b"veth\0") + data)
        body = _link(index, flags=_UP) + _name(name) + attribute(_MASTER, struct.pack("=I", bridge)) + info
        self._ask(_NEWLINK, _CREATE | _EXCL, body, f"add veth {name}")

    def set_up(self, index: int) -> None:
        """Bring a link up."""
        self._ask(_NEWLINK, 0, _link(index, flags=_UP), f"set link {index} up")

    def add_address(self, index: int, address: str, prefix: int) -> None:
        """Give a link an address with its network's prefix length."""
        packed = IPv4Address(address).packed
        body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, _SCOPE_UNIVERSE, index)
        body += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
        self._ask(_NEWADDR, _CREATE | _EXCL, body, f"add address {address}")

    def add_default_route(self, gateway: str) -> None:
        """Send everything else to `gateway`."""
        body = _route(0, _TABLE_MAIN, _SCOPE_UNIVERSE, _ROUTE_UNICAST)
        body += attribute(_RTA_GATEWAY, IPv4Address(gateway).packed)
        self._ask(_NEWROUTE, _CREATE | _EXCL, body, f"add default route by {gateway}")

    def add_local_route(self, network: IPv4Network, index: int) -> None:
        """Make every address of `network` this machine's own."""
        body = _route(network.prefixlen, _TABLE_LOCAL, _SCOPE_HOST, _ROUTE_LOCAL)
        body += attribute(_RTA_DST, network.network_address.packed) + attribute(_RTA_OIF, struct.pack("=I", index))
        self._ask(_NEWROUTE, _CREATE | _EXCL, body, f"add local route {network}")

    def _ask(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, self._sequence, 0)
        self._socket.send(header + body)
        answer = self._socket.recv(1 << 16)
        _, answered, _, sequence, _ = struct.unpack_from("=IHHII", answer)
        assert (answered, sequence) == (_ERROR, self._sequence), f"netlink answered {answered} to {what}"
        (number,) = struct.unpack_from("=i", answer, 16)
        if number != 0:
            raise OSError(-number, f"{what}: {os.strerror(-number)}")


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute: length, type, payload, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def _link(index: int = 0, *, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _name(name: str) -> bytes:
    return attribute(_IFNAME, name.encode() + b"\0")


def _route(prefix: int, table: int, scope: int, kind: int) -> bytes:
    return struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, table, _PROTOCOL_BOOT, scope, kind, 0)
