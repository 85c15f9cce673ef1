"""What people read in `kubectl describe` about their objects."""

from collections.abc import AsyncIterator

import pytest

from kube.models import core, serving
from kube.models.meta import Resource
from tests.controller.cluster import NAMESPACE, Kn, control_plane, service
from tests.support.processes import eventually


@pytest.fixture
async def kn() -> AsyncIterator[Kn]:
    async with control_plane() as running:
        yield running


async def until_said(kn: Kn, kind: type[Resource], name: str, *reasons: str) -> dict[str, core.Event]:
    """The object's events by reason, once these are among them."""
    found: dict[str, core.Event] = {}

    async def check() -> bool:
        events = (await kn.client.list(core.Event, NAMESPACE)).items
        about = [e for e in events if (e.involved_object.kind, e.involved_object.name) == (kind.RESOURCE.kind, name)]
        found.update({event.reason: event for event in about})
        return found.keys() >= set(reasons)

    try:
        await eventually(check)
    except AssertionError:
        raise AssertionError(f"{sorted(found)} about {name}") from None
    return found


async def test_readiness_is_told_once(kn: Kn) -> None:
    await kn.create(serving.Service, service("web"))
    await kn.until_ready("web")
    told = await until_said(kn, serving.Configuration, "web", "ConfigurationReady", "LatestReadyUpdate")
    assert told["LatestReadyUpdate"].message == 'LatestReadyRevisionName updated to "web-00001"'
    assert {event.type for event in told.values()} == {"Normal"}
    told = await until_said(kn, serving.Revision, "web-00001", "RevisionReady")
    assert told["RevisionReady"].count == 1


async def test_a_revision_that_fails_is_a_warning(kn: Kn) -> None:
    ended = core.ContainerState(terminated=core.ContainerStateTerminated(exit_code=5, message="boom"))
    kn.peers.failures["dev.local/bad"] = core.ContainerStatus(name="user-container", last_state=ended)
    await kn.create(serving.Service, service("bad", "dev.local/bad"))
    told = await until_said(kn, serving.Configuration, "bad", "LatestCreatedFailed")
    assert told["LatestCreatedFailed"].type == "Warning"
    assert told["LatestCreatedFailed"].count == 1
    assert "ConfigurationReady" not in told
