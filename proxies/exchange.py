"""One request and its response across two connections, and the policy that a service supplies for it.

The engine reads a request's head and asks the service's policy *admit this exchange*. The policy then says, at once or
later, what becomes of it:

    answer   `exchange.answer(answer)`            our own response; the request goes no further
    forward  `exchange.forward(endpoint, edits)`  to a peer, with the head edited, the body spliced
    hold     neither, for now                     the body is not read; answer or forward it later

and hears exactly once that it is over:

                       +--------- answer ----------------------------------+
    admit(exchange) ---+                                                   +--> ended(exchange)
                       +--------- forward ---------------------------------+
                       +-- hold --+-- answer or forward later -------------+
                                  +-- client left, timer fired: cancelled -+

Everything runs on the loop's thread, in callbacks; no call of this interface awaits or raises for what a peer did.
"""

from enum import Enum
from typing import Protocol

from proxies.headers import HeadEdits
from proxies.messages import Answer, RequestHead
from proxies.timeouts import TimeoutLimits, Timer
from proxies.upstream import Endpoint

__all__ = ["Exchange", "Outcome", "Policy"]


class Outcome(Enum):
    """How an exchange ended."""

    COMPLETE = "complete"
    """The upstream's response reached the client whole; for a tunnel: one side closed it."""
    ANSWERED = "answered"
    """The policy's own answer was given."""
    CLIENT_GONE = "client-gone"
    """The client left before the response was complete; nobody reads an answer."""
    TIMED_OUT = "timed-out"
    """A timer fired; `exchange.timer` says which."""
    UNREACHABLE = "unreachable"
    """The upstream refused, broke or talked nonsense before its response began; the client got 502."""
    ABORTED = "aborted"
    """The upstream, or the client's framing, broke while the response was under way; the client saw it cut off."""


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


class Exchange:
    """One request and its response. Created by the server; a policy may keep it until `Policy.ended`."""

    request: RequestHead
    """The request's head as received. Shared between equal requests: never changed."""
    peer: bytes
    """Address of the client's end of the connection, without port; empty for a unix socket."""
    arrived_s: float
    """Loop time at which the request's head was complete."""
    context: object
    """The policy's own; None at first."""
    status: int
    """Final status that the client was sent; 0 before that."""
    outcome: Outcome | None
    """None until the exchange ends."""
    timer: Timer | None
    """The timer that ended the exchange, if one did."""

    def limit(self, limits: TimeoutLimits) -> None:
        """Start the timers of `limits`; once, in `Policy.admit`.

        Max duration counts from `arrived_s`; response start and idle from `forward`, so waiting does not consume them.
        """
        raise NotImplementedError

    def answer(self, answer: Answer) -> None:
        """Give the client `answer` and end the exchange. Body that the client still sends is dropped."""
        raise NotImplementedError

    def forward(self, endpoint: Endpoint, edits: HeadEdits) -> None:
        """Send the request to `endpoint` with its head edited by `edits`, and relay the response.

        A pooled connection is used when there is one. When the endpoint cannot be reached the client gets 502.
        """
        raise NotImplementedError

    @property
    def is_held(self) -> bool:
        """Neither answered nor forwarded nor ended."""
        raise NotImplementedError
