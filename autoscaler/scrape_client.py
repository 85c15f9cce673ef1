"""Fetching the stat of one pod's queue-proxy, or the metrics of its app, over HTTP.

`read_answer` is the pure part: what an answer of the metrics endpoint is worth. `ScrapeClient` asks, with one bounded
set of connections for all revisions. Source: knative/serving `pkg/autoscaler/metrics/http_scrape_client.go`; spec
autoscaler.md 4.5 and 4.6; golden set `scrape_client`.
"""

import random
import resource
from dataclasses import dataclass
from typing import Final

from autoscaler.http_client import Address, Answer, HttpClient, NoAnswer, get_request
from autoscaler.plausibility import is_plausible
from autoscaler.scraper import FetchError, NoEndpoints
from kube.autoscaling.metric_url import MetricUrl
from kube.errors import ApiError, ApiUnreachable
from kube.resolve import Resolver
from proxies.wire.stat import Stat, WireError, decode_stat

__all__ = ["ACCEPT", "GAUGES_BYTES_MAX", "ScrapeClient", "ScrapeTarget", "read_answer"]

ACCEPT: Final = "application/protobuf"
METRICS_PORT = 9090
_PATH: Final = "/metrics"
_BODY_BYTES_MAX: Final = 336
"""Numbers of a stat (60), a pod name (256) and their tags (20); more is not read."""
GAUGES_BYTES_MAX: Final = 1 << 20
"""All metrics of one pod's app; beyond that asking every second would be wrong anyway."""
_GAUGES_ACCEPT: Final = "text/plain;version=0.0.4, application/openmetrics-text;q=0.5, */*;q=0.1"
_TIMEOUT_S: Final = 3.0
_CONNECTIONS_MAX: Final = 8192
"""The original keeps 1,000 idle ones; a pod whose connection was not kept costs several times as much each second."""
_MESH_STATUSES: Final = frozenset({502, 503})


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
        self._http: HttpClient | None = None

    async def open(self) -> None:
        """Be ready to connect."""
        files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The other half is for activators, the API and whatever else.
        self._http = HttpClient(connections_max=min(_CONNECTIONS_MAX, files_max // 2), timeout_s=_TIMEOUT_S)

    async def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def fetch_pod(self, target: ScrapeTarget, address: str) -> Stat:
        """Ask one pod."""
        fields = {"Accept": ACCEPT}
        host = _authority(address, METRICS_PORT)
        if self._passthrough:
            # Where a mesh lets direct requests pass, it wants to know which Service is meant.
            host = f"{target.service}.{target.namespace}"
            fields["Knative-Direct-Lb"] = "true"
        answer = await self._get((address, METRICS_PORT), get_request(host, _PATH, fields), _BODY_BYTES_MAX)
        return read_answer(answer.head.status, answer.head.get(b"content-type").decode("latin-1"), answer.body)

    async def fetch_service(self, target: ScrapeTarget) -> Stat:
        """Ask whichever pod the Service leads to, over a connection of its own so that it may be another each time."""
        host = f"{target.service}.{target.namespace}"
        try:
            addresses = await self._resolver.resolve(f"{host}.svc.{self._cluster_domain}", METRICS_PORT)
        except (ApiError, ApiUnreachable) as error:
            raise NoEndpoints(f"failed to get endpoints of {host}: {error}") from error
        if not addresses:
            raise NoEndpoints(f"failed to get endpoints of {host}: there are none")
        request = get_request(f"{host}:{METRICS_PORT}", _PATH, {"Accept": ACCEPT, "Connection": "close"})
        answer = await self._get(random.choice(addresses), request, _BODY_BYTES_MAX, keep=False)
        return read_answer(answer.head.status, answer.head.get(b"content-type").decode("latin-1"), answer.body)

    async def fetch_gauges(self, url: MetricUrl, address: str) -> Answer:
        """What one pod's app tells of itself, whatever it is; `GAUGES_BYTES_MAX` of it at most."""
        request = get_request(_authority(address, url.port), url.path, {"Accept": _GAUGES_ACCEPT})
        return await self._get((address, url.port), request, GAUGES_BYTES_MAX)

    async def _get(self, address: Address, request: bytes, body_bytes_max: int, *, keep: bool = True) -> Answer:
        if self._http is None:
            raise FetchError("the scrape client is closed")
        try:
            return await self._http.get(address, request, body_bytes_max=body_bytes_max, keep=keep)
        except NoAnswer as error:
            raise FetchError(str(error)) from error


def read_answer(status: int, content_type: str, body: bytes) -> Stat:
    """The stat in an answer. Raises `FetchError` when there is none."""
    if not 200 <= status <= 299:
        raise FetchError(f"expected status 2xx, got {status}", might_be_mesh=status in _MESH_STATUSES)
    if content_type != ACCEPT:
        raise FetchError(f"expected content type {ACCEPT}, got {content_type!r}: unsupported metric type")
    try:
        stat = decode_stat(body)
    except WireError as error:
        raise FetchError(f"unreadable stat: {error}") from error
    if not is_plausible(stat):
        raise FetchError(f"expected finite figures from 0 on, got {stat}")
    return stat


def _authority(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
