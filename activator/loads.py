"""What this activator reports to the autoscaler: for each revision the requests inside and those that arrived.

The first request for a revision is reported at once, so that a scale from zero begins before any second has passed. As
it would be counted again in the report of the second that it falls into, that report is less by one request. A revision
whose average was 0 is dropped after it was reported, so that the autoscaler has heard of its end.

Pure: times are seconds of one clock.
Source: knative/serving `pkg/activator/handler/concurrency_reporter.go`; spec activator.md 10.1; golden set
`activator_stats`.
"""

from typing import NamedTuple

from proxies.request_stats import RequestStats

__all__ = ["FIRST_CONCURRENCY", "FIRST_COUNT", "Load", "Loads", "RevisionKey"]

FIRST_CONCURRENCY = 1.0
FIRST_COUNT = 1.0
"""What is reported of a first request at once."""


class RevisionKey(NamedTuple):
    """Which revision; bytes, as they stand in request heads."""

    namespace: bytes
    name: bytes


class Load(NamedTuple):
    """The figures of one revision over one window."""

    key: RevisionKey
    concurrency: float
    """Average of requests inside, waiting ones included."""
    request_count: float
    """Requests that arrived."""


class _Entry(RequestStats):
    __slots__ = ("is_discounted",)

    def __init__(self, now_s: float) -> None:
        super().__init__(now_s)
        self.is_discounted = True


class Loads:
    """The requests of all revisions."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[RevisionKey, _Entry] = {}

    @property
    def tracked(self) -> list[RevisionKey]:
        """The revisions that the next report will name."""
        return list(self._entries)

    def request_in(self, key: RevisionKey, now_s: float) -> bool:
        """A request arrived. True: it is the first of its revision, which is to be reported at once."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.request_in(now_s)
            return False
        entry = self._entries[key] = _Entry(now_s)
        entry.request_in(now_s)
        return True

    def request_out(self, key: RevisionKey, now_s: float) -> None:
        """A request that was counted in has ended, however it did. An entry with a request inside is never dropped."""
        self._entries[key].request_out(now_s)

    def report(self, now_s: float) -> list[Load]:
        """Return the figures since the last report and begin anew."""
        loads = []
        for key, entry in list(self._entries.items()):
            report = entry.report(now_s)
            concurrency, count = report.average_concurrency, report.request_count
            if entry.is_discounted:
                entry.is_discounted = False
                concurrency, count = max(concurrency - FIRST_CONCURRENCY, 0.0), count - FIRST_COUNT
            loads.append(Load(key, concurrency, count))
            if not report.average_concurrency and not entry.concurrency:
                del self._entries[key]
        return loads
