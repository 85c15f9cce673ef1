"""What happens after a deletion: dependents of a gone owner go too, and a namespace that ends is emptied.

Commits tell the collector which owners, dependents and namespaces to look at; one task works them off in order, giving
way to requests in between. Rules: a dependent is deleted when none of its owners exists, else it loses the reference;
`Foreground` deletes dependents first and holds the owner by a finalizer, `Orphan` removes their references.
Source: Kubernetes documentation, "Garbage Collection"; api-clients statements 37, 38, 40.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from local_cluster.apiserver.crds import CLEANUP, CRD_KEY
from local_cluster.apiserver.deleting import FOREGROUND, ORPHAN, DeleteOptions
from local_cluster.apiserver.errors import StatusError
from local_cluster.apiserver.objects import Objects
from local_cluster.apiserver.resources import Registry
from local_cluster.apiserver.store import Store
from local_cluster.apiserver.versions import Change, Selection, Stored
from proxies.logs import Logger

__all__ = ["GarbageCollector"]

EVENTS_KEY = "events."
EVENT_AGE_MAX_S = 3600.0
"""Events are notes, not state: each is forgotten an hour after it was last written, as upstream."""
EVENTS_MAX = 2000
"""So many are kept at most; the oldest go first. Upstream keeps them all for the hour, but not in memory."""
EVENT_CHECK_S = 60.0
BATCH = 64
"""Items worked off before other tasks get their turn."""


class GarbageCollector:
    """Follows the store and deletes what nobody owns any more."""

    def __init__(
        self, store: Store, registry: Registry, objects: Objects, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._registry = registry
        self._objects = objects
        self._queue: deque[tuple[str, str]] = deque()
        self._queued: set[tuple[str, str]] = set()
        self._ending_kinds: set[str] = set()
        """Collections whose definition is being deleted."""
        self._event_times: dict[str, float] = {}
        """When each Event was last written, oldest first."""
        self._clock = clock
        self._logger = Logger("apiserver")
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        store.on_change(self._changed)

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run(), name="garbage collector")

    async def stop(self) -> None:
        """Stop after the item at hand."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    # -- from the store -------------------------------------------------------------------------------------

    def _changed(self, key: str, change: Change) -> None:
        state = change.state
        if key == EVENTS_KEY:
            self._event_times.pop(state.uid, None)
            if not change.is_deletion:
                self._event_times[state.uid] = self._clock()
                if len(self._event_times) > EVENTS_MAX:
                    self._wake.set()
        if change.is_deletion:
            self._add("owner", state.uid)
            for uid in state.owners:
                self._add("waiting", uid)
            if state.namespace and self._is_ending(state.namespace):
                self._add("namespace", state.namespace)
            if key in self._ending_kinds:
                self._add("kind", key)
            return
        if state.owners and (change.previous is None or change.previous.owners != state.owners):
            self._add("dependent", state.uid)
        if state.is_ending:
            if key == "namespaces.":
                self._add("namespace", state.name)
            elif key == CRD_KEY:
                self._ending_kinds.add(state.name)
                self._add("kind", state.name)
            self._add("waiting", state.uid)

    def _add(self, what: str, name: str) -> None:
        item = (what, name)
        if item not in self._queued:
            self._queued.add(item)
            self._queue.append(item)
            self._wake.set()

    def expire_events(self) -> None:
        """Delete the Events that are older than an hour, and those that are too many."""
        oldest_s = self._clock() - EVENT_AGE_MAX_S
        while self._event_times:
            uid, written_s = next(iter(self._event_times.items()))
            if written_s > oldest_s and len(self._event_times) <= EVENTS_MAX:
                return
            found = self._store.by_uid(uid)
            assert found is not None, f"event {uid} is indexed and not stored"
            self._store.remove(*found)

    # -- the work -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self.expire_events()
            await self._woken()
            while self._queue:
                for _ in range(min(BATCH, len(self._queue))):
                    self._work()
                await asyncio.sleep(0)

    async def _woken(self) -> None:
        """Wait for work, or until it is time to look after Events again."""
        try:
            async with asyncio.timeout(EVENT_CHECK_S):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _work(self) -> None:
        item = self._queue.popleft()
        self._queued.discard(item)
        try:
            self._look_at(*item)
        except StatusError as error:
            # One object that cannot be written must not keep the others from being collected.
            self._logger.error("not_collected", what=item[0], name=item[1], error=error.message)

    def _look_at(self, what: str, name: str) -> None:
        match what:
            case "owner":
                for key, dependent in self._store.dependents(name):
                    self._settle(key, dependent)
            case "dependent":
                found = self._store.by_uid(name)
                if found is not None:
                    self._settle(*found)
            case "waiting":
                self._release(name)
            case "namespace":
                self._empty_namespace(name)
            case "kind":
                self._empty_kind(name)

    def _settle(self, key: str, dependent: Stored) -> None:
        """Delete a dependent without living owners, or take the dead ones from its references."""
        dead = {uid for uid in dependent.owners if not self._store.owner_exists(uid, dependent.namespace)}
        if not dead:
            return
        if dead == set(dependent.owners):
            self._delete(key, dependent, "Background")
            return
        obj = dependent.load()
        owners = obj["metadata"]["ownerReferences"]
        obj["metadata"]["ownerReferences"] = [owner for owner in owners if owner.get("uid") not in dead]
        self._rewrite(key, dependent, obj)

    def _release(self, uid: str) -> None:
        """Go on with an owner that is being deleted in the foreground, or orphaning its dependents."""
        found = self._store.by_uid(uid)
        if found is None:
            return
        obj = found[1].load()
        finalizers = obj["metadata"].get("finalizers") or []
        if "deletionTimestamp" not in obj["metadata"]:
            return
        dependents = self._store.dependents(uid)
        if ORPHAN in finalizers:
            for dependent_key, dependent in dependents:
                orphan = dependent.load()
                owners = orphan["metadata"]["ownerReferences"]
                orphan["metadata"]["ownerReferences"] = [item for item in owners if item.get("uid") != uid]
                self._rewrite(dependent_key, dependent, orphan)
            self._drop_finalizer(uid, ORPHAN)
        elif FOREGROUND in finalizers:
            for dependent_key, dependent in dependents:
                if not dependent.is_ending:
                    self._delete(dependent_key, dependent, "Foreground")
            if not any(_blocks(dependent, uid) for _, dependent in self._store.dependents(uid)):
                self._drop_finalizer(uid, FOREGROUND)

    def _drop_finalizer(self, uid: str, finalizer: str) -> None:
        found = self._store.by_uid(uid)
        if found is None:
            return
        key, owner = found
        obj = owner.load()
        finalizers = obj["metadata"].get("finalizers") or []
        obj["metadata"]["finalizers"] = [name for name in finalizers if name != finalizer]
        self._rewrite(key, owner, obj)

    def _empty_namespace(self, name: str) -> None:
        """Delete what is in a namespace that ends, and the namespace when nothing is left."""
        namespace = self._store.collection("namespaces.").get("", name)
        if namespace is None or not self._is_ending(name):
            return
        left = False
        for key, collection in self._store.collections():
            for stored in collection.select(Selection(namespace=name)):
                if not stored.is_ending:
                    self._delete(key, stored, "Background")
            left = left or bool(collection.select(Selection(namespace=name)))
        if not left and not (namespace.load()["metadata"].get("finalizers")):
            self._store.remove("namespaces.", namespace)

    def _empty_kind(self, key: str) -> None:
        """Delete the objects of a kind whose definition ends, and the definition when none is left."""
        definition = self._store.collection(CRD_KEY).get("", key)
        if definition is None:
            self._ending_kinds.discard(key)
            return
        for stored in self._store.collection(key).select(Selection()):
            if not stored.is_ending:
                self._delete(key, stored, "Background")
        if not len(self._store.collection(key)):
            self._ending_kinds.discard(key)
            self._drop_finalizer(definition.uid, CLEANUP)

    def _is_ending(self, name: str) -> bool:
        namespace = self._store.collection("namespaces.").get("", name)
        return namespace is not None and namespace.fields.get("status.phase") == "Terminating"

    def _delete(self, key: str, stored: Stored, propagation: str) -> None:
        kind = self._registry.of_key(key)
        if kind is not None:
            self._objects.begin_deletion(kind, stored, DeleteOptions(propagation=propagation))

    def _rewrite(self, key: str, stored: Stored, obj: dict[str, object]) -> None:
        kind = self._registry.of_key(key)
        if kind is not None:
            if not obj["metadata"].get("ownerReferences"):  # type: ignore[attr-defined]
                obj["metadata"].pop("ownerReferences", None)  # type: ignore[attr-defined]
            self._objects.rewrite(kind, stored, obj)


def _blocks(dependent: Stored, uid: str) -> bool:
    owners = dependent.load()["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == uid and owner.get("blockOwnerDeletion") for owner in owners)
