"""Whole requests, for services that have to see a body before they decide: read while the exchange is held.

    gather(exchange) --+-- it is all here already ------------------> then(exchange, body)
                       +-- more comes (bounded in size and time) ---> then(exchange, body)
                       +-- too large, no room, too slow ------------> failed(exchange, why)
                       +-- client left -----------------------------> neither: `Policy.ended` says so

Either callback may answer the exchange at once. `Policy.ended` has to tell `Gatherer.ended`, which gives the room back.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from proxies.bodies import ChunkedBody
from proxies.exchange import Exchange
from proxies.messages import ResponseHead
from proxies.timers import Timer, Timers

__all__ = ["Gatherer", "Unread"]

_CONTINUE: Final = ResponseHead(100, b"Continue", [], 0)


class Unread(Enum):
    """Why the body of a request was not read to its end."""

    TOO_LARGE = "too large"
    NO_ROOM = "too many bytes of other requests wait"
    TOO_SLOW = "too slow"


class Gatherer:
    """Reads the bodies of the requests of one server."""

    __slots__ = ("_bytes_max", "_failed", "_limit_s", "_then", "_timers", "_total_max", "held_bytes")

    def __init__(
        self,
        timers: Timers,
        then: Callable[[Exchange, bytes], None],
        failed: Callable[[Exchange, Unread], None],
        *,
        bytes_max: int,
        total_max: int,
        limit_s: float,
    ) -> None:
        """`bytes_max`: of one body; `total_max`: of all that are held and did not come in one piece with their head.

        `limit_s`: how long a body may take, from its request's head.
        """
        self._timers = timers
        self._then = then
        self._failed = failed
        self._bytes_max = bytes_max
        self._total_max = total_max
        self._limit_s = limit_s
        self.held_bytes = 0
        """Of bodies that did not come in one piece."""

    def gather(self, exchange: Exchange) -> None:
        """Read the body of a held exchange; once for each, in `Policy.admit`."""
        request = exchange.request
        if exchange.request_done and not request.is_chunked:
            body = exchange.take_body()
            if len(body) > self._bytes_max:
                self._failed(exchange, Unread.TOO_LARGE)
            else:
                self._then(exchange, body)
            return
        if request.content_length > self._bytes_max:
            self._failed(exchange, Unread.TOO_LARGE)
            return
        data, is_done = exchange.take_body(), exchange.request_done
        exchange.intake = intake = _Intake(self, exchange)
        if data or is_done:
            intake.take(data, is_done)
        if exchange.intake is intake and exchange.is_held:
            if request.get(b"expect").lower() == b"100-continue" and not data:
                exchange.inform(_CONTINUE)
            self._timers.arm(intake, exchange.arrived_s + self._limit_s)

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over, and so is the use of its body."""
        intake = exchange.intake
        if intake is not None:
            exchange.intake = None
            assert isinstance(intake, _Intake)
            self.held_bytes -= intake.size
            self._timers.disarm(intake)

    # What an intake calls.

    def problem(self, size: int, added: int) -> Unread | None:
        """Count `added` bytes to a body that has `size` with them; say what is wrong with that."""
        self.held_bytes += added
        if size > self._bytes_max:
            return Unread.TOO_LARGE
        return Unread.NO_ROOM if self.held_bytes > self._total_max else None

    def finished(self, exchange: Exchange, intake: "_Intake", body: bytes) -> None:
        """The body is here."""
        self._timers.disarm(intake)
        self._then(exchange, body)

    def gave_up(self, exchange: Exchange, intake: "_Intake", why: Unread) -> None:
        """It will not be."""
        self._timers.disarm(intake)
        self._failed(exchange, why)


class _Intake(Timer):
    """One body on its way."""

    __slots__ = ("_exchange", "_gatherer", "_is_over", "_parts", "_reader", "size")

    def __init__(self, gatherer: Gatherer, exchange: Exchange) -> None:
        super().__init__()
        self._gatherer = gatherer
        self._exchange = exchange
        self._is_over = False
        self._parts: list[bytes] = []
        request = exchange.request
        self._reader = ChunkedBody(keeps_spans=True) if request.is_chunked and request.major == 1 else None
        self.size = 0

    def take(self, data: bytes, is_done: bool) -> None:
        """Take bytes of the body with their framing, which the connection found to be right."""
        if self._is_over:
            return
        if self._reader is not None:
            self._reader.scan(data)
            data = b"".join([data[begin:end] for begin, end in self._reader.spans])
        self.size += len(data)
        why = self._gatherer.problem(self.size, len(data))
        if why is not None:
            self._end()
            self._gatherer.gave_up(self._exchange, self, why)
            return
        if data:
            self._parts.append(data)
        if is_done:
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._end()
            self._gatherer.finished(self._exchange, self, body)

    def on_timer(self, now_s: float) -> None:
        if not self._is_over and self._exchange.is_held:
            self._end()
            self._gatherer.gave_up(self._exchange, self, Unread.TOO_SLOW)

    def _end(self) -> None:
        self._is_over = True
        self._parts = []
