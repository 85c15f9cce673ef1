"""From tags to digests, once for each Revision: what it runs must not change under it.

Each image of a Revision is asked for in the background; the Revision is looked at again when all have answered, or one
has failed. Failures are forgotten and tried again, after 1 s doubling to 1,000 s. Nothing is asked about a reference
that has a digest, nor of a registry in `registries-skipping-tag-resolving`. Source: knative/serving
`pkg/reconciler/revision/{resolve,background}.go`; spec control-plane.md 6.2.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from controller import images
from controller.deployment_settings import DeploymentSettings
from controller.registry import Credentials, Reference, RegistryError, credentials_for
from kube.client import Client
from kube.errors import ApiError, ApiUnreachable
from kube.models.core import Secret, ServiceAccount
from kube.models.serving import Revision

__all__ = ["DigestResolver", "Failed", "NodeResolver", "Outcome", "Pending", "Resolved", "Resolver"]

JsonObject = dict[str, Any]
Key = tuple[str, str]

_PARALLEL_MAX = 100
_RETRY_FIRST_S = 1.0
_RETRY_MAX_S = 1000.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """`containerStatuses` and `initContainerStatuses` of the Revision."""

    containers: list[JsonObject]
    init_containers: list[JsonObject]


@dataclass(frozen=True, slots=True)
class Pending:
    """Still being asked; the Revision will be woken."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that cannot be had, and when it is tried again."""

    image: str
    cause: str
    retry_s: float


Outcome = Resolved | Pending | Failed


class Resolver(Protocol):
    """What the Revision's reconciler asks."""

    def resolve(self, revision: Revision, settings: DeploymentSettings) -> Outcome: ...
    def forget(self, key: Key) -> None: ...


class NodeResolver:
    """Leaves every tag to the node, where no registry can be asked: a machine on which images are commands."""

    def resolve(self, revision: Revision, _settings: DeploymentSettings) -> Outcome:
        """At once, and never a failure."""
        return Resolved(
            images.digest_statuses(revision.spec.get("containers") or []),
            images.digest_statuses(revision.spec.get("initContainers") or []),
        )

    def forget(self, key: Key) -> None:
        """Nothing is remembered."""


class _Registry(Protocol):
    async def digest(self, reference: Reference, credentials: Credentials | None, timeout_s: float) -> str: ...


@dataclass(slots=True)
class _Work:
    """The images of one Revision."""

    uid: str
    digests: dict[str, str] = field(default_factory=dict)
    failure: tuple[str, str] | None = None
    failures: int = 0
    retry_at_s: float = 0.0
    """When the loop's clock says so, what failed is asked for again."""
    task: "asyncio.Task[None] | None" = None


class DigestResolver:
    """Asks registries. `wake(key)` is called when there is something new about a Revision."""

    def __init__(self, client: Client, registry: _Registry, *, wake: Callable[[Key], None]) -> None:
        self._client = client
        self._registry = registry
        self._wake = wake
        self._work: dict[Key, _Work] = {}
        self._slots = asyncio.Semaphore(_PARALLEL_MAX)

    def resolve(self, revision: Revision, settings: DeploymentSettings) -> Outcome:
        """What is known; begins to ask when nothing is."""
        work = self._work.get(revision.key)
        if work is None or work.uid != revision.metadata.uid:
            self.forget(revision.key)
            work = self._work[revision.key] = _Work(revision.metadata.uid)
        if work.task is not None and not work.task.done():
            return Pending()
        if work.failure is not None:
            left_s = work.retry_at_s - asyncio.get_running_loop().time()
            if left_s > 0:
                # Also when something else wakes the Revision: a registry is not asked more often for that.
                return Failed(*work.failure, left_s)
            work.failure = None
        asked = [image for image in dict.fromkeys(_images(revision)) if image not in work.digests]
        if asked:
            task = self._ask(revision, work, asked, settings)
            work.task = asyncio.get_running_loop().create_task(task, name=f"digests {revision.key}")
            return Pending()
        del self._work[revision.key]
        return Resolved(
            _statuses(revision.spec.get("containers") or [], work.digests),
            _statuses(revision.spec.get("initContainers") or [], work.digests),
        )

    def forget(self, key: Key) -> None:
        """The Revision is gone."""
        work = self._work.pop(key, None)
        if work is not None and work.task is not None:
            work.task.cancel()

    async def stop(self) -> None:
        """End what is under way."""
        tasks = [work.task for work in self._work.values() if work.task is not None]
        for key in list(self._work):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, revision: Revision, work: _Work, asked: list[str], settings: DeploymentSettings) -> None:
        try:
            secrets = await self._pull_secrets(revision)
        except (ApiError, ApiUnreachable) as error:
            work.failure = asked[0], f"pull secrets: {error}"
        else:
            results = [self._digest(image, secrets, settings) for image in asked]
            for image, found in zip(asked, await asyncio.gather(*results), strict=True):
                if isinstance(found, RegistryError):
                    work.failure = work.failure or (image, str(found))
                else:
                    work.digests[image] = found
        loop = asyncio.get_running_loop()
        if work.failure is not None:
            work.retry_at_s = loop.time() + min(_RETRY_FIRST_S * 2.0 ** min(work.failures, 30), _RETRY_MAX_S)
            work.failures += 1
        loop.call_soon(self._wake, revision.key)

    async def _digest(
        self, image: str, secrets: list[dict[str, str]], settings: DeploymentSettings
    ) -> str | RegistryError:
        """`repository@sha256:...`, or an empty text for what is not to be resolved."""
        reference = Reference.parse(image)
        if reference.digest:
            return image
        if reference.registry in settings.registries_skipping_tag_resolving:
            return ""
        try:
            async with self._slots:
                credentials = credentials_for(reference, secrets)
                digest = await self._registry.digest(reference, credentials, settings.digest_resolution_timeout_s)
        except RegistryError as error:
            return error
        return f"{reference.name}@{digest}"

    async def _pull_secrets(self, revision: Revision) -> list[dict[str, str]]:
        """The data of the Secrets that the pod could pull with."""
        named = [entry.get("name") for entry in revision.spec.get("imagePullSecrets") or []]
        account = str(revision.spec.get("serviceAccountName") or "default")
        found = await self._or_none(self._client.get(ServiceAccount, account, revision.namespace))
        named += [entry.get("name") for entry in (found.image_pull_secrets if found is not None else [])]
        secrets = [
            await self._or_none(self._client.get(Secret, str(name), revision.namespace))
            for name in dict.fromkeys(named)
            if name
        ]
        return [secret.data for secret in secrets if secret is not None]

    async def _or_none(self, call: Awaitable[Any]) -> Any:
        """What is not there cannot help; whether it was needed the registry will say."""
        try:
            return await call
        except ApiError as error:
            if error.code == 404:
                return None
            raise


def _images(revision: Revision) -> list[str]:
    containers = [*(revision.spec.get("containers") or []), *(revision.spec.get("initContainers") or [])]
    return [str(container.get("image", "")) for container in containers]


def _statuses(containers: list[JsonObject], digests: dict[str, str]) -> list[JsonObject]:
    return [
        {"name": str(container.get("name", ""))}
        | ({"imageDigest": digest} if (digest := digests.get(str(container.get("image", "")), "")) else {})
        for container in containers
    ]
