"""Streaming watches: what a client is sent from the first event to the clean end of the stream.

A watch begins with a snapshot (no version, version 0, or `sendInitialEvents`), or with the changes after a version; in
both cases its watcher joins its feed in the same synchronous step: the live stream follows without gap or repetition.
Conformance: api-clients statements 8-18.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

import orjson

from local_cluster.apiserver.errors import Cause, StatusError, expired, invalid, too_many_requests
from local_cluster.apiserver.feeds import Feeds, Pump, Watcher, WriteNow
from local_cluster.apiserver.requests import flag, whole_number
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.store import Store
from local_cluster.apiserver.table import Renderer
from local_cluster.apiserver.versions import Change, Seen, Selection, Stored

__all__ = ["OpenWatch", "Watches"]

INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
BOOKMARK_INTERVAL_S = 60.0
WATCH_S_MIN = 1800
"""A watch without `timeoutSeconds` ends after a random time of one to two of these, as upstream."""
WATCH_S_MAX = 86_400
WATCHES_MAX = 4096
"""Knative's programs and kubectl together hold about 170 (api-clients 1); beyond this someone leaks them: 429."""
CHUNK_BYTES = 16 << 10
"""Initial events are written in parts of about this size, so that one large list does not stall the others. With 200
clients that list 5,000 objects together the server has 91 MB, with parts of 64 KiB 104 MB."""


class Watches:
    """All open watches of one server; one timer sends bookmarks to every one of them."""

    def __init__(self, store: Store, *, queue_max: int, bookmark_interval_s: float = BOOKMARK_INTERVAL_S) -> None:
        self._store = store
        self._queue_max = queue_max
        self._bookmark_interval_s = bookmark_interval_s
        self._pump = Pump()
        self._open: dict[Watcher, Renderer] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def start(self) -> None:
        """Begin sending bookmarks."""
        self._timer = asyncio.get_running_loop().call_later(self._bookmark_interval_s, self._bookmark)

    def stop(self) -> None:
        """End every watch."""
        if self._timer is not None:
            self._timer.cancel()
        self._pump.flush()
        for watcher in list(self._open):
            watcher.close()

    def begin(
        self, kind: ResourceType, selection: Selection, query: Mapping[str, str], renderer: Renderer
    ) -> "OpenWatch":
        """Start a watch and return its stream of whole lines.

        Raises 410 for a version outside the history, 422 for parameters that contradict each other, 429 beyond the
        bound; all before anything is sent.
        """
        wants_bookmarks = flag(query, "allowWatchBookmarks")
        sends_initial = query.get("sendInitialEvents")
        _check_parameters(query, sends_initial)
        version = _version(query.get("resourceVersion", ""))
        if version > self._store.version:
            raise expired(f"too large resource version: {version}, current: {self._store.version}")
        timeout_s = min(whole_number(query, "timeoutSeconds"), WATCH_S_MAX)
        timeout_s = timeout_s or random.randint(WATCH_S_MIN, 2 * WATCH_S_MIN)
        if len(self._open) >= WATCHES_MAX:
            raise too_many_requests(1, f"{WATCHES_MAX} watches are open")
        collection = self._store.collection(kind.key)

        def render(seen: Seen) -> bytes:
            return _render(renderer, seen)

        # Nothing is rendered before it can be sent: 200 clients that start together want gigabytes of lists.
        initial: Iterable[bytes] = ()
        if sends_initial is not None and flag(query, "sendInitialEvents"):
            initial = _added(renderer, collection.select(selection))
            if wants_bookmarks:
                last = _line("BOOKMARK", renderer.bookmark(self._store.version, INITIAL_EVENTS_END))
                initial = itertools.chain(initial, (last,))
        elif version == 0 and sends_initial is None:
            initial = _added(renderer, collection.select(selection))
        elif version:
            initial = map(render, [seen for change in collection.since(version) if (seen := selection.sees(change))])
        watcher = Watcher(wants_bookmarks=wants_bookmarks, queue_max=self._queue_max)
        feeds = collection.follower
        if not isinstance(feeds, Feeds):
            feeds = collection.follower = Feeds(self._pump)
        feeds.join(selection, renderer.key, render, watcher)
        self._open[watcher] = renderer
        timer = asyncio.get_running_loop().call_later(timeout_s, watcher.close)

        def finish() -> None:
            timer.cancel()
            if self._open.pop(watcher, None) is not None:
                feeds.leave(selection, renderer.key, watcher)

        return OpenWatch(watcher, initial, finish)

    def _bookmark(self) -> None:
        self._pump.flush()  # a bookmark says that everything before it was sent
        version = self._store.version
        for watcher, renderer in self._open.items():
            if watcher.wants_bookmarks:
                watcher.bookmark(_line("BOOKMARK", renderer.bookmark(version)))
        self.start()


class OpenWatch:
    """One watch on its way to a client: iterate over the chunks, then `aclose`."""

    def __init__(self, watcher: Watcher, initial: Iterable[bytes], finish: Callable[[], None]) -> None:
        self._watcher = watcher
        self._initial = initial
        self._finish = finish

    def attach(self, write_now: WriteNow) -> None:
        """Let events go straight to the client whenever the iteration waits for some."""
        self._watcher.write_now = write_now

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for chunk in _chunks(self._initial):
            yield chunk
            await asyncio.sleep(0)  # a client that takes everything at once must not keep the others waiting
        self._initial = ()
        while lines := await self._watcher.take():
            for chunk in _chunks(lines):
                yield chunk
        if self._watcher.overflowed:
            error = expired("the watch fell behind by too many events and was closed")
            yield _line("ERROR", orjson.dumps(error.status()))

    async def aclose(self) -> None:
        """Forget the watcher, however far the stream got."""
        self._finish()


def _added(renderer: Renderer, objects: list[Stored]) -> Iterable[bytes]:
    return (_line("ADDED", renderer.object(stored.data)) for stored in objects)


def _chunks(lines: Iterable[bytes]) -> Iterable[bytes]:
    pending: list[bytes] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield b"".join(pending)
            pending.clear()
            size = 0
    if pending:
        yield b"".join(pending)


def _render(renderer: Renderer, seen: Seen) -> bytes:
    change = seen.change
    if seen.type == "DELETED" and not change.is_deletion:
        return change.rendered(
            ("left", renderer.key), lambda: _line("DELETED", renderer.object(_last_selected(change)))
        )
    return change.rendered((seen.type, renderer.key), lambda: _line(seen.type, renderer.object(change.state.data)))


def _last_selected(change: Change) -> bytes:
    """An object that left a selection, as it was when it was last in it, under the version in which it left."""
    assert change.previous is not None
    obj = change.previous.load()
    obj["metadata"]["resourceVersion"] = str(change.version)
    return orjson.dumps(obj)


def _line(event_type: str, obj: bytes) -> bytes:
    return b'{"type":"' + event_type.encode() + b'","object":' + obj + b"}\n"


def _version(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise _invalid_option("resourceVersion", f'Invalid value: "{text}": expected a whole number')
    return int(text)


def _check_parameters(query: Mapping[str, str], sends_initial: str | None) -> None:
    match = query.get("resourceVersionMatch")
    if match and sends_initial is None:
        raise _invalid_option(
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )
    if sends_initial is not None and match != "NotOlderThan":
        raise _invalid_option(
            "resourceVersionMatch",
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )


def _invalid_option(field: str, message: str) -> StatusError:
    return invalid("meta.k8s.io", "listoptions", "ListOptions", "", [Cause(field, "FieldValueInvalid", message)])
