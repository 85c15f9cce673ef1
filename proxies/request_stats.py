"""Concurrency and request counts of a window, averaged over the time that each value lasted.

Pure state on an outside clock. Source: knative.dev/networking `pkg/http/stats/request.go`; spec queue-proxy.md 11;
golden set `request_stats`.
"""

__all__ = ["Report", "RequestStats"]


class Report:
    """What happened since the report before."""

    __slots__ = ("average_concurrency", "average_proxied_concurrency", "proxied_request_count", "request_count")

    def __init__(
        self,
        average_concurrency: float,
        average_proxied_concurrency: float,
        request_count: float,
        proxied_request_count: float,
    ) -> None:
        self.average_concurrency = average_concurrency
        self.average_proxied_concurrency = average_proxied_concurrency
        self.request_count = request_count
        self.proxied_request_count = proxied_request_count


class RequestStats:
    """Counts requests in and out; a request that came through an activator is also counted as proxied.

    Times are seconds of one clock; a time that is not later than the one before accounts for nothing.
    """

    __slots__ = (
        "_changed_s",
        "_concurrency",
        "_concurrency_seconds",
        "_elapsed_s",
        "_proxied_concurrency",
        "_proxied_concurrency_seconds",
        "_proxied_request_count",
        "_request_count",
    )

    def __init__(self, now_s: float) -> None:
        self._changed_s = now_s
        self._concurrency = 0
        self._proxied_concurrency = 0
        self._clear()

    @property
    def concurrency(self) -> int:
        """Requests inside at this moment."""
        return self._concurrency

    def request_in(self, now_s: float, *, proxied: bool = False) -> None:
        """A request arrived."""
        elapsed_s = now_s - self._changed_s
        if elapsed_s > 0.0:
            # `_account`, written out: this runs twice for each request.
            self._changed_s = now_s
            self._elapsed_s += elapsed_s
            self._concurrency_seconds += self._concurrency * elapsed_s
            self._proxied_concurrency_seconds += self._proxied_concurrency * elapsed_s
        self._concurrency += 1
        self._request_count += 1
        if proxied:
            self._proxied_concurrency += 1
            self._proxied_request_count += 1

    def request_out(self, now_s: float, *, proxied: bool = False) -> None:
        """A request ended, however it ended."""
        elapsed_s = now_s - self._changed_s
        if elapsed_s > 0.0:
            self._changed_s = now_s
            self._elapsed_s += elapsed_s
            self._concurrency_seconds += self._concurrency * elapsed_s
            self._proxied_concurrency_seconds += self._proxied_concurrency * elapsed_s
        self._concurrency -= 1
        if proxied:
            self._proxied_concurrency -= 1

    def report(self, now_s: float) -> Report:
        """Return the figures since the last report and start a new window."""
        if now_s > self._changed_s:
            self._account(now_s)
        elapsed_s = self._elapsed_s
        report = Report(
            self._concurrency_seconds / elapsed_s if elapsed_s > 0 else 0.0,
            self._proxied_concurrency_seconds / elapsed_s if elapsed_s > 0 else 0.0,
            self._request_count,
            self._proxied_request_count,
        )
        self._clear()
        return report

    def _account(self, now_s: float) -> None:
        elapsed_s = now_s - self._changed_s
        self._changed_s = now_s
        self._elapsed_s += elapsed_s
        self._concurrency_seconds += self._concurrency * elapsed_s
        self._proxied_concurrency_seconds += self._proxied_concurrency * elapsed_s

    def _clear(self) -> None:
        self._elapsed_s = 0.0
        self._concurrency_seconds = 0.0
        self._proxied_concurrency_seconds = 0.0
        self._request_count = 0.0
        self._proxied_request_count = 0.0
