"""Several controllers: one acts, and another one takes over when it ends, is killed, or sleeps."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from kube.client import Client
from kube.models import serving
from kube.models.coordination import Lease
from tests.controller.cluster import SYSTEM, Kn, cluster, service
from tests.support.api import RunningApiServer
from tests.support.processes import eventually

TIMING = {"lease-duration": "2s", "renew-deadline": "1500ms", "retry-period": "500ms"}


class Replica:
    """One `python -m controller`."""

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self._log = log

    def said(self, event: str) -> int:
        return sum(json.loads(line)["message"] == event for line in self._log.read_text().splitlines())


class Fleet:
    """Controllers as processes, in front of one cluster."""

    def __init__(self, api: RunningApiServer, kn: Kn, directory: Path) -> None:
        self.kn = kn
        self._api = api
        self._directory = directory
        self.replicas: dict[str, Replica] = {}

    async def start(self, name: str) -> Replica:
        """Start one; returns when it follows the cluster."""
        log = self._directory / f"{name}.log"
        environ = {
            "PATH": os.defpath,
            "KUBECONFIG": str(self._api.kubeconfig),
            "SYSTEM_NAMESPACE": SYSTEM,
            "POD_NAME": name,
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "controller", env=environ, stdout=output, stderr=output
            )
        replica = self.replicas[name] = Replica(name, log, process)
        await eventually(lambda: replica.said("controller_started"), timeout_s=20)
        return replica

    async def leader(self, *, other_than: str = "") -> Replica:
        """Who holds the Lease, once it is somebody else."""

        async def holder() -> Replica | None:
            lease = await self.kn.client.get(Lease, "knuv-controller", SYSTEM)
            name = lease.spec.holder_identity or ""
            return None if name == other_than else self.replicas.get(name)

        found = await eventually(holder, timeout_s=20)
        assert found is not None
        return found


@asynccontextmanager
async def running_fleet(directory: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        api, client, peers = await stack.enter_async_context(cluster(leader_election=TIMING))
        fleet = Fleet(api, Kn(client, None, peers, []), directory)
        try:
            yield fleet
        finally:
            for replica in fleet.replicas.values():
                if replica.process.returncode is None:
                    replica.process.kill()
                await replica.process.wait()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(tmp_path) as running:
        yield running


async def lease_of(client: Client) -> Lease:
    return await client.get(Lease, "knuv-controller", SYSTEM)


async def test_a_killed_controller_is_replaced_and_nothing_is_made_twice(fleet: Fleet) -> None:
    first = await fleet.start("a")
    await fleet.start("b")
    assert await fleet.leader() is first
    await fleet.kn.create(serving.Service, service("before"))
    await fleet.kn.until_ready("before")
    first.process.kill()
    await fleet.kn.create(serving.Service, service("meanwhile"))
    ready = await fleet.kn.until_ready("meanwhile")
    assert await fleet.leader(other_than="a") is fleet.replicas["b"]
    assert ready.status.latest_created_revision_name == "meanwhile-00001"
    revisions = await fleet.kn.client.list(serving.Revision, "default")
    assert sorted(revision.name for revision in revisions.items) == ["before-00001", "meanwhile-00001"]
    assert first.said("reconcile_failed") + fleet.replicas["b"].said("reconcile_failed") == 0


async def test_an_orderly_end_hands_over_at_once(fleet: Fleet) -> None:
    first = await fleet.start("a")
    second = await fleet.start("b")
    first.process.terminate()
    assert await first.process.wait() == 0
    # Released, not run out: the record says so.
    assert (await lease_of(fleet.kn.client)).spec.holder_identity in ("", "b")
    await eventually(lambda: second.said("lease_acquired"), timeout_s=20)
    await fleet.kn.create(serving.Service, service("hello"))
    await fleet.kn.until_ready("hello")


async def test_a_controller_that_slept_does_not_go_on_acting(fleet: Fleet) -> None:
    first = await fleet.start("a")
    await fleet.start("b")
    first.process.send_signal(signal.SIGSTOP)
    await fleet.leader(other_than="a")
    first.process.send_signal(signal.SIGCONT)
    await eventually(lambda: first.said("lease_lost"), timeout_s=20)
    await fleet.kn.create(serving.Service, service("hello"))
    await fleet.kn.until_ready("hello")
    assert first.said("revision_ready") == 0
    assert fleet.replicas["b"].said("revision_ready") == 1


async def test_a_container_that_is_started_anew_goes_on_at_once(fleet: Fleet) -> None:
    first = await fleet.start("a")
    renewed = (await lease_of(fleet.kn.client)).spec.lease_transitions
    first.process.kill()
    await first.process.wait()
    await fleet.start("a")
    await fleet.kn.create(serving.Service, service("hello"))
    await fleet.kn.until_ready("hello")
    assert (await lease_of(fleet.kn.client)).spec.lease_transitions == renewed


async def test_durations_that_would_let_two_act_are_refused_at_start(tmp_path: Path) -> None:
    async with cluster(leader_election={"lease-duration": "10s", "renew-deadline": "20s"}) as (api, _client, _peers):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "controller",
            env={"PATH": os.defpath, "KUBECONFIG": str(api.kubeconfig), "SYSTEM_NAMESPACE": SYSTEM},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"config-leader-election: lease-duration = 10s, must be greater than renew-deadline = 20s" in errors
