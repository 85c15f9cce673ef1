"""What the processes of the broker have in common, and what one of them supplies: a `Role` in a `Context`.

The shell (`broker.shell`) answers probes and whatever comes to a port that is shut; the rest is the role's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from broker.config import Config
from eventing.features import Features
from eventing.sending import Sender
from kube.client import Client
from proxies.exchange import Exchange
from proxies.logs import Logger
from proxies.messages import Answer
from proxies.timers import Timers

if TYPE_CHECKING:
    from broker.access import Access
    from broker.tokens import Tokens
    from broker.traces import Traces
    from proxies.metrics.instruments import Registry

__all__ = ["Context", "Role"]


@dataclass(slots=True, kw_only=True)
class Context:
    """What a role works with. What is not said to change stays as it is."""

    loop: asyncio.AbstractEventLoop
    config: Config
    client: Client
    log: Logger
    sender: Sender
    timers: Timers
    tokens: "Tokens"
    """What we show to others that ask for it."""
    access: "Access"
    """Who may send to us."""
    clock: Callable[[], float]
    """Monotonic."""
    features: Features
    """As they are at this moment: ask each time."""
    scheme: str = "http"
    """Of the request that is being received."""
    registry: "Registry | None" = None
    """Of our metrics, while they are on."""
    traces: "Traces | None" = None
    """Who makes our spans, while they are on."""


class Role(Protocol):
    """One of the processes."""

    async def start(self, context: Context) -> None:
        """Learn what there is to know; ports are opened when this returns."""

    def receive(self, exchange: Exchange) -> None:
        """A request is here: `Policy.admit` for all that are neither probes nor at a port that is shut."""

    def cancelled(self, exchange: Exchange) -> None:
        """`Policy.cancelled`, for exchanges to which the role has given a context."""

    def ended(self, exchange: Exchange) -> None:
        """`Policy.ended`, for exchanges to which the role has given a context."""

    def readiness(self) -> Answer:
        """The answer to the kubelet on the plain port, unless we are ending."""

    async def stop(self) -> None:
        """Free everything; works after a failed or interrupted `start`, too."""
