"""Answers of the broker's processes: a status, which methods are taken, and for people what is wrong.

The originals' errors have no body. Ours say why: nobody reads them but who looks for a mistake.
"""

from proxies.exchange import Exchange
from proxies.intake import Unread
from proxies.messages import Answer

__all__ = ["Answers"]

_TEXT_MAX = 1000


class Answers:
    """All answers of one process."""

    __slots__ = ("_by_status", "_event_bytes_max", "allow")

    def __init__(self, allow: bytes, event_bytes_max: int) -> None:
        """`allow`: the methods that are taken; stands in each answer (spec 5.1, 6.2), or, when empty, in none."""
        self.allow: tuple[tuple[bytes, bytes], ...] = ((b"Allow", allow),) if allow else ()
        self._event_bytes_max = event_bytes_max
        self._by_status: dict[int, Answer] = {}

    def empty(self, status: int, *fields: tuple[bytes, bytes]) -> Answer:
        """Return an answer without a body."""
        if fields:
            return Answer(status, fields=(*self.allow, *fields))
        answer = self._by_status.get(status)
        if answer is None:
            answer = self._by_status[status] = Answer(status, fields=self.allow)
        return answer

    def refusal(self, status: int, reason: str, *fields: tuple[bytes, bytes]) -> Answer:
        """Return an error that says why."""
        return Answer(
            status,
            reason[:_TEXT_MAX].encode("utf-8", "replace") + b"\n",
            content_type=b"text/plain; charset=utf-8",
            fields=(*self.allow, (b"X-Content-Type-Options", b"nosniff"), *fields),
        )

    def unread(self, exchange: Exchange, why: Unread) -> None:
        """Answer an exchange whose body was not read to its end."""
        if why is Unread.TOO_LARGE:
            answer = self.refusal(413, f"expected an event of at most {self._event_bytes_max} bytes")
        elif why is Unread.NO_ROOM:
            answer = self.refusal(503, "too many bytes of other events are under way; try again later")
        else:
            answer = self.refusal(500, "the event did not arrive in time")
        exchange.answer(answer)
