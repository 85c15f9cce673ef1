"""Looks every 30 s whether what requests go by is what Kubernetes and the probes say, and repairs what is not.

Nothing should ever be found: each event replaces a whole snapshot. But a watch may lose an event without a word, and a
bug here would otherwise stay until the next event of that revision.
"""

import asyncio

from activator.revisions import Revisions
from kube.errors import ApiError, ApiUnreachable
from proxies.logs import Logger

__all__ = ["Audit"]


class Audit:
    """`start` begins, `stop` ends. `period_s`: from the end of one audit to the next; 0: none."""

    def __init__(self, revisions: Revisions, log: Logger, *, period_s: float) -> None:
        self._revisions = revisions
        self._log = log
        self._period_s = period_s
        self._task: asyncio.Task[None] | None = None
        self.runs = 0
        """Audits that were completed."""
        self.differences = 0
        """What was found and repaired, since the start."""

    def start(self) -> None:
        """Audit after each period."""
        if not self._period_s:
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name="audit")

    async def stop(self) -> None:
        """Audit no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            try:
                differences = await self._revisions.audit()
            except (ApiError, ApiUnreachable) as error:
                # The informers say that they have lost the API, and list anew when it is back.
                self._log.debug("audit_failed", error=str(error))
                continue
            self.runs += 1
            self.differences += len(differences)
            for difference in differences:
                self._log.error("audit_repaired", difference=difference)
