"""What bindings put into pod templates and take out again, and when a Deployment has drifted."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.eventing.sources.adapters import selector_text
from controller.eventing.sources.binding_rules import apply_bindings
from controller.eventing.sources.injection import Injection, bind, unbind
from controller.eventing.sources.workloads import contains
from kube.models.meta import LabelSelector, LabelSelectorRequirement, ObjectMeta
from kube.models.sources import CloudEventOverrides, SinkBinding, SinkBindingSpec, SinkBindingStatus, SubjectReference

Json = dict[str, Any]
TOLD = ("K_SINK", "K_CA_CERTS", "K_CE_OVERRIDES")


def deployment(*containers: Json, **pod: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "ns", "labels": {"a": "b"}},
        "spec": {"template": {"spec": {"containers": list(containers), **pod}}},
    }


def binding(called: str = "b", *, sink: str = "http://sink/", **subject: Any) -> SinkBinding:
    about = {"api_version": "apps/v1", "kind": "Deployment", **(subject or {"name": "d"})}
    return SinkBinding(
        metadata=ObjectMeta(name=called, namespace="ns"),
        spec=SinkBindingSpec(subject=SubjectReference(**about)),
        status=SinkBindingStatus(sink_uri=sink or None),
    )


def env(obj: Json) -> list[tuple[str, str]]:
    return [(each["name"], each["value"]) for each in obj["spec"]["template"]["spec"]["containers"][0].get("env", [])]


def test_variables_come_last_and_replace_those_of_the_same_name() -> None:
    obj = deployment({"name": "c", "env": [{"name": "K_SINK", "value": "by hand"}, {"name": "A", "value": "1"}]})
    bind(obj, Injection(sink="http://s/", ca_certs="PEM", overrides="{}"))
    assert env(obj) == [("A", "1"), ("K_SINK", "http://s/"), ("K_CA_CERTS", "PEM"), ("K_CE_OVERRIDES", "{}")]


def test_a_token_is_mounted_once_into_every_container() -> None:
    obj = deployment({"name": "c"}, {"name": "d"}, initContainers=[{"name": "i"}], volumes=[{"name": "v"}])
    for _ in range(2):
        bind(obj, Injection(sink="http://s/", token_secret="secret"))
    pod = obj["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["v", "oidc-token"]
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["volumeMounts"] == [{"name": "oidc-token", "mountPath": "/oidc", "readOnly": True}]
    unbind(obj)
    assert obj == deployment({"name": "c"}, {"name": "d"}, initContainers=[{"name": "i"}], volumes=[{"name": "v"}])


def test_trust_bundles_are_one_folder_in_every_container() -> None:
    bare = deployment({"name": "c"}, initContainers=[{"name": "i"}])
    obj = copy.deepcopy(bare)
    for _ in range(2):
        bind(obj, Injection(sink="http://s/", token_secret="secret", bundles=("a", "b")))
    pod = obj["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["oidc-token", "kne-bundle-volume"]
    sources = [{"configMap": {"name": name, "optional": True}} for name in ("a", "b")]
    assert pod["volumes"][1]["projected"] == {"sources": sources}
    for container in (*pod["containers"], *pod["initContainers"]):
        mount = {"name": "kne-bundle-volume", "mountPath": "/knative-custom-certs", "readOnly": True}
        assert container["volumeMounts"][1:] == [mount]
    unbind(obj)
    assert obj == bare


def test_a_binding_without_a_sink_takes_out_what_was_told_before() -> None:
    obj = deployment({"name": "c"})
    apply_bindings(obj, [binding()])
    assert env(obj)[0] == ("K_SINK", "http://sink/")
    apply_bindings(obj, [binding(sink="")])
    assert obj == deployment({"name": "c"})


def test_bindings_are_about_their_subjects_only() -> None:
    labels, others = LabelSelector(match_labels={"a": "b"}), LabelSelector(match_labels={"a": "c"})
    for about, is_told in (
        ({"name": "d"}, True),
        ({"name": "other"}, False),
        ({"selector": labels}, True),
        ({"selector": others}, False),
        ({"name": "d", "kind": "StatefulSet"}, False),
        ({"name": "d", "api_version": "apps/v1beta1"}, False),
    ):
        obj = deployment({"name": "c"})
        apply_bindings(obj, [binding(**about)])
        assert bool(env(obj)) is is_told, about
    gone = binding()
    gone.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    obj = deployment({"name": "c"})
    apply_bindings(obj, [gone])
    assert env(obj) == []


def test_of_several_bindings_the_last_by_name_is_obeyed() -> None:
    obj = deployment({"name": "c"})
    apply_bindings(obj, [binding("z", sink="http://z/"), binding("a", sink="http://a/")])
    assert env(obj)[0] == ("K_SINK", "http://z/")


def test_overrides_are_told_as_json() -> None:
    told = binding()
    told.spec.ce_overrides = CloudEventOverrides(extensions={"b": "2", "a": "1"})
    obj = deployment({"name": "c"})
    apply_bindings(obj, [told])
    assert dict(env(obj))["K_CE_OVERRIDES"] == '{"extensions":{"a":"1","b":"2"}}'


NAMES = st.sampled_from(["A", "B", *TOLD])
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text("abc", min_size=1)},
        optional={
            "env": st.lists(st.fixed_dictionaries({"name": NAMES, "value": st.text(max_size=3)}), min_size=1),
            "volumeMounts": st.just([{"name": "v", "mountPath": "/v"}]),
        },
    ),
    min_size=1,
    max_size=3,
)


@given(CONTAINERS, st.builds(Injection, sink=st.text(), ca_certs=st.text(), token_secret=st.sampled_from(["", "s"])))
def test_binding_twice_is_binding_once_and_unbinding_leaves_what_was_not_told(
    containers: list[Json], injection: Injection
) -> None:
    bare = deployment(*copy.deepcopy(containers))
    unbind(bare)
    once, twice = deployment(*copy.deepcopy(containers)), deployment(*copy.deepcopy(containers))
    bind(once, injection)
    bind(twice, injection)
    bind(twice, injection)
    assert once == twice
    assert [name for name, _ in env(once)].count("K_SINK") == 1
    unbind(once)
    assert once == bare
    assert not {name for name, _ in env(bare)} & set(TOLD)


JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(0, 3), st.text(max_size=2)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)),
    max_leaves=8,
)


@given(JSON)
def test_what_is_equal_has_not_drifted(value: Any) -> None:
    assert contains(value, copy.deepcopy(value))


def test_drift_is_what_differs_and_not_what_was_added() -> None:
    wanted = {"containers": [{"name": "c", "env": [{"name": "A", "value": ""}], "args": []}]}
    held = {
        "containers": [{"name": "c", "env": [{"name": "A"}], "imagePullPolicy": "Always"}],
        "restartPolicy": "Always",
    }
    assert contains(held, wanted)
    for other in (
        {"containers": [{"name": "c", "env": [{"name": "A"}, {"name": "B"}]}]},
        {"containers": [{"name": "c"}]},
        {"containers": [{"name": "c", "env": [{"name": "A", "value": "x"}]}]},
        {"containers": [{"name": "c", "env": [{"name": "A"}], "args": ["x"]}]},
        {"containers": []},
        {},
    ):
        assert not contains(other, wanted), other


def test_selectors_are_written_as_the_api_reads_them() -> None:
    expressions = [
        LabelSelectorRequirement(key="a", operator="In", values=["2", "1"]),
        LabelSelectorRequirement(key="b", operator="NotIn", values=["3"]),
        LabelSelectorRequirement(key="c", operator="Exists"),
        LabelSelectorRequirement(key="d", operator="DoesNotExist"),
    ]
    selector = LabelSelector(match_labels={"z": "1", "y": "2"}, match_expressions=expressions)
    assert selector_text(selector) == "y=2,z=1,a in (1,2),b notin (3),c,!d"
    assert selector_text(None) == ""
