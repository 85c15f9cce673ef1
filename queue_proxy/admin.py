"""The two small ports beside the main one: `/wait-for-drain` for kubelet's hooks, `/metrics` for the autoscaler.

Source: spec queue-proxy.md 3.1, 12, 14.1, 16.
"""

from collections.abc import Callable
from typing import Final

from proxies.exchange import Exchange
from proxies.messages import Answer
from proxies.request_stats import Report
from proxies.wire.stat import Stat, encode_stat

__all__ = ["DrainPolicy", "StatPolicy", "StatSnapshot"]

_NOT_FOUND: Final = Answer.error(404, "404 page not found")
_DRAINED: Final = Answer(200)


class StatSnapshot:
    """The stat of the last window, encoded. Scrapes read it and change nothing."""

    __slots__ = ("_pod", "_started_s", "answer")

    def __init__(self, pod: str, started_s: float) -> None:
        self._pod = pod
        self._started_s = started_s
        self.answer = _stat_answer(Stat(pod_name=pod))
        """What a scrape gets: before the first tick the pod's name only."""

    def update(self, report: Report, now_s: float, period_s: float = 1.0) -> None:
        """Take a report. Counts are divided by the nominal period, not by the time that really passed."""
        self.answer = _stat_answer(
            Stat(
                pod_name=self._pod,
                average_concurrent_requests=report.average_concurrency,
                average_proxied_concurrent_requests=report.average_proxied_concurrency,
                request_count=report.request_count / period_s,
                proxied_request_count=report.proxied_request_count / period_s,
                process_uptime=now_s - self._started_s,
            )
        )


class StatPolicy:
    """`/metrics` on the stat port."""

    def __init__(self, snapshot: StatSnapshot) -> None:
        self._snapshot = snapshot

    def admit(self, exchange: Exchange) -> None:
        """Answer with the snapshot."""
        exchange.answer(self._snapshot.answer if _path(exchange) == b"/metrics" else _NOT_FOUND)

    def cancelled(self, exchange: Exchange) -> None:
        """Nothing is held."""

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""


class DrainPolicy:
    """`/wait-for-drain` on the admin port: each call waits until `release`."""

    def __init__(self, begin: Callable[[], None]) -> None:
        """`begin` is told of every call."""
        self._begin = begin
        self._waiting: dict[Exchange, None] = {}

    def admit(self, exchange: Exchange) -> None:
        """Hold the call."""
        if _path(exchange) != b"/wait-for-drain":
            exchange.answer(_NOT_FOUND)
            return
        self._waiting[exchange] = None
        self._begin()

    def cancelled(self, exchange: Exchange) -> None:
        """A caller gave up; the drain goes on."""
        del self._waiting[exchange]

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""

    def release(self) -> None:
        """The drain is over, or was taken back: answer everybody."""
        waiting, self._waiting = self._waiting, {}
        for exchange in waiting:
            exchange.answer(_DRAINED)


def _path(exchange: Exchange) -> bytes:
    return exchange.request.target.partition(b"?")[0]


def _stat_answer(stat: Stat) -> Answer:
    return Answer(200, encode_stat(stat), content_type=b"application/protobuf")
