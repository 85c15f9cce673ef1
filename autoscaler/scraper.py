"""Asking a revision's pods for their load, and making one stat for the whole revision of it.

Theory of operation. A sample of the ready pods is asked directly, older pods first, because a pod that has just started
has seen little. As many workers as the sample is large share one list of candidates: a worker whose pod fails takes the
next one, so single failures cost nothing as long as the list lasts. In a mesh, where pods may not be addressed directly
(they answer 502 or 503), the revision's private Service is asked instead, again and again until enough different pods
answered.

The stats of the sample are scaled up to all pods. When some of the sample do not answer, the others speak for them, as
long as they are at least `share_min` of it (1.0 is the original's behaviour) and then without waiting for stragglers
longer than `_PATIENCE_S`; `share` tells how many they were. Fewer answers are no answer at all. Nothing here opens a
connection; `fetch_*` are given. Source: knative/serving `pkg/autoscaler/metrics/stats_scraper.go`; spec autoscaler.md
4.3-4.6; golden set `scrape`.
"""

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum

from autoscaler.pods import ReadyPod, split_by_age
from autoscaler.sampling import sample_size
from proxies.wire.stat import Stat

__all__ = [
    "SCRAPER_NAME",
    "DirectScrapingNotAvailable",
    "FetchError",
    "MeshMode",
    "NoEndpoints",
    "NoStatReceived",
    "PodsExhausted",
    "ScrapeError",
    "Scraper",
    "average_over",
]

SCRAPER_NAME = "service-scraper"
"""Who reports the stat of a whole revision."""
_SERVICE_TRIES = 10
_PATIENCE_S = 0.8
"""So that a pod that says nothing does not cost the revision its next look, a second after this one."""
_ASKED_AT_ONCE_MAX = 4
"""Times the sample: where a part of the network is silent, that is no reason to ask it with all its pods at once."""


class ScrapeError(Exception):
    """A scrape gave no stat."""


class FetchError(ScrapeError):
    """One pod or Service gave none. `might_be_mesh`: the answer was one that a mesh gives for its pods."""

    def __init__(self, message: str, *, might_be_mesh: bool = False) -> None:
        super().__init__(message)
        self.might_be_mesh = might_be_mesh


class PodsExhausted(ScrapeError):
    """Too few of the pods answered."""


class DirectScrapingNotAvailable(ScrapeError):
    """No pod can be addressed directly: there seems to be a mesh."""


class NoEndpoints(FetchError):
    """Nothing is known of who stands behind the Service, or nobody does. Asking again at once would not help."""


class NoStatReceived(ScrapeError):
    """The Service kept leading to pods that had answered already."""


class MeshMode(Enum):
    """`mesh-compatibility-mode` of ConfigMap config-network."""

    AUTO = "auto"
    ENABLED = "enabled"
    DISABLED = "disabled"


