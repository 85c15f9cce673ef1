"""Every example of `examples/`, applied and used over HTTP as its comments say."""

import asyncio
import base64
import contextlib
import random
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from kube.models.core import Pod, Secret
from kube.models.meta import ObjectMeta
from kube.models.serving import DomainMapping, Service
from loadtests.load import fetch
from loadtests.scenario import until
from local_cluster.apiserver.certificates import CertificateAuthority
from local_cluster.manifests import apply, load
from tests.system.conftest import System, running_system, service

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("stack-examples")]

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMESPACE = "default"
DOMAIN = "default.127.0.0.1.sslip.io"


def free_ports() -> int:
    """A port for the plain face with the TLS face's free, too; below those that outgoing connections take."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as plain, socket.socket() as secured:
            plain.bind(("127.0.0.1", port))
            secured.bind(("127.0.0.1", port + 363))
            return port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The module's stack, at ports that are known."""
    async with running_system(tmp_path_factory.mktemp("stack"), "--http-port", str(free_ports())) as running:
        yield running


async def applied(system: System, example: str) -> None:
    """Apply a file of the folder, whatever is in it."""
    for manifest in load(EXAMPLES / example):
        await apply(system.client, system.kinds, manifest, NAMESPACE)


async def ready(system: System, name: str) -> Service:
    """The Service once it is ready as it was last applied."""

    async def probe() -> Service | None:
        found = await system.client.get(Service, name, NAMESPACE)
        is_current = found.status.observed_generation == found.metadata.generation
        is_ready = any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)
        return found if is_current and is_ready else None

    return await until(probe, 90, f"Service {name} to be ready")


async def mapped(system: System, name: str) -> DomainMapping:
    """The DomainMapping once it is ready."""

    async def probe() -> DomainMapping | None:
        found = await system.client.get(DomainMapping, name, NAMESPACE)
        return found if any(c.type == "Ready" and c.status == "True" for c in found.status.conditions) else None

    return await until(probe, 90, f"DomainMapping {name} to be ready")


async def answer(system: System, host: str) -> tuple[int, bytes]:
    """Status and body for a host at the public face."""
    got = await fetch(system.stack.http_port, host, "/")
    return got.status, got.body


