"""A dispatcher of NatsJetStreamChannels in surroundings of its own: API server, NATS, subscribers."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client as NatsClient

from kube.client import Client
from kube.models.core import ConfigMap, Secret
from kube.models.duck import Addressable, ChannelableStatus, Destination, KReference, SubscriberSpec
from kube.models.messaging import NatsJetStreamChannel, NatsJetStreamChannelSpec, Subscription, SubscriptionSpec
from kube.models.meta import ObjectMeta
from tests.support.dispatcher import DEADLINE_S, NAMESPACE, SYSTEM, Channel, World, surroundings
from tests.support.http import fetch
from tests.support.nats import PASSWORD, USER, RunningNats, running_nats
from tests.support.processes import eventually

__all__ = ["DEBUG", "JetStreamWorld", "config_nats", "debug", "jetstream_surroundings", "letters_of"]

_TOKEN = "token of the tests"
DEBUG = {"KNUV_DEBUG_ADDRESS": "127.0.0.1:0", "KNUV_DEBUG_TOKEN": _TOKEN}
"""Of the environment of a process that is asked by `debug`."""


async def debug(log: list[dict[str, Any]], target: str, method: str = "GET") -> tuple[int, Any]:
    """What the debug port of a process says: status, and the JSON or text of its answer. `log` is the process's."""
    port = next(line["port"] for line in log if line["message"] == "debug_listening")
    headers = (f"Authorization: Bearer {_TOKEN}", "Host: localhost")
    answer = await fetch("127.0.0.1", port, target, method=method, headers=headers)
    return answer.status, json.loads(answer.body) if answer.status == 200 else answer.body.decode()


class JetStreamWorld:
    """The world of a dispatcher, and the NATS behind it."""

    def __init__(self, world: World, server: RunningNats, client: NatsClient) -> None:
        self.world = world
        self.server = server
        self.nats = client
        self._count = 0

    async def channel(
        self,
        *subscribers: SubscriberSpec,
        stream: Mapping[str, Any] | None = None,
        template: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> Channel:
        """Create a channel as its controller leaves it; return when the dispatcher has told of its subscribers."""
        self._count += 1
        name = name or f"channel-{self._count}"
        host = f"{name}-kn-jsm-channel.{NAMESPACE}.svc.cluster.local"
        created = await self.world.client.create(
            NatsJetStreamChannel(
                metadata=ObjectMeta(name=name, namespace=NAMESPACE),
                spec=NatsJetStreamChannelSpec(
                    subscribers=list(subscribers),
                    stream=dict(stream) if stream else None,
                    consumer_config_template=dict(template) if template else None,
                ),
            )
        )
        channel = NatsJetStreamChannel
        status = ChannelableStatus(address=Addressable(name="http", url=f"http://{host}"))
        patch = {"status": {"address": {"name": "http", "url": status.address.url if status.address else ""}}}
        await self.world.client.patch(channel, created.name, NAMESPACE, patch, subresource="status")
        await self.told(name, subscribers)
        return Channel(name, host, "/")

    async def told(self, name: str, subscribers: tuple[SubscriberSpec, ...]) -> NatsJetStreamChannel:
        """Return the channel when its status tells of these subscribers and of its stream."""
        wanted = {(each.uid, each.generation) for each in subscribers}

        async def is_told() -> NatsJetStreamChannel | None:
            channel = await self.world.client.get(NatsJetStreamChannel, name, NAMESPACE)
            told = {(each.uid, each.observed_generation) for each in channel.status.subscribers}
            conditions = {each.type for each in channel.status.conditions}
            return channel if told == wanted and "StreamReady" in conditions else None

        return await eventually(is_told, timeout_s=DEADLINE_S)

    async def subscribe(self, channel: Channel, *subscribers: SubscriberSpec) -> NatsJetStreamChannel:
        """Replace the subscribers of a channel."""
        patch = {"spec": {"subscribers": list(subscribers)}}
        await self.world.client.patch(NatsJetStreamChannel, channel.name, NAMESPACE, patch)
        return await self.told(channel.name, subscribers)

    async def subscription(self, name: str, channel: str, **annotations: str) -> None:
        """Create the Subscription behind an entry, for its annotations; `_` for `-` in their names."""
        prefix = "jetstream.eventing.knuv.dev/"
        named = {prefix + key.replace("_", "-"): text for key, text in annotations.items()}
        reference = KReference(api_version="messaging.knative.dev/v1alpha1", kind="NatsJetStreamChannel", name=channel)
        spec = SubscriptionSpec(channel=reference, subscriber=Destination(uri="http://unused/"))
        metadata = ObjectMeta(name=name, namespace=NAMESPACE, annotations=named)
        await self.world.client.create(Subscription(metadata=metadata, spec=spec))

    async def letters(self, uid: str, count: int) -> list[dict[str, Any]]:
        """The dead letters of a subscription, when there are so many."""
        return await letters_of(self.world.log, uid, count)

    async def redrive(self, uid: str) -> Any:
        """Deliver them again; what the dispatcher said."""
        return await debug(self.world.log, f"/debug/redrive?subscription={uid}", "POST")

    async def stored(self, name: str) -> int:
        """How many events a channel's stream holds."""
        info = await self.nats.jetstream().stream_info(f"KN_{NAMESPACE.upper()}__{name.upper().replace('-', '_')}")
        return info.state.messages


async def config_nats(client: Client, server: RunningNats) -> None:
    """Write where NATS is, and the password into a Secret."""
    text = f"url: {server.url}\nauth: {{basic: {{secret: {{name: nats-password}}}}}}\nconnOpts: {{reconnectWait: 50}}"
    data = {"username": USER, "password": PASSWORD}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    await client.create(Secret(metadata=ObjectMeta(name="nats-password", namespace=SYSTEM), data=encoded))
    metadata = ObjectMeta(name="config-nats", namespace=SYSTEM)
    await client.create(ConfigMap(metadata=metadata, data={"eventing-nats": text}))


async def letters_of(log: list[dict[str, Any]], uid: str, count: int) -> list[dict[str, Any]]:
    """The dead letters of a subscription that a process tells of, when there are so many."""

    async def listed() -> list[list[dict[str, Any]]] | None:
        status, found = await debug(log, f"/debug/dead-letters?subscription={uid}")
        # The subscription may not be known yet, or NATS not reached.
        return [found["dead_letters"]] if status == 200 and len(found["dead_letters"]) == count else None

    return (await eventually(listed, timeout_s=DEADLINE_S))[0]


@asynccontextmanager
async def jetstream_surroundings(folder: Path, *configs: ConfigMap, **environ: str) -> AsyncIterator[JetStreamWorld]:
    """A dispatcher that serves, with a NATS of its own. `configs` are there when it starts."""
    with running_nats(folder) as server:
        async with surroundings(starts=False, KNUV_CHANNELS="jetstream", **DEBUG, **environ) as world:
            await config_nats(world.client, server)
            for config in configs:
                await world.client.create(config)
            await world.start()
            client = await nats.connect(server.url, user=USER, password=PASSWORD)
            try:
                yield JetStreamWorld(world, server, client)
            finally:
                await client.close()
