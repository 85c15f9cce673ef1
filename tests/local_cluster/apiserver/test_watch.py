"""Watches: what is sent first, what follows, and how a stream ends. Numbers are the api-clients statements."""

import asyncio
import time

import pytest

from local_cluster.apiserver.feeds import Feeds
from tests.local_cluster.apiserver.raw import (
    CONFIGMAPS,
    PODS,
    STREAMING_LIST,
    TABLE,
    Api,
    config_map,
    connected,
    deployment,
    pod,
)
from tests.support.api import RunningApiServer, running_api_server


async def test_08_a_watch_streams_json_lines_of_one_namespace_or_of_all(api: Api) -> None:
    version = await api.version()
    async with (
        api.watch(CONFIGMAPS, resourceVersion=version) as here,
        api.watch("/api/v1/configmaps", resourceVersion=version) as everywhere,
    ):
        await api.create("/api/v1/namespaces/kube-system/configmaps", config_map("there"))
        await api.create(CONFIGMAPS, config_map("here"))
        assert await here.names(1) == [("ADDED", "here")]
        assert await everywhere.names(2) == [("ADDED", "there"), ("ADDED", "here")]


async def test_a_watch_shows_adding_modifying_and_deleting_with_growing_versions(api: Api) -> None:
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as events:
        await api.create(CONFIGMAPS, config_map("a", key="1"))
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"key": "2"}})
        await api.call("DELETE", f"{CONFIGMAPS}/a")
        seen = [await events.next() for _ in range(3)]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event["object"]["data"]["key"] for event in seen] == ["1", "2", "2"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))
    assert all(event["object"]["kind"] == "ConfigMap" and event["object"]["apiVersion"] == "v1" for event in seen)


async def test_09_and_10_a_streaming_list_ends_its_first_part_with_an_annotated_bookmark(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("a"))
    async with api.watch(CONFIGMAPS, **STREAMING_LIST) as events:
        assert await events.names(1) == [("ADDED", "a")]
        bookmark = await events.next()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "ConfigMap"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert bookmark["object"]["metadata"]["resourceVersion"] == await api.version()
        await api.create(CONFIGMAPS, config_map("b"))
        assert await events.names(1) == [("ADDED", "b")]


async def test_10_the_bookmark_comes_even_when_there_is_no_object(api: Api) -> None:
    async with api.watch(PODS, **STREAMING_LIST) as events:
        bookmark = await events.next()
    assert bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"


async def test_11_initial_events_are_sent_also_after_a_known_version(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("a"))
    version = await api.version()
    async with api.watch(CONFIGMAPS, **STREAMING_LIST, resourceVersion=version) as events:
        assert await events.names(1) == [("ADDED", "a")]
        assert (await events.next())["type"] == "BOOKMARK"


async def test_12_no_event_is_lost_or_doubled_between_snapshot_and_stream(api: Api) -> None:
    async def write() -> None:
        for number in range(100):
            await api.create(CONFIGMAPS, config_map(f"c{number:03}"))

    writing = asyncio.create_task(write())
    seen: list[list[str]] = []
    for _ in range(5):
        names: list[str] = []
        async with api.watch(CONFIGMAPS, **STREAMING_LIST) as events:
            while len(names) < 100:
                event = await events.next()
                if event["type"] == "ADDED":
                    names.append(event["object"]["metadata"]["name"])
        seen.append(names)
    await writing
    for names in seen:
        assert sorted(names) == [f"c{number:03}" for number in range(100)]


