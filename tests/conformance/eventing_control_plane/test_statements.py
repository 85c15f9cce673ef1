"""What admission refuses and what reconciling makes of the rest. B: eventing-broker, C: -channels, S: -sources."""

import json
from typing import Any

import pytest

from kube.models.core import ConfigMap
from kube.models.eventing import Broker, EventType, Trigger
from kube.models.eventpolicy import EventPolicy
from kube.models.flows import Parallel, Sequence
from kube.models.messaging import Channel, InMemoryChannel, Subscription
from kube.models.meta import Resource
from tests.controller.eventing.cluster import SYSTEM, Eventing, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

_URI = {"uri": "http://them"}
_CHANNEL = {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": "mine"}
_TRIGGER: dict[str, Any] = {"broker": "default", "subscriber": _URI}
_SUBSCRIPTION: dict[str, Any] = {"channel": _CHANNEL, "subscriber": _URI}
_ATTRIBUTES = [{"name": name, "value": "x"} for name in ("type", "source", "specversion", "id")]

DELIVERIES: list[tuple[dict[str, Any], str]] = [
    ({"retry": -1}, "invalid value: -1: spec.delivery.retry"),
    ({"backoffPolicy": "random"}, "invalid value: random: spec.delivery.backoffPolicy"),
    ({"backoffDelay": "5s"}, "invalid value: 5s: spec.delivery.backoffDelay"),
    ({"backoffDelay": ""}, "invalid value: : spec.delivery.backoffDelay"),
    ({"timeout": "PT0S"}, "invalid value: PT0S: spec.delivery.timeout"),
    ({"timeout": "soon"}, "invalid value: soon: spec.delivery.timeout"),
    ({"format": "JSON"}, "invalid value: JSON: spec.delivery.format"),
    ({"deadLetterSink": {}}, "expected at least one, got none: spec.delivery.deadLetterSink.ref, spec.delivery.dead"),
]


@pytest.mark.parametrize(("delivery", "message"), DELIVERIES)
@pytest.mark.parametrize(
    ("kind", "spec"),
    [(Broker, {}), (Trigger, _TRIGGER), (Channel, {}), (InMemoryChannel, {}), (Subscription, _SUBSCRIPTION)],
)
async def test_c54_delivery_that_cannot_be_is_refused(
    eventing: Eventing, kind: type[Resource], spec: dict[str, Any], delivery: dict[str, Any], message: str
) -> None:
    assert message in await eventing.refusal(kind, "mine", {**spec, "delivery": delivery})


async def test_c54_holds_in_steps_and_branches_as_well(eventing: Eventing) -> None:
    step = {**_URI, "delivery": {"retry": -1}}
    assert "invalid value: -1: spec.steps[1].delivery.retry" in await eventing.refusal(
        Sequence, "mine", {"steps": [_URI, step]}
    )
    branch = {"subscriber": _URI, "delivery": {"format": "xml"}}
    assert "invalid value: xml: spec.branches[0].delivery.format" in await eventing.refusal(
        Parallel, "mine", {"branches": [branch]}
    )


async def test_c54_what_is_right_is_accepted(eventing: Eventing) -> None:
    delivery = {"retry": 0, "backoffPolicy": "linear", "backoffDelay": "-PT1S", "timeout": "PT0.2S", "format": "json"}
    await eventing.create(Broker, "mine", {"delivery": delivery})


async def test_c55_retry_after_max_needs_its_flag() -> None:
    delivery = {"delivery": {"retryAfterMax": "PT2S"}}
    async with running(acts=False) as eventing:
        text = "must not set the field(s): spec.delivery.retryAfterMax"
        assert text in await eventing.refusal(Broker, "mine", delivery)
        await eventing.set_config("config-features", {"delivery-retryafter": "enabled", "delivery-timeout": "disabled"})
        await eventing.create(Broker, "mine", delivery)
        refused = {"delivery": {"retryAfterMax": "-PT2S", "timeout": "PT1S"}}
        message = await eventing.refusal(Broker, "other", refused)
        assert "invalid value: -PT2S: spec.delivery.retryAfterMax" in message
        assert "must not set the field(s): spec.delivery.timeout" in message


async def test_c56_a_subscription_needs_channel_and_subscriber_and_keeps_its_channel(eventing: Eventing) -> None:
    message = await eventing.refusal(Subscription, "mine", {"channel": _CHANNEL})
    assert "missing field(s): spec.subscriber\nthe Subscription must reference a subscriber" in message
    message = await eventing.refusal(Subscription, "mine", {"subscriber": _URI})
    assert "missing field(s): spec.channel" in message
    message = await eventing.refusal(Subscription, "mine", {**_SUBSCRIPTION, "channel": {**_CHANNEL, "namespace": "x"}})
    assert "must not set the field(s): spec.channel.namespace" in message
    await eventing.create(Subscription, "mine", _SUBSCRIPTION)
    message = await eventing.refused_change(Subscription, "mine", {"spec": {"channel": {"name": "other"}}})
    assert "Immutable fields changed (-old +new): spec" in message
    await eventing.patch(Subscription, "mine", {"spec": {"subscriber": {"uri": "http://others"}}})


async def test_c57_and_c58_delivery_is_the_subscriptions_but_the_sink_is_the_channels(eventing: Eventing) -> None:
    sink = await eventing.service("sink")
    await eventing.create(
        InMemoryChannel, "mine", {"delivery": {"retry": 7, "timeout": "PT1S", "deadLetterSink": sink}}
    )
    await eventing.until_ready(InMemoryChannel, "mine")
    await eventing.create(Subscription, "own", {**_SUBSCRIPTION, "delivery": {"retry": 1}})
    await eventing.create(Subscription, "channels", _SUBSCRIPTION)
    for name in ("own", "channels"):
        await eventing.until_ready(Subscription, name)
    url = f"http://sink.{eventing.namespace}.svc.cluster.local"
    entries = (await eventing.raw(InMemoryChannel, "mine"))["spec"]["subscribers"]
    assert {entry["name"]: entry["delivery"] for entry in entries} == {
        "own": {"retry": 1, "deadLetterSink": {"uri": url}},
        "channels": {"retry": 7, "timeout": "PT1S", "deadLetterSink": {"uri": url}},
    }
    subscription = await eventing.get(Subscription, "own")
    assert subscription.status.physical_subscription.dead_letter_sink_uri == url


async def test_c59_and_c60_readiness_is_by_uid_and_generation(eventing: Eventing) -> None:
    await eventing.create(InMemoryChannel, "mine", {})
    await eventing.create(Subscription, "sub", _SUBSCRIPTION)
    first = await eventing.until_ready(Subscription, "sub")
    await eventing.patch(Subscription, "sub", {"spec": {"reply": _URI}})
    second = await eventing.until_ready(Subscription, "sub")
    assert second.metadata.generation == first.metadata.generation + 1
    entry = (await eventing.raw(InMemoryChannel, "mine"))["spec"]["subscribers"][0]
    assert (entry["uid"], entry["generation"]) == (second.metadata.uid, second.metadata.generation)


async def test_b83_a_cesql_expression_that_cannot_be_parsed_is_refused(eventing: Eventing) -> None:
    for filters, path in (
        ([{"cesql": "type ="}], "spec.filters[0].cesql"),
        ([{"exact": {"type": "a"}}, {"not": {"any": [{"cesql": "(("}]}}], "spec.filters[1].not.any[0].cesql"),
    ):
        message = await eventing.refusal(Trigger, "mine", {**_TRIGGER, "filters": filters})
        assert message.partition("validation failed: ")[2].startswith("invalid value: ")
        assert f": {path}\n" in message
    await eventing.create(Trigger, "mine", {**_TRIGGER, "filters": [{"cesql": "type LIKE 'a%' AND EXISTS foo"}]})


async def test_b84_attribute_names_are_lower_case_letters_and_digits(eventing: Eventing) -> None:
    for name in ("Type", "my-type", "1type", ""):
        for spec, path in (
            ({"filters": [{"all": [{"prefix": {name: "a"}}]}]}, f"spec.filters[0].all[0].prefix[{name}]"),
            ({"filter": {"attributes": {name: "a"}}}, f"spec.filter.attributes[{name}]"),
        ):
            message = await eventing.refusal(Trigger, "mine", {**_TRIGGER, **spec})
            assert f'invalid key name "{name}": {path}' in message
    two = [{"exact": {"type": "a"}, "prefix": {"type": "a"}}]
    message = await eventing.refusal(Trigger, "mine", {**_TRIGGER, "filters": two})
    assert "multiple dialects found, filters can have only one dialect set: spec.filters[0]" in message
    await eventing.create(Trigger, "mine", {**_TRIGGER, "filters": [{}, {"not": {}}, {"exact": {"type": ""}}]})


async def test_b90_the_sink_of_a_trigger_without_delivery_is_the_brokers(eventing: Eventing) -> None:
    sink = await eventing.service("sink")
    await eventing.broker(spec={"delivery": {"deadLetterSink": sink}})
    await eventing.create(Trigger, "mine", _TRIGGER)
    trigger = await eventing.until_ready(Trigger, "mine")
    assert trigger.status.dead_letter_sink_uri == f"http://sink.{eventing.namespace}.svc.cluster.local"


async def test_b97_class_config_and_broker_never_change(eventing: Eventing) -> None:
    await eventing.create(Broker, "default", {})
    other = {"annotations": {"eventing.knative.dev/broker.class": "JetStreamBroker"}}
    message = await eventing.refused_change(Broker, "default", {"metadata": other})
    assert "Immutable annotations changed (-old +new): annotations" in message
    message = await eventing.refused_change(Broker, "default", {"spec": {"config": {"name": "other"}}})
    assert "Immutable fields changed (-old +new): spec" in message
    await eventing.patch(Broker, "default", {"spec": {"delivery": {"retry": 3}}})
    await eventing.create(Trigger, "mine", _TRIGGER)
    message = await eventing.refused_change(Trigger, "mine", {"spec": {"broker": "other"}})
    assert "Immutable fields changed (-old +new): broker, spec" in message
    await eventing.patch(Trigger, "mine", {"spec": {"subscriber": {"uri": "http://others"}}})


async def test_b11_defaults_of_brokers_are_those_of_their_namespace() -> None:
    config = {
        "clusterDefault": {"brokerClass": "MTChannelBasedBroker", "name": "a", "kind": "ConfigMap", "apiVersion": "v1"},
        "namespaceDefaults": {"theirs": {"brokerClass": "JetStreamBroker", "delivery": {"retry": 2}}},
    }
    async with running(acts=False) as eventing:
        await eventing.set_config("config-br-defaults", {"default-br-config": json.dumps(config)})
        broker = await eventing.create(Broker, "one", {})
        assert broker.broker_class == "MTChannelBasedBroker"
        assert broker.spec.config is not None
        assert (broker.spec.config.name, broker.spec.config.namespace) == ("a", "default")
        assert broker.spec.delivery is None
        there = await eventing.within("theirs")
        broker = await there.create(Broker, "two", {})
        assert broker.broker_class == "JetStreamBroker"
        assert broker.spec.delivery is not None
        assert broker.spec.delivery.retry == 2


async def test_b11_defaults_that_cannot_be_read_are_refused() -> None:
    async with running(acts=False) as eventing:
        for name, data, message in (
            ("config-br-defaults", {"default-br-config": "clusterDefault: [1]"}, "clusterDefault: expected a mapping"),
            ("default-ch-webhook", {"default-ch-config": "clusterDefault: {kind: A}"}, "clusterDefault: expected apiV"),
            ("config-features", {"authentication-oidc": "perhaps"}, "authentication-oidc='perhaps': expected"),
        ):
            assert message in await eventing.refused_config(name, data)
        await eventing.patch(ConfigMap, "config-features", {"data": {"authentication-oidc": "Disabled"}}, SYSTEM)


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ({}, "expected at least one, got none: spec.subscriber.ref, spec.subscriber.uri"),
        ({"uri": "/relative"}, "Relative URI is not allowed when Ref and"),
        ({"ref": {"apiVersion": "v1", "kind": "Service", "name": "a"}, "uri": "http://b/c"}, "Absolute URI is not"),
        ({"ref": {"kind": "Service", "name": "a"}}, "missing field(s): spec.subscriber.ref.apiVersion"),
        ({"uri": "http://[::1"}, "Invalid IPv6 URL"),
    ],
)
async def test_s9_a_destination_is_a_url_or_a_reference_or_a_path_relative_to_one(
    eventing: Eventing, destination: dict[str, Any], message: str
) -> None:
    assert message in await eventing.refusal(Trigger, "mine", {"broker": "b", "subscriber": destination})