async def counted(system: System, host: str, requests: int) -> Counter[bytes]:
    """How often each body came; every answer is a 200."""
    bodies: Counter[bytes] = Counter()
    async with aiohttp.ClientSession() as session:

        async def user() -> None:
            for _ in range(requests // 10):
                got = await fetch(system.stack.http_port, host, "/", session)
                assert got.status == 200, got
                bodies[got.body] += 1

        await asyncio.gather(*(user() for _ in range(10)))
    return bodies


async def test_hello_greets(system: System) -> None:
    await applied(system, "hello.yaml")
    assert (await ready(system, "hello")).status.url == f"http://hello.{DOMAIN}"
    assert await answer(system, f"hello.{DOMAIN}") == (200, b"Hello World!\n")


async def test_autoscale_grows_to_its_bound_and_keeps_one_pod(system: System) -> None:
    await applied(system, "autoscale.yaml")
    await ready(system, "autoscale")
    port = system.stack.http_port
    most = 0
    async with aiohttp.ClientSession() as session:

        async def user() -> None:
            while most < 3:
                assert (await fetch(port, f"autoscale.{DOMAIN}", "/?sleep=200", session)).status == 200

        async def pods() -> int | None:
            nonlocal most
            selector = "serving.knative.dev/service=autoscale"
            found = (await system.client.list(Pod, NAMESPACE, label_selector=selector)).items
            most = max(most, sum(pod.is_ready() for pod in found))
            assert len(found) <= 3, "max-scale"
            return most if most == 3 else None

        users = [asyncio.get_running_loop().create_task(user()) for _ in range(30)]
        await until(pods, 90, "three pods")
        await asyncio.gather(*users)


async def test_a_fifth_goes_to_the_candidate_which_has_a_url_of_its_own(system: System) -> None:
    await applied(system, "split/1-first.yaml")
    await ready(system, "split")
    await applied(system, "split/2-eighty-twenty.yaml")
    found = await ready(system, "split")
    [tagged] = [target for target in found.status.traffic if target.tag]
    assert tagged.url == f"http://candidate-split.{DOMAIN}"
    assert await answer(system, f"candidate-split.{DOMAIN}") == (200, b"Hello Second!\n")
    bodies = await counted(system, f"split.{DOMAIN}", 500)
    assert set(bodies) == {b"Hello First!\n", b"Hello Second!\n"}
    assert 64 <= bodies[b"Hello Second!\n"] <= 136, bodies  # 20 % of 500, four standard deviations either way


async def test_blue_and_green_switch_without_a_failed_request(system: System) -> None:
    blue, green = (200, b"Hello Blue!\n"), (200, b"Hello Green!\n")
    await applied(system, "blue-green/1-blue.yaml")
    await ready(system, "colours")
    assert await answer(system, f"colours.{DOMAIN}") == blue
    await applied(system, "blue-green/2-green-beside.yaml")
    await ready(system, "colours")
    assert await answer(system, f"colours.{DOMAIN}") == blue
    assert await answer(system, f"green-colours.{DOMAIN}") == green
    is_over = asyncio.Event()
    bodies: Counter[tuple[int, bytes]] = Counter()

    async def user() -> None:
        async with aiohttp.ClientSession() as session:
            while not is_over.is_set():
                got = await fetch(system.stack.http_port, f"colours.{DOMAIN}", "/", session)
                bodies[got.status, got.body] += 1

    users = [asyncio.get_running_loop().create_task(user()) for _ in range(4)]
    await applied(system, "blue-green/3-switch.yaml")
    await ready(system, "colours")
    is_over.set()
    await asyncio.gather(*users)
    assert set(bodies) <= {blue, green}
    assert await answer(system, f"colours.{DOMAIN}") == green
    assert await answer(system, f"blue-colours.{DOMAIN}") == blue


async def test_a_rollout_ends_with_everything_and_is_not_ready_before(system: System) -> None:
    await applied(system, "rollout/1-first.yaml")
    await ready(system, "rollout")
    await applied(system, "rollout/2-second.yaml")

    async def under_way() -> set[int] | None:
        found = await system.client.get(Service, "rollout", NAMESPACE)
        shares = {target.percent or 0 for target in found.status.traffic}
        return shares if len(found.status.traffic) == 2 else None

    shares = await until(under_way, 90, "two revisions to share")
    assert sum(shares) == 100
    bodies = await counted(system, f"rollout.{DOMAIN}", 100)
    assert set(bodies) <= {b"Hello First!\n", b"Hello Second!\n"}
    found = await ready(system, "rollout")
    assert [(target.revision_name, target.percent) for target in found.status.traffic] == [("rollout-00002", 100)]
    assert await answer(system, f"rollout.{DOMAIN}") == (200, b"Hello Second!\n")


async def test_what_is_cluster_local_is_no_public_host(system: System) -> None:
    await applied(system, "cluster-local.yaml")
    found = await ready(system, "inner")
    assert found.status.url == "http://inner.default.svc.cluster.local"
    assert (await answer(system, "inner.default.svc.cluster.local"))[0] == 404
    assert (await answer(system, f"inner.{DOMAIN}"))[0] == 404


async def test_a_domain_of_ones_own_leads_to_the_service(system: System) -> None:
    await applied(system, "hello.yaml")
    await ready(system, "hello")
    await applied(system, "custom-domain.yaml")
    assert (await mapped(system, "hello.example.org")).status.url == "http://hello.example.org"
    assert await answer(system, "hello.example.org") == (200, b"Hello World!\n")


async def test_the_same_with_a_certificate_and_a_redirect(system: System) -> None:
    authority = CertificateAuthority.create()
    issued = authority.issue_server(["secure.example.org"], [])
    pair = {"tls.crt": issued.certificate_pem, "tls.key": issued.key_pem}
    data = {key: base64.b64encode(value).decode() for key, value in pair.items()}
    meta = ObjectMeta(name="secure-example-org", namespace=NAMESPACE)
    await system.client.create(Secret(metadata=meta, type="kubernetes.io/tls", data=data))
    await applied(system, "hello.yaml")
    await ready(system, "hello")
    await applied(system, "custom-domain-https.yaml")
    assert (await mapped(system, "secure.example.org")).status.url == "https://secure.example.org"
    host = {"Host": "secure.example.org"}
    trust = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    port = system.stack.http_port
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/x", headers=host, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (301, "https://secure.example.org/x")
        async with session.get(
            f"https://127.0.0.1:{port + 363}/", headers=host, ssl=trust, server_hostname=host["Host"]
        ) as response:
            assert (response.status, await response.text()) == (200, "Hello World!\n")


async def test_limits_reach_the_pod(system: System) -> None:
    await applied(system, "limits.yaml")
    await ready(system, "limits")
    assert await answer(system, f"limits.{DOMAIN}") == (200, b"Hello Frugal!\n")
    selector = "serving.knative.dev/service=limits"
    [pod] = (await system.client.list(Pod, NAMESPACE, label_selector=selector)).items
    limits = {container.name: container.resources.get("limits") for container in pod.spec.containers}
    assert limits == {
        "user-container": {"cpu": "1", "memory": "128Mi"},
        "queue-proxy": {"cpu": "500m", "memory": "200Mi"},
    }


async def test_an_image_that_cannot_be_had_says_why(system: System) -> None:
    await applied(system, "private-image.yaml")

    async def probe() -> str | None:
        found = await system.client.get(Service, "private", NAMESPACE)
        failed = (c for c in found.status.conditions if c.type == "ConfigurationsReady" and c.status == "False")
        return next((c.message for c in failed), None)

    message = await until(probe, 90, "the Service to fail")
    assert 'Unable to fetch image "registry.example.com/team/private:1": no command for image' in message
    assert (await answer(system, f"private.{DOMAIN}"))[0] == 404


async def test_a_program_that_ends_says_how_and_what_it_said(system: System) -> None:
    command = ["sh", "-c", "echo cannot open the database >&2; exit 5"]
    await apply(system.client, system.kinds, service("broken", command=command), NAMESPACE)

    async def probe() -> str | None:
        found = await system.client.get(Service, "broken", NAMESPACE)
        failed = (c for c in found.status.conditions if c.type == "ConfigurationsReady" and c.status == "False")
        return next((c.message for c in failed), None)

    message = await until(probe, 90, "the Service to fail")
    assert "Container failed with: cannot open the database" in message
