"""Envoy's configuration over xDS: delta ADS (aggregated, incremental), make before break.

Pure part: `Resources` (what is offered, in which version) and `Subscription` (what one Envoy has, so what it lacks).
Shell: `XdsServer` (grpc.aio). A client says which version of which resource it holds when it connects, so after a
restart of this server only the differences travel, and Envoy goes on with what it has in between.
"""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from envoy.service.discovery.v3.ads_pb2_grpc import (
    AggregatedDiscoveryServiceServicer,
    add_AggregatedDiscoveryServiceServicer_to_server,
)
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource
from google.protobuf.message import Message

from proxies.logs import Logger

__all__ = ["CLUSTER", "ENDPOINTS", "LISTENER", "ROUTES", "Resources", "Subscription", "XdsServer"]

_PREFIX = "type.googleapis.com/"
CLUSTER = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}envoy.config.listener.v3.Listener"
ROUTES = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"
PUSH_ORDER = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
"""A route may name only clusters that Envoy has: clusters go first; their removal is delayed by the caller."""

ROUTES_WAIT_S = 2.0
"""Longest time that routes wait for clusters; a cluster that cannot be resolved must not hold up every route."""

_MESSAGE_BYTES_MAX = 256 << 20
_KEEPALIVE_MS = 30_000
_REMOVED_MAX = 1_000
"""Names of removed resources that are remembered beyond as many as are offered."""
_RESEND_FIRST_S = 1.0
_RESEND_MAX_S = 60.0


class Resources:
    """What is offered: type -> name -> (version, bytes). Versions are digests: equal content is never sent twice."""

    def __init__(self) -> None:
        self._offered: dict[str, dict[str, tuple[str, bytes]]] = {type_url: {} for type_url in PUSH_ORDER}
        self._changes = dict.fromkeys(PUSH_ORDER, 0)
        self._changed_at: dict[str, dict[str, int]] = {type_url: {} for type_url in PUSH_ORDER}
        """Name -> the change that it had last, in that order; names that were removed are among them."""
        self._forgotten = dict.fromkeys(PUSH_ORDER, 0)
        """Removals up to this change are not in it."""
        self._composers: dict[str, Callable[[], None]] = {}

    def compose(self, type_url: str, composer: Callable[[], None]) -> None:
        """Call `composer` before resources of that type are read, so that it may put what is costly to put often."""
        self._composers[type_url] = composer

    def touch(self, type_url: str) -> None:
        """Note that the composer has something to put."""
        self._changes[type_url] += 1

    def changes(self, type_url: str) -> int:
        """How often something changed: what is read later is at least that new."""
        return self._changes[type_url]

    def since(self, type_url: str, change: int) -> set[str] | None:
        """Names that were put or removed after `change`; None: who knows no more than that must look at everything."""
        if change < self._forgotten[type_url]:
            return None
        changed_at = self._changed_at[type_url]
        return set(itertools.takewhile(lambda name: changed_at[name] > change, reversed(changed_at)))

    def _note(self, type_url: str, name: str) -> None:
        offered, changed_at = self._offered[type_url], self._changed_at[type_url]
        self._changes[type_url] += 1
        changed_at.pop(name, None)
        changed_at[name] = self._changes[type_url]
        if len(changed_at) > 2 * len(offered) + _REMOVED_MAX:
            self._changed_at[type_url] = {name: at for name, at in changed_at.items() if name in offered}
            self._forgotten[type_url] = self._changes[type_url]

    def put(self, type_url: str, name: str, message: Message) -> bool:
        """Offer a resource; whether that changed anything."""
        return self.put_bytes(type_url, name, message.SerializeToString(deterministic=True))

    def put_bytes(self, type_url: str, name: str, content: bytes) -> bool:
        """The same for a serialised one."""
        version = hashlib.blake2b(content, digest_size=8).hexdigest()
        offered = self._offered[type_url]
        if name in offered and offered[name][0] == version:
            return False
        offered[name] = (version, content)
        self._note(type_url, name)
        return True

    def remove(self, type_url: str, name: str) -> bool:
        """Offer it no longer; whether it was."""
        if self._offered[type_url].pop(name, None) is None:
            return False
        self._note(type_url, name)
        return True

    def of(self, type_url: str) -> dict[str, tuple[str, bytes]]:
        """Name -> (version, bytes); for reading."""
        if type_url in self._composers:
            self._composers[type_url]()
        return self._offered[type_url]


@dataclass(slots=True)
class Counts:
    """What was sent of one type, to whomever, since the start."""

    responses: int = 0
    content_bytes: int = 0
    refusals: int = 0


