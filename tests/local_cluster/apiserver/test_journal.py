"""The state on disk: what a killed server had promised, its successor keeps. Statement 16."""

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kube.client import Client
from kube.config import ApiConfig
from kube.informer import Informer
from kube.models.core import ConfigMap
from local_cluster.apiserver.certificates import CertificateAuthority
from local_cluster.apiserver.journal import Journal, JournalError
from tests.local_cluster.apiserver.raw import (
    CONFIGMAPS,
    SERVICES,
    STREAMING_LIST,
    Api,
    config_map,
    connected,
    owned_by,
)
from tests.local_cluster.apiserver.served import TOKEN
from tests.support.api import running_api_server

_DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.kept.example"},
    "spec": {
        "group": "kept.example",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_THINGS = "/apis/kept.example/v1/namespaces/default/things"


class Killed:
    """A server process with a journal."""

    def __init__(self, process: asyncio.subprocess.Process, config: ApiConfig) -> None:
        self._process = process
        self.config = config

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def serving(directory: Path, port: int = 0) -> AsyncIterator[Killed]:
    arguments = ("-m", "tests.local_cluster.apiserver.served", str(directory), str(port))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            listens_at = int(await process.stdout.readline())
        pem = (directory / "ca.crt").read_text()
        config = ApiConfig(server=f"https://127.0.0.1:{listens_at}", ca_pem=pem, token=TOKEN)
        yield Killed(process, config)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    CertificateAuthority.create().save(tmp_path)
    return tmp_path


@asynccontextmanager
async def kept(path: Path, **options: Any) -> AsyncIterator[Api]:
    """A server in this process, with its state in `path`."""
    async with (
        running_api_server(state_file=path / "state.sqlite", **options) as running,
        connected(running.config) as api,
    ):
        yield api


async def test_16_a_killed_server_loses_nothing_that_it_answered(directory: Path) -> None:
    promised: dict[str, tuple[str, str]] = {}
    gone: set[str] = set()
    version = 0

    async def write(api: Api, writer: int, enough: asyncio.Event) -> None:
        nonlocal version
        number = 0
        while True:
            name = f"w{writer}-{number % 20}"
            try:
                found = await api.call("POST", CONFIGMAPS, config_map(name, n=str(number)))
                if found.status == 409:
                    if number % 3:
                        found = await api.patch(f"{CONFIGMAPS}/{name}", {"data": {"n": str(number)}})
                    else:
                        promised.pop(name, None)  # unknown until it is answered
                        await api.call("DELETE", f"{CONFIGMAPS}/{name}")
                        gone.add(name)
                        number += 1
                        continue
            except aiohttp.ClientError:
                promised.pop(name, None)
                gone.discard(name)
                return
            metadata = found.data["metadata"]
            promised[name] = (metadata["resourceVersion"], found.data["data"]["n"])
            gone.discard(name)
            version = max(version, int(metadata["resourceVersion"]))
            number += 1
            if number == 60:
                enough.set()

    async with serving(directory) as server, connected(server.config) as api:
        enough = asyncio.Event()
        writers = [asyncio.create_task(write(api, writer, enough)) for writer in range(4)]
        await asyncio.wait_for(enough.wait(), 20)
        await server.kill()
        await asyncio.wait_for(asyncio.gather(*writers), 20)
    assert len(promised) > 20

    async with serving(directory) as server, connected(server.config) as api:
        listed = (await api.get(CONFIGMAPS)).data
        found = {
            item["metadata"]["name"]: (item["metadata"]["resourceVersion"], item["data"]["n"])
            for item in listed["items"]
        }
        assert promised.items() <= found.items()
        assert not gone & found.keys()
        assert int(listed["metadata"]["resourceVersion"]) >= version
        created = await api.create(CONFIGMAPS, config_map("after"))
        assert int(created["metadata"]["resourceVersion"]) > version
        stale = await api.get(CONFIGMAPS, watch="true", resourceVersion=str(version - 1))
        assert (stale.status, stale.data["reason"]) == (410, "Expired")


async def test_16_a_client_goes_on_with_the_successor(directory: Path) -> None:
    changed = asyncio.Event()
    async with serving(directory) as first, Client(first.config) as client:
        informer = Informer(client, ConfigMap, namespace="default")
        informer.on_change(lambda _old, _new: changed.set())
        async with connected(first.config) as api:
            for name in ("a", "b"):
                await api.create(CONFIGMAPS, config_map(name))
        await informer.start()
        await first.kill()
        port = int(first.config.server.rpartition(":")[2])
        async with serving(directory, port) as second, connected(second.config) as api:
            await api.call("DELETE", f"{CONFIGMAPS}/a")
            await api.create(CONFIGMAPS, config_map("c"))
            async with asyncio.timeout(20):
                while sorted(held.name for held in informer.list()) != ["b", "c"]:
                    changed.clear()
                    await changed.wait()
        await informer.stop()


async def test_16_versions_grow_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    async with kept(tmp_path, first_version=1 << 50) as api:
        await api.create(CONFIGMAPS, config_map("a"))
        await api.call("DELETE", f"{CONFIGMAPS}/a")
        version = await api.version()
    async with kept(tmp_path, first_version=1) as api:
        assert await api.version() == version
        async with api.watch(CONFIGMAPS, resourceVersion=version) as events:
            await api.create(CONFIGMAPS, config_map("b"))
            assert await events.names(1) == [("ADDED", "b")]


async def test_everything_that_belongs_to_an_object_comes_back(tmp_path: Path) -> None:
    async with kept(tmp_path) as api:
        await api.create(_DEFINITIONS, _DEFINITION)
        thing = await api.create(_THINGS, {"metadata": {"name": "t", "labels": {"l": "1"}}, "spec": {"deep": [1]}})
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.7.7"}}
        await api.create(SERVICES, service)
        owner = await api.create(CONFIGMAPS, config_map("owner"))
        await api.create(CONFIGMAPS, owned_by(config_map("child"), owner))
        held = config_map("held")
        held["metadata"]["finalizers"] = ["a.example/one"]
        await api.create("/api/v1/namespaces", {"metadata": {"name": "ending"}})
        await api.create("/api/v1/namespaces/ending/configmaps", held)
        await api.call("DELETE", "/api/v1/namespaces/ending")
        before = (await api.get("/api/v1/namespaces")).data["items"]
    async with kept(tmp_path) as api:
        assert (await api.get(f"{_THINGS}/t")).data == thing
        assert (await api.get(_THINGS, labelSelector="l=1")).data["items"] == [thing]
        assert (await api.get("/api/v1/namespaces")).data["items"] == before
        taken = {"metadata": {"name": "s2"}, "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.7.7"}}
        assert (await api.call("POST", SERVICES, taken)).status == 422
        async with api.watch(CONFIGMAPS, **STREAMING_LIST) as events:
            assert await events.names(3) == [("ADDED", "child"), ("ADDED", "owner"), ("BOOKMARK", "")]
            await api.call("DELETE", f"{CONFIGMAPS}/owner")
            assert await events.names(2) == [("DELETED", "owner"), ("DELETED", "child")]
        async with api.watch("/api/v1/namespaces", resourceVersion=await api.version()) as events:
            await api.patch("/api/v1/namespaces/ending/configmaps/held", {"metadata": {"finalizers": None}})
            assert await events.names(1) == [("DELETED", "ending")]


