"""`autoscaler.scraping`: revisions scraped each second and decided every two, on a stepped clock."""

import asyncio
import math

import pytest

from autoscaler.clock import SteadyClock
from autoscaler.http_client import Answer
from autoscaler.multiscaler import PHASE_S, PHASES, MultiScaler, RevisionKey
from autoscaler.pods import ReadyPod
from autoscaler.scrape_client import ACCEPT, ScrapeClient, ScrapeTarget, read_answer
from autoscaler.scraper import FetchError, MeshMode
from autoscaler.scraping import Scraping
from autoscaler.settings import resolve
from kube.autoscaling.config import AutoscalerConfig
from kube.autoscaling.metric_url import MetricUrl
from kube.client import Client
from kube.config import ApiConfig
from kube.resolve import Resolver
from proxies.heads import response_head
from proxies.logs import Logger
from proxies.wire.stat import Stat, encode_stat

T0 = 1_785_542_400.0
KEY: RevisionKey = ("default", "hello-00001")


class Pods(ScrapeClient):
    """A scrape client whose pods carry `concurrency` each; those in `silent` cannot be reached."""

    def __init__(self) -> None:
        resolver = Resolver(Client(ApiConfig(server="")), by_endpoints=False)
        super().__init__(resolver, cluster_domain="cluster.local", passthrough=False)
        self.concurrency = 0.0
        self.count = 0
        self.silent: set[int] = set()
        self.gauge = 0.0
        self.has_gauge = True
        self.asked = 0

    def ready(self, key: RevisionKey) -> list[ReadyPod]:
        return [ReadyPod(f"10.0.0.{number}", T0 - 1000) for number in range(self.count)]

    async def fetch_pod(self, target: ScrapeTarget, address: str) -> Stat:
        self.asked += 1
        if int(address.rpartition(".")[2]) in self.silent:
            raise FetchError(f"{address}: connection refused")
        stat = Stat("pod", self.concurrency, request_count=self.concurrency)
        return read_answer(200, ACCEPT, encode_stat(stat))

    async def fetch_gauges(self, url: MetricUrl, address: str) -> Answer:
        text = f"{url.name} {self.gauge / self.count}\n" if self.has_gauge else ""
        return Answer(response_head(b"HTTP/1.1 200 OK"), text.encode(), is_cut=False)


class Autoscaler:
    """Scraping and deciding one revision; pods are there as soon as they are wanted."""

    def __init__(self, *, is_strict: bool = False, **annotations: str) -> None:
        self.pods = Pods()
        self.phase = 0
        self.wall_s = T0
        self.clock = SteadyClock(wall=lambda: self.wall_s, steady=lambda: self.phase * PHASE_S)
        self.load = 0.0
        self.poked: list[RevisionKey] = []
        self.lines: list[bytes] = []
        self.scalers = MultiScaler(lambda key: self.pods.count)
        self.scraping = Scraping(
            self.pods,
            self.scalers,
            ready_pods=self.pods.ready,
            clock=self.clock,
            mode=MeshMode.AUTO,
            passthrough=False,
            is_strict=is_strict,
            on_error_change=self.poked.append,
            log=Logger("test", write=self.lines.append),
        )
        settings = resolve(
            {"autoscaling.knuv.dev/metric-url": ":8000/metrics#queue"}
            | {f"autoscaling.knative.dev/{key.replace('_', '-')}": text for key, text in annotations.items()},
            container_concurrency=0,
            reachability="Reachable",
            metrics_service="hello-00001-private",
            config=AutoscalerConfig(),
        )
        self.scalers.put(KEY, settings.decider, settings.metric, self.clock(), self.phase, settings.metric_url)

    async def run(self, seconds: float) -> list[int]:
        """What was wanted after each decision."""
        wanted = []
        for _ in range(round(seconds / PHASE_S)):
            self.phase += 1
            self.pods.concurrency = self.load / max(1, self.pods.count)
            for outcome in self.scalers.decide_phase(self.phase, self.clock()):
                wanted.append(outcome.decision.desired)
                self.pods.count = outcome.decision.desired
            if self.scalers.count_in_phase(self.phase + 20) or self.scalers.count_in_phase(self.phase + 120):
                self.scraping.start_phase(self.phase, self.clock())
                for _ in range(7):  # a slice, in it a task for each scrape, in that one for each pod
                    await asyncio.sleep(0)
        return wanted

    async def steady(self, pods: int) -> "Autoscaler":
        """A revision whose load was that of so many pods for two minutes."""
        self.load = pods * 70.0
        self.pods.count = 1
        await self.run(120)
        assert self.pods.count == pods
        return self


