"""A local copy of one kind's objects, kept current by list and watch.

Theory of operation. One task lists, then watches from the list's version for ever. A watch that ends is resumed from
the last version seen; a version that is too old (410) means list again; a server that does not answer is retried with
back-off. A list is reconciled against the copy, so what vanished while nobody watched is reported as deleted. Callbacks
run on the loop, synchronously, in the order of events; they must be quick and must not raise (an exception is a bug: it
is logged, the copy goes on). So it is with the functions of indexes: an object whose keys cannot be told is in none.

The copy is for reading only: objects are shared with every other reader.
"""

import asyncio
import builtins
import math
import random
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable, Gone
from kube.models.meta import Listed
from proxies.logs import Logger

__all__ = ["Informer"]

R = TypeVar("R", bound=Listed)
Key = tuple[str, str]

_BACKOFF_FIRST_S = 0.05
_BACKOFF_MAX_S = 10.0
_BACKOFF_LISTED_S = 0.4
"""At most, when the server has just answered: it is back."""
_ASKED_MAX_S = 60.0
"""A server that has too much to do is left in peace for as long as it says, up to this."""
_LASTING_S = 5.0
"""A watch that held so long was a good one."""
_AUDIT_PAGE_SIZE = 100
"""An audit is in no hurry: small pages keep the loop free."""


