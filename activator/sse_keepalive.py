"""Signs of life for clients of event streams that wait for a pod: the stream begins, and carries comments meanwhile.

Opt-in by annotation, for requests that accept `text/event-stream`. Who waits less than the period sees nothing of it.
Behind it the response is ours: 200, and what the app says in its head is lost; its events follow in the stream that was
begun. Another kind of response, or none, is an event `error` at the end, as there is no status any more to tell it by.

    held --period--> begun, a comment --period--> a comment ... --> forwarded: its events, or `error`
                                                                    refused, timed out: `error`

One timer for all requests of a revision that wait. Source: HTML living standard 9.2 (comments begin with a colon).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from proxies.exchange import Exchange
from proxies.gotext import parse_duration_s
from proxies.http1 import parse_response
from proxies.messages import RequestHead, ResponseHead

__all__ = ["SSE_KEEPALIVE", "SseKeepalive", "wants_events"]

SSE_KEEPALIVE: Final = "serving.knuv.dev/sse-keepalive"
"""Annotation of a Revision: the period, as `10s`."""

_PERIOD_MIN_S: Final = 1.0
_PERIOD_MAX_S: Final = 600.0
_PER_TURN: Final = 100
"""Streams that are written to before others have a turn: some milliseconds."""
_MEDIA_TYPE: Final = b"text/event-stream"
_COMMENT: Final = b": waiting for a pod\n\n"
_HEAD: Final = parse_response(
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream\r\n"
    b"Cache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"Transfer-Encoding: chunked"
)

Write = Callable[[bytes], None]


class _Waiter:
    __slots__ = ("due_s", "write")

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.write: Write | None = None
        """None until the response has begun."""


class SseKeepalive:
    """The event streams of one revision. `hold` and `pass_on` as often as an exchange waits, `forget` at its end."""

    __slots__ = ("_begun", "_timer", "_waiting", "period_s")

    def __init__(self, period_s: float) -> None:
        """Raises `ValueError` for what is no period."""
        if not _PERIOD_MIN_S <= period_s <= _PERIOD_MAX_S:
            expected = f"{_PERIOD_MIN_S:.0f}s to {_PERIOD_MAX_S:.0f}s"
            raise ValueError(f"{SSE_KEEPALIVE}: expected {expected}, got {period_s:g}s")
        self.period_s = period_s
        # In the order of their due times, as all have the same period.
        self._waiting: OrderedDict[Exchange, _Waiter] = OrderedDict()
        self._begun: dict[Exchange, Write] = {}
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def read(cls, annotations: Mapping[str, str]) -> "SseKeepalive | None":
        """Read a revision's annotations. Raises `ValueError`, which says what is wrong."""
        text = annotations.get(SSE_KEEPALIVE)
        if not text:
            return None
        try:
            period_s = parse_duration_s(text)
        except ValueError as error:
            raise ValueError(f"{SSE_KEEPALIVE}: {error}") from error
        return cls(period_s)

    def hold(self, exchange: Exchange) -> None:
        """The exchange waits, at first or again."""
        if not wants_events(exchange.request):
            return
        waiter = self._waiting[exchange] = _Waiter(time.monotonic() + self.period_s)
        waiter.write = self._begun.get(exchange)
        if self._timer is None:
            self._wake_at(waiter.due_s)

    def pass_on(self, exchange: Exchange) -> bool:
        """The exchange waits no longer; whether its response has begun."""
        self._waiting.pop(exchange, None)
        return exchange in self._begun

    def forget(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self._waiting.pop(exchange, None)
        self._begun.pop(exchange, None)

    def accepts(self, head: ResponseHead) -> bool:
        """Whether the body of a pod's response may go on in the stream."""
        media_type = head.get(b"content-type").partition(b";")[0].strip().lower()
        return head.status == 200 and media_type == _MEDIA_TYPE and not head.get(b"content-encoding")

    def failure(self, status: int) -> bytes:
        """The last event of a stream that nothing goes on in."""
        return b'event: error\ndata: {"status":%d}\n\n' % status

    def _wake_at(self, due_s: float) -> None:
        delay_s = max(due_s - time.monotonic(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        """Give a sign of life to whom it is due."""
        self._timer = None
        now_s = time.monotonic()
        waiting = self._waiting
        for _ in range(_PER_TURN):
            first = next(iter(waiting.items()), None)
            if first is None or first[1].due_s > now_s:
                break
            exchange, waiter = first
            if waiter.write is None:
                waiter.write = exchange.begin(_HEAD, self)
                if waiter.write is None:
                    # HEAD, or HTTP/1.0: nothing can be begun.
                    del waiting[exchange]
                    continue
                self._begun[exchange] = waiter.write
            if not exchange.is_full:
                waiter.write(_COMMENT)
            waiter.due_s = now_s + self.period_s
            waiting.move_to_end(exchange)
        first = next(iter(waiting.items()), None)
        if first is not None:
            self._wake_at(first[1].due_s)


def wants_events(request: RequestHead) -> bool:
    """Whether the client accepts an event stream."""
    accepted = b",".join(request.get_all(b"accept"))
    return any(part.partition(b";")[0].strip().lower() == _MEDIA_TYPE for part in accepted.split(b","))