async def test_a_revision_is_scraped_every_second() -> None:
    scaler = Autoscaler()
    scaler.pods.count = 1
    scaler.load = 30.0
    await scaler.run(20)
    revision = scaler.scalers.get(KEY)
    assert revision is not None
    assert revision.collection.load("rps", scaler.clock()) == (30.0, 30.0, 1.0)


@pytest.mark.parametrize("silent_s", [5, 20, 45, 90, 600])
async def test_pods_that_cannot_be_seen_for_a_while_are_still_wanted(silent_s: int) -> None:
    scaler = await Autoscaler().steady(4)
    scaler.pods.silent = set(range(4))
    wanted = await scaler.run(silent_s)
    scaler.pods.silent.clear()
    wanted += await scaler.run(120)
    assert set(wanted) == {4}


async def test_the_original_takes_unseen_pods_away() -> None:
    scaler = await Autoscaler(is_strict=True).steady(4)
    scaler.pods.silent = set(range(4))
    await scaler.run(45)
    scaler.pods.silent.clear()
    assert min(await scaler.run(20)) == 2


async def test_the_load_of_unseen_pods_is_still_known_when_it_grows() -> None:
    scaler = await Autoscaler().steady(4)
    scaler.load = 700.0
    scaler.pods.silent = {0, 1}
    wanted = await scaler.run(60)
    assert wanted == sorted(wanted)
    assert wanted[-1] == 10


async def test_a_load_that_really_falls_is_followed_though_some_pods_are_never_seen() -> None:
    scaler = await Autoscaler().steady(8)
    scaler.load = 70.0
    scaler.pods.silent = {0}
    await scaler.run(120)
    assert scaler.pods.count < 8


async def test_a_revision_whose_load_ends_goes_to_zero() -> None:
    scaler = await Autoscaler().steady(4)
    scaler.load = 0.0
    await scaler.run(90)
    assert scaler.pods.count == 0
    assert await scaler.run(4) == [0, 0]


async def test_an_autoscaler_that_stood_still_does_not_shrink_anything() -> None:
    scaler = await Autoscaler().steady(4)
    scaler.phase += 40 * PHASES // 2  # forty seconds in which the process did not run
    wanted = await scaler.run(120)
    assert set(wanted) == {4}


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 30.0, -30.0])
async def test_a_wall_clock_that_is_set_changes_no_scale(step_s: float) -> None:
    scaler = await Autoscaler().steady(4)
    scaler.wall_s += step_s
    assert set(await scaler.run(90)) == {4}
    scaler.load = 0.0
    await scaler.run(90)
    assert scaler.pods.count == 0