async def test_triggers_name_one_broker_and_only_their_own_namespaces(eventing: Eventing) -> None:
    reference = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"}
    for spec, message in (
        ({}, "expected exactly one, got neither: spec.broker, spec.brokerRef"),
        ({"broker": "b", "brokerRef": reference}, "expected exactly one, got both: spec.broker, spec.brokerRef"),
        (
            {"brokerRef": {**reference, "namespace": "x"}},
            "must be enabled to refer to another namespace: spec.brokerRef",
        ),
    ):
        assert message in await eventing.refusal(Trigger, "mine", {"subscriber": _URI, **spec})
    annotations = {"knative.dev/dependency": '{"kind":"PingSource","name":"p","namespace":"x"}'}
    message = await eventing.refusal(Trigger, "mine", _TRIGGER, annotations=annotations)
    assert f'Namespace must be empty or equal to the trigger namespace "{eventing.namespace}"' in message
    assert "missing field(s): metadata.annotations[knative.dev/dependency].apiVersion" in message
    message = await eventing.refusal(
        Trigger, "mine", {**_TRIGGER, "broker": "b"}, annotations={"eventing.knative.dev/injection": "maybe"}
    )
    assert 'can only be "enabled" or "disabled", not "maybe"' in message
    assert "only used for default broker" in message
    trigger = await eventing.create(Trigger, "mine", _TRIGGER)
    assert trigger.spec.filter == {}
    assert trigger.metadata.labels == {"eventing.knative.dev/broker": "default"}


