"""What a kind of channel is to the dispatcher: it finds the channel of a request, and a channel accepts events.

The dispatcher speaks HTTP (spec eventing-channels.md 5) and knows nothing of how events are kept; a backend knows
nothing of HTTP. `KNUV_CHANNELS` of `python -m broker dispatcher` says which one a process has.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from eventing.message import Message
from kube.models.duck import AppliedPolicy

__all__ = ["Accepting", "Backend", "Channel", "Refusal"]


class Refusal(NamedTuple):
    """There is no channel for a request."""

    status: int
    reason: str


class Accepting(Protocol):
    """An event that is being accepted."""

    def cancel(self) -> None:
        """Whoever sent it has left: end what can be ended. `done` is not called any more."""


class Whose(NamedTuple):
    """One subscription, or one Trigger whose Broker is a stream."""

    namespace: str
    channel: str
    """Or the Broker."""
    name: str


class Owed(NamedTuple):
    """What is owed to a subscription at this moment."""

    whose: Whose
    events: int
    oldest_s: float | None
    """How long ago the oldest of them was accepted, 0 if there is none; None: that is not known."""


class Channel(Protocol):
    """One channel."""

    @property
    def namespace(self) -> str:
        """The namespace that it is in."""

    @property
    def name(self) -> str:
        """Its own name."""

    def accept(self, message: Message, done: Callable[[int, str], None]) -> Accepting | None:
        """Take an event that is valid; `done(status, reason)` is called once, at once or later, unless cancelled.

        202 promises whatever the kind of channel promises. None where nothing is to be cancelled.
        """


class Backend(Protocol):
    """All channels of one kind that this process serves."""

    resource: str
    """The kind of its objects in lower case, as audiences have it."""

    async def start(self) -> None:
        """Learn of the channels; they can be found when this returns."""

    def find(self, host: bytes, path: bytes) -> Channel | Refusal:
        """Return the channel of a request by its `Host`, as it came, and its path without the query."""

    def policies(self, channel: Channel) -> Sequence[AppliedPolicy]:
        """Return the EventPolicies that say who may send to a channel; asked while OIDC is on."""

    def is_ready(self) -> bool | None:
        """Whether every channel that should be is served; None when that cannot be known."""

    async def stop(self) -> None:
        """End what is under way and free everything; works after a failed or interrupted `start`, too."""
