"""What is bounded, and what happens beyond the bound."""

from collections.abc import Callable

import pytest

from local_cluster.apiserver import garbage, watching
from local_cluster.apiserver import store as store_module
from local_cluster.apiserver.admission import Admission
from local_cluster.apiserver.applying import FieldManagement
from local_cluster.apiserver.errors import StatusError
from local_cluster.apiserver.garbage import GarbageCollector
from local_cluster.apiserver.kinds import BUILT_IN_KINDS
from local_cluster.apiserver.objects import Objects, Policy
from local_cluster.apiserver.resources import Registry
from local_cluster.apiserver.schemas import Schemas
from local_cluster.apiserver.store import Collection, Store
from local_cluster.apiserver.versions import Change, Selection, Stored
from tests.local_cluster.apiserver.raw import CONFIGMAPS, Api
from tests.support.processes import eventually


def named(name: str, size: int = 0) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "default", "uid": name}, "data": {"key": "x" * size}}


def test_the_history_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "HISTORY_BYTES_MAX", 10_000)
    store = Store(first_version=0)
    collection = store.open("configmaps.", lambda _: {})
    for number in range(20):
        store.put("configmaps.", named(f"c{number}", size=1000))
    with pytest.raises(StatusError, match="too old"):
        collection.since(5)
    assert len(list(collection.since(15))) == 5


def stored(name: str, version: int) -> Stored:
    return Stored("", name, name, version, labels={}, fields={}, owners=(), is_ending=False, data=b"{}")


def test_the_history_ends_some_minutes_ago() -> None:
    now_s = 0.0
    collection = Collection(0, clock=lambda: now_s)
    for number in range(1, 100):
        now_s = number * 10.0
        collection.apply(Change(stored(f"c{number}", number), None, is_deletion=False))
        assert len(list(collection.since(max(0, number - 30)))) == min(number, 30), "five minutes are kept"
    with pytest.raises(StatusError, match="too old"):
        collection.since(60)
    assert len(collection) == 99


def test_rendered_bytes_are_shared_while_they_are_fresh_and_then_given_back() -> None:
    store = Store(first_version=0)
    collection = store.open("configmaps.", lambda _: {})
    store.put("configmaps.", named("first"))
    [first] = collection.since(0)
    assert first.rendered("form", lambda: b"once") == b"once"
    assert first.rendered("form", lambda: b"twice") == b"once"
    for number in range(store_module.RENDERED_MAX):
        store.put("configmaps.", named(f"c{number}"))
    assert first.rendered("form", lambda: b"anew") == b"anew"


async def test_watches_beyond_the_bound_are_told_when_to_come_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "WATCHES_MAX", 1)
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()):
        refused = await api.get(CONFIGMAPS, watch="true")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")


def collector_of(store: Store, clock: Callable[[], float]) -> GarbageCollector:
    registry = Registry(BUILT_IN_KINDS)
    for kind in BUILT_IN_KINDS:
        store.open(kind.key, lambda _: {})
    objects = Objects(store, registry, Admission(), Policy(), FieldManagement(Schemas()))
    return GarbageCollector(store, registry, objects, clock=clock)


async def test_of_too_many_events_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "EVENTS_MAX", 3)
    store = Store(first_version=0)
    collector = collector_of(store, lambda: 0.0)
    events = store.collection("events.")
    collector.start()
    try:
        for number in range(5):
            store.put("events.", named(f"e{number}"))
        await eventually(lambda: len(events) == 3)
    finally:
        await collector.stop()
    assert [stored.name for stored in events.select(Selection())] == ["e2", "e3", "e4"]


async def test_events_are_forgotten_an_hour_after_they_were_last_written() -> None:
    now_s = 0.0
    store = Store(first_version=0)
    collector = collector_of(store, lambda: now_s)
    events = store.collection("events.")
    for name in ("repeated", "single"):
        store.put("events.", named(name))
    now_s = 3000.0
    store.put("events.", named("repeated", size=1))
    store.put("configmaps.", named("kept"))
    now_s = 3601.0
    collector.expire_events()
    assert events.get("default", "single") is None
    assert events.get("default", "repeated") is not None
    now_s = 6601.0
    collector.expire_events()
    assert len(events) == 0
    assert len(store.collection("configmaps.")) == 1