class Informer(Generic[R]):
    """The objects of `kind` in `namespace` (None: all) that match the selectors.

    Register callbacks and indexes, then `await start()`, which returns once the first list is in. Raises nothing later:
    an unreachable API is retried for ever; the copy then is the last known state and `is_current` is False.
    """

    def __init__(
        self,
        client: Client,
        kind: type[R],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        log: Logger | None = None,
    ) -> None:
        self._client = client
        self.kind = kind
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._log = log or Logger("informer")
        self._objects: dict[Key, R] = {}
        self._callbacks: list[Callable[[R | None, R | None], None]] = []
        self._indexers: dict[str, Callable[[R], Iterable[str]]] = {}
        self._indexes: dict[str, dict[str, dict[Key, R]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._synced = asyncio.Event()
        self._version = ""
        self._seen = 0
        self._trouble = ""
        """What keeps us from watching, as the log has it."""
        self.is_current = False

    # Set-up, before start.

    def on_change(self, callback: Callable[[R | None, R | None], None]) -> None:
        """Call `callback(old, new)` at each change: old None on appearance, new None on deletion."""
        self._callbacks.append(callback)

    def add_index(self, name: str, keys: Callable[[R], Iterable[str]]) -> None:
        """Make `by_index(name, key)` answer with the objects for which `keys` yields that key."""
        self._indexers[name] = keys
        self._indexes[name] = {}

    # Life.

    async def start(self) -> None:
        """Begin to list and watch; return when the first list is complete."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"informer {self.kind.RESOURCE.plural}"
            )
        await self._synced.wait()

    async def stop(self) -> None:
        """End the watch. The copy stays readable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    # Reading.

    def get(self, namespace: str, name: str) -> R | None:
        """One object, or None."""
        return self._objects.get((namespace, name))

    def list(self, namespace: str | None = None) -> list[R]:
        """All objects, of one namespace or of all."""
        if namespace is None:
            return list(self._objects.values())
        return [obj for obj in self._objects.values() if obj.metadata.namespace == namespace]

    def by_index(self, name: str, key: str) -> builtins.list[R]:
        """The objects filed under `key` in index `name`."""
        return list(self._indexes[name].get(key, {}).values())

    def apply_local(self, obj: R) -> None:
        """Take the answer to our own write into the copy at once, unless the watch already brought something newer.

        Also a deletion is newer: an object that the watch is past, and that is not there, must not come back for good.
        """
        held = self._objects.get(obj.key)
        if _version(obj) > (_version(held) if held is not None else self._seen):
            self._put(obj)

    async def audit(self, *, settle_s: float = 1.0) -> builtins.list[Key]:
        """List anew, repair what the copy has wrong, return its keys; nothing when every event has arrived.

        An event may be on its way: only what two lists, `settle_s` apart, say alike counts. Raises as `Client.list`.
        """
        first = await self._listed()
        if not self._differences(first):
            return []
        await asyncio.sleep(settle_s)
        second = await self._listed()
        wrong = []
        for key in self._differences(first) & self._differences(second):
            before, obj = first.get(key), second.get(key)
            if obj is None:
                self._remove(key)
            elif before is not None and _version(before) == _version(obj):
                self._put(obj)
            else:
                continue  # it changes as we look
            wrong.append(key)
        return wrong

    def _differences(self, listed: dict[Key, R]) -> set[Key]:
        """Keys of what the copy lacks, has in an older version, or has though it is not listed."""
        objects = self._objects
        older = {key for key, obj in listed.items() if key not in objects or _version(objects[key]) < _version(obj)}
        return older | (objects.keys() - listed.keys())

    async def _listed(self) -> dict[Key, R]:
        page = await self._client.list(
            self.kind,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            page_size=_AUDIT_PAGE_SIZE,
        )
        return {obj.key: obj for obj in page.items}

    # The task.

    async def _run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        loop = asyncio.get_running_loop()
        while True:
            begun_s, watching_s, asked_s = loop.time(), math.inf, 0.0
            try:
                if not self._version:
                    await self._list()
                    backoff_s = min(backoff_s, _BACKOFF_LISTED_S)
                watching_s = loop.time()
                await self._watch()
                self._is_well()
            except Gone:
                self._version = ""
            except (ApiError, ApiUnreachable) as error:
                # An object that does not fit its model is like a server that is away: said, and asked for again.
                if loop.time() - watching_s > _LASTING_S:
                    self._is_well()
                if isinstance(error, ApiError):
                    asked_s = min(error.retry_after_s or 0.0, _ASKED_MAX_S)
                self._tell(error)
                self.is_current = False
                # After a lost server the version may belong to another history: list, and compare.
                self._version = ""
            # Servers end watches after minutes. One that ends them at once must not be asked without a pause.
            if loop.time() - begun_s > _LASTING_S:
                backoff_s = _BACKOFF_FIRST_S
            await asyncio.sleep(asked_s + backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)

    def _tell(self, error: Exception) -> None:
        """Say what is wrong, once: a right that is missing may be missing for ever."""
        # A server that is away says so in many ways; an object that does not fit its model is another trouble.
        is_away = isinstance(error, ApiUnreachable) and not isinstance(error.__cause__, msgspec.DecodeError)
        trouble = type(error).__name__ if is_away else str(error)
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.warning("watch_lost", kind=self.kind.RESOURCE.kind, error=str(error))

    def _is_well(self) -> None:
        """The watch tells of changes."""
        if self._trouble:
            self._trouble = ""
            self._log.info("watch_regained", kind=self.kind.RESOURCE.kind)

    async def _list(self) -> None:
        page = await self._client.list(
            self.kind,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            page_size=500,
        )
        listed = {obj.key: obj for obj in page.items}
        for key in [key for key in self._objects if key not in listed]:
            self._remove(key)
        for key, obj in listed.items():
            held = self._objects.get(key)
            if held is None or held.metadata.resource_version != obj.metadata.resource_version:
                self._put(obj)
        self._saw(page.resource_version)
        self.is_current = True
        self._synced.set()

    async def _watch(self) -> None:
        events = self._client.watch(
            self.kind,
            self._namespace,
            resource_version=self._version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        async for kind, obj in events:
            if kind == "DELETED":
                self._remove(obj.key)
            elif kind != "BOOKMARK":
                held = self._objects.get(obj.key)
                if held is None or held.metadata.uid != obj.metadata.uid or _version(held) < _version(obj):
                    self._put(obj)
            self._saw(obj.metadata.resource_version)
            self._is_well()

    def _saw(self, version: str) -> None:
        self._version = version
        self._seen = int(version) if version.isdigit() else 0

    # The copy.

    def _put(self, obj: R) -> None:
        old = self._objects.get(obj.key)
        if old is not None:
            self._unindex(old)
        self._objects[obj.key] = obj
        for name, index in self._indexes.items():
            for key in self._keys_of(name, obj) or ():
                index.setdefault(key, {})[obj.key] = obj
        self._notify(old, obj)

    def _remove(self, key: Key) -> None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(old)
            self._notify(old, None)

    def _unindex(self, obj: R) -> None:
        for name, index in self._indexes.items():
            keys = self._keys_of(name, obj)
            for key in list(index) if keys is None else keys:
                filed = index.get(key)
                if filed is not None:
                    filed.pop(obj.key, None)
                    if not filed:
                        del index[key]

    def _keys_of(self, name: str, obj: R) -> builtins.list[str] | None:
        """Return where an object is filed; None when that cannot be told."""
        try:
            return list(self._indexers[name](obj))
        except Exception as error:  # noqa: BLE001 - one object, or one reader's bug, must not stop the copy
            found = {"kind": self.kind.RESOURCE.kind, "index": name, "object": "/".join(obj.key)}
            self._log.exception("informer_index_failed", error, **found)
            return None

    def _notify(self, old: R | None, new: R | None) -> None:
        for callback in self._callbacks:
            try:
                callback(old, new)
            except Exception as error:  # noqa: BLE001 - one reader's bug must not stop the others
                self._log.exception("informer_callback_failed", error, kind=self.kind.RESOURCE.kind)


def _version(obj: Listed) -> int:
    # Opaque in principle; client-go compares versions as growing integers as well (spec api-clients.md 5).
    text = obj.metadata.resource_version
    return int(text) if text.isdigit() else 0
