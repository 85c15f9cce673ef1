"""The state of the cluster in memory: immutable object versions and a bounded history of them.

Theory of operation. What is kept of an object is in `versions`. One counter numbers all writes of all kinds; it starts
at the clock (microseconds), so that versions grow across restarts and a client that outlived our state meets 410
instead of silence.

A commit appends one `Change` to its collection's history and offers it to whoever follows the collection (`feeds`), in
the same synchronous step: between a snapshot and its live stream nothing can be lost or doubled.

Nothing here awaits. Conformance: api-clients statements 12-16, 20.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import orjson

from local_cluster.apiserver.errors import expired
from local_cluster.apiserver.journal import Journal
from local_cluster.apiserver.versions import Change, Selection, Stored

__all__ = ["HISTORY_MAX", "Collection", "Follower", "Store"]

HISTORY_MAX = 4_000
"""Changes kept per kind; a watch from before them is answered 410."""
HISTORY_BYTES_MAX = 4 << 20
"""And at most these bytes of objects per kind: some twenty kinds are written to all the time, and with 16 MiB each
half an hour of 200 Services that come and go took 100 MB more."""
HISTORY_AGE_S = 300.0
"""And none for much longer than that when newer ones come: what upstream compacts, too."""
_MARK_S = 30.0
RENDERED_MAX = 64
"""Newest changes whose rendered bytes are kept: all watchers ask at nearly the same time, later ones are few."""
_NO_FIELDS: Mapping[str, str] = {}


class Follower(Protocol):
    """Whoever tells watchers of a collection's commits."""

    def offer(self, change: Change) -> None:
        """A commit; must neither block nor write."""

    def close(self) -> None:
        """The collection is gone."""


