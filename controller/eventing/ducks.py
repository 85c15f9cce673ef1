"""Objects of any kind, as far as eventing has to do with them: things with an address, and channels.

What a manifest may refer to is open: any kind will do whose status has an address. So kinds are looked up in the API's
discovery when somebody first refers to one, and followed from then on: as many informers as there are kinds referred
to. Kinds that a reconciler of ours follows anyway are taken from there.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from msgspec import field

from controller.collection import Collection
from kube.client import Client
from kube.errors import NotFound
from kube.models.duck import AddressableStatus, Auth, ChannelableStatus, SubscribableSpec
from kube.models.meta import Resource, ResourceInfo
from proxies.logs import Logger

__all__ = ["AddressableDuck", "ChannelDuck", "Ducks", "UnknownKind", "UnlistedKind", "reference_key"]

_API_VERSION = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[a-z0-9]+")
"""Anything else would be asked for at another path."""
_SYNC_S = 10.0
"""A kind that cannot be listed in that time, for want of permission mostly, counts as unknown until it can."""


class UnknownKind(Exception):
    """The API has no such kind, or does not let us see it; the text says which."""


class UnlistedKind(UnknownKind):
    """There was such a kind, and what there is of it is not known: for the moment, or for want of a right."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(f"{api_version} {kind} cannot be listed")
        self.api_version = api_version
        self.kind = kind


class AddressableStatusDuck(AddressableStatus):
    """An address, and perhaps an identity."""

    auth: Auth | None = None


class AddressableDuck(Resource):
    """Something that may have an address."""

    RESOURCE: ClassVar = ResourceInfo("", "", "", "")
    status: AddressableStatusDuck = field(default_factory=AddressableStatusDuck)


class ChannelDuck(Resource):
    """Something that has subscribers."""

    RESOURCE: ClassVar = ResourceInfo("", "", "", "")
    spec: SubscribableSpec = field(default_factory=SubscribableSpec)
    status: ChannelableStatus = field(default_factory=ChannelableStatus)


D = TypeVar("D", bound=Resource)


def reference_key(api_version: str, kind: str, namespace: str, name: str) -> str:
    """An object as others refer to it, whatever the version of its API."""
    group, slash, _ = api_version.partition("/")
    return f"{group if slash else ''} {kind} {namespace}/{name}"


class Ducks(Generic[D]):
    """All kinds of one shape. `known`: (group, kind) -> what follows it already and has the same fields.

    `is_one(api_version, kind)`: whether a kind can be of that shape; without it any can.
    """

    def __init__(
        self,
        client: Client,
        shape: type[D],
        log: Logger,
        known: Mapping[tuple[str, str], Collection[Any]],
        is_one: Callable[[str, str], bool] = lambda _api_version, _kind: True,
    ) -> None:
        self._client = client
        self._shape = shape
        self._log = log
        self._known = dict(known)
        self._is_one = is_one
        self._found: dict[tuple[str, str], Collection[D]] = {}
        self._unlisted: set[tuple[str, str]] = set()
        """Kinds that were waited for in vain: nobody waits again, lest workers be held up by what is not allowed."""
        self._callbacks: list[Callable[[D | None, D | None], None]] = []

    def on_change(self, callback: Callable[[D | None, D | None], None]) -> None:
        """Call `callback(old, new)` for changes of objects of kinds that were found; known ones have their own."""
        self._callbacks.append(callback)

    async def of(self, api_version: str, kind: str) -> Collection[D]:
        """The objects of a kind. Raises `UnknownKind`, `ApiError`, `ApiUnreachable`."""
        group, slash, _ = api_version.partition("/")
        known: Collection[D] | None = self._known.get((group if slash else "", kind))
        if known is not None:
            return known
        found = self._found.get((api_version, kind))
        if found is None:
            info = await self._discover(api_version, kind)
            found = self._found.setdefault((api_version, kind), self._follow(info))
        if found.informer.is_current:
            self._unlisted.discard((api_version, kind))
            return found
        if (api_version, kind) not in self._unlisted:
            try:
                await asyncio.wait_for(found.informer.start(), _SYNC_S)
            except TimeoutError:
                self._unlisted.add((api_version, kind))
            else:
                return found
        raise UnlistedKind(api_version, kind)

    async def is_served(self, api_version: str, kind: str) -> bool:
        """Whether the API has the kind at this moment. Raises `ApiError`, `ApiUnreachable`."""
        try:
            await self._discover(api_version, kind)
        except UnknownKind:
            return False
        return True

    async def stop(self) -> None:
        """End all watches."""
        await asyncio.gather(*(collection.informer.stop() for collection in self._found.values()))

    def _follow(self, info: ResourceInfo) -> Collection[D]:
        shape: Any = self._shape

        class Found(shape):  # type: ignore[misc]
            RESOURCE: ClassVar = info

        collection: Collection[D] = Collection(self._client, Found)
        for callback in self._callbacks:
            collection.informer.on_change(callback)
        self._log.info("kind_followed", api_version=info.api_version, kind=info.kind)
        return collection

    async def _discover(self, api_version: str, kind: str) -> ResourceInfo:
        if not _API_VERSION.fullmatch(api_version):
            raise UnknownKind(f"expected group/version or a version, got {api_version[:100]!r}")
        if not self._is_one(api_version, kind):
            raise UnknownKind(f"{api_version} {kind[:100]} cannot be a channel")
        group, slash, version = api_version.partition("/")
        if not slash:
            group, version = "", api_version
        try:
            answer = await self._client.raw("GET", f"/apis/{group}/{version}" if group else f"/api/{version}")
        except NotFound:
            raise UnknownKind(f"no API {api_version!r} in this cluster") from None
        listed: Iterable[Mapping[str, Any]] = json.loads(answer).get("resources") or ()
        for each in listed:
            if each.get("kind") == kind and "/" not in str(each.get("name")):
                return ResourceInfo(group, version, str(each["name"]), kind, bool(each.get("namespaced")))
        raise UnknownKind(f"no kind {kind!r} in {api_version}")
