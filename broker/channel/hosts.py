"""Which channel is served under which `Host`: each says its own, in the address of its status.

Two may say the same: whoever may write the status of one channel must not get the events of another's namespace. The
one whose namespace the host names has it, as `orders-kn-channel.shop.svc.cluster.local` names `shop`; else the one that
was there first. When that is gone, the other has it.
"""

from typing import Generic, TypeVar
from urllib.parse import SplitResult, urlsplit

from kube.models.duck import Addressable

__all__ = ["Hosts", "address_of"]

T = TypeVar("T")
Key = tuple[str, str]


class Hosts(Generic[T]):
    """Of one process. A channel's key is its namespace and name."""

    def __init__(self) -> None:
        self.served: dict[bytes, T] = {}
        """By host."""
        self._said: dict[Key, bytes] = {}
        self._channels: dict[bytes, dict[Key, T]] = {}

    def set(self, key: Key, host: bytes, channel: T) -> None:
        """A channel says that it is served under a host; empty: under none."""
        if self._said.get(key, b"") == host:
            return
        self.forget(key)
        if host:
            self._said[key] = host
            self._channels.setdefault(host, {})[key] = channel
            self._choose(host)

    def forget(self, key: Key) -> None:
        """A channel is served no more."""
        host = self._said.pop(key, None)
        if host is not None:
            del self._channels[host][key]
            self._choose(host)

    def _choose(self, host: bytes) -> None:
        channels = self._channels[host]
        if not channels:
            del self._channels[host], self.served[host]
            return
        _, _, namespace = host.partition(b".")
        namespace = namespace.partition(b".")[0].partition(b":")[0]
        rightful = [key for key in channels if key[0].encode() == namespace]
        self.served[host] = channels[(rightful or list(channels))[0]]


def address_of(address: Addressable | None) -> SplitResult:
    """Return the parts of a status's address; of one that is none, or is not there, empty ones."""
    try:
        return urlsplit(address.url if address is not None else "")
    except ValueError:
        return urlsplit("")