class Collection:
    """All objects of one kind, of whatever served version."""

    __slots__ = (
        "_by_namespace",
        "_clock",
        "_floor",
        "_history",
        "_history_bytes",
        "_history_max",
        "_marks",
        "fields_of",
        "follower",
    )

    def __init__(
        self,
        floor: int,
        history_max: int = HISTORY_MAX,
        fields_of: Callable[[dict[str, Any]], Mapping[str, str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._by_namespace: dict[str, dict[str, Stored]] = {}
        self._history: deque[Change] = deque()
        self._history_max = history_max
        self._history_bytes = 0
        self._marks: deque[tuple[float, int]] = deque()
        """Each half a minute of writing: the time, and the version then."""
        self._clock = clock
        self._floor = floor
        self.fields_of = fields_of or (lambda _: _NO_FIELDS)
        self.follower: Follower | None = None

    def __len__(self) -> int:
        return sum(map(len, self._by_namespace.values()))

    @property
    def version(self) -> int:
        """Number of the last write; without one that is known, of the moment when the history begins."""
        return self._history[-1].version if self._history else self._floor

    def get(self, namespace: str, name: str) -> Stored | None:
        """The current version of one object, or None."""
        return self._by_namespace.get(namespace, {}).get(name)

    def select(self, selection: Selection) -> list[Stored]:
        """The selected objects, sorted by namespace and name."""
        pinned = selection.fields.required("metadata.name")
        namespaces = [selection.namespace] if selection.namespace else sorted(self._by_namespace)
        found: list[Stored] = []
        for namespace in namespaces:
            objects = self._by_namespace.get(namespace, {})
            names = sorted(objects) if pinned is None else [name for name in (pinned,) if name in objects]
            found.extend(objects[name] for name in names)
        return found if selection.is_everything else [stored for stored in found if selection.includes(stored)]

    def since(self, version: int) -> Iterator[Change]:
        """The changes after `version`, oldest first. Raises 410 when the history does not reach back so far."""
        if version < self._floor:
            raise expired(f"too old resource version: {version} ({self._floor})")
        newer: list[Change] = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            newer.append(change)
        return reversed(newer)

    def apply(self, change: Change) -> None:
        """Make `change` the current state, remember it, and offer it to the watchers."""
        objects = self._by_namespace.setdefault(change.state.namespace, {})
        if change.is_deletion:
            del objects[change.state.name]
            if not objects:
                del self._by_namespace[change.state.namespace]
        else:
            objects[change.state.name] = change.state
        self._remember(change)
        if self.follower is not None:
            self.follower.offer(change)

    def restore(self, state: Stored) -> None:
        """Take over an object from before the history."""
        self._by_namespace.setdefault(state.namespace, {})[state.name] = state

    def _remember(self, change: Change) -> None:
        history = self._history
        history.append(change)
        self._history_bytes += len(change.state.data)
        now_s = self._clock()
        marks = self._marks
        if not marks or now_s >= marks[-1][0] + _MARK_S:
            marks.append((now_s, change.version))
        while len(marks) > 1 and marks[1][0] < now_s - HISTORY_AGE_S:
            marks.popleft()
        oldest_version = marks[0][1]
        while history and (
            len(history) > self._history_max
            or self._history_bytes > HISTORY_BYTES_MAX
            or history[0].version < oldest_version
        ):
            oldest = history.popleft()
            self._history_bytes -= len(oldest.state.data)
            self._floor = oldest.version
        if len(history) > RENDERED_MAX:
            history[-RENDERED_MAX - 1].forget_rendered()


class Store:
    """Every collection, the version counter, and the index from owners to dependents."""

    def __init__(
        self, *, first_version: int | None = None, history_max: int = HISTORY_MAX, journal: Journal | None = None
    ) -> None:
        self._journal = journal
        self.version = time.time_ns() // 1000 if first_version is None else first_version
        if journal is not None:
            # A clock that went back does not take versions with it.
            self.version = max(self.version, journal.version())
        self._history_max = history_max
        self._collections: dict[str, Collection] = {}
        self._dependents: dict[str, set[tuple[str, str, str]]] = {}
        self._uids: dict[str, tuple[str, str, str]] = {}
        self._listeners: list[Callable[[str, Change], None]] = []

    def on_change(self, listener: Callable[[str, Change], None]) -> None:
        """Call `listener(collection key, change)` after every commit. It must neither block nor write."""
        self._listeners.append(listener)

    def open(self, key: str, fields_of: Callable[[dict[str, Any]], Mapping[str, str]]) -> Collection:
        """The collection `key` (`plural.group`), made when absent."""
        collection = self._collections.get(key)
        if collection is None:
            collection = self._collections[key] = Collection(self.version, self._history_max, fields_of)
        return collection

    def collection(self, key: str) -> Collection:
        """An existing collection."""
        return self._collections[key]

    def discard(self, key: str) -> None:
        """Forget a collection and end its watches.

        Objects that are left in it, because somebody took away what held their definition, are gone with it.
        """
        collection = self._collections[key]
        for stored in collection.select(Selection()):
            self.remove(key, stored)
        del self._collections[key]
        if collection.follower is not None:
            collection.follower.close()

    def collections(self) -> Iterable[tuple[str, Collection]]:
        """All collections by key."""
        return list(self._collections.items())

    def put(self, key: str, obj: dict[str, Any]) -> Stored:
        """Commit `obj` as the new version of its object, existing or not. Sets its resourceVersion."""
        collection = self._collections[key]
        metadata = obj["metadata"]
        previous = collection.get(metadata.get("namespace", ""), metadata["name"])
        state = self._version_of(obj, collection)
        if self._journal is not None:
            self._journal.put(key, state.namespace, state.name, state.version, state.data)
        self._index(key, previous, state)
        self._apply(key, collection, Change(state, previous, is_deletion=False))
        return state

    def preview(self, key: str, obj: dict[str, Any]) -> Stored:
        """What `put` would make of `obj`, without a version of its own: the answer to a dry run."""
        version = int(obj["metadata"].get("resourceVersion") or 0)
        return self._encode(obj, self._collections[key], version)

    def remove(self, key: str, stored: Stored, last_state: dict[str, Any] | None = None) -> Stored:
        """Commit the deletion of the object whose current version is `stored`.

        Returns its last state, which is `last_state` when the deleting write also changed the object.
        """
        collection = self._collections[key]
        last = self._version_of(last_state or stored.load(), collection)
        if self._journal is not None:
            self._journal.remove(key, stored.namespace, stored.name, last.version)
        self._index(key, stored, None)
        self._apply(key, collection, Change(last, stored, is_deletion=True))
        return last

    def restore(self, key: str, obj: dict[str, Any], version: int) -> None:
        """Take over an object as it was committed before the history begins. Listeners are told; watchers cannot be."""
        collection = self._collections[key]
        state = self._encode(obj, collection, version)
        self._index(key, None, state)
        collection.restore(state)
        for listener in self._listeners:
            listener(key, Change(state, None, is_deletion=False))

    def owner_exists(self, uid: str, namespace: str) -> bool:
        """Whether an object with this UID is stored where it may own objects of `namespace`: there or cluster-wide."""
        place = self._uids.get(uid)
        return place is not None and place[1] in ("", namespace)

    def by_uid(self, uid: str) -> tuple[str, Stored] | None:
        """Collection key and current version of the object with this UID."""
        place = self._uids.get(uid)
        if place is None:
            return None
        stored = self._collections[place[0]].get(place[1], place[2])
        return None if stored is None else (place[0], stored)

    def dependents(self, uid: str) -> list[tuple[str, Stored]]:
        """Objects with an owner reference to `uid`, each with its collection key."""
        found = []
        for key, namespace, name in sorted(self._dependents.get(uid, ())):
            stored = self._collections[key].get(namespace, name)
            if stored is not None:
                found.append((key, stored))
        return found

    def _version_of(self, obj: dict[str, Any], collection: Collection) -> Stored:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        return self._encode(obj, collection, self.version)

    def _encode(self, obj: dict[str, Any], collection: Collection, version: int) -> Stored:
        metadata = obj["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        owners = metadata.get("ownerReferences")
        return Stored(
            namespace=namespace,
            name=name,
            uid=metadata.get("uid", ""),
            version=version,
            labels=metadata.get("labels") or _NO_FIELDS,
            fields=collection.fields_of(obj) or _NO_FIELDS,
            owners=tuple(owner.get("uid", "") for owner in owners) if owners else (),
            is_ending="deletionTimestamp" in metadata,
            # orjson leaves each result in a buffer of 4 KiB or more: copied, 15,000 versions take 50 MB less.
            data=memoryview(orjson.dumps(obj)).tobytes(),
        )

    def _index(self, key: str, previous: Stored | None, state: Stored | None) -> None:
        stored = state or previous
        assert stored is not None
        place = (key, stored.namespace, stored.name)
        if state is None:
            self._uids.pop(stored.uid, None)
        elif previous is None:
            self._uids[stored.uid] = place
        before = previous.owners if previous is not None else ()
        after = state.owners if state is not None else ()
        if before == after:
            return
        for uid in before:
            places = self._dependents.get(uid)
            if places is not None:
                places.discard(place)
                if not places:
                    del self._dependents[uid]
        for uid in after:
            self._dependents.setdefault(uid, set()).add(place)

    def _apply(self, key: str, collection: Collection, change: Change) -> None:
        collection.apply(change)
        for listener in self._listeners:
            listener(key, change)
