"""Whatever is written as a source or a subject is admitted or refused with a reason; nothing else happens."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.admission import Denied
from controller.eventing.admission import EventingAdmission
from controller.eventing.sources.binding_admission import BindingAdmission
from kube.models.meta import LabelSelector, ObjectMeta
from kube.models.sources import SinkBinding, SinkBindingSpec, SinkBindingStatus, SubjectReference

Json = dict[str, Any]

WORDS = (
    *("spec", "template", "metadata", "labels", "containers", "initContainers"),
    *("env", "volumes", "volumeMounts", "name", "image", "sink"),
    *("ref", "uri", "subject", "selector", "matchLabels", "schedule"),
    *("timezone", "data", "dataBase64", "contentType", "ceOverrides", "extensions"),
    *("resources", "apiVersion", "kind", "owner", "mode", "filters"),
    *("namespaceSelector"),
)
TEXTS = st.sampled_from(["* * * * *", "http://s/", "/x", "v1"])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-1, 3), st.text(max_size=4), TEXTS)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)),
    max_leaves=12,
)
SPECS = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=5)
KINDS = ("PingSource", "ApiServerSource", "ContainerSource", "SinkBinding")


@dataclass(frozen=True)
class Written:
    """A write, as admission sees it."""

    kind: str
    object: Json
    group: str = "sources.knative.dev"
    operation: str = "CREATE"
    namespace: str = "ns"
    name: str = "n"
    username: str = "u"
    subresource: str = ""
    old_object: Json = field(default_factory=dict)


ADMISSION = EventingAdmission({"config-features": {"new-apiserversource-filters": "enabled"}}.get)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), SPECS)
def test_a_source_is_admitted_or_refused_and_defaulting_twice_changes_nothing(kind: str, spec: Json) -> None:
    obj = {"apiVersion": "sources.knative.dev/v1", "kind": kind, "metadata": {"name": "n"}, "spec": spec}
    try:
        once = ADMISSION.default(Written(kind, obj))
        ADMISSION.validate(Written(kind, once))
    except Denied:
        return
    assert ADMISSION.default(Written(kind, copy.deepcopy(once))) == once


def binding() -> SinkBinding:
    subject = SubjectReference(api_version="apps/v1", kind="Deployment", selector=LabelSelector())
    return SinkBinding(
        metadata=ObjectMeta(name="b", namespace="ns"),
        spec=SinkBindingSpec(subject=subject),
        status=SinkBindingStatus(sink_uri="http://sink/", oidc_token_secret_name="secret"),
    )


@settings(max_examples=60, deadline=None)
@given(st.one_of(SPECS, st.fixed_dictionaries({"template": st.fixed_dictionaries({"spec": SPECS})})), JSON)
def test_a_subject_of_any_shape_is_told_or_left_alone(spec: Json, metadata: Any) -> None:
    obj: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    before = copy.deepcopy(obj)
    bound = BindingAdmission(lambda _ns: [binding()], lambda _ns: {}).bind(
        Written("Deployment", obj, group="apps")  # type: ignore[arg-type]
    )
    assert obj == before, "the object that was given stays as it is"
    assert bound["kind"] == "Deployment"


@pytest.mark.parametrize(
    "template", [{"spec": []}, {"spec": {"containers": 5}}, {"metadata": 3}, {"metadata": {"labels": [1]}}]
)
def test_a_template_of_the_wrong_shape_is_refused(template: Json) -> None:
    spec = {"sink": {"uri": "http://s/"}, "template": {"spec": {"containers": [{"image": "i"}]}, **template}}
    obj = {"metadata": {"name": "n"}, "spec": spec}
    with pytest.raises(Denied):
        ADMISSION.validate(Written("ContainerSource", ADMISSION.default(Written("ContainerSource", obj))))
