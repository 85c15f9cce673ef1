"""A response that begins before anybody was asked for it, so that its client is not left without a sign of life.

`Exchange.begin` puts `Begun` between the exchange and its client's half. The head is sent, and what is written goes
into a body without declared length. Then either the target's response is taken, and its body goes on inside the one
begun; or something else came of it (another kind of response, an answer of our own, a timer, no target), and the body
ends well with what `Rest.failure` says of it. To the exchange all this looks as if the client got what it was given.
"""

from typing import Protocol

from proxies.exchange import Exchange
from proxies.messages import Answer, ResponseHead
from proxies.reframing import chunked
from proxies.roles import Downstream, Ending

__all__ = ["Begun", "Rest"]


class Rest(Protocol):
    """What a service says about the rest of a response that it began."""

    def accepts(self, head: ResponseHead) -> bool:
        """Whether the body of the target's response may go on in the one begun."""

    def failure(self, status: int) -> bytes:
        """The last bytes of a body that the target does not go on with; `status`: what the client would have got."""


class Begun:
    """The half towards a client that has a head already."""

    __slots__ = ("_exchange", "_is_ended", "_is_framed", "_real", "_rest")

    def __init__(self, exchange: Exchange, real: Downstream, rest: Rest) -> None:
        self._exchange = exchange
        self._real = real
        self._rest = rest
        self._is_framed = exchange.request.major == 1
        """What is relayed has to be put into chunks."""
        self._is_ended = False

    def write(self, data: bytes) -> None:
        """Send bytes of the body."""
        self._real.respond_data(self._framed(data, False), False)

    # What the exchange calls.

    @property
    def peer_port(self) -> int:
        """Port of the client's end."""
        return self._real.peer_port

    def inform(self, head: ResponseHead) -> None:
        """Too late for informational responses."""

    def respond(self, head: ResponseHead, data: bytes, is_done: bool) -> None:
        """Go on with the body, or end the exchange."""
        if not self._rest.accepts(head):
            self._fail(head.status)
            if not is_done:
                self._exchange.stop()
            return
        if head.is_chunked:
            self._is_framed = False  # it comes in chunks
        if data or is_done:
            self.respond_data(data, is_done)

    def respond_data(self, data: bytes, is_done: bool) -> None:
        """Relay bytes of the body."""
        self._is_ended = is_done
        self._real.respond_data(self._framed(data, is_done), is_done)

    def respond_tunnel(self, head: ResponseHead, data: bytes) -> None:
        """Too late for an upgrade."""
        self._fail(head.status)
        self._exchange.stop()

    def tunnel_data(self, data: bytes) -> None:
        """Nobody hears it any more."""

    def tunnel_eof(self) -> None:
        """Nobody hears it any more."""

    def give_answer(self, answer: Answer) -> None:
        """End the body with what became of it."""
        self._fail(answer.status)

    def cut_short(self, ending: Ending) -> None:
        """End the body where a timer fired; the framing is ours, so there is always room."""
        if self._is_framed:
            self.respond_data(ending.data, True)
        else:
            self._real.cut_short(ending)

    def abort(self) -> None:
        """End it so that the client sees that the body is not whole."""
        self._real.abort()

    def wake_at(self, due_s: float) -> None:
        """Look at the timers then."""
        self._real.wake_at(due_s)

    def pause_request(self) -> None:
        """Read no more of the request for now."""
        self._real.pause_request()

    def resume_request(self) -> None:
        """Read on."""
        self._real.resume_request()

    def release(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self._real.release(exchange)

    # Inside.

    def _framed(self, data: bytes, is_done: bool) -> bytes:
        return chunked(data, is_done) if self._is_framed else data

    def _fail(self, status: int) -> None:
        if not self._is_ended:
            self.respond_data(self._rest.failure(status), True)
