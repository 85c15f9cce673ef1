"""`python -m broker dispatcher`: takes events in for channels and delivers them to whoever is subscribed.

    Receiver (HTTP, `broker.receiving`) --> Backend.find --> Channel.accept --> deliveries (`eventing.dispatching`)

`KNUV_CHANNELS` says what stands behind: `memory` (the original's InMemoryChannels), `journal` (the same kind of object,
with events that survive the process), `jetstream` (NatsJetStreamChannels).

Source: spec eventing-channels.md 4, 5, 6.
"""

from collections.abc import Mapping
from typing import Final

from broker.channel.backend import Backend, Channel
from broker.config import check_all
from broker.early_filters import is_enabled
from broker.receiving import Receiver
from broker.role import Context
from eventing.debugging import Debugging
from eventing.message import Message
from proxies.environment import Environment
from proxies.exchange import Exchange
from proxies.messages import Answer

__all__ = ["DispatcherRole"]

_KINDS: Final = ("memory", "journal", "jetstream")
_READY: Final = Answer(204)
_NOT_READY: Final = Answer(503)
_UNKNOWN: Final = Answer(500)


class DispatcherRole:
    """One for all connections."""

    name = "dispatcher"

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises `ConfigError`."""
        check_all(environ, _kind_of, _check_backend, lambda environ: Debugging.from_env(environ, self.name))
        self._kind = _kind_of(environ)
        self._environ = environ
        self._debugging = Debugging.from_env(environ, "dispatcher")
        self._backend: Backend | None = None
        self._receiver: Receiver
        self._was_ready = False

    async def start(self, context: Context) -> None:
        """Learn of the channels."""
        self._backend = backend = self._make_backend(context)
        is_noted = self._debugging.journal is not None
        self._receiver = Receiver(context, backend, self._accepted if is_noted else None)
        await backend.start()
        port = await self._debugging.start()
        if port:
            context.log.info("debug_listening", port=port)

    def receive(self, exchange: Exchange) -> None:
        """A request for a channel."""
        self._receiver.receive(exchange)

    def cancelled(self, exchange: Exchange) -> None:
        """The sender has left."""
        self._receiver.cancelled(exchange)

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self._receiver.ended(exchange)

    def readiness(self) -> Answer:
        """204 when all ready channels are served, and from then on (spec 6.2)."""
        if not self._was_ready:
            is_ready = self._backend.is_ready() if self._backend is not None else False
            if is_ready is None:
                return _UNKNOWN
            self._was_ready = is_ready
        return _READY if self._was_ready else _NOT_READY

    async def stop(self) -> None:
        """End what is under way."""
        await self._debugging.stop()
        if self._backend is not None:
            await self._backend.stop()

    def _make_backend(self, context: Context) -> Backend:
        """Each loads what it needs, and nothing of the others."""
        if self._kind == "journal":
            from broker.channel.journal.backend import JournalBackend

            return JournalBackend(context, self._environ, self._debugging)
        if self._kind == "jetstream":
            from broker.channel.jetstream import JetStreamBackend

            return JetStreamBackend(context, self._environ, self._debugging)
        from broker.channel.in_memory import MemoryBackend

        return MemoryBackend(context, self._environ, self._debugging)

    def _accepted(self, channel: Channel, message: Message) -> None:
        assert self._debugging.journal is not None
        self._debugging.journal.note(message.attributes, "received", channel=f"{channel.namespace}/{channel.name}")


def _kind_of(environ: Mapping[str, str]) -> str:
    reading = Environment(environ)
    kind = reading.choice("KNUV_CHANNELS", _KINDS)
    reading.finish()
    return kind


def _check_backend(environ: Mapping[str, str]) -> None:
    """Read what the backend reads when it is made: that is when the API has been heard of. Raises `ConfigError`."""
    kind = environ.get("KNUV_CHANNELS", "")
    if kind == "jetstream":
        from broker.channel import jetstream_process

        jetstream_process.settings_of(environ)
    elif kind == "journal":
        from broker.channel.journal import backend

        check_all(environ, backend.settings_of, is_enabled)
    else:
        is_enabled(environ)
