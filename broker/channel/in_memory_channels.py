"""InMemoryChannels: learned of from the API, found by host or by path, programmed while they are ready.

The API's part is small: a finalizer, so that a channel goes away when its events do, and `status.subscribers`, by which
Subscriptions learn that they are served. Handlers change in the informer's callbacks, at once; writes to the API follow
in a loop of reconciles.

Source: spec eventing-channels.md 6.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from broker.channel.backend import Channel, Refusal
from broker.channel.hosts import Hosts, address_of
from broker.role import Context
from eventing.delivery import Subscription
from eventing.subscribers import subscription_of
from kube.client import Client
from kube.errors import NotFound
from kube.informer import Informer
from kube.models.duck import AppliedPolicy, SubscriberStatus
from kube.models.messaging import ASYNC_ANNOTATION, SCOPE_ANNOTATION, InMemoryChannel
from kube.reconcile import Loop
from proxies.gotext import parse_bool
from proxies.logs import Logger

__all__ = ["FINALIZER", "RESOURCE", "InMemoryChannels", "Programmed", "path_key"]

RESOURCE: Final = "inmemorychannel"
FINALIZER: Final = "imc-dispatcher"

Key = tuple[str, str]

_UNKNOWN: Final = Refusal(500, "no channel is served under this host or path")
_MALFORMED: Final = Refusal(400, "expected a path /{namespace}/{name}")


class Programmed(Channel, Protocol):
    """A channel whose subscriptions are set from outside."""

    subscriptions: tuple[Subscription, ...]
    unclear: frozenset[str]
    """Uids of subscribers whose entries make no sense now, and need not be among `subscriptions`; set before these."""

    def remove(self) -> None:
        """The channel was deleted."""


class InMemoryChannels:
    """The InMemoryChannels of one dispatcher. `make(namespace, name, is_async)` makes what serves one."""

    def __init__(
        self,
        client: Client,
        make: Callable[[str, str, bool], Programmed],
        *,
        filter_host: str,
        namespace: str | None,
        log: Logger,
    ) -> None:
        """`namespace`: only the channels of it that ask for a dispatcher of their own; None: all that do not."""
        self._make = make
        self._filter_host = filter_host
        self._namespace = namespace
        self._client = client
        self._log = log
        self._informer = Informer(client, InMemoryChannel, namespace=namespace, log=log)
        self._loop: Loop[Key] = Loop("channels", self._reconcile, log=log)
        self._channels: dict[Key, Programmed] = {}
        self._hosts: Hosts[Programmed] = Hosts()
        self._problems: dict[Key, dict[str, str]] = {}

    @classmethod
    def of(
        cls, context: Context, environ: Mapping[str, str], make: Callable[[str, str, bool], Programmed]
    ) -> "InMemoryChannels":
        """Return those that a dispatcher is for: `NAMESPACE` is set for one that has only its own namespace's."""
        config = context.config
        return cls(
            context.client,
            make,
            filter_host=f"broker-filter.{config.system_namespace}.svc.{config.cluster_domain}",
            namespace=environ.get("NAMESPACE") or None,
            log=context.log,
        )

    async def start(self) -> None:
        """Return when every channel that there is, and is ready, can be found."""
        self._informer.on_change(self._changed)
        self._loop.start()
        await self._informer.start()

    async def stop(self) -> None:
        """Learn no more."""
        await self._informer.stop()
        await self._loop.stop()

    def find(self, host: bytes, path: bytes) -> Channel | Refusal:
        """Return the channel of a request (spec 6.1)."""
        if path == b"/":
            return self._hosts.served.get(host, _UNKNOWN)
        key = path_key(path)
        if key is None:
            return _MALFORMED
        return self._channels.get(key, _UNKNOWN)

    def policies(self, channel: Channel) -> Sequence[AppliedPolicy]:
        """Return the EventPolicies of a channel."""
        found = self._informer.get(channel.namespace, channel.name)
        return found.status.policies if found is not None else ()

    def is_ready(self) -> bool | None:
        """Whether all ready channels are programmed."""
        return all(channel.key in self._channels for channel in self._informer.list() if self._is_served(channel))

    @property
    def served(self) -> list[Programmed]:
        """All that can be found."""
        return list(self._channels.values())

    @property
    def known(self) -> list[Key]:
        """All that exist, served or not."""
        return [channel.key for channel in self._informer.list()]

    # What the informer calls.

    def _changed(self, old: InMemoryChannel | None, new: InMemoryChannel | None) -> None:
        if new is None or new.metadata.deletion_timestamp:
            gone = new or old
            assert gone is not None
            self._forget(gone.key)
        elif self._is_served(new):
            self._program(new)
        if new is not None and self._is_ours(new):
            self._loop.add(new.key)

    def _is_ours(self, channel: InMemoryChannel) -> bool:
        is_own = channel.metadata.annotations.get(SCOPE_ANNOTATION) == "namespace"
        return is_own == (self._namespace is not None)

    def _is_served(self, channel: InMemoryChannel) -> bool:
        return self._is_ours(channel) and channel.status.is_ready() and not channel.metadata.deletion_timestamp

    def _program(self, channel: InMemoryChannel) -> None:
        key = channel.key
        served = self._channels.get(key)
        if served is None:
            is_async = _is_true(channel.metadata.annotations.get(ASYNC_ANNOTATION, ""))
            served = self._channels[key] = self._make(*key, is_async)
        subscriptions: list[Subscription] = []
        problems: dict[str, str] = {}
        before = {each.uid: each for each in served.subscriptions}
        for entry in channel.spec.subscribers:
            try:
                subscriptions.append(subscription_of(entry, self._filter_host))
            except ValueError as error:
                problems[entry.uid] = str(error)
                # As it was: nobody has unsubscribed, and what is owed to it is not to be forgotten for a slip.
                if entry.uid in before:
                    subscriptions.append(before[entry.uid])
        if problems and problems != self._problems.get(key):
            self._log.warning("subscribers_refused", channel=f"{key[0]}/{key[1]}", problems=problems)
        self._problems[key] = problems
        served.unclear = frozenset(problems)
        served.subscriptions = tuple(subscriptions)
        self._hosts.set(key, _host_of(channel), served)

    def _forget(self, key: Key) -> None:
        self._hosts.forget(key)
        self._problems.pop(key, None)
        served = self._channels.pop(key, None)
        if served is not None:
            served.remove()

    # What the loop calls.

    async def _reconcile(self, key: Key) -> None:
        channel = self._informer.get(*key)
        if channel is None:
            return
        finalizers = channel.metadata.finalizers
        if channel.metadata.deletion_timestamp:
            if FINALIZER in finalizers:
                await self._set_finalizers(channel, [each for each in finalizers if each != FINALIZER])
            return
        if FINALIZER not in finalizers:
            channel = await self._set_finalizers(channel, [*finalizers, FINALIZER])
        if channel is not None and self._is_served(channel):
            await self._report(channel)

    async def _set_finalizers(self, channel: InMemoryChannel, finalizers: list[str]) -> InMemoryChannel | None:
        """Write them unless the channel was changed meanwhile (`Conflict`); None when it is gone."""
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": channel.metadata.resource_version}}
        try:
            changed = await self._client.patch(InMemoryChannel, channel.name, channel.namespace, patch)
        except NotFound:
            return None
        self._informer.apply_local(changed)
        return changed

    async def _report(self, channel: InMemoryChannel) -> None:
        """Tell Subscriptions that they are served (spec 6.3)."""
        problems = self._problems.get(channel.key, {})
        subscribers = [
            SubscriberStatus(
                uid=entry.uid,
                observed_generation=entry.generation,
                ready="False" if entry.uid in problems else "True",
                message=problems.get(entry.uid, ""),
            )
            for entry in channel.spec.subscribers
        ]
        if subscribers == channel.status.subscribers:
            return
        patch = [{"op": "add", "path": "/status/subscribers", "value": subscribers}]
        try:
            await self._client.patch(
                InMemoryChannel, channel.name, channel.namespace, patch, type="json", subresource="status"
            )
        except NotFound:
            return


def path_key(path: bytes) -> Key | None:
    """Return (namespace, name) of a path `/{namespace}/{name}`, one more slash at its end allowed; None for others."""
    parts = unquote_to_bytes(path).removesuffix(b"/").split(b"/")
    if len(parts) != 3 or parts[0] or not parts[1] or not parts[2]:
        return None
    return parts[1].decode("utf-8", "replace"), parts[2].decode("utf-8", "replace")


def _host_of(channel: InMemoryChannel) -> bytes:
    """Return the authority under which a channel is served; empty where its address is a path of the dispatcher's."""
    parts = address_of(channel.status.address)
    return parts.netloc.encode() if parts.path in ("", "/") else b""


def _is_true(text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError:
        return False
