"""Whom a policy concerns: a thousand channels are not looked at because of one that is for another."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.eventing.addresses import concerns
from controller.eventing.cluster import EventingCluster
from kube.models.duck import KReference
from kube.models.eventing import Broker
from kube.models.eventpolicy import EventPolicy, EventPolicySpec, PolicySelector, PolicyTarget
from kube.models.flows import Sequence
from kube.models.messaging import Channel, InMemoryChannel
from kube.models.meta import ObjectMeta, Resource

FLOWS, MESSAGING = "flows.knative.dev/v1", "messaging.knative.dev/v1"


def named(kind: type[Any], name: str, owner: Resource | None = None, **labels: str) -> Any:
    references = [owner.owner_reference()] if owner is not None else []
    uid = f"{kind.__name__}-{name}"
    return kind(metadata=ObjectMeta(name=name, namespace="ns", uid=uid, labels=labels, owner_references=references))


SEQUENCE = named(Sequence, "flow")
FIRST, INNER = (named(InMemoryChannel, f"flow-kn-sequence-{index}", SEQUENCE) for index in range(2))
CHANNEL = named(Channel, "mine", team="a")
BACKING = named(InMemoryChannel, "mine", CHANNEL)
BROKER = named(Broker, "mine")
ALL = (SEQUENCE, FIRST, INNER, CHANNEL, BACKING, BROKER)


def held(*objects: Any) -> Any:
    return SimpleNamespace(get=lambda namespace, name: next((each for each in objects if each.name == name), None))


CLUSTER = cast(EventingCluster, SimpleNamespace(channels=held(CHANNEL), sequences=held(SEQUENCE), parallels=held()))


def to(api_version: str, kind: str, name: str) -> PolicyTarget:
    return PolicyTarget(ref=KReference(api_version=api_version, kind=kind, name=name))


def with_label(api_version: str, kind: str, **labels: str) -> PolicyTarget:
    return PolicyTarget(selector=PolicySelector(api_version=api_version, kind=kind, match_labels=labels))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([], ALL),
        ([to(FLOWS, "Sequence", "flow")], (SEQUENCE, FIRST)),
        ([to(MESSAGING, "Channel", "mine")], (CHANNEL, BACKING)),
        ([to(MESSAGING, "InMemoryChannel", "mine")], (BACKING,)),
        ([to("eventing.knative.dev/v1", "Broker", "other")], ()),
        ([with_label(MESSAGING, "Channel", team="a")], (CHANNEL, BACKING)),
        ([with_label(MESSAGING, "Channel", team="b")], ()),
    ],
)
def test_a_policy_concerns_what_it_names_and_the_way_in_to_it(targets: list[PolicyTarget], expected: Any) -> None:
    policy = EventPolicy(metadata=ObjectMeta(name="p", namespace="ns"), spec=EventPolicySpec(to=targets))
    assert [each for each in ALL if concerns(CLUSTER, policy, each)] == list(expected)


def test_channels_that_own_one_another_are_looked_at_once() -> None:
    one, other = named(Channel, "one"), named(Channel, "other")
    one.metadata.owner_references = [other.owner_reference()]
    other.metadata.owner_references = [one.owner_reference()]
    cluster = cast(EventingCluster, SimpleNamespace(channels=held(one, other), sequences=held(), parallels=held()))
    spec = EventPolicySpec(to=[to(MESSAGING, "Channel", "third")])
    assert not concerns(cluster, EventPolicy(spec=spec), one)