@dataclass(slots=True)
class Subscription:
    """One type's state on one stream: what is wanted, what the client holds, which nonce is out."""

    type_url: str
    wanted: set[str] = field(default_factory=set)
    is_wildcard: bool = False
    held: dict[str, str] = field(default_factory=dict)
    """Name -> version that the client holds; an empty version: it was told that there is none."""
    is_known: bool = False
    """The client has spoken about this type."""
    is_owed: bool = False
    """The client waits for an answer, even if there is nothing: Envoy does not listen before it knows its clusters."""
    unanswered: str = ""
    """Nonce of the last response while the client has neither taken nor refused it."""
    sent: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    """Nonce -> how new the response was (`Resources.changes`), and what was in it, until it is answered."""
    answered: int = 0
    """How new the newest response is that the client took or refused."""
    refusals: int = 0
    """In a row; the next attempt waits the longer."""
    looked_at: int = -1
    """Up to which change (`Resources.changes`) the client was compared with what is offered; -1: not yet."""
    doubtful: set[str] = field(default_factory=set)
    """Names that are to be compared whether they changed or not."""

    def request(self, subscribe: Iterable[str], unsubscribe: Iterable[str], initial: dict[str, str]) -> None:
        """Take in a request: names to follow and to forget, and versions held from an earlier stream."""
        subscribe = list(subscribe)
        is_first = not self.is_known
        if is_first:
            self.is_known = self.is_owed = True
            self.held.update(initial)
            # The first request of a type without names follows everything (xDS protocol, wildcard subscription).
            self.is_wildcard = not subscribe or "*" in subscribe
        elif "*" in subscribe:
            self.is_wildcard = True
            self.looked_at = -1
        for name in subscribe:
            if name != "*":
                self.wanted.add(name)
                self.doubtful.add(name)
                if not is_first:
                    self.held.pop(name, None)  # asked for anew: it is sent even if it was before
        for name in unsubscribe:
            self.wanted.discard(name)
            self.held.pop(name, None)
            if name == "*":
                self.is_wildcard = False

    def difference(self, resources: Resources) -> tuple[list[Resource], list[str]]:
        """Resources to send and names to remove, which count as held from now on. It costs what changed."""
        if not self.is_known:
            return [], []
        offered = resources.of(self.type_url)
        names = resources.since(self.type_url, self.looked_at)
        if names is None or self.looked_at < 0:
            names = {*offered, *self.wanted, *self.held}
        changed, removed = [], []
        for name in sorted(names | self.doubtful):
            if name not in offered:
                # One that was asked for and does not exist is told to be absent, or the client would wait for it.
                if self.held.get(name) or (name in self.wanted and name not in self.held):
                    removed.append(name)
                    self.held.pop(name, None)
                    if name in self.wanted:
                        self.held[name] = ""
                continue
            version, content = offered[name]
            if (self.is_wildcard or name in self.wanted) and self.held.get(name) != version:
                resource = Resource(name=name, version=version)
                resource.resource.type_url = self.type_url
                resource.resource.value = content
                changed.append(resource)
                self.held[name] = version
        self.looked_at = resources.changes(self.type_url)
        self.doubtful.clear()
        return changed, removed

    def answer(self, nonce: str, *, is_refused: bool) -> list[str]:
        """Take in the answer to a response; the names that were refused, which the client does not hold."""
        changes, names = self.sent.pop(nonce, (0, []))
        self.answered = max(self.answered, changes)
        if nonce == self.unanswered:
            self.unanswered = ""
        self.refusals = self.refusals + 1 if is_refused else 0
        return names if is_refused else []

    def forget(self, names: Iterable[str]) -> None:
        """Send these once more, whatever the client holds."""
        for name in names:
            self.held.pop(name, None)
            self.doubtful.add(name)


