"""What a process needs of NATS, once: the connection, publishing, streams, a bound for what is under way.

`KNUV_JETSTREAM_DEDUPLICATION` is `source-and-id` (default) or `id`, as the original has it. `CONFIG_NATS_NAME` names
the ConfigMap of the system namespace that says where NATS is.
"""

from collections.abc import Callable, Mapping

from broker.channel.jetstream_claims import Claims
from broker.channel.jetstream_dead_letters import DeadLetters, Limits
from broker.channel.jetstream_message import Deduplication, message_id, pack
from broker.config import check_all
from broker.role import Context
from eventing.jetstream.link import Link
from eventing.jetstream.loading import load_settings
from eventing.jetstream.publisher import Published, Publisher, Publishing
from eventing.jetstream.pull import ByteBudget
from eventing.jetstream.settings import CONFIG_MAP, NatsSettings
from eventing.jetstream.streams import Streams
from eventing.message import Message
from proxies.environment import Environment

__all__ = ["JetStreamProcess", "settings_of"]

_STATUS = {Publishing.STORED: 202, Publishing.BUSY: 503, Publishing.TOO_LARGE: 413, Publishing.FAILED: 500}


def settings_of(environ: Mapping[str, str]) -> tuple[Deduplication, Limits]:
    """Return which events are one, and what is kept of those that failed. Raises `ConfigError`."""
    check_all(environ, _deduplication_of, Limits.from_env)
    return _deduplication_of(environ), Limits.from_env(environ)


def _deduplication_of(environ: Mapping[str, str]) -> Deduplication:
    reading = Environment(environ)
    how = reading.choice("KNUV_JETSTREAM_DEDUPLICATION", tuple(each.value for each in Deduplication))
    reading.finish()
    return Deduplication(how)


class JetStreamProcess:
    """One for a process. Nothing connects before `start`."""

    def __init__(self, context: Context, environ: Mapping[str, str]) -> None:
        """Raises `ConfigError`."""
        how, limits = settings_of(environ)
        self._config_map = environ.get("CONFIG_NATS_NAME") or CONFIG_MAP
        self._context = context
        self._how = how
        config = context.config
        self.link = Link(self._load, name=f"knuv-{config.process.name} {config.pod_name}", log=context.log)
        self.streams = Streams(self.link)
        self.publisher = Publisher(self.link, bytes_max=config.held_bytes_max)
        self.budget = ByteBudget(config.held_bytes_max)
        self.claims = Claims(self.streams, self.publisher, pod=config.pod_name)
        self.letters = DeadLetters(self.link, self.streams, self.publisher, limits, context.log)

    async def start(self) -> None:
        """Begin to connect."""
        await self.link.start()

    async def stop(self) -> None:
        """Fail what is not acknowledged, send what is queued, disconnect."""
        self.publisher.close()
        await self.link.stop()

    def publish(
        self,
        subject: str,
        message: Message,
        done: Callable[[int, str], None],
        *,
        how: Deduplication | None = None,
    ) -> None:
        """Publish an event; `done` gets 202 when JetStream has it, or another status and why.

        `how`: which events are one, if that is not what the process was told.
        """
        payload, headers = pack(message)

        def published(result: Published) -> None:
            done(_STATUS[result.how], result.reason)

        self.publisher.publish(
            subject, payload, published, message_id=message_id(message, how or self._how), headers=headers
        )

    async def _load(self) -> NatsSettings:
        context = self._context
        return await load_settings(context.client, context.config.system_namespace, self._config_map)
