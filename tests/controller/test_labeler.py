"""Which Routes lead to a Revision, as it is written on it (statements 96, 97)."""

from controller import labeler
from kube.models.meta import ObjectMeta
from kube.models.serving import Configuration, Revision


def revision(routes: str = "", state: str = "active") -> Revision:
    annotations = {"serving.knative.dev/routes": routes} if routes else {}
    meta = ObjectMeta(name="r", labels={"serving.knative.dev/routingState": state}, annotations=annotations)
    return Revision(metadata=meta)


def test_s97_routes_are_listed_in_order() -> None:
    patch = labeler.metadata_patch(revision("b"), "a", is_wanted=True, now="now")
    assert patch == {"metadata": {"annotations": {"serving.knative.dev/routes": "a,b"}}}


def test_s96_a_revision_without_routes_is_in_reserve() -> None:
    assert labeler.metadata_patch(revision("a"), "a", is_wanted=False, now="now") == {
        "metadata": {
            "labels": {"serving.knative.dev/routingState": "reserve"},
            "annotations": {"serving.knative.dev/routes": None, "serving.knative.dev/routingStateModified": "now"},
        }
    }
    assert labeler.metadata_patch(revision("a,b"), "a", is_wanted=False, now="now") == {
        "metadata": {"annotations": {"serving.knative.dev/routes": "b"}}
    }


def test_a_pending_revision_becomes_active_and_then_nothing_changes() -> None:
    patch = labeler.metadata_patch(revision(state="pending"), "a", is_wanted=True, now="now")
    assert patch is not None
    assert patch["metadata"]["labels"] == {"serving.knative.dev/routingState": "active"}
    assert labeler.metadata_patch(revision("a"), "a", is_wanted=True, now="now") is None
    assert labeler.metadata_patch(revision(state="pending"), "a", is_wanted=False, now="now") is None


def test_a_configuration_has_no_routing_state() -> None:
    patch = labeler.metadata_patch(Configuration(), "a", is_wanted=True, now="now")
    assert patch == {"metadata": {"annotations": {"serving.knative.dev/routes": "a"}}}