@pytest.mark.parametrize("version", ["", "0"])
async def test_13_a_watch_without_a_version_begins_with_what_is_there(api: Api, version: str) -> None:
    await api.create(CONFIGMAPS, config_map("a"))
    async with api.watch(CONFIGMAPS, resourceVersion=version) as events:
        await api.create(CONFIGMAPS, config_map("b"))
        assert await events.names(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_13_a_watch_from_a_version_delivers_exactly_the_later_events(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("before"))
    middle = await api.create(CONFIGMAPS, config_map("middle"))
    await api.create(CONFIGMAPS, config_map("after"))
    async with api.watch(CONFIGMAPS, resourceVersion=middle["metadata"]["resourceVersion"]) as events:
        await api.call("DELETE", f"{CONFIGMAPS}/before")
        assert await events.names(2) == [("ADDED", "after"), ("DELETED", "before")]


async def test_14_a_version_older_than_the_history_is_expired() -> None:
    async with running_api_server(history_max=3) as running, connected(running.config) as api:
        first = await api.create(CONFIGMAPS, config_map("c0"))
        for number in range(1, 6):
            last = await api.create(CONFIGMAPS, config_map(f"c{number}"))
        old = await api.get(CONFIGMAPS, watch="true", resourceVersion=first["metadata"]["resourceVersion"])
        assert (old.status, old.data["reason"]) == (410, "Expired")
        async with api.watch(CONFIGMAPS, resourceVersion=str(int(last["metadata"]["resourceVersion"]) - 3)) as events:
            assert await events.names(3) == [("ADDED", "c3"), ("ADDED", "c4"), ("ADDED", "c5")]


async def test_15_a_version_from_the_future_is_an_error_not_an_empty_stream(api: Api) -> None:
    future = str(int(await api.version()) + 1000)
    watch = await api.get(CONFIGMAPS, watch="true", resourceVersion=future)
    assert (watch.status, watch.data["reason"]) == (410, "Expired")
    listed = await api.get(CONFIGMAPS, resourceVersion=future)
    assert listed.status == 504
    assert listed.data["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_16_versions_grow_over_all_kinds_and_begin_at_the_clock(api: Api) -> None:
    created = [
        await api.create(CONFIGMAPS, config_map("a")),
        await api.create(PODS, pod("a")),
        await api.create("/apis/apps/v1/namespaces/default/deployments", deployment("a")),
    ]
    versions = [int(obj["metadata"]["resourceVersion"]) for obj in created]
    assert versions == sorted(set(versions))
    assert abs(versions[0] / 1e6 - time.time()) < 60


async def test_17_a_watch_ends_cleanly_after_its_timeout(api: Api) -> None:
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version(), timeoutSeconds="1", timeout="1s") as events:
        assert events.status == 200
        await events.end()


async def test_18_bookmarks_come_by_themselves_to_those_who_allow_them() -> None:
    async with running_api_server(bookmark_interval_s=0.05) as running, connected(running.config) as api:
        version = await api.version()
        async with api.watch(CONFIGMAPS, resourceVersion=version, allowWatchBookmarks="true") as events:
            await api.create(PODS, pod("elsewhere"))
            bookmark = await events.next()
            while bookmark["object"]["metadata"]["resourceVersion"] == version:
                bookmark = await events.next()
            assert bookmark["type"] == "BOOKMARK"
            assert bookmark["object"]["metadata"]["resourceVersion"] == await api.version()
        async with api.watch(CONFIGMAPS, resourceVersion=version) as without:
            await api.create(CONFIGMAPS, config_map("a"))
            assert await without.names(1) == [("ADDED", "a")]


async def test_20_leaving_a_selection_is_deleted_and_entering_it_added(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("a", {"colour": "red"}))
    async with api.watch(CONFIGMAPS, labelSelector="colour=red", resourceVersion=await api.version()) as events:
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"colour": "blue"}}})
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"unseen": "true"}})
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"colour": "red"}}})
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"seen": "true"}})
        assert await events.names(3) == [("DELETED", "a"), ("ADDED", "a"), ("MODIFIED", "a")]