async def test_a_trigger_reaches_a_broker_elsewhere_with_the_flag() -> None:
    async with running(settings={"config-features": {"cross-namespace-event-links": "enabled"}}) as eventing:
        await eventing.broker()
        there = await eventing.within("elsewhere")
        reference = {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Broker",
            "name": "default",
            "namespace": "default",
        }
        await there.create(Trigger, "mine", {"brokerRef": reference, "subscriber": _URI})
        trigger = await there.until_ready(Trigger, "mine")
        channel = await eventing.get(InMemoryChannel, "default-kne-trigger")
        uri = channel.spec.subscribers[0].subscriber_uri or ""
        assert uri.endswith(f"/triggers/elsewhere/mine/{trigger.metadata.uid}")


async def test_s48_and_s50_flows_without_steps_or_branches_are_refused(eventing: Eventing) -> None:
    assert "missing field(s): spec.steps" in await eventing.refusal(Sequence, "mine", {})
    assert "missing field(s): spec.branches" in await eventing.refusal(Parallel, "mine", {})
    message = await eventing.refusal(Parallel, "mine", {"branches": [{"filter": _URI}]})
    assert "expected at least one, got none: spec.branches[0].subscriber.ref" in message


async def test_s56_and_s57_policies_need_oidc_and_stars_at_the_end() -> None:
    async with running(acts=False) as eventing:
        policy = {"from": [{"sub": "system:serviceaccount:a:*"}]}
        message = await eventing.refusal(EventPolicy, "mine", policy)
        assert 'policies can only be created while feature "authentication-oidc" is enabled: spec' in message
        await eventing.set_config("config-features", {"authentication-oidc": "enabled"})
        message = await eventing.refusal(EventPolicy, "mine", {"from": [{"sub": "system:*:a"}]})
        assert "invalid value: system:*:a: spec.from[0].sub\n'*' is only allowed as suffix" in message
        message = await eventing.refusal(EventPolicy, "mine", {"from": [{"sub": "a", "ref": _CHANNEL}, {}]})
        assert "expected exactly one, got both: spec.from[0].ref, spec.from[0].sub" in message
        assert "expected exactly one, got neither: spec.from[1].ref, spec.from[1].sub" in message
        await eventing.create(EventPolicy, "mine", policy)


