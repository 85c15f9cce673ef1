"""`autoscaler.scraper`: which pods are asked, and what their answers are worth together."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from autoscaler import scraper as scraper_module
from autoscaler.pods import ReadyPod
from autoscaler.scraper import (
    DirectScrapingNotAvailable,
    FetchError,
    MeshMode,
    NoStatReceived,
    PodsExhausted,
    Scraper,
)
from proxies.wire.stat import Stat

NOW_S = 1_785_542_400.0
WINDOW_S = 60.0

Answer = Stat | FetchError | None
"""None: silence."""


class Pods:
    """Pods at 10.0.0.1 and so on, old ones, each with its answer; a Service that leads to them in turn."""

    def __init__(self, *answers: Answer, started_s: float = NOW_S - 1000) -> None:
        self.answers = {f"10.0.0.{number}": answer for number, answer in enumerate(answers, 1)}
        self.ready = [ReadyPod(ip, started_s) for ip in self.answers]
        self.asked: list[str] = []
        self.service: list[Answer] = []
        self.service_asked = 0

    async def fetch_pod(self, ip: str) -> Stat:
        self.asked.append(ip)
        return await _said(self.answers[ip])

    async def fetch_service(self) -> Stat:
        self.service_asked += 1
        return await _said(self.service[(self.service_asked - 1) % len(self.service)])

    def scraper(self, mode: MeshMode = MeshMode.DISABLED, *, share_min: float = 1.0) -> Scraper:
        return Scraper(
            mode=mode,
            passthrough=False,
            fetch_pod=self.fetch_pod,
            fetch_service=self.fetch_service,
            randomness=random.Random(1),
            share_min=share_min,
        )


async def _said(answer: Answer) -> Stat:
    await asyncio.sleep(0)
    if answer is None:
        await asyncio.Event().wait()
    if isinstance(answer, FetchError):
        raise answer
    assert answer is not None
    return answer


def stat(concurrency: float, *, name: str = "pod", uptime_s: float = 1000.0) -> Stat:
    return Stat(name, concurrency, process_uptime=uptime_s)


REFUSED = FetchError("connection refused")
MESH = FetchError("503", might_be_mesh=True)


async def concurrency(scraping: Awaitable[Stat | None]) -> float:
    result = await scraping
    assert result is not None
    return result.average_concurrent_requests


async def test_23_without_pods_there_is_no_stat_and_no_error() -> None:
    assert await Pods().scraper().scrape([], NOW_S, WINDOW_S) is None


async def test_24_the_sample_is_scaled_up_to_all_pods() -> None:
    pods = Pods(*[stat(3)] * 10)
    result = await pods.scraper().scrape(pods.ready, NOW_S, WINDOW_S)
    assert result == Stat("service-scraper", average_concurrent_requests=30)
    assert len(pods.asked) == 7


async def test_failing_pods_are_replaced_by_others_as_long_as_there_are_any() -> None:
    pods = Pods(*[REFUSED] * 3, *[stat(2)] * 7)
    scraper = pods.scraper()
    assert await concurrency(scraper.scrape(pods.ready, NOW_S, WINDOW_S)) == 20
    assert scraper.share == 1.0
    assert 7 < len(pods.asked) <= 10


async def test_22_too_few_answers_are_none() -> None:
    pods = Pods(*[REFUSED] * 4, *[stat(2)] * 6)
    with pytest.raises(PodsExhausted, match="connection refused"):
        await pods.scraper().scrape(pods.ready, NOW_S, WINDOW_S)


async def test_half_of_the_sample_may_speak_for_all() -> None:
    pods = Pods(*[REFUSED] * 6, *[stat(2)] * 4)
    scraper = pods.scraper(share_min=0.5)
    assert await concurrency(scraper.scrape(pods.ready, NOW_S, WINDOW_S)) == 20
    assert scraper.share == 4 / 7


async def test_less_than_half_of_the_sample_may_not() -> None:
    pods = Pods(*[REFUSED] * 7, *[stat(2)] * 3)
    with pytest.raises(PodsExhausted):
        await pods.scraper(share_min=0.5).scrape(pods.ready, NOW_S, WINDOW_S)


async def test_the_share_is_that_of_the_last_scrape() -> None:
    pods = Pods(REFUSED, stat(2))
    scraper = pods.scraper(share_min=0.5)
    await scraper.scrape(pods.ready, NOW_S, WINDOW_S)
    assert scraper.share == 0.5
    pods.answers["10.0.0.1"] = stat(2)
    await scraper.scrape(pods.ready, NOW_S, WINDOW_S)
    assert scraper.share == 1.0


async def test_a_silent_pod_is_not_waited_for_when_half_has_answered() -> None:
    pods = Pods(None, stat(2), stat(4))
    scraper = pods.scraper(share_min=0.5)
    async with asyncio.timeout(60):
        assert await concurrency(scraper.scrape(pods.ready, NOW_S, WINDOW_S)) == 9
    assert scraper.share == 2 / 3


async def test_a_silent_pod_is_waited_for_when_less_than_half_has_answered() -> None:
    pods = Pods(None, None, stat(4))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.2):
            await pods.scraper(share_min=0.5).scrape(pods.ready, NOW_S, WINDOW_S)


async def test_others_are_asked_in_the_places_of_silent_pods_but_not_by_the_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scraper_module, "_PATIENCE_S", 0.02)
    pods = Pods(*[None] * 140, *[stat(1)] * 60)
    scraper = pods.scraper(share_min=0.5)
    async with asyncio.timeout(60):
        assert await concurrency(scraper.scrape(pods.ready, NOW_S, WINDOW_S)) == pytest.approx(200)
    assert 0.5 <= scraper.share <= 1.0
    assert len(pods.asked) > 16
    pods.asked.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await pods.scraper().scrape(pods.ready, NOW_S, WINDOW_S)
    assert len(pods.asked) <= 16


async def test_where_all_is_silent_few_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraper_module, "_PATIENCE_S", 0.01)
    pods = Pods(*[None] * 250)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await pods.scraper(share_min=0.5).scrape(pods.ready, NOW_S, WINDOW_S)
    assert len(pods.asked) <= 4 * 16


async def test_old_pods_are_asked_first() -> None:
    pods = Pods(*[stat(2)] * 10)
    ready = [ReadyPod(pod.ip, NOW_S - 10 if index < 3 else pod.started_s) for index, pod in enumerate(pods.ready)]
    await pods.scraper().scrape(ready, NOW_S, WINDOW_S)
    assert not {"10.0.0.1", "10.0.0.2", "10.0.0.3"} & set(pods.asked)


async def test_20_when_all_pods_look_like_a_mesh_the_service_is_asked_from_then_on() -> None:
    pods = Pods(MESH, MESH)
    pods.service = [stat(1, name="a"), stat(3, name="b")]
    scraper = pods.scraper(MeshMode.AUTO)
    assert await concurrency(scraper.scrape(pods.ready, NOW_S, WINDOW_S)) == 4
    assert len(pods.asked) == 2
    assert await concurrency(scraper.scrape(pods.ready, NOW_S, WINDOW_S)) == 4
    assert len(pods.asked) == 2
    assert not scraper.pods_addressable


async def test_20_pods_that_are_merely_away_do_not_look_like_a_mesh() -> None:
    pods = Pods(MESH, REFUSED)
    pods.service = [stat(1)]
    with pytest.raises(PodsExhausted):
        await pods.scraper(MeshMode.AUTO).scrape(pods.ready, NOW_S, WINDOW_S)
    assert pods.service_asked == 0


async def test_21_where_meshes_are_ruled_out_the_service_is_never_asked() -> None:
    pods = Pods(MESH)
    with pytest.raises(DirectScrapingNotAvailable):
        await pods.scraper(MeshMode.DISABLED).scrape(pods.ready, NOW_S, WINDOW_S)
    assert pods.service_asked == 0


async def test_25_a_service_is_tried_ten_times_and_a_pod_that_answered_before_is_a_failure() -> None:
    pods = Pods(stat(1), stat(1))
    pods.service = [stat(1, name="always me")]
    with pytest.raises(NoStatReceived):
        await pods.scraper(MeshMode.ENABLED).scrape(pods.ready, NOW_S, WINDOW_S)
    # One worker has its answer at once, the other asks ten times.
    assert pods.service_asked == 11
    assert pods.asked == []


Young = Callable[[int], bool]


@pytest.mark.parametrize(
    ("count", "is_young", "total"),
    [(4, lambda i: True, 20.0), (6, lambda i: False, 36.0), (11, lambda i: not 3 <= i <= 10, 154.0)],
    ids=["4 young", "6 old", "3 young of 11"],
)
async def test_service_scraping_prefers_old_pods(count: int, is_young: Young, total: float) -> None:
    answers = [stat(2 * (i + 1), name=f"pod-{i}", uptime_s=10 if is_young(i) else 1000) for i in range(count)]
    pods = Pods(*answers)
    pods.service = list(answers)
    assert await concurrency(pods.scraper(MeshMode.ENABLED).scrape(pods.ready, NOW_S, WINDOW_S)) == pytest.approx(total)