async def test_20_what_leaves_is_shown_as_it_was_under_the_version_in_which_it_left(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("a", {"colour": "red"}, k="1"))
    async with api.watch(CONFIGMAPS, labelSelector="colour=red", resourceVersion=await api.version()) as events:
        left = (
            await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"colour": "blue"}}, "data": {"k": "2"}})
        ).data
        event = await events.next()
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["labels"] == {"colour": "red"}
    assert event["object"]["data"] == {"k": "1"}
    assert event["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]


async def test_21_a_node_watches_its_own_pods(api: Api) -> None:
    async with api.watch(
        "/api/v1/pods", fieldSelector="spec.nodeName=one", resourceVersion=await api.version()
    ) as seen:
        await api.create(PODS, pod("other", node="two"))
        await api.create(PODS, pod("mine", node="one"))
        await api.create(PODS, pod("pending"))
        await api.patch(f"{PODS}/pending", {"spec": {"nodeName": "one"}})
        assert await seen.names(2) == [("ADDED", "mine"), ("ADDED", "pending")]


async def test_23_two_hundred_watches_see_one_write(running: RunningApiServer, api: Api) -> None:
    version = await api.version()
    async with connected(running.config) as many:
        many._session.connector._limit = 0  # type: ignore[union-attr]

        async def watch(opened: asyncio.Barrier) -> list[tuple[str, str]]:
            async with many.watch(CONFIGMAPS, resourceVersion=version) as events:
                await opened.wait()
                return await events.names(1)

        opened = asyncio.Barrier(201)
        watching = [asyncio.create_task(watch(opened)) for _ in range(200)]
        await asyncio.wait_for(opened.wait(), 30)
        await api.create(CONFIGMAPS, config_map("a"))
        assert await asyncio.gather(*watching) == [[("ADDED", "a")]] * 200


async def test_a_watch_of_tables_sends_its_columns_first(api: Api) -> None:
    async with api.watch(CONFIGMAPS, {"Accept": TABLE}, resourceVersion=await api.version()) as events:
        await api.create(CONFIGMAPS, config_map("a", key="value"))
        event = await events.next()
    assert event["object"]["kind"] == "Table"
    assert [column["name"] for column in event["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert event["object"]["rows"][0]["cells"][:2] == ["a", 1]


async def test_streaming_lists_need_their_match_parameter(api: Api) -> None:
    answer = await api.get(CONFIGMAPS, watch="true", sendInitialEvents="true")
    assert (answer.status, answer.data["reason"]) == (422, "Invalid")
    answer = await api.get(CONFIGMAPS, watch="true", resourceVersionMatch="NotOlderThan")
    assert answer.status == 422


async def test_a_version_that_is_no_number_is_refused(api: Api) -> None:
    answer = await api.get(CONFIGMAPS, watch="true", resourceVersion="new")
    assert (answer.status, answer.data["kind"]) == (422, "Status")


async def test_a_watch_of_an_unknown_kind_is_not_found(api: Api) -> None:
    answer = await api.get("/apis/eventing.knative.dev/v1/nothings", watch="true")
    assert (answer.status, answer.data["reason"]) == (404, "NotFound")


async def test_a_closed_watch_leaves_nothing_behind(running: RunningApiServer, api: Api) -> None:
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as events:
        await api.create(CONFIGMAPS, config_map("a"))
        await events.names(1)
        feeds = running.server.store.collection("configmaps.").follower
        assert isinstance(feeds, Feeds)
        assert len(list(feeds.watchers())) == 1
    async with asyncio.timeout(5):
        while list(feeds.watchers()):
            await api.create(CONFIGMAPS, {"metadata": {"generateName": "next-"}})


async def test_a_client_that_does_not_read_holds_up_nobody_and_is_told_that_it_missed_something() -> None:
    async with running_api_server(watcher_queue_max=20) as running, connected(running.config) as api:
        context = running.config.ssl_context()
        assert context is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=context, limit=1024)
        head = f"GET {CONFIGMAPS}?watch=true&resourceVersion={await api.version()} HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(f"{head}Authorization: Bearer {running.config.token}\r\n\r\n".encode())
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await api.create(CONFIGMAPS, config_map("a"))
        async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as reading:
            for number in range(400):
                written = await api.patch(f"{CONFIGMAPS}/a", {"data": {"n": str(number), "text": "x" * 50_000}})
                event = await reading.next()
                assert event["object"]["metadata"]["resourceVersion"] == written.data["metadata"]["resourceVersion"]
        received = b""
        async with asyncio.timeout(10):
            while b'"reason":"Expired"' not in received:
                received = received[-1000:] + await reader.read(1 << 20)
        writer.close()
        await writer.wait_closed()
    assert b'{"type":"ERROR","object":{"kind":"Status"' in received
