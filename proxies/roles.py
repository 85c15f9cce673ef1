"""The parts that others play in an exchange: the policy that decides, the two halves that carry it, and where it goes.

`exchange.Exchange` is written against these alone; connections and streams of either version fit.
"""

from typing import TYPE_CHECKING, Protocol

from proxies.messages import Answer, ResponseHead

if TYPE_CHECKING:
    from proxies.exchange import Exchange

__all__ = ["Body", "Downstream", "Ending", "Intake", "Policy", "Target", "Upstream"]


class Policy(Protocol):
    """What a service decides about exchanges. One object serves all connections of a server."""

    def admit(self, exchange: "Exchange") -> None:
        """A request's head is here: call `exchange.answer` or `exchange.forward`, or keep `exchange` and do so later.

        Timers run from `exchange.limit(limits)`, which is normally the first call made here.
        """

    def cancelled(self, exchange: "Exchange") -> None:
        """An exchange that is held has ended: its client left or a timer fired. Take it out of the queue it waits in.

        `exchange.outcome` says why. `ended` follows at once; `answer` and `forward` must not be called any more.
        """

    def ended(self, exchange: "Exchange") -> None:
        """An exchange is over: called once for every one that was admitted, whatever became of it.

        `exchange.outcome`, `exchange.status`, `exchange.timer` say how. Called after the last byte was handed to the
        client's transport and after the upstream connection was given back or closed, so a slot freed here may be used
        at once, also by calling `forward` on a held exchange.
        """


class Ending:
    """The last bytes of a response that is ended before its end."""

    __slots__ = ("data", "is_whole")

    def __init__(self, data: bytes, *, is_whole: bool) -> None:
        self.data = data
        self.is_whole = is_whole
        """With `data` the body is well formed to its end; otherwise the client has to see that it is not."""


class Intake(Protocol):
    """Who takes the body of a request that is held."""

    def take(self, data: bytes, is_done: bool) -> None:
        """Take bytes of it; `is_done`: the last."""


class Body(Protocol):
    """What is received of a body, by whoever knows how it is framed."""

    @property
    def size(self) -> int:
        """Bytes that were received, without their framing."""


class Downstream(Protocol):
    """The half towards the client: one HTTP/1 connection, or one stream of a later version.

    Bytes of a body come with the framing of the request's version. What the framing of HTTP/2 does not hold, the
    trailers, is `Exchange.response_trailers` before the last bytes come.
    """

    @property
    def peer_port(self) -> int:
        """Port of the client's end; 0 for a unix socket."""

    def inform(self, head: ResponseHead) -> None:
        """Relay an informational response."""

    def respond(self, head: ResponseHead, data: bytes, is_done: bool) -> None:
        """Relay the final head and the first bytes of the body; `is_done`: they are all."""

    def respond_data(self, data: bytes, is_done: bool) -> None:
        """Relay bytes of the body."""

    def respond_tunnel(self, head: ResponseHead, data: bytes) -> None:
        """Relay the 101 and the first bytes behind it; everything after it is tunnelled."""

    def tunnel_data(self, data: bytes) -> None:
        """Relay bytes of a tunnel."""

    def tunnel_eof(self) -> None:
        """The upstream will send no more bytes."""

    def give_answer(self, answer: Answer) -> None:
        """Send an answer of our own: the whole response."""

    def cut_short(self, ending: "Ending") -> None:
        """End a response under way before its end."""

    def abort(self) -> None:
        """End it so that the client sees that the response is not whole."""

    def wake_at(self, due_s: float) -> None:
        """Call `Exchange.check_timers` at this time, or soon after it."""

    def pause_request(self) -> None:
        """Read no more of the request for now."""

    def resume_request(self) -> None:
        """Read on."""

    def release(self, exchange: "Exchange") -> None:
        """The exchange is over."""


class Upstream(Protocol):
    """The half towards the peer: one connection in use by one exchange, or one stream.

    Bytes are as for `Downstream`, whatever the peer's version; trailers are `Exchange.request_trailers`.
    """

    def send(self, data: bytes, is_done: bool) -> None:
        """Send on bytes of the request's body; in a tunnel, of the tunnel."""

    def send_eof(self) -> None:
        """The client will send no more bytes (tunnel)."""

    def abandon(self) -> None:
        """The exchange is over before its response was: close."""

    def pause_response(self) -> None:
        """Read no more of the response for now."""

    def resume_response(self) -> None:
        """Read on."""

    def ending(self, text: bytes) -> "Ending":
        """Return how to end the response under way with `text`, as far as its framing has room for that."""


class Target(Protocol):
    """Where exchanges are forwarded to: `pool.Endpoint`."""

    def carry(self, exchange: "Exchange", *, fresh: bool = False) -> None:
        """Send the exchange's request, with `exchange.take_body()`, over a connection of this target.

        Calls `exchange.connected` with the half that carries it, or `exchange.unreachable`, at once or later.
        """
