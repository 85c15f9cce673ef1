"""Names, and which Revision a Configuration follows (statements 47, 48, 53, 55, 56)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.cluster import Cluster
from controller.configuration import CONDITIONS, ConfigurationReconciler
from kube.client import Client
from kube.config import ApiConfig
from kube.models import serving
from kube.models.meta import Condition, ObjectMeta
from kube.names import child_name
from tests.controller.cluster import NAMESPACE, Kn, control_plane, service

BOUND = {"serving.knative.dev/configuration": "web"}


@pytest.fixture
async def kn() -> AsyncIterator[Kn]:
    async with control_plane() as running:
        yield running


def image(tag: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"image": f"dev.local/hello:{tag}"}]}}}}


async def test_47_the_third_generation_is_revision_00003(kn: Kn) -> None:
    await kn.create(serving.Service, service("web"))
    await kn.until_ready("web")
    for generation in (2, 3):
        await kn.client.patch(serving.Service, "web", NAMESPACE, image(str(generation)))
        ready = await kn.until_ready("web", generation)
    assert ready.status.latest_ready_revision_name == "web-00003"
    revision = await kn.get(serving.Revision, "web-00003")
    assert revision.metadata.labels["serving.knative.dev/configurationGeneration"] == "3"


def test_48_long_names_are_shortened_with_a_sum() -> None:
    assert child_name("a" * 63, "-deployment") == "aaaaaaaaaaaaaaaaaaaab06521f39153d618550606be297466d5-deployment"


class Configurations:
    """A Configuration and its Revisions as the reconciler's local copy has them; nothing is written anywhere."""

    def __init__(self) -> None:
        self.cluster = Cluster(Client(ApiConfig(server="http://127.0.0.1:1")))
        self.cluster._settings.load({"config-deployment": {"queue-sidecar-image": "q"}})
        self.status = serving.ConfigurationStatus()
        self._version = 0
        self.reconciler = ConfigurationReconciler(self.cluster)

    def revision(self, generation: int, ready: str) -> None:
        """The Revision of a generation, and whether it is ready."""
        self._version += 1
        self.cluster.revisions.informer.apply_local(
            serving.Revision(
                metadata=ObjectMeta(
                    name=f"web-{generation:05d}",
                    namespace="shop",
                    generation=1,
                    resource_version=str(self._version),
                    labels={**BOUND, "serving.knative.dev/configurationGeneration": str(generation)},
                ),
                status=serving.RevisionStatus(
                    observed_generation=1, conditions=[Condition(type="Ready", status=ready, message="why")]
                ),
            )
        )

    async def look(self, generation: int) -> tuple[str, str, str]:
        """(latest created, latest ready, Ready) after a pass at that generation."""
        configuration = serving.Configuration(
            metadata=ObjectMeta(name="web", namespace="shop", uid="u", generation=generation),
            spec=serving.ConfigurationSpec(template=json.loads('{"spec": {"containers": [{"image": "a"}]}}')),
            status=self.status,
        )
        conditions = CONDITIONS.manage(self.status.conditions, 0.0)
        await self.reconciler.reconcile(configuration, self.status, conditions)
        self.status.conditions = conditions.listed()
        status = self.status
        return status.latest_created_revision_name, status.latest_ready_revision_name, conditions.status("Ready")


async def test_53_and_56_the_newest_is_created_at_once_and_ready_when_it_is() -> None:
    web = Configurations()
    web.revision(1, "Unknown")
    assert await web.look(1) == ("web-00001", "", "Unknown")
    web.revision(1, "True")
    assert await web.look(1) == ("web-00001", "web-00001", "True")
    web.revision(2, "Unknown")
    assert await web.look(2) == ("web-00002", "web-00001", "Unknown")
    web.revision(2, "True")
    assert await web.look(2) == ("web-00002", "web-00002", "True")


async def test_55_a_revision_that_is_ready_late_does_not_take_the_place_of_a_newer_one() -> None:
    web = Configurations()
    web.revision(1, "True")
    web.revision(2, "Unknown")
    web.revision(3, "True")
    assert await web.look(3) == ("web-00003", "web-00003", "True")
    web.revision(2, "True")
    assert await web.look(3) == ("web-00003", "web-00003", "True")
    web.revision(3, "False")
    assert await web.look(3) == ("web-00003", "web-00003", "False")
