"""`autoscaler.gauge_scraper`: what a round over a revision's pods may cost, and whom it asks."""

import asyncio
import random
import re

import pytest

from autoscaler import gauge_scraper
from autoscaler.gauge_scraper import GaugeScraper, is_loopback
from autoscaler.http_client import Answer
from autoscaler.pods import ReadyPod
from autoscaler.scrape_client import ScrapeClient
from autoscaler.scraper import FetchError, PodsExhausted
from kube.autoscaling.metric_url import MetricUrl
from kube.client import Client
from kube.config import ApiConfig
from kube.resolve import Resolver
from proxies.heads import response_head
from tests.support.processes import eventually

URL = MetricUrl(8000, "/metrics", "queue")
NOW = 1_785_542_400.0


class Apps(ScrapeClient):
    """Apps that tell 1 each, in `size` bytes; those in `stuck` never answer."""

    def __init__(self, size: int = 100) -> None:
        super().__init__(
            Resolver(Client(ApiConfig(server="")), by_endpoints=False),
            cluster_domain="cluster.local",
            passthrough=False,
        )
        self.size = size
        self.text = "queue 1\n"
        self.stuck: set[str] = set()
        self.late_s = 0.0
        self.asked: list[str] = []
        self.at_once = self.at_once_most = 0

    async def fetch_gauges(self, url: MetricUrl, address: str) -> Answer:
        self.asked.append(address)
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        try:
            if address in self.stuck:
                await asyncio.Event().wait()
            await asyncio.sleep(self.late_s)
            return Answer(response_head(b"HTTP/1.1 200 OK"), self.text.encode().ljust(self.size), is_cut=False)
        finally:
            self.at_once -= 1


def pods(count: int) -> list[ReadyPod]:
    return [ReadyPod(f"10.0.{number // 250}.{number % 250 + 1}", NOW - 1000) for number in range(count)]


def scraper(apps: Apps, *, allows_loopback: bool = False, share_min: float = 0.5) -> GaugeScraper:
    return GaugeScraper(apps, URL, allows_loopback=allows_loopback, randomness=random.Random(1), share_min=share_min)


async def test_few_pods_are_read_at_once() -> None:
    apps = Apps()
    stat = await scraper(apps).scrape(pods(1000), NOW, 60)
    assert stat is not None
    assert stat.average_concurrent_requests == 1000
    assert (len(apps.asked), apps.at_once_most) == (16, 4)


async def test_a_round_reads_no_more_than_its_budget_and_half_a_sample_is_enough() -> None:
    apps = Apps(size=400 << 10)
    gauges = scraper(apps)
    for _ in range(2):
        apps.asked.clear()
        stat = await gauges.scrape(pods(1000), NOW, 60)
        assert stat is not None
        assert stat.average_concurrent_requests == 1000
        assert sum(apps.size for _ in apps.asked) < (4 << 20) + 4 * apps.size
        assert 0.5 <= gauges.share < 1


@pytest.mark.parametrize("text", ["queue 1\n", "nothing\n"])
async def test_a_round_that_tells_too_much_says_so(text: str) -> None:
    apps = Apps(size=1 << 20)
    apps.text = text
    with pytest.raises(PodsExhausted, match=re.escape("the answers of all pods are over 4194304 bytes")):
        await scraper(apps).scrape(pods(1000), NOW, 60)
    assert len(apps.asked) < 8


async def test_pods_that_hang_do_not_take_the_turns_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge_scraper, "_PLACES_S", 0.8)
    apps = Apps()
    apps.stuck = {pod.ip for pod in pods(500)[::2]}
    stat = await scraper(apps).scrape(pods(500), NOW, 60)
    assert stat is not None
    assert stat.average_concurrent_requests == 500
    await eventually(lambda: apps.at_once == 0)


async def test_the_fewer_are_asked_the_longer_each_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    apps = Apps()
    apps.late_s = 1.1
    assert await scraper(apps).scrape(pods(5), NOW, 60) is not None
    monkeypatch.setattr(gauge_scraper, "_PLACES_S", 0.016)
    with pytest.raises(PodsExhausted, match=r"no answer within 0\.0011 s"):
        await scraper(apps).scrape(pods(500), NOW, 60)


async def test_a_round_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge_scraper, "_ROUND_S", 0.05)
    apps = Apps()
    apps.stuck = {pod.ip for pod in pods(100)}
    gauges = scraper(apps)
    with pytest.raises(PodsExhausted, match=r":8000/metrics#queue: too few pods answered within 0.05 s"):
        await gauges.scrape(pods(100), NOW, 60)
    await eventually(lambda: apps.at_once == 0)
    apps.stuck.clear()
    again = await gauges.scrape(pods(100), NOW, 60)
    assert again is not None


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("::ffff:127.1.2.3", "a loopback address"),
        ("169.254.169.254", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("0.0.0.0", "an address of no host"),
        ("224.0.0.1", "an address of no host"),
        ("", "none"),
        ("metadata.internal", "none"),
    ],
)
async def test_addresses_that_no_pod_can_have_are_not_asked(address: str, what: str) -> None:
    apps = Apps()
    problem = f"{address}:8000/metrics#queue: expected the address of a pod, got {what}; it is not asked"
    with pytest.raises(PodsExhausted, match=re.escape(problem)):
        await scraper(apps).scrape([ReadyPod(address, NOW - 1000)], NOW, 60)
    assert apps.asked == []


async def test_where_pods_live_at_loopback_addresses_these_are_asked_but_no_others() -> None:
    apps = Apps()
    stat = await scraper(apps, allows_loopback=True).scrape([ReadyPod("127.3.0.9", NOW - 1000)], NOW, 60)
    assert stat is not None
    with pytest.raises(PodsExhausted):
        await scraper(apps, allows_loopback=True).scrape([ReadyPod("169.254.169.254", NOW - 1000)], NOW, 60)
    assert apps.asked == ["127.3.0.9"]


@pytest.mark.parametrize(("address", "is_so"), [("127.3.0.4", True), ("10.0.0.1", False), ("", False)])
def test_whether_an_address_is_the_machine_itself(address: str, is_so: bool) -> None:
    assert is_loopback(address) == is_so


async def test_no_service_is_asked_for_a_gauge() -> None:
    with pytest.raises(FetchError, match="no Service leads to the app's own metrics"):
        await scraper(Apps())._fetch_service()
