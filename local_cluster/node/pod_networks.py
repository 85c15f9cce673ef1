"""Pods with a network of their own: a namespace each, joined by a bridge.

The node itself lives in a network namespace that was made for the stack (`enter_own_network`), so the machine's network
is never touched, and whatever happens to the stack, the kernel takes bridge, links and addresses away with its last
process. Nothing has a name in a file system: a namespace is held by a descriptor here and by the pod's processes.

The bridge has the first address of the pods' network. Every ClusterIP is an address of the node, by a local route, so
that the node's own forwarding (`service_proxy.py`) answers there.
"""

import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import NamedTuple

from local_cluster.node import linux
from local_cluster.node.netlink import Netlink

__all__ = ["POD_NETWORK", "SERVICE_NETWORK", "PodNamespace", "PodNetworks", "enter_own_network"]

POD_NETWORK = IPv4Network("10.244.0.0/16")
SERVICE_NETWORK = IPv4Network("10.96.0.0/16")
"""Kubernetes' habitual ones; they exist inside the stack's own network namespace only."""
_BRIDGE = "knuv0"
_LOOPBACK_INDEX, _FIRST_INDEX = 1, 1000
_SPARES = 3
_UNPRIVILEGED_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_OWN_NETWORK = "/proc/thread-self/ns/net"


def enter_own_network() -> None:
    """Move the calling thread, and all that it starts, into a network namespace with a loopback device only.

    Call it before there are other threads. Raises `OSError` when we may not.
    """
    linux.unshare(linux.CLONE_NEWNET)
    with Netlink() as kernel:
        kernel.set_up(_LOOPBACK_INDEX)


@dataclass(frozen=True, slots=True)
class PodNamespace:
    """One pod's network namespace."""

    descriptor: int

    @property
    def path(self) -> str:
        """By which others may enter it while we hold it."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"


class _Spare(NamedTuple):
    """A namespace that is at the bridge and has no address yet."""

    kernel: Netlink
    descriptor: int
    link: int
    """Index of its end of the link."""


class PodNetworks:
    """The bridge of this node and what hangs on it. Raises `OSError`.

    To make a namespace with its links takes the kernel milliseconds, so a few wait for pods to come: `prepare`.
    """

    def __init__(self) -> None:
        self._spares: deque[_Spare] = deque()
        self._kernel = Netlink()
        self._next = 0
        self.gateway = str(POD_NETWORK.network_address + 1)
        self._kernel.add_bridge(_BRIDGE)
        self._bridge = socket.if_nametoindex(_BRIDGE)
        self._kernel.add_address(self._bridge, self.gateway, POD_NETWORK.prefixlen)
        self._kernel.add_local_route(SERVICE_NETWORK, _LOOPBACK_INDEX)

    def create(self, address: str) -> PodNamespace:
        """A namespace with `address` on the bridge."""
        spare = self._spares.popleft() if self._spares else self._make()
        try:
            with spare.kernel as kernel:
                kernel.add_address(spare.link, address, POD_NETWORK.prefixlen)
                kernel.set_up(spare.link)
                kernel.add_default_route(self.gateway)
        except OSError:
            os.close(spare.descriptor)
            raise
        return PodNamespace(spare.descriptor)

    def prepare(self) -> bool:
        """Make one namespace ahead of time; whether there are enough then."""
        if len(self._spares) < _SPARES:
            self._spares.append(self._make())
        return len(self._spares) >= _SPARES

    def close(self) -> None:
        """Let go of those that wait, and of the kernel."""
        while self._spares:
            spare = self._spares.popleft()
            spare.kernel.close()
            os.close(spare.descriptor)
        self._kernel.close()

    def make_socket(self, namespace: PodNamespace) -> socket.socket:
        """A TCP socket of the pod's network, as one of its own programs would make it. Raises `OSError`."""
        own = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.setns(namespace.descriptor, linux.CLONE_NEWNET)
            try:
                return socket.socket()
            finally:
                linux.setns(own, linux.CLONE_NEWNET)
        finally:
            os.close(own)

    def _make(self) -> "_Spare":
        self._next += 1
        index = _FIRST_INDEX + self._next
        kernel, descriptor = _in_new_namespace(Netlink)
        try:
            kernel.set_up(_LOOPBACK_INDEX)
            self._kernel.add_veth(f"pod{self._next}", index, self._bridge, "eth0", descriptor)
        except OSError:
            kernel.close()
            os.close(descriptor)
            raise
        return _Spare(kernel, descriptor, index)

    def remove(self, namespace: PodNamespace) -> None:
        """Let a pod's network go; its processes have ended. The kernel takes the links away, some time later."""
        os.close(namespace.descriptor)


def _in_new_namespace(make: Callable[[], Netlink]) -> tuple[Netlink, int]:
    """What `make` makes in a new network namespace, and a descriptor of that. We are back in our own afterwards.

    Any program in there may bind any port: pods are not root of the network, and in a cluster they may, too.
    """
    own = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.unshare(linux.CLONE_NEWNET)
        try:
            _UNPRIVILEGED_PORTS.write_text("0")
            return make(), os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            linux.setns(own, linux.CLONE_NEWNET)
    finally:
        os.close(own)
