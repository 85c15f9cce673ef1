"""Tags become digests (statements 57, 59), with a registry that asks for a token."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from controller.registry import Credentials, Reference, Registry, RegistryError, credentials_for, parse_challenge
from kube.errors import NotFound
from kube.models import serving
from kube.models.apps import Deployment
from kube.models.core import Secret
from kube.models.meta import ObjectMeta
from tests.controller.cluster import NAMESPACE, Kn, condition, control_plane, service
from tests.support.processes import eventually

DIGEST = "sha256:" + "ab" * 32
USER = Credentials("alice", "secret")


class FakeRegistry:
    """A registry on loopback. `private/...` needs a token for `USER`; `held` requests wait for `release`."""

    def __init__(self) -> None:
        self.host = ""
        self.asked: list[str] = []
        self.release = asyncio.Event()
        self.tags: dict[str, str] = {"web:v1": DIGEST, "private/web:v1": DIGEST, "held/web:v1": DIGEST}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            wanted = "Basic " + base64.b64encode(b"alice:secret").decode()
            if request.headers.get("Authorization") != wanted:
                return web.Response(status=401)
            return web.json_response({"token": f"for {request.query['scope']}"})
        repository, _, tag = request.path.removeprefix("/v2/").partition("/manifests/")
        self.asked.append(f"{request.method} {repository}:{tag}")
        if repository.startswith("held/"):
            await self.release.wait()
        if repository.startswith("private/"):
            scope = f"repository:{repository}:pull"
            if request.headers.get("Authorization") != f"Bearer for {scope}":
                realm = f'Bearer realm="http://{self.host}/token",service="registry",scope="{scope}"'
                return web.Response(status=401, headers={"WWW-Authenticate": realm})
        digest = self.tags.get(f"{repository}:{tag}")
        if digest is None:
            return web.Response(status=404)
        return web.Response(headers={"Docker-Content-Digest": digest} if digest else {}, body=b"{}")


@asynccontextmanager
async def running_registry() -> AsyncIterator[FakeRegistry]:
    registry = FakeRegistry()
    runner = web.ServerRunner(web.Server(registry.answer))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        registry.host = f"127.0.0.1:{runner.addresses[0][1]}"
        yield registry
    finally:
        await runner.cleanup()


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with running_registry() as running:
        yield running


@pytest.fixture
async def kn() -> AsyncIterator[Kn]:
    async with control_plane(resolves_tags=True) as running:
        yield running


async def image_of(kn: Kn, name: str) -> str:
    """The user container's image in the Deployment."""
    found = await kn.raw(Deployment, f"{name}-00001-deployment")
    image: str = found["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


async def test_57_nothing_is_deployed_before_the_digest_is_known(kn: Kn, registry: FakeRegistry) -> None:
    await kn.create(serving.Service, service("web", f"{registry.host}/held/web:v1"))
    await kn.until(
        serving.Revision,
        "web-00001",
        "resolving",
        lambda r: condition(r, "ResourcesAvailable") == ("Unknown", "ResolvingDigests"),
    )
    with pytest.raises(NotFound):
        await kn.get(Deployment, "web-00001-deployment")
    registry.release.set()
    await kn.until_ready("web")
    assert await image_of(kn, "web") == f"{registry.host}/held/web@{DIGEST}"


async def test_59_a_tag_is_deployed_as_a_digest_and_a_skipped_registry_is_not_asked(
    kn: Kn, registry: FakeRegistry
) -> None:
    await kn.create(serving.Service, service("web", f"{registry.host}/web:v1"))
    await kn.create(serving.Service, service("local", "dev.local/x:y"))
    await kn.until_ready("web")
    await kn.until_ready("local")
    assert await image_of(kn, "web") == f"{registry.host}/web@{DIGEST}"
    assert await image_of(kn, "local") == "dev.local/x:y"
    revision = await kn.get(serving.Revision, "web-00001")
    assert revision.status.container_statuses == [
        {"name": "user-container", "imageDigest": f"{registry.host}/web@{DIGEST}"}
    ]
    assert registry.asked == ["HEAD web:v1"], "once, and never again"


async def test_58_a_tag_that_is_missing_is_told_and_tried_again(kn: Kn, registry: FakeRegistry) -> None:
    await kn.create(serving.Service, service("web", f"{registry.host}/late:v1"))
    failed = await kn.until(
        serving.Revision,
        "web-00001",
        "missing",
        lambda r: condition(r, "ContainerHealthy") == ("False", "ContainerMissing"),
    )
    [why] = [c.message for c in failed.status.conditions if c.type == "ContainerHealthy"]
    assert why == (
        f'Unable to fetch image "{registry.host}/late:v1": failed to resolve image to digest: '
        f"HEAD http://{registry.host}/v2/late/manifests/v1: unexpected status code 404"
    )
    registry.tags["late:v1"] = DIGEST
    await kn.until_ready("web")


async def test_a_registry_is_not_asked_more_often_because_something_else_happens(
    kn: Kn, registry: FakeRegistry
) -> None:
    await kn.create(serving.Service, service("web", f"{registry.host}/never:v1"))
    await eventually(lambda: len(registry.asked) == 2)  # the second follows after 1 s, the third after 2 s more
    for number in range(30):
        meta = {"metadata": {"annotations": {"touched": str(number)}}}
        await kn.client.patch(serving.Revision, "web-00001", NAMESPACE, meta)
    await kn.until(
        serving.Revision,
        "web-00001",
        "told",
        lambda r: condition(r, "ContainerHealthy") == ("False", "ContainerMissing"),
    )
    assert len(registry.asked) == 2


async def test_a_private_image_needs_a_pull_secret_and_gets_it(kn: Kn, registry: FakeRegistry) -> None:
    body = service("web", f"{registry.host}/private/web:v1")
    body["spec"]["template"]["spec"]["imagePullSecrets"] = [{"name": "pull"}]
    await kn.create(serving.Service, body)
    await kn.until(serving.Revision, "web-00001", "refused", lambda r: condition(r, "ContainerHealthy")[0] == "False")
    config = {"auths": {f"http://{registry.host}": {"auth": base64.b64encode(b"alice:secret").decode()}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
    meta = ObjectMeta(name="pull", namespace=NAMESPACE)
    await kn.client.create(Secret(metadata=meta, type="kubernetes.io/dockerconfigjson", data=data))
    await kn.until_ready("web")


@pytest.mark.parametrize(
    ("image", "url"),
    [
        ("nginx", "https://index.docker.io/v2/library/nginx/manifests/latest"),
        ("team/app:1", "https://index.docker.io/v2/team/app/manifests/1"),
        ("ghcr.io/a/b/c:v", "https://ghcr.io/v2/a/b/c/manifests/v"),
        ("localhost:5000/a", "http://localhost:5000/v2/a/manifests/latest"),
        ("registry.local/a", "http://registry.local/v2/a/manifests/latest"),
        ("evil-127.0.0.1.example.com/a", "https://evil-127.0.0.1.example.com/v2/a/manifests/latest"),
    ],
)
def test_where_an_image_is_asked_for(image: str, url: str) -> None:
    assert Reference.parse(image).manifest_url == url


def test_the_longest_match_of_a_pull_secret_counts() -> None:
    config = {
        "auths": {
            "https://index.docker.io/v1/": {"username": "hub", "password": "1"},
            "ghcr.io": {"username": "all", "password": "2"},
            "ghcr.io/team": {"username": "team", "password": "3"},
            "ghcr.io/te": {"username": "no prefix of a path", "password": "4"},
            "broken": {"auth": "%"},
        }
    }
    secrets = [
        {},
        {".dockerconfigjson": "%"},
        {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()},
    ]
    for image, name in (("nginx", "hub"), ("ghcr.io/x/y", "all"), ("ghcr.io/team/y", "team")):
        found = credentials_for(Reference.parse(image), secrets)
        assert found is not None
        assert found.username == name
    assert credentials_for(Reference.parse("quay.io/a"), secrets) is None


def test_a_challenge_is_taken_apart() -> None:
    assert parse_challenge('Bearer realm="https://a/t",service="s"') == (
        "bearer",
        {"realm": "https://a/t", "service": "s"},
    )


async def test_a_registry_that_says_no_digest_is_read(registry: FakeRegistry) -> None:
    registry.tags["plain:v1"] = ""
    asking = Registry()
    try:
        found = await asking.digest(Reference.parse(f"{registry.host}/plain:v1"), None, 5.0)
        assert found == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "of the body"
        with pytest.raises(RegistryError, match=r"token.*401"):
            await asking.digest(Reference.parse(f"{registry.host}/private/web:v1"), None, 5.0)
        with pytest.raises(RegistryError, match=r"not answered within 0.1s"):
            await asking.digest(Reference.parse(f"{registry.host}/held/web:v1"), None, 0.1)
        with pytest.raises(RegistryError, match=r"127\.0\.0\.1:1"):
            await asking.digest(Reference.parse("127.0.0.1:1/a"), None, 5.0)
    finally:
        registry.release.set()
        await asking.close()