async def test_the_collector_takes_up_what_its_predecessor_left(tmp_path: Path) -> None:
    async with kept(tmp_path) as api:
        owner = await api.create(CONFIGMAPS, config_map("owner"))
        await api.create(CONFIGMAPS, owned_by(config_map("child"), owner))
    with sqlite3.connect(tmp_path / "state.sqlite") as database:  # killed between the owner's end and the child's
        database.execute("DELETE FROM objects WHERE name = 'owner'")
    database.close()
    async with kept(tmp_path) as api:
        async with asyncio.timeout(10):
            while (await api.get(f"{CONFIGMAPS}/child")).status != 404:
                pass


async def test_the_file_is_its_owners_alone_and_used_by_one_server(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with kept(state) as api:
        await api.create(CONFIGMAPS, config_map("a"))
        for file in state.iterdir():
            assert os.stat(file).st_mode & 0o777 == 0o600, file
        assert os.stat(state).st_mode & 0o777 == 0o700
        with pytest.raises(JournalError, match="in use by another server"):
            Journal(state / "state.sqlite")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"not a database at all, but longer than its header would be " * 10)
    with pytest.raises(JournalError, match="not a database"):
        Journal(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as database:
        database.execute("CREATE TABLE things (id)")
    database.close()
    with pytest.raises(JournalError, match="format 0, expected 1"):
        Journal(tmp_path / "other")
    with pytest.raises(JournalError, match="name another directory"):
        Journal(Path("/proc/none/state"))


async def test_what_cannot_be_written_has_not_happened(tmp_path: Path) -> None:
    async with kept(tmp_path) as api:
        before = await api.create(CONFIGMAPS, config_map("a"))
        with sqlite3.connect(tmp_path / "state.sqlite") as other:
            other.execute("BEGIN IMMEDIATE")  # no one else can write as long as this holds
            for refused in (
                await api.call("POST", CONFIGMAPS, config_map("b")),
                await api.patch(f"{CONFIGMAPS}/a", {"data": {"k": "1"}}),
                await api.call("DELETE", f"{CONFIGMAPS}/a"),
            ):
                assert (refused.status, refused.data["reason"]) == (500, "InternalError")
                assert "database is locked" in refused.data["message"]
        other.close()
        assert (await api.get(f"{CONFIGMAPS}/a")).data == before
        assert (await api.get(f"{CONFIGMAPS}/b")).status == 404


async def test_a_checkpoint_moves_the_log_into_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_cluster.apiserver.journal.CHECKPOINT_S", 0.01)
    async with kept(tmp_path) as api:
        await api.create(CONFIGMAPS, config_map("a", k="x" * 100_000))
        async with asyncio.timeout(10):
            while (tmp_path / "state.sqlite").stat().st_size < 100_000:
                await api.version()


async def test_another_port_serves_the_same_state(tmp_path: Path) -> None:
    async with running_api_server(state_file=tmp_path / "s") as first, connected(first.config) as api:
        await api.create(CONFIGMAPS, config_map("a"))
    async with running_api_server(state_file=tmp_path / "s") as second:
        moved = replace(first.config, server=second.config.server, token=second.config.token)
        async with connected(moved) as api:
            assert (await api.get(f"{CONFIGMAPS}/a")).status == 200
