"""Where `knuv events` sends to: from the name of a Broker or a channel to an address that this machine reaches."""

import json
from urllib.parse import urlsplit

from kube.client import Client
from kube.errors import NotFound
from kube.models.eventing import Broker
from kube.models.messaging import Channel
from kube.models.meta import Resource
from kube.resolve import Resolver, service_of_host
from local_cluster.cli import Failure
from local_cluster.settings import StackInfo

__all__ = ["KINDS", "StackResolver", "url_of"]

KINDS: dict[str, type[Resource]] = {"broker": Broker, "channel": Channel}


class StackResolver:
    """Addresses of cluster names. Pods with networks of their own are out of reach, but for Brokers by the gateway."""

    def __init__(self, client: Client, stack: StackInfo | None) -> None:
        self._resolver = Resolver(client, by_endpoints=True)
        self._stack = stack

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """As `Resolving` has it; the gateway is on this machine, whatever its names resolve to."""
        if self._stack is not None and host == self._stack.brokers_host:
            return [("127.0.0.1", self._stack.http_port)]
        return await self._resolver.resolve(host, port)

    async def has_own_networks(self, url: str) -> bool:
        """Whether what is behind a cluster's URL is in a network of its own."""
        parts = urlsplit(url)
        if service_of_host(parts.hostname or "", "cluster.local") is None:
            return False
        addresses = await self.resolve(parts.hostname or "", parts.port or 80)
        return any(not address.startswith("127.") for address, _ in addresses)

    async def reachable(self, url: str) -> str:
        """A URL that leads to the same. Raises `Failure` when there is none."""
        if self._stack is None or not await self.has_own_networks(url):
            return url
        parts = urlsplit(url)
        if not (parts.hostname or "").startswith("broker-ingress."):
            raise Failure(f"{url}: pods of this stack have networks of their own; only Brokers are reached from here")
        return f"http://{self._stack.brokers_host}:{self._stack.http_port}{parts.path}"


async def url_of(client: Client, target: str, namespace: str) -> str:
    """The address of `broker/NAME` or `channel/NAME`; a URL is its own. Raises `Failure` when there is none."""
    if target.startswith(("http://", "https://")):
        return target
    kind, _, name = target.partition("/")
    if kind not in KINDS or not name:
        raise Failure(f"{target!r}: expected broker/NAME, channel/NAME or an http(s) URL")
    shape = KINDS[kind]
    try:
        body = await client.raw("GET", shape.RESOURCE.path(namespace, name))
    except NotFound:
        raise Failure(f'no {kind} "{name}" in namespace "{namespace}"; `knuv get {kind}s -A` lists them') from None
    url = ((json.loads(body).get("status") or {}).get("address") or {}).get("url")
    if not url:
        raise Failure(f'{kind} "{name}" has no address yet; `knuv describe {kind} {name}` says why')
    return str(url)
