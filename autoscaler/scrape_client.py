"""Fetching the stat of one pod's queue-proxy over HTTP.

`read_answer` is the pure part: what an answer of the metrics endpoint is worth. `ScrapeClient` holds one pool of
kept-alive connections for all revisions. Source: knative/serving `pkg/autoscaler/metrics/http_scrape_client.go`; spec
autoscaler.md 4.5 and 4.6; golden set `scrape_client`.
"""

import random
from dataclasses import dataclass

import aiohttp

from autoscaler.scraper import FetchError
from kube.errors import ApiError, ApiUnreachable
from kube.resolve import Resolver
from proxies.wire.stat import Stat, WireError, decode_stat

__all__ = ["ACCEPT", "ScrapeClient", "ScrapeTarget", "read_answer"]

ACCEPT = "application/protobuf"
METRICS_PORT = 9090
_BODY_BYTES_MAX = 336
"""Numbers of a stat (60), a pod name (256) and their tags (20); more is not read."""
_TIMEOUT_S = 3.0
_CONNECTIONS_MAX = 1000
_MESH_STATUSES = frozenset({502, 503})


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """A revision's private Service."""

    namespace: str
    service: str


class ScrapeClient:
    """All of the autoscaler's scrapes. `open` needs a running loop; every `fetch_*` raises `FetchError` only."""

    def __init__(self, resolver: Resolver, *, cluster_domain: str, passthrough: bool) -> None:
        self._resolver = resolver
        self._cluster_domain = cluster_domain
        self._passthrough = passthrough
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, keepalive_timeout=90),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
            headers={"Accept": ACCEPT},
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch_pod(self, target: ScrapeTarget, address: str) -> Stat:
        """Ask one pod."""
        # Where a mesh lets direct requests pass, it wants to know which Service is meant.
        headers = (
            {"Host": f"{target.service}.{target.namespace}", "Knative-Direct-Lb": "true"} if self._passthrough else {}
        )
        return await self._fetch(address, METRICS_PORT, headers)

    async def fetch_service(self, target: ScrapeTarget) -> Stat:
        """Ask whichever pod the Service leads to, over a connection of its own so that it may be another each time."""
        host = f"{target.service}.{target.namespace}"
        try:
            addresses = await self._resolver.resolve(f"{host}.svc.{self._cluster_domain}", METRICS_PORT)
        except (ApiError, ApiUnreachable) as error:
            raise FetchError(f"{host}: {error}") from error
        if not addresses:
            raise FetchError(f"{host}: no endpoints")
        address, port = random.choice(addresses)
        return await self._fetch(address, port, {"Host": f"{host}:{METRICS_PORT}", "Connection": "close"})

    async def _fetch(self, address: str, port: int, headers: dict[str, str]) -> Stat:
        if self._session is None:
            raise FetchError("the scrape client is closed")
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._session.get(
                f"http://{host}:{port}/metrics", headers=headers, allow_redirects=False
            ) as response:
                body = await _read_at_most(response.content, _BODY_BYTES_MAX)
                return read_answer(response.status, response.headers.get("Content-Type", ""), body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise FetchError(f"{address}:{port}: {str(error) or type(error).__name__}") from error


def read_answer(status: int, content_type: str, body: bytes) -> Stat:
    """The stat in an answer. Raises `FetchError` when there is none."""
    if not 200 <= status <= 299:
        raise FetchError(f"expected status 2xx, got {status}", might_be_mesh=status in _MESH_STATUSES)
    if content_type != ACCEPT:
        raise FetchError(f"expected content type {ACCEPT}, got {content_type!r}: unsupported metric type")
    try:
        return decode_stat(body)
    except WireError as error:
        raise FetchError(f"unreadable stat: {error}") from error


async def _read_at_most(content: aiohttp.StreamReader, limit: int) -> bytes:
    body = b""
    while len(body) < limit:
        chunk = await content.read(limit - len(body))
        if not chunk:
            break
        body += chunk
    return body