async def test_scrapes_that_follow_each_other_after_a_stall_are_not_twice_the_load() -> None:
    scaler = await Autoscaler().steady(4)
    for second in range(5):
        # Nothing runs for most of a second, then what was due is done at once.
        for phase in range(scaler.phase + 1, scaler.phase + PHASES // 2 + 1):
            scaler.scraping.start_phase(phase, scaler.clock() + (phase - scaler.phase) * PHASE_S)
        scaler.phase += PHASES // 2
        for _ in range(6):
            await asyncio.sleep(0)
        revision = scaler.scalers.get(KEY)
        assert revision is not None
        load = revision.collection.load("concurrency", scaler.clock())
        assert load is not None
        assert load.panic == pytest.approx(scaler.load), second


async def test_errors_are_told_once_and_so_is_their_end() -> None:
    scaler = await Autoscaler().steady(4)
    assert scaler.poked == []
    scaler.pods.silent = {0, 1, 2, 3}  # each time another one of them fails last
    await scaler.run(20)
    error = scaler.scraping.error(KEY)
    assert error is not None
    assert "connection refused" in str(error)
    scaler.pods.silent.clear()
    await scaler.run(5)
    assert scaler.scraping.error(KEY) is None
    assert scaler.poked == [KEY, KEY]
    assert [name in line for name, line in zip((b"scrape_failed", b"scrape_recovered"), scaler.lines, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -5.0])
async def test_figures_that_cannot_be_true_are_a_missing_sample(value: float) -> None:
    scaler = await Autoscaler().steady(4)
    steady = scaler.load
    scaler.load = value
    wanted = await scaler.run(20)
    assert "expected finite figures" in str(scaler.scraping.error(KEY))
    scaler.load = steady
    wanted += await scaler.run(90)
    assert set(wanted) == {4}


def queue_worker() -> Autoscaler:
    scaler = Autoscaler(metric="url", target="10", target_utilization_percentage="100")
    scaler.pods.count = 1
    return scaler


async def test_pods_follow_a_gauge_and_not_the_concurrency() -> None:
    scaler = queue_worker()
    scaler.load = 10_000.0
    scaler.pods.gauge = 38.0
    await scaler.run(120)
    assert scaler.pods.count == 4


async def test_an_empty_queue_is_one_pod_while_there_are_requests_and_none_afterwards() -> None:
    scaler = queue_worker()
    scaler.load = 5.0
    assert set(await scaler.run(90)) == {1}
    scaler.load = 0.0
    await scaler.run(90)
    assert scaler.pods.count == 0


async def test_a_first_request_starts_one_pod_whose_gauge_takes_over() -> None:
    scaler = queue_worker()
    await scaler.run(90)
    assert scaler.pods.count == 0
    outcome = scaler.scalers.record(KEY, Stat("activator", 1, request_count=1), scaler.clock())
    assert outcome is not None
    assert outcome.decision.desired == 1
    scaler.pods.count, scaler.pods.gauge, scaler.load = 1, 50.0, 1.0
    await scaler.run(20)
    assert scaler.pods.count == 5


async def test_a_gauge_that_cannot_be_read_holds_the_pods_and_says_why() -> None:
    scaler = queue_worker()
    scaler.pods.gauge = 38.0
    await scaler.run(120)
    scaler.pods.has_gauge = False
    assert set(await scaler.run(300)) == {4}
    assert "no metric queue" in str(scaler.scraping.error(KEY))


async def test_a_gauge_is_followed_upwards_where_queue_proxies_do_not_answer() -> None:
    scaler = queue_worker()
    scaler.load, scaler.pods.gauge = 5.0, 8.0
    await scaler.run(120)
    assert scaler.pods.count == 1
    scaler.pods.silent = set(range(100))
    scaler.pods.gauge = 38.0
    await scaler.run(120)
    assert scaler.pods.count == 4
    assert "connection refused" in str(scaler.scraping.error(KEY))


async def test_a_gauge_is_read_though_activators_see_all_requests() -> None:
    scaler = Autoscaler(metric="url", target="10", target_utilization_percentage="100", target_burst_capacity="-1")
    scaler.pods.count = 1
    scaler.pods.gauge = 38.0
    await scaler.run(120)
    assert scaler.pods.count == 4


async def test_a_forgotten_revision_is_not_scraped() -> None:
    scaler = await Autoscaler().steady(1)
    scaler.scalers.delete(KEY)
    scaler.scraping.forget(KEY)
    await scaler.run(4)
    assert scaler.scraping.error(KEY) is None
    await scaler.scraping.stop()


async def test_a_revision_whose_scrape_breaks_does_not_keep_the_others_unseen() -> None:
    scaler = Autoscaler()
    scaler.pods.count = 1
    scaler.load = 30.0
    settings = scaler.scalers.get(KEY)
    assert settings is not None
    broken = ("default", "broken")
    scaler.scalers.put(broken, settings.decider.spec, settings.collection.spec, scaler.clock(), scaler.phase - 1)
    ready = scaler.pods.ready

    def ready_or_fail(key: RevisionKey) -> list[ReadyPod]:
        if key == broken:
            raise ValueError("cannot list")
        return ready(key)

    scaler.scraping._ready_pods = ready_or_fail
    await scaler.run(20)
    assert settings.collection.load("concurrency", scaler.clock()) == (30.0, 30.0, 1.0)
    assert b"".join(scaler.lines).count(b"scrape_crashed") == 1


async def test_what_is_due_at_once_is_asked_in_slices() -> None:
    scaler = Autoscaler()
    scaler.pods.count = 4
    first = scaler.scalers.get(KEY)
    assert first is not None
    keys = [("default", f"hello-{number:05}") for number in range(100, 120)]
    for key in keys:
        scaler.scalers.put(key, first.decider.spec, first.collection.spec, scaler.clock(), first.phase)
    for phase in range(4):  # which a ticker handles together, and none of which is overfull
        scaler.scraping.start_phase(first.phase - 20 + phase, T0)
    scaler.scalers.delete(keys[-1])
    most = 0
    while scaler.pods.asked < 4 * 20:
        before = scaler.pods.asked
        await asyncio.sleep(0)
        most = max(most, scaler.pods.asked - before)
    assert 16 <= most < 40, "pods asked in one pass of the loop"
    await asyncio.sleep(0.01)
    assert scaler.pods.asked == 4 * 20, "the deleted one was not asked"


async def test_nothing_is_asked_after_the_end() -> None:
    scaler = Autoscaler()
    scaler.pods.count = 4
    revision = scaler.scalers.get(KEY)
    assert revision is not None
    scaler.scraping.start_phase(revision.phase - 20, T0)
    await scaler.scraping.stop()
    await asyncio.sleep(0.01)
    assert scaler.pods.asked == 0