async def test_s58_an_event_type_has_the_attributes_that_every_event_has(eventing: Eventing) -> None:
    message = await eventing.refusal(EventType, "mine", {"attributes": _ATTRIBUTES[1:3]})
    assert "missing field(s): spec.attributes.id, spec.attributes.type" in message
    await eventing.create(EventType, "mine", {"attributes": _ATTRIBUTES})
    message = await eventing.refused_change(EventType, "mine", {"spec": {"description": "other"}})
    assert "Immutable fields changed (-old +new): spec" in message
    found = await eventing.until_ready(EventType, "mine")
    assert [(each.type, each.reason) for each in found.status.conditions if each.type != "Ready"] == [
        ("ReferenceExists", "ReferenceNotSet")
    ]


async def test_a_channels_template_never_changes(eventing: Eventing) -> None:
    await eventing.create(Channel, "mine", {})
    change = {"spec": {"channelTemplate": {"kind": "NatsJetStreamChannel"}}}
    message = await eventing.refused_change(Channel, "mine", change)
    assert "Immutable fields changed (-old +new): spec" in message
    message = await eventing.refusal(
        InMemoryChannel, "other", {"subscribers": [{"uid": "u"}]}, annotations={"eventing.knative.dev/scope": "world"}
    )
    assert "missing field(s): spec.subscribers[0].replyURI, spec.subscribers[0].subscriberURI" in message
    assert "invalid value: world: metadata.annotations.[eventing.knative.dev/scope]" in message


async def test_filters_that_nest_too_deep_are_refused(eventing: Eventing) -> None:
    filters: dict[str, Any] = {"exact": {"type": "a"}}
    for _ in range(40):
        filters = {"not": filters}
    message = await eventing.refusal(Trigger, "mine", {**_TRIGGER, "filters": [filters]})
    assert "filters are nested more than 32 deep" in message
