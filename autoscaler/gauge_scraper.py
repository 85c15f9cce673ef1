"""Asking a revision's pods for a gauge of their app, within bounds: what answers is not ours.

A queue-proxy answers with a few hundred bytes. An app may answer with anything, slowly, from each of its pods, each
second; and a pod's address is whatever the API says. So one round over a revision's pods has a budget of bytes and of
time, few pods are read at once, and addresses that no pod can have are not asked.
"""

import asyncio
import ipaddress
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from autoscaler.http_client import Answer
from autoscaler.pods import ReadyPod
from autoscaler.prometheus_text import GaugeError, read_gauge
from autoscaler.sampling import sample_size
from autoscaler.scrape_client import GAUGES_BYTES_MAX, ScrapeClient
from autoscaler.scraper import FetchError, MeshMode, PodsExhausted, Scraper
from kube.autoscaling.metric_url import MetricUrl
from proxies.wire.stat import Stat

__all__ = ["GaugeScraper", "is_loopback"]

_ROUND_BYTES_MAX: Final = 4 << 20
"""Of all answers of a round together; a sample of 16 pods may tell 256 KiB each."""
_ROUND_S: Final = 4.0
"""Those asked first may use up their time-out of 3 s; whoever is asked instead has the rest."""
_AT_ONCE: Final = 4
_PLACES_S: Final = _ROUND_S * _AT_ONCE
"""Of all places together: each of a sample has its part of it, which those that hang must not take from the others."""


class GaugeScraper(Scraper):
    """Scrapes the gauge of one revision; each `scrape` is a round. `allows_loopback`: pods may live there."""

    __slots__ = ("_allows_loopback", "_bytes_left", "_client", "_places", "_turn_s", "_url")

    def __init__(
        self,
        client: ScrapeClient,
        url: MetricUrl,
        *,
        allows_loopback: bool,
        randomness: random.Random,
        share_min: float,
    ) -> None:
        super().__init__(
            mode=MeshMode.DISABLED,
            passthrough=False,
            fetch_pod=self._fetch,
            fetch_service=_no_service,
            randomness=randomness,
            share_min=share_min,
        )
        self._client = client
        self._url = url
        self._allows_loopback = allows_loopback
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._bytes_left = 0
        self._turn_s = _ROUND_S

    async def scrape(self, pods: Sequence[ReadyPod], now_s: float, window_s: float) -> Stat | None:
        """One stat for all of `pods`, as `Scraper.scrape`; the gauge stands in it as concurrency."""
        self._bytes_left = _ROUND_BYTES_MAX
        self._turn_s = _PLACES_S / max(1, sample_size(len(pods)))
        try:
            async with asyncio.timeout(_ROUND_S):
                return await super().scrape(pods, now_s, window_s)
        except TimeoutError:
            raise PodsExhausted(f"{self._url}: too few pods answered within {_ROUND_S:g} s") from None

    async def _fetch(self, address: str) -> Stat:
        kind = _kind_that_no_pod_has(address)
        if kind and not (kind == _LOOPBACK and self._allows_loopback):
            raise FetchError(f"{address}{self._url}: expected the address of a pod, got {kind}; it is not asked")
        async with self._places:
            if self._bytes_left <= 0:
                raise FetchError(f"{address}{self._url}: the answers of all pods are over {_ROUND_BYTES_MAX} bytes")
            turn_s = self._turn_s
            try:
                async with asyncio.timeout(turn_s):
                    answer = await self._client.fetch_gauges(self._url, address)
            except TimeoutError:
                raise FetchError(f"{address}{self._url}: no answer within {turn_s:.2g} s") from None
            self._bytes_left -= len(answer.body)
        return Stat(address, average_concurrent_requests=_value(answer, self._url, address))


def _value(answer: Answer, url: MetricUrl, address: str) -> float:
    status = answer.head.status
    if not 200 <= status <= 299:
        raise FetchError(f"{address}{url}: expected status 2xx, got {status}")
    if answer.is_cut:
        raise FetchError(f"{address}{url}: expected at most {GAUGES_BYTES_MAX} bytes of metrics")
    try:
        return read_gauge(answer.body, url.name)
    except GaugeError as error:
        raise FetchError(f"{address}{url}: {error}") from error


_LOOPBACK: Final = "a loopback address"


def is_loopback(address: str) -> bool:
    """Whether `address` leads to the machine itself; False for what is no IP address."""
    return _kind_that_no_pod_has(address) == _LOOPBACK


@lru_cache(maxsize=4096)
def _kind_that_no_pod_has(address: str) -> str:
    """What is wrong with an address, in words; empty for one that a pod can have."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "none"
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return _LOOPBACK
    if ip.is_link_local:
        return "a link-local address"
    return "an address of no host" if ip.is_unspecified or ip.is_multicast else ""


async def _no_service() -> Stat:
    raise FetchError("no Service leads to the app's own metrics")
