"""Services on a whole local stack, used over HTTP through the gateway."""

import asyncio
from collections import Counter

import aiohttp
import pytest

from kube.models.apps import Deployment
from kube.models.core import Pod
from kube.models.networking import ServerlessService
from kube.models.serving import Revision, Service
from loadtests.load import Load, fetch
from loadtests.scenario import until
from local_cluster.manifests import apply
from tests.system.conftest import System, service

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("stack-serving")]
NAMESPACE = "default"


async def ready(system: System, name: str, *, generation: int = 1) -> Service:
    async def probe() -> Service | None:
        found = await system.client.get(Service, name, NAMESPACE)
        current = found.status.observed_generation >= generation
        is_ready = any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)
        return found if current and is_ready else None

    return await until(probe, 90, f"Service {name} to be Ready at generation {generation}")


async def at_zero(system: System, name: str) -> None:
    async def probe() -> bool | None:
        selector = f"serving.knative.dev/service={name}"
        deployments = (await system.client.list(Deployment, NAMESPACE, label_selector=selector)).items
        return True if deployments and all(d.spec.replicas == 0 for d in deployments) else None

    await until(probe, 90, f"Service {name} to scale to zero")


def host(found: Service) -> str:
    return found.status.url.removeprefix("http://")


async def test_a_service_is_served_scales_to_zero_and_wakes_for_the_next_request(system: System) -> None:
    await apply(system.client, system.kinds, service("sleeper", TARGET="Sleeper"), NAMESPACE)
    found = await ready(system, "sleeper")
    assert found.status.url == "http://sleeper.default.127.0.0.1.sslip.io"
    assert found.status.latest_ready_revision_name == "sleeper-00001"
    answer = await fetch(system.stack.http_port, host(found), "/")
    assert (answer.status, answer.body) == (200, b"Hello Sleeper!\n")

    await at_zero(system, "sleeper")
    mode = await system.client.get(ServerlessService, "sleeper-00001", NAMESPACE)
    assert mode.spec.mode == "Proxy"

    answer = await fetch(system.stack.http_port, host(found), "/")
    assert (answer.status, answer.body) == (200, b"Hello Sleeper!\n")


async def test_two_services_and_an_80_20_split_counted_over_1000_requests(system: System) -> None:
    await apply(system.client, system.kinds, service("other", TARGET="Other"), NAMESPACE)
    await apply(system.client, system.kinds, service("split", TARGET="Blue"), NAMESPACE)
    await ready(system, "split")
    second = service("split", TARGET="Green")
    second["spec"]["traffic"] = [  # type: ignore[index]
        {"revisionName": "split-00001", "percent": 80},
        {"revisionName": "split-00002", "percent": 20, "tag": "green"},
    ]
    await apply(system.client, system.kinds, second, NAMESPACE)
    found = await ready(system, "split", generation=2)
    other = await ready(system, "other")

    counted: Counter[bytes] = Counter()
    async with aiohttp.ClientSession() as session:

        async def user() -> None:
            for _ in range(50):
                answer = await fetch(system.stack.http_port, host(found), "/", session)
                assert answer.status == 200, answer
                counted[answer.body] += 1

        await asyncio.gather(*(user() for _ in range(20)))
        assert (await fetch(system.stack.http_port, host(other), "/", session)).body == b"Hello Other!\n"
        tagged = await fetch(system.stack.http_port, f"green-{host(found)}", "/", session)
    assert set(counted) == {b"Hello Blue!\n", b"Hello Green!\n"}
    assert 150 <= counted[b"Hello Green!\n"] <= 250, counted  # 20 % of 1,000, four standard deviations either way
    assert tagged.body == b"Hello Green!\n"


async def test_a_burst_scales_up_without_an_error_and_the_gateway_is_rewired_to_the_pods(system: System) -> None:
    manifest = service("burst")
    annotations = {"autoscaling.knative.dev/target": "10", "autoscaling.knative.dev/target-burst-capacity": "0"}
    manifest["spec"]["template"]["metadata"] = {"annotations": annotations}  # type: ignore[index]
    await apply(system.client, system.kinds, manifest, NAMESPACE)
    found = await ready(system, "burst")
    await at_zero(system, "burst")

    load = Load(system.stack.http_port, host(found), "/?sleep=200", users=40)
    load.start()
    try:

        async def scaled() -> bool | None:
            mode = (await system.client.get(ServerlessService, "burst-00001", NAMESPACE)).spec.mode
            selector = "serving.knative.dev/revision=burst-00001"
            pods = (await system.client.list(Pod, NAMESPACE, label_selector=selector)).items
            return True if mode == "Serve" and sum(pod.is_ready() for pod in pods) >= 4 else None

        await until(scaled, 90, "four ready pods in serve mode")
    finally:
        await load.stop()
    assert load.total > 100
    assert load.problems == []


async def test_a_command_that_does_not_exist_makes_the_revision_not_ready_and_says_why(system: System) -> None:
    await apply(system.client, system.kinds, service("nothing", command=["no-such-program"]), NAMESPACE)

    async def failed() -> Revision | None:
        revisions = (await system.client.list(Revision, NAMESPACE)).items
        for revision in revisions:
            if revision.name == "nothing-00001" and any(
                c.type == "Ready" and c.status == "False" for c in revision.status.conditions
            ):
                return revision
        return None

    revision = await until(failed, 90, "Revision nothing-00001 to fail")
    condition = next(c for c in revision.status.conditions if c.type == "Ready")
    assert "no-such-program" in condition.message


async def test_a_program_that_exits_makes_the_revision_not_ready_with_its_last_words(system: System) -> None:
    command = ["python3", "-c", "import sys; print('no database'); sys.exit(5)"]
    await apply(system.client, system.kinds, service("crashing", command=command), NAMESPACE)

    async def failed() -> str | None:
        found = await system.client.get(Service, "crashing", NAMESPACE)
        conditions = {c.type: c for c in found.status.conditions}
        configuration, ready = conditions.get("ConfigurationsReady"), conditions.get("Ready")
        if configuration is None or ready is None or "False" not in (configuration.status, ready.status):
            return None
        return configuration.message

    assert "no database" in await until(failed, 90, "Service crashing to fail")


async def test_an_unknown_host_is_404(system: System) -> None:
    assert (await fetch(system.stack.http_port, "nobody.default.127.0.0.1.sslip.io", "/")).status == 404
