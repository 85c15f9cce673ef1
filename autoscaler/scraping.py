"""Scraping every revision once a second: when, with what memory, and what becomes of the result.

The ticker that decides revisions also starts their scrapes (`start_phase`), two phases before their decision, so that
it rests on fresh figures. A revision is scraped by one short task at a time; a slow one just skips its turn.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial

from autoscaler.multiscaler import PHASES, MultiScaler, Revision, RevisionKey
from autoscaler.pods import ReadyPod
from autoscaler.scrape_client import ScrapeClient, ScrapeTarget
from autoscaler.scraper import MeshMode, ScrapeError, Scraper
from proxies.logs import Logger

__all__ = ["Scraping"]

_PHASES_BEFORE_DECISION = 2
_SHARE_MIN = 0.5
"""With half of a sample the error grows by a factor of 1.4 only."""


class Scraping:
    """The scrapers by revision. `on_error_change(key)` is called when scraping a revision begins to fail or recovers.

    `is_strict`: a scrape is all of its sample or nothing, and what is missing is not noticed, as in the original.
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
        self._on_error_change = on_error_change
        self._log = log
        self._random = random.Random()
        self._scrapers: dict[RevisionKey, tuple[ScrapeTarget, Scraper]] = {}
        self._errors: dict[RevisionKey, ScrapeError] = {}
        self._running: dict[RevisionKey, asyncio.Task[None]] = {}

    def error(self, key: RevisionKey) -> ScrapeError | None:
        """What the last scrape of a revision failed with, or None."""
        return self._errors.get(key)

    def start_phase(self, phase: int) -> None:
        """Start the scrapes that are due when `phase` is decided: each revision's turn comes twice per tick."""
        for due in (phase + _PHASES_BEFORE_DECISION, phase + _PHASES_BEFORE_DECISION + PHASES // 2):
            for revision in self._scalers.in_phase(due):
                self._start(revision)

    def forget(self, key: RevisionKey) -> None:
        """Drop a revision."""
        self._scrapers.pop(key, None)
        self._errors.pop(key, None)
        task = self._running.pop(key, None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """End the scrapes under way."""
        tasks = list(self._running.values())
        self._running.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, revision: Revision) -> None:
        service = revision.collection.spec.scrape_target
        if not service or not self._ready_pods(revision.key):
            # Nothing to ask is no error; no task is needed to find that out.
            self._note(revision.key, None)
            if not self._is_strict:
                revision.collection.scraped(self._clock(), None)
            return
        if not self._is_strict:
            revision.collection.scrape_is_due(self._clock())
        if revision.key not in self._running:
            scraper = self._scraper(revision.key, ScrapeTarget(revision.key[0], service))
            task = asyncio.get_running_loop().create_task(self._scrape(revision, scraper), name=f"scrape {service}")
            self._running[revision.key] = task
            task.add_done_callback(partial(self._ended, revision.key))

    def _scraper(self, key: RevisionKey, target: ScrapeTarget) -> Scraper:
        known = self._scrapers.get(key)
        if known is not None and known[0] == target:
            return known[1]
        scraper = Scraper(
            mode=self._mode,
            passthrough=self._passthrough,
            fetch_pod=partial(self._client.fetch_pod, target),
            fetch_service=partial(self._client.fetch_service, target),
            randomness=self._random,
            share_min=1.0 if self._is_strict else _SHARE_MIN,
        )
        self._scrapers[key] = (target, scraper)
        return scraper

    async def _scrape(self, revision: Revision, scraper: Scraper) -> None:
        collection = revision.collection
        began_s = self._clock()
        try:
            stat = await scraper.scrape(self._ready_pods(revision.key), began_s, collection.spec.stable_window_s)
        except ScrapeError as error:
            self._note(revision.key, error)
            return
        if not self._is_strict:
            collection.scraped(began_s, stat, scraper.share)
        elif stat is not None:
            collection.record(self._clock(), stat)
        self._note(revision.key, None)

    def _ended(self, key: RevisionKey, task: asyncio.Task[None]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.exception("scrape_crashed", error, namespace=key[0], revision=key[1])

    def _note(self, key: RevisionKey, error: ScrapeError | None) -> None:
        before = self._errors.get(key)
        if (type(before), str(before)) == (type(error), str(error)):
            return
        if error is None:
            self._errors.pop(key, None)
            self._log.info("scrape_recovered", namespace=key[0], revision=key[1])
        else:
            self._errors[key] = error
            if before is None:
                self._log.warning("scrape_failed", namespace=key[0], revision=key[1], error=str(error))
        self._on_error_change(key)
