"""Activators, pods, the autoscaler and the API server die: what else may fail is nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kube.config import ApiConfig
from kube.models.apps import Deployment
from tests.conformance.activator.world import World, activator, surroundings
from tests.faults.activator.support import Second, traffic
from tests.support.relay import Relay, running_relay

API_IS_DOWN_S = 8.0
CLIENTS = 10


@asynccontextmanager
async def api_relay(world: World, folder: Path) -> AsyncIterator[Relay]:
    """Let the activator, not started yet, reach the API server through a relay."""
    config = ApiConfig.from_kubeconfig(Path(world.environ["KUBECONFIG"]))
    async with running_relay(int(config.server.rpartition(":")[2])) as relay:
        world.environ["KUBECONFIG"] = str(_copied(Path(world.environ["KUBECONFIG"]), folder, config.server, relay.port))
        yield relay


def _copied(kubeconfig: Path, folder: Path, server: str, port: int) -> Path:
    copy = folder / "kubeconfig"
    copy.write_text(kubeconfig.read_text().replace(server, f"https://127.0.0.1:{port}"))
    copy.chmod(0o600)
    return copy


async def test_the_death_of_one_of_two_activators_fails_only_the_requests_inside_it() -> None:
    async with activator() as world:
        second = Second.beside(world)
        await second.start()
        pod, slow = await world.pod(10), await world.pod(11)
        await world.endpoints(ready=[slow])
        await world.activators([world.address, second.address])
        await asyncio.gather(world.get(), second.get())
        slow.gate.clear()
        inside = [second.start_get() for _ in range(5)]
        kept = world.start_get()
        await slow.until(lambda pod: pod.active == 6, "six requests")
        await world.endpoints(ready=[pod])
        await pod.until(lambda pod: bool(pod.probes), "a probe")
        async with traffic(world) as seen:
            await seen.until(20)
            assert second.process is not None
            second.process.kill()
            ended = await asyncio.gather(*inside, return_exceptions=True)
            assert all(isinstance(each, asyncio.IncompleteReadError | ConnectionError) for each in ended), ended
            await world.activators([world.address])
            await seen.until(100)
        slow.gate.set()
        assert (await kept).body == b"pod-11"
        assert not seen.failed


async def test_the_death_of_a_pod_fails_at_most_the_requests_inside_it() -> None:
    async with activator() as world:
        pods = [await world.pod(last) for last in (10, 11, 12)]
        await world.endpoints(ready=pods)
        await world.get()
        dying = pods[0]
        async with traffic(world, clients=CLIENTS) as seen:
            await seen.until(50)
            dying.gate.clear()
            inside = [world.start_get() for _ in range(12)]
            await dying.until(lambda pod: pod.active >= 4, "requests inside")
            await dying.stop()
            statuses = sorted([(await each).status for each in inside])
            await seen.until(200)
        failed = seen.failed
        assert all(text.startswith("502 ") for text in failed), failed
        # What the pod had not read yet was on its way to it, too. Later requests go elsewhere.
        assert statuses.count(502) + sum(failed.values()) <= len(inside) + CLIENTS
        assert set(statuses) <= {200, 502}


async def test_without_an_autoscaler_warm_traffic_goes_on_and_its_return_is_noticed() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get()
        async with traffic(world) as seen:
            await seen.until(20)
            await world.autoscaler.stop()
            await world.logged("stat_connection_down")
            await seen.until(200)
            await world.autoscaler.start()
            await world.logged("stat_connection_up", 2)
            count = len(world.autoscaler.frames)
            await world.autoscaler.until(lambda autoscaler: len(autoscaler.frames) > count, "no stats")
        assert not seen.failed


async def test_without_an_autoscaler_a_cold_revision_is_woken_all_the_same() -> None:
    async with activator(KNUV_WAKE_SECONDS="1") as world:
        await world.scale_target(replicas=0)
        pod = await world.pod(10)
        await world.autoscaler.stop()
        await world.logged("stat_connection_down")
        held = [world.start_get() for _ in range(20)]
        woken = await world.logged("woken_without_autoscaler")
        assert (woken["revision"], woken["deployment"]) == ("rev", "rev-deployment")
        assert (await world.client.get(Deployment, "rev-deployment", "ns")).spec.replicas == 1
        # What the cluster makes of it.
        await world.endpoints(not_ready=[pod])
        assert [(await each).body for each in held] == [b"pod-10"] * 20
        assert [line["message"] for line in world.log].count("woken_without_autoscaler") == 1


async def test_told_to_be_strict_a_cold_revision_waits_for_the_autoscaler() -> None:
    async with activator(KNUV_WAKE_SECONDS="1", KNUV_STRICT_COMPAT="1") as world:
        await world.scale_target(replicas=0)
        await world.autoscaler.stop()
        await world.logged("stat_connection_down")
        assert (await world.get()).status == 504
        assert (await world.client.get(Deployment, "rev-deployment", "ns")).spec.replicas == 0


async def test_without_an_api_server_warm_traffic_goes_on_and_changes_are_caught_up_with(tmp_path: Path) -> None:
    async with surroundings(network={}) as world, api_relay(world, tmp_path) as relay:
        await world.revision()
        await world.start()
        first, other = await world.pod(10), await world.pod(11)
        await world.endpoints(ready=[first])
        await world.get()
        async with traffic(world) as seen:
            await seen.until(20)
            await relay.stop()
            await world.endpoints(ready=[first, other])
            await asyncio.sleep(API_IS_DOWN_S)
            assert not other.probes
            await seen.until(20)
            await relay.start()
            await seen.until(20, lambda text: text == "200 pod-11")
        assert not seen.failed


async def test_an_activator_that_starts_before_the_api_server_waits_for_it(tmp_path: Path) -> None:
    async with surroundings(network={}) as world, api_relay(world, tmp_path) as relay:
        await relay.stop()
        await world.spawn()
        await world.logged("api_unreachable")
        await relay.start()
        await world.logged("activator_started")
        assert (await world.get(headers=[("K-Network-Probe", "activator")])).status == 200
