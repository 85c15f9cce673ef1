"""Scraping every revision once a second: when, with what memory, and what becomes of the result.

The ticker that decides revisions also starts their scrapes (`start_phase`), two phases before their decision, so that
it rests on fresh figures. A revision is scraped by one short task at a time; a slow one just skips its turn.

What is due at once is started in slices, so that answers come in slices as well: a stat that wakes a revision from zero
passes the loop several times on its way to the API, and each time waits for whatever else has arrived.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

from autoscaler.failures import Failures
from autoscaler.gauge_scraper import GaugeScraper, is_loopback
from autoscaler.multiscaler import PHASE_S, PHASES, MultiScaler, Revision, RevisionKey
from autoscaler.pods import ReadyPod
from autoscaler.sampling import SAMPLE_MAX
from autoscaler.scrape_client import ScrapeClient, ScrapeTarget
from autoscaler.scraper import MeshMode, ScrapeError, Scraper
from kube.autoscaling.metric_url import MetricUrl
from proxies.logs import Logger
from proxies.wire.stat import Stat

__all__ = ["Scraping"]

T = TypeVar("T")

_PHASES_BEFORE_DECISION = round(0.2 / PHASE_S)
_SLICE = 25
"""Pods that are asked before others get their turn: 1 ms of work. Smaller slices wake an idle loop too often."""
_SLICE_S = 0.002
_SLICES = 5
"""A slice is at least this part of what is due, so that nothing falls behind for longer than a phase."""
_SHARE_MIN = 0.5
"""With half of a sample the error grows by a factor of 1.4 only."""


class _Due(NamedTuple):
    """A revision whose turn has come, at that Unix time."""

    revision: Revision
    at_s: float


class Scraping:
    """The scrapers by revision. `on_error_change(key)` is called when scraping a revision begins to fail or recovers.

    `is_strict`: a scrape is all of its sample or nothing, and what is missing is not noticed, as in the original.
    `own_address`: where this autoscaler is; if that is a loopback address, so may those of pods be.
    """

    def __init__(
        self,
        client: ScrapeClient,
        scalers: MultiScaler,
        *,
        ready_pods: Callable[[RevisionKey], list[ReadyPod]],
        clock: Callable[[], float],
        mode: MeshMode,
        passthrough: bool,
        is_strict: bool,
        own_address: str = "",
        on_error_change: Callable[[RevisionKey], None],
        log: Logger,
    ) -> None:
        self._client = client
        self._scalers = scalers
        self._ready_pods = ready_pods
        self._clock = clock
        self._mode = mode
        self._passthrough = passthrough
        self._is_strict = is_strict
        self._allows_loopback = is_loopback(own_address)
        self._on_error_change = on_error_change
        self._log = log
        self.on_look: Callable[[RevisionKey, float], None] | None = None
        """Told how many seconds it took to ask a revision's pods, where somebody measures that."""
        self._failures = Failures("scrape_crashed", clock=clock, log=log)
        self._random = random.Random()
        self._scrapers: dict[RevisionKey, tuple[ScrapeTarget, Scraper]] = {}
        self._gauges: dict[RevisionKey, tuple[MetricUrl, Scraper]] = {}
        self._errors: dict[RevisionKey, ScrapeError] = {}
        self._running: dict[RevisionKey, asyncio.Task[None]] = {}
        self._due: deque[_Due] = deque()
        self._next_slice: asyncio.Handle | None = None

    def error(self, key: RevisionKey) -> ScrapeError | None:
        """What the last scrape of a revision failed with, or None."""
        return self._errors.get(key)

    def start_phase(self, phase: int, due_s: float) -> None:
        """Have the scrapes started that are due at `phase`, at the Unix time `due_s`: each revision's turn comes twice
        per tick."""
        for decided in _decided_after(phase):
            self._due.extend(_Due(revision, due_s) for revision in self._scalers.in_phase(decided))
        if self._due and self._next_slice is None:
            self._next_slice = asyncio.get_running_loop().call_soon(self._start_slice)

    def work_in_phase(self, phase: int) -> int:
        """About how many pods are asked at `phase`."""
        return sum(
            min(SAMPLE_MAX, len(self._ready_pods(revision.key)))
            for decided in _decided_after(phase)
            for revision in self._scalers.in_phase(decided)
        )

    def forget(self, key: RevisionKey) -> None:
        """Drop a revision."""
        self._scrapers.pop(key, None)
        self._gauges.pop(key, None)
        self._errors.pop(key, None)
        task = self._running.pop(key, None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """End the scrapes under way."""
        self._due.clear()
        if self._next_slice is not None:
            self._next_slice.cancel()
            self._next_slice = None
        tasks = list(self._running.values())
        self._running.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start_slice(self) -> None:
        self._next_slice = None
        left_most = len(self._due) - len(self._due) // _SLICES
        pods = 0
        while self._due and (pods < _SLICE or len(self._due) > left_most):
            revision, due_s = self._due.popleft()
            if self._scalers.get(revision.key) is not revision:
                continue  # it is gone meanwhile
            try:
                pods += self._start(revision, due_s)
            except Exception as error:  # noqa: BLE001 - a bug that meets one revision must not keep others unseen
                self._failures.note(revision.key, error)
        if self._due:
            self._next_slice = asyncio.get_running_loop().call_later(_SLICE_S, self._start_slice)

    def _start(self, revision: Revision, due_s: float) -> int:
        """Start one scrape; how many pods it asks, about."""
        key, collection, url = revision.key, revision.collection, revision.metric_url
        service = collection.spec.scrape_target
        pods = len(self._ready_pods(key)) if service or url else 0
        if not pods:
            # Nothing to ask is no error; no task is needed to find that out.
            self._note(key, None)
            if not self._is_strict:
                collection.scraped(due_s, None)
                collection.gauge_scraped(due_s, None)
            return 0
        if service and not self._is_strict:
            collection.scrape_is_due(due_s)
        if url:
            collection.gauge_is_due(due_s)
        if key not in self._running:
            task = asyncio.get_running_loop().create_task(
                self._scrape(revision, due_s), name=f"scrape {key[0]}/{key[1]}"
            )
            self._running[key] = task
            task.add_done_callback(partial(self._ended, key))
        return min(SAMPLE_MAX, pods)

    async def _scrape(self, revision: Revision, due_s: float) -> None:
        failures = []
        # Both, whatever becomes of the first: where queue-proxies do not answer, the app itself may.
        for look in (self._look_at_stats, self._look_at_gauge):
            try:
                await look(revision, due_s)
            except ScrapeError as error:
                failures.append(error)
        self._note(revision.key, failures[0] if failures else None)

    async def _look_at_stats(self, revision: Revision, due_s: float) -> None:
        key, collection = revision.key, revision.collection
        if not collection.spec.scrape_target:
            return
        target = ScrapeTarget(key[0], collection.spec.scrape_target)
        scraper = _kept(self._scrapers, key, target, self._stats_scraper)
        stat = await self._look(revision, scraper)
        if not self._is_strict:
            collection.scraped(due_s, stat, scraper.share)
        elif stat is not None:
            collection.record(due_s, stat)

    async def _look_at_gauge(self, revision: Revision, due_s: float) -> None:
        if revision.metric_url is None:
            return
        scraper = _kept(self._gauges, revision.key, revision.metric_url, self._gauge_scraper)
        stat = await self._look(revision, scraper)
        value = None if stat is None else stat.average_concurrent_requests
        revision.collection.gauge_scraped(due_s, value, scraper.share)

    async def _look(self, revision: Revision, scraper: Scraper) -> Stat | None:
        window_s = revision.collection.spec.stable_window_s
        began_s = self._clock()
        stat: Stat | None = None
        has_failed = True
        try:
            stat = await scraper.scrape(self._ready_pods(revision.key), began_s, window_s)
            has_failed = False
        finally:
            # A look that found nobody to ask is none.
            if self.on_look is not None and (has_failed or stat is not None):
                self.on_look(revision.key, self._clock() - began_s)
        return stat

    def _stats_scraper(self, target: ScrapeTarget) -> Scraper:
        return Scraper(
            mode=self._mode,
            passthrough=self._passthrough,
            fetch_pod=partial(self._client.fetch_pod, target),
            fetch_service=partial(self._client.fetch_service, target),
            randomness=self._random,
            share_min=1.0 if self._is_strict else _SHARE_MIN,
        )

    def _gauge_scraper(self, url: MetricUrl) -> Scraper:
        return GaugeScraper(
            self._client,
            url,
            allows_loopback=self._allows_loopback,
            randomness=self._random,
            share_min=_SHARE_MIN,
        )

    def _ended(self, key: RevisionKey, task: asyncio.Task[None]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._failures.note(key, error)

    def _note(self, key: RevisionKey, error: ScrapeError | None) -> None:
        before = self._errors.get(key)
        if error is not None:
            self._errors[key] = error
        if type(before) is type(error):
            return  # also when it is another pod's turn to fail: whoever is told writes it down each time
        if error is None:
            del self._errors[key]
            self._log.info("scrape_recovered", namespace=key[0], revision=key[1])
        elif before is None:
            self._log.warning("scrape_failed", namespace=key[0], revision=key[1], error=str(error))
        self._on_error_change(key)


def _kept(
    scrapers: dict[RevisionKey, tuple[T, Scraper]], key: RevisionKey, target: T, make: Callable[[T], Scraper]
) -> Scraper:
    """The revision's scraper; another one when its target changed."""
    known = scrapers.get(key)
    if known is None or known[0] != target:
        known = scrapers[key] = target, make(target)
    return known[1]


def _decided_after(phase: int) -> tuple[int, int]:
    """The phases whose revisions are scraped at `phase`: shortly before their decision, and halfway to the next."""
    decided = phase + _PHASES_BEFORE_DECISION
    return decided, decided + PHASES // 2