class Scraper:
    """Scrapes one revision. Remembers that its pods cannot be addressed, until a new one is made."""

    __slots__ = (
        "_fetch_pod",
        "_fetch_service",
        "_mode",
        "_passthrough",
        "_random",
        "_share_min",
        "pods_addressable",
        "share",
    )

    def __init__(
        self,
        *,
        mode: MeshMode,
        passthrough: bool,
        fetch_pod: Callable[[str], Awaitable[Stat]],
        fetch_service: Callable[[], Awaitable[Stat]],
        randomness: random.Random,
        share_min: float = 1.0,
    ) -> None:
        """`passthrough`: the mesh lets direct requests pass. `fetch_*` raise `FetchError`."""
        self._mode = mode
        self._passthrough = passthrough
        self._fetch_pod = fetch_pod
        self._fetch_service = fetch_service
        self._random = randomness
        self._share_min = share_min
        self.pods_addressable = True
        self.share = 1.0
        """The share of its sample that the last successful scrape saw."""

    async def scrape(self, pods: Sequence[ReadyPod], now_s: float, window_s: float) -> Stat | None:
        """One stat for all of `pods` (the ready ones); None when there are none. Raises `ScrapeError`.

        Pods younger than `window_s` are asked last.
        """
        self.share = 1.0
        if self._mode is MeshMode.DISABLED:
            return await self._scrape_pods(pods, now_s, window_s)
        if self._mode is MeshMode.AUTO and (self.pods_addressable or self._passthrough):
            try:
                return await self._scrape_pods(pods, now_s, window_s)
            except DirectScrapingNotAvailable:
                if self._passthrough:
                    raise
            stat = await self._scrape_service(len(pods), window_s)
            self.pods_addressable = False
            return stat
        return await self._scrape_service(len(pods), window_s)

    async def _scrape_pods(self, pods: Sequence[ReadyPod], now_s: float, window_s: float) -> Stat | None:
        if not pods:
            return None
        count = sample_size(len(pods))
        enough = max(1, math.ceil(count * self._share_min))
        old, young = split_by_age(pods, now_s, window_s)
        self._random.shuffle(young if len(old) < count else old)
        candidates = iter(old + young)
        stats: list[Stat] = []
        failures: list[FetchError] = []
        workers_left = count
        spare = count * (_ASKED_AT_ONCE_MAX - 1)

        async def worker() -> None:
            nonlocal workers_left
            for address in candidates:
                try:
                    stats.append(await self._fetch_pod(address))
                except FetchError as error:
                    failures.append(error)
                else:
                    return
            workers_left -= 1
            if workers_left < enough:
                raise PodsExhausted(f"too few of {count} pods answered; the last failure: {failures[-1]}")

        def more(late: int) -> list[Coroutine[None, None, None]]:
            """Workers in the places of those whose pods say nothing: what hangs must not be the whole sample."""
            nonlocal spare, workers_left
            if self._share_min == 1.0:
                return []
            added = min(late, spare)
            spare -= added
            workers_left += added
            return [worker() for _ in range(added)]

        try:
            await _run_all([worker() for _ in range(count)], lambda: len(stats) >= enough, more)
        except PodsExhausted as error:
            if not stats and all(failure.might_be_mesh for failure in failures):
                raise DirectScrapingNotAvailable(str(failures[-1])) from error
            raise
        self.share = min(1.0, len(stats) / count)
        return average_over(stats, len(pods))

    async def _scrape_service(self, pod_count: int, window_s: float) -> Stat | None:
        if not pod_count:
            return None
        count = sample_size(pod_count)
        old: list[Stat] = []
        young: list[Stat] = []
        heard: set[str] = set()

        async def next_stat() -> Stat:
            stat = await self._fetch_service()
            if stat.pod_name in heard:
                raise NoStatReceived("did not receive stat from an unscraped pod")
            heard.add(stat.pod_name)
            return stat

        async def worker() -> None:
            for tries in itertools.count(1):
                try:
                    stat = await next_stat()
                except NoEndpoints:
                    raise
                except ScrapeError:
                    if tries >= _SERVICE_TRIES:
                        raise
                    continue
                if stat.process_uptime >= window_s:
                    old.append(stat)
                    return
                if len(young) >= count:
                    return
                young.append(stat)

        try:
            await _run_all([worker() for _ in range(count)], lambda: False)
        except NoStatReceived:
            if len(old) + len(young) < count:
                raise
        return average_over((old + young)[: max(count, len(old))], pod_count)


def average_over(sample: Sequence[Stat], pod_count: int) -> Stat:
    """The stat of `pod_count` pods of which `sample` was asked."""
    result = Stat(SCRAPER_NAME)
    for stat in sample:
        result.average_concurrent_requests += stat.average_concurrent_requests
        result.average_proxied_concurrent_requests += stat.average_proxied_concurrent_requests
        result.request_count += stat.request_count
        result.proxied_request_count += stat.proxied_request_count
    size = len(sample)
    result.average_concurrent_requests = result.average_concurrent_requests / size * pod_count
    result.average_proxied_concurrent_requests = result.average_proxied_concurrent_requests / size * pod_count
    result.request_count = result.request_count / size * pod_count
    result.proxied_request_count = result.proxied_request_count / size * pod_count
    return result


async def _run_all(
    workers: Sequence[Coroutine[None, None, None]],
    is_enough: Callable[[], bool],
    more: Callable[[int], Sequence[Coroutine[None, None, None]]] = lambda late: (),
) -> None:
    """Run all to their end, but wait no longer than `_PATIENCE_S` at a time once `is_enough`.

    Until then `more(late)` may give others to run beside those that are late. The first failure ends the rest, which
    then counts for nothing.
    """
    first, *others = workers
    if not others:  # most revisions have one pod: no task needed
        await first
        return
    loop = asyncio.get_running_loop()
    late = {loop.create_task(worker) for worker in workers}
    try:
        while late:
            done, late = await asyncio.wait(late, timeout=_PATIENCE_S, return_when=asyncio.FIRST_EXCEPTION)
            failures = [failure for task in done if (failure := task.exception()) is not None]
            if failures:
                raise failures[0]
            if is_enough():
                return
            late |= {loop.create_task(worker) for worker in more(len(late))}
    finally:
        for task in late:
            task.cancel()
