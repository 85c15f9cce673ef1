"""What deliveries are posted by: the sender, with a token where a recipient asks for one.

Source: spec eventing-channels.md 3.3, eventing-broker.md 9.4.
"""

import asyncio
from collections.abc import Callable

from broker.tokens import Tokens
from eventing.delivery import Outcome, Recipient
from eventing.dispatching import Sent
from eventing.sending import Destination, Sender
from proxies.fields import Field

__all__ = ["Posting"]


class Posting:
    """The `dispatching.Sends` of a process."""

    __slots__ = ("_loop", "_sender", "_tokens")

    def __init__(self, loop: asyncio.AbstractEventLoop, sender: Sender, tokens: Tokens) -> None:
        self._loop = loop
        self._sender = sender
        self._tokens = tokens

    def post(
        self,
        recipient: Recipient,
        lines: bytes,
        body: bytes,
        done: Callable[[Outcome], None],
        *,
        timeout_s: float,
        service_account: tuple[str, str],
        response_bytes_max: int,
    ) -> Sent:
        """Send an event, as `dispatching.Sends` has it."""
        destination = self._sender.destination(recipient.url, recipient.ca_certs)
        namespace, name = service_account
        if not recipient.audience or not name:
            return self._sender.post(
                destination, lines, body, done, timeout_s=timeout_s, response_bytes_max=response_bytes_max
            )
        waiting = _WithToken(self._loop, self._sender, destination, lines, body, done, timeout_s, response_bytes_max)
        self._tokens.line(namespace, name, recipient.audience, waiting.take)
        return waiting


class _WithToken:
    """A post that waits for its token, or is under way with it."""

    __slots__ = (
        "_body",
        "_destination",
        "_done",
        "_is_over",
        "_lines",
        "_loop",
        "_response_bytes_max",
        "_sender",
        "_sent",
        "_timeout_s",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: Sender,
        destination: Destination,
        lines: bytes,
        body: bytes,
        done: Callable[[Outcome], None],
        timeout_s: float,
        response_bytes_max: int,
    ) -> None:
        self._loop = loop
        self._sender = sender
        self._destination = destination
        self._lines = lines
        self._body = body
        self._done = done
        self._timeout_s = timeout_s
        self._response_bytes_max = response_bytes_max
        self._sent: Sent | None = None
        self._is_over = False

    def take(self, line: bytes | None) -> None:
        """Here is the token's header line; None: it cannot be had."""
        if self._is_over:
            return
        if line is None:
            self._loop.call_soon(self._refused)
            return
        lines = b"%b%b\r\n" % (self._lines, line)
        self._sent = self._sender.post(
            self._destination,
            lines,
            self._body,
            self._done,
            timeout_s=self._timeout_s,
            response_bytes_max=self._response_bytes_max,
        )

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._is_over = True
        if self._sent is not None:
            self._sent.cancel()

    def _refused(self) -> None:
        if not self._is_over:
            self._done(_NoToken())


class _NoToken:
    """The outcome of a post that was not made for want of a token."""

    status = 0
    reason = "no token for the recipient's audience could be had"
    is_cut = False
    fields: tuple[Field, ...] = ()
    body = b""