class XdsServer:
    """Serves `resources` to any number of Envoys. `push` after changing them.

    `on_answer()` is called when a client took or refused routes, so that `routes_answered` may have grown;
    `on_nack(type_url, message)` when it refused something. What was refused is sent again after a while, since the
    cause may lie in what came before it, such as a cluster that took its time.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        log: Logger,
        on_answer: Callable[[], None] = lambda: None,
        on_nack: Callable[[str, str], None] = lambda _type, _message: None,
    ) -> None:
        self._resources = resources
        self._log = log
        self._on_answer = on_answer
        self._on_nack = on_nack
        self._streams: dict[asyncio.Event, dict[str, Subscription]] = {}
        self._server: grpc.aio.Server | None = None
        self.counts = {type_url: Counts() for type_url in PUSH_ORDER}

    async def start(self, address: str) -> None:
        """Listen on `host:port` or `unix:/path`. Raises `OSError` when that cannot be bound."""
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
                ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
                ("grpc.so_reuseport", 0),
            ]
        )
        add_AggregatedDiscoveryServiceServicer_to_server(_Service(self._stream), self._server)
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"{address}: {error}") from error
        if bound == 0 and not address.startswith("unix:"):
            raise OSError(f"{address}: cannot be bound")
        await self._server.start()

    async def stop(self) -> None:
        """End all streams; Envoys keep what they have."""
        if self._server is not None:
            await self._server.stop(grace=0.2)

    def push(self) -> None:
        """Tell every client what changed."""
        for wake in self._streams:
            wake.set()

    @property
    def stream_count(self) -> int:
        """Envoys that are connected."""
        return len(self._streams)

    @property
    def routes_answered(self) -> int:
        """How new the routes are that every Envoy has answered, as `Resources.changes` counts; -1 without any Envoy."""
        return min((subscriptions[ROUTES].answered for subscriptions in self._streams.values()), default=-1)

    async def _stream(self, requests: AsyncIterator[DeltaDiscoveryRequest]) -> AsyncIterator[DeltaDiscoveryResponse]:
        subscriptions = {type_url: Subscription(type_url) for type_url in PUSH_ORDER}
        wake = asyncio.Event()
        self._streams[wake] = subscriptions
        nonces = itertools.count(1)
        loop = asyncio.get_running_loop()
        clusters = subscriptions[CLUSTER]
        giving_up: asyncio.TimerHandle | None = None

        def give_up() -> None:
            clusters.unanswered = ""
            wake.set()

        reader = loop.create_task(self._read(requests, subscriptions, wake))
        try:
            while not reader.done():
                wake.clear()
                if giving_up is not None and not clusters.unanswered:
                    giving_up.cancel()
                    giving_up = None
                for type_url in PUSH_ORDER:
                    # Envoy takes a cluster when it knows its endpoints, and answers then. A route that names it before
                    # that is answered 503.
                    subscription = subscriptions[type_url]
                    # And one at a time: all changes that come while Envoy takes routes in are one response.
                    if type_url == ROUTES and (clusters.unanswered or subscription.unanswered):
                        continue
                    changes = self._resources.changes(type_url)
                    changed, removed = subscription.difference(self._resources)
                    if changed or removed or subscription.is_owed:
                        nonce = str(next(nonces))
                        subscription.is_owed = False
                        subscription.unanswered = nonce
                        subscription.sent[nonce] = changes, [resource.name for resource in changed]
                        if type_url == CLUSTER:
                            # Envoy makes a changed cluster anew, which waits for endpoints that it does not ask for.
                            subscriptions[ENDPOINTS].forget(resource.name for resource in changed)
                            giving_up = giving_up or loop.call_later(ROUTES_WAIT_S, give_up)
                        counts = self.counts[type_url]
                        counts.responses += 1
                        counts.content_bytes += sum(len(resource.resource.value) for resource in changed)
                        yield DeltaDiscoveryResponse(
                            type_url=type_url, nonce=nonce, resources=changed, removed_resources=removed
                        )
                    elif subscription.is_known and not subscription.sent and subscription.answered < changes:
                        subscription.answered = changes  # what had changed is again as the client has it
                        self._on_answer()
                await wake.wait()
        finally:
            if giving_up is not None:
                giving_up.cancel()
            del self._streams[wake]
            reader.cancel()
            self._on_answer()

    async def _read(
        self,
        requests: AsyncIterator[DeltaDiscoveryRequest],
        subscriptions: dict[str, Subscription],
        wake: asyncio.Event,
    ) -> None:
        try:
            async for request in requests:
                subscription = subscriptions.get(request.type_url)
                if subscription is None:
                    continue  # a type that is never offered here, such as secrets
                if request.response_nonce:
                    self._answered(subscription, request, wake)
                subscription.request(
                    request.resource_names_subscribe,
                    request.resource_names_unsubscribe,
                    dict(request.initial_resource_versions),
                )
                wake.set()
        finally:
            wake.set()

    def _answered(self, subscription: Subscription, request: DeltaDiscoveryRequest, wake: asyncio.Event) -> None:
        is_refused = request.HasField("error_detail")
        refused = subscription.answer(request.response_nonce, is_refused=is_refused)
        if is_refused:
            text = request.error_detail.message
            retry_s = min(_RESEND_FIRST_S * 2 ** min(subscription.refusals - 1, 10), _RESEND_MAX_S)
            self.counts[request.type_url].refusals += 1
            self._log.error("configuration_refused", type=request.type_url, error=text, retry_s=retry_s)

            def send_again() -> None:
                subscription.forget(refused)
                wake.set()

            asyncio.get_running_loop().call_later(retry_s, send_again)
            self._on_nack(request.type_url, text)
        if request.type_url == ROUTES:
            self._on_answer()


class _Service(AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    def __init__(self, stream: Callable[[Any], AsyncIterator[DeltaDiscoveryResponse]]) -> None:
        self._stream = stream

    async def DeltaAggregatedResources(  # noqa: N802 - the name in the protocol
        self, request_iterator: AsyncIterator[DeltaDiscoveryRequest], _context: object
    ) -> AsyncIterator[DeltaDiscoveryResponse]:
        # grpc.aio takes a handler for a stream only when it is an asynchronous generator itself.
        async for response in self._stream(request_iterator):
            yield response
