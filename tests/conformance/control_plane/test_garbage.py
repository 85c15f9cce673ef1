"""Which Revisions are deleted (statements 98, 99)."""

import pytest

from controller.garbage import collectable, next_stale_s
from controller.settings import GarbageCollection
from kube.models import serving
from kube.models.meta import ObjectMeta
from kube.timestamps import format_time
from tests.controller.cluster import NAMESPACE, control_plane, service

NOW_S = 1_800_000_000.0
HOUR_S = 3600.0
STATE = "serving.knative.dev/routingState"
MODIFIED = "serving.knative.dev/routingStateModified"


def revision(
    name: str, *, state: str = "reserve", idle_s: float = 0.0, age_s: float = 0.0, **annotations: str
) -> serving.Revision:
    marks = {f"serving.knative.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return serving.Revision(
        metadata=ObjectMeta(
            name=name,
            creation_timestamp=format_time(NOW_S - max(age_s, idle_s)),
            labels={STATE: state},
            annotations={MODIFIED: format_time(NOW_S - idle_s), **marks},
        )
    )


def rules(created_s: float | None, active_s: float | None, lowest: int, highest: int | None) -> GarbageCollection:
    return GarbageCollection(
        retain_since_create_s=created_s,
        retain_since_last_active_s=active_s,
        non_active_min=lowest,
        non_active_max=highest,
    )


def names(*revisions: serving.Revision, by: GarbageCollection, latest: str = "") -> list[str]:
    return [found.name for found in collectable(revisions, latest, by, NOW_S)]


EVERYTHING = rules(0.0, 0.0, 0, 0)


def test_98_what_is_served_kept_or_not_yet_routed_is_never_deleted() -> None:
    revisions = (
        revision("latest", idle_s=9),
        revision("kept", idle_s=9, no_gc="True"),
        revision("pending", state="pending", idle_s=9),
        revision("active", state="active", idle_s=9),
        revision("idle", idle_s=9),
    )
    assert names(*revisions, by=EVERYTHING, latest="latest") == ["idle"]


def test_99_the_most_recently_active_are_kept() -> None:
    revisions = [revision(f"r{hours}", idle_s=hours * HOUR_S) for hours in (4, 1, 5, 2, 3)]
    assert names(*revisions, by=rules(None, None, 0, 3)) == ["r5", "r4"]


def test_stale_ones_go_first_and_then_the_surplus() -> None:
    revisions = [revision(f"r{hours}", idle_s=hours * HOUR_S) for hours in range(10)]
    assert names(*revisions, by=rules(0.0, 5.5 * HOUR_S, 2, 5)) == ["r9", "r8", "r7", "r6", "r5"]


def test_the_fewest_that_are_kept_end_it() -> None:
    revisions = [revision(f"r{hours}", idle_s=hours * HOUR_S) for hours in range(5)]
    assert names(*revisions, by=rules(0.0, 0.0, 3, 3)) == ["r4", "r3"]
    assert names(*revisions, by=rules(0.0, 0.0, 5, 5)) == []


def test_both_bounds_must_be_passed_and_a_disabled_one_is_not_asked() -> None:
    young, old = revision("young", idle_s=HOUR_S), revision("old", idle_s=HOUR_S, age_s=9 * HOUR_S)
    assert names(young, old, by=rules(5 * HOUR_S, 0.0, 0, None)) == ["old"]
    assert names(young, old, by=rules(None, 0.0, 0, None)) == ["old", "young"]
    assert names(young, old, by=rules(None, None, 0, None)) == []


@pytest.mark.parametrize(("active_s", "wanted"), [(2 * HOUR_S, HOUR_S), (HOUR_S / 2, None), (None, None)])
def test_time_alone_brings_it_back(active_s: float | None, wanted: float | None) -> None:
    assert next_stale_s([revision("r", idle_s=HOUR_S)], "", rules(None, active_s, 0, None), NOW_S) == wanted


async def test_old_revisions_of_a_service_go_with_all_that_they_had() -> None:
    bounds = {
        "retain-since-create-time": "disabled",
        "retain-since-last-active-time": "disabled",
        "min-non-active-revisions": "0",
        "max-non-active-revisions": "1",
    }
    async with control_plane(gc=bounds) as kn:
        await kn.create(serving.Service, service("web"))
        await kn.until_ready("web")
        for generation in (2, 3):
            image = {"containers": [{"image": f"dev.local/hello:{generation}"}]}
            await kn.client.patch(serving.Service, "web", NAMESPACE, {"spec": {"template": {"spec": image}}})
            await kn.until_ready("web", generation)
        await kn.until_gone(serving.Revision, "web-00001")
        kept = await kn.client.list(serving.Revision, NAMESPACE)
        assert sorted(found.name for found in kept.items) == ["web-00002", "web-00003"]
