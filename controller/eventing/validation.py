"""What objects of eventing are refused for.

Each check is a generator of `FieldError`, given the object, the one that it replaces (None when it is created) and the
context. Source: knative/eventing `pkg/apis/{eventing,messaging,flows}/**/*_validation.go`; spec eventing-broker.md 8.5,
eventing-channels.md 1, 6, 7, eventing-sources.md 7-9.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from controller.eventing import keys
from controller.eventing.field_checks import (
    Context,
    check_attributes,
    check_delivery,
    check_destination,
    check_filters,
    check_reference,
    check_template,
    immutable,
)
from controller.field_errors import (
    FieldError,
    at,
    at_index,
    disallowed,
    invalid_value,
    missing,
    missing_one_of,
    multiple_one_of,
)
from kube.models.duck import KReference, SubscribableSpec
from kube.models.eventing import BROKER_CLASS_ANNOTATION, Broker, EventType, Trigger
from kube.models.eventpolicy import EventPolicy, PolicySource, PolicyTarget
from kube.models.flows import Parallel, Sequence
from kube.models.messaging import SCOPE_ANNOTATION, Channel, InMemoryChannel, NatsJetStreamChannel, Subscription
from kube.models.meta import Resource
from kube.models.sinks import JobSink

__all__ = [
    "check_broker",
    "check_channel",
    "check_event_policy",
    "check_event_type",
    "check_in_memory_channel",
    "check_jetstream_channel",
    "check_job_sink",
    "check_parallel",
    "check_sequence",
    "check_subscription",
    "check_trigger",
]

_LABEL_MAX = 63
_RESTART_POLICIES = ("Never", "OnFailure")
"""Of the pods of Jobs."""
_EVENT_TYPE_ATTRIBUTES = ("type", "source", "specversion", "id")


def check_broker(broker: Broker, old: Broker | None, context: Context) -> Iterator[FieldError]:
    """Class and configuration never change (statement 97)."""
    if not broker.broker_class:
        yield missing(BROKER_CLASS_ANNOTATION)
    if broker.spec.config is not None:
        yield from at("spec.config", check_reference(broker.spec.config, broker.namespace))
    yield from at("spec.delivery", check_delivery(broker.spec.delivery, broker.namespace, context))
    if old is not None:
        yield from immutable(_spec(broker, "delivery"), _spec(old, "delivery"), "spec")
        if broker.broker_class != old.broker_class:
            details = f"-{old.broker_class} +{broker.broker_class}"
            yield FieldError("Immutable annotations changed (-old +new)", ("annotations",), details)


def check_trigger(trigger: Trigger, old: Trigger | None, context: Context) -> Iterator[FieldError]:
    """The Broker never changes (statement 97); filters can be evaluated (83, 84)."""
    spec = trigger.spec
    if spec.broker and spec.broker_ref is not None:
        yield from at("spec", [multiple_one_of("broker", "brokerRef")])
    elif not spec.broker and spec.broker_ref is None:
        yield from at("spec", [missing_one_of("broker", "brokerRef")])
    if spec.broker_ref is not None:
        yield from at("spec.brokerRef", check_reference(spec.broker_ref, trigger.namespace))
        has_links = context.settings.features.has_cross_namespace_links
        if spec.broker_ref.namespace not in ("", trigger.namespace) and not has_links:
            yield _cross_namespace("spec.brokerRef.namespace")
    yield from at("spec.filter.attributes", check_attributes((spec.filter or {}).get("attributes") or {}))
    yield from at("spec.filters", check_filters(spec.filters))
    yield from at("spec.subscriber", check_destination(spec.subscriber, trigger.namespace))
    yield from at("spec.delivery", check_delivery(spec.delivery, trigger.namespace, context))
    yield from _check_trigger_annotations(trigger)
    if old is not None and spec.broker != old.spec.broker:
        details = f"-{old.spec.broker} +{spec.broker}"
        yield FieldError("Immutable fields changed (-old +new)", ("spec", "broker"), details)


def _check_trigger_annotations(trigger: Trigger) -> Iterator[FieldError]:
    injection = trigger.metadata.annotations.get(keys.INJECTION)
    path = f"metadata.annotations[{keys.INJECTION}]"
    if injection is not None:
        if injection not in ("enabled", "disabled"):
            text = "The provided injection annotation value can only be"
            yield FieldError(f'{text} "enabled" or "disabled", not "{injection}"', (path,))
        if trigger.broker_key[1] != "default":
            text = "The provided injection annotation is only used for default broker, but non-default broker specified"
            yield FieldError(f'{text} here: "{trigger.broker_key[1]}"', (path,))
    dependency = trigger.metadata.annotations.get(keys.DEPENDENCY)
    if dependency is None:
        return
    path = f"metadata.annotations[{keys.DEPENDENCY}]"
    try:
        ref = msgspec.convert(json.loads(dependency), KReference)
    except (ValueError, RecursionError, msgspec.ValidationError):
        yield FieldError(f'The provided annotation was not a corev1.ObjectReference: "{dependency[:200]}"', (path,))
        return
    if ref.namespace not in ("", trigger.namespace):
        yield FieldError(f'Namespace must be empty or equal to the trigger namespace "{trigger.namespace}"', (path,))
    yield from at(path, check_reference(ref, trigger.namespace))


def check_channel(channel: Channel, old: Channel | None, context: Context) -> Iterator[FieldError]:
    """What a channel is made from never changes."""
    yield from at("spec", check_template(channel.spec.channel_template))
    yield from _check_subscribable(channel, channel.spec, context)
    if old is not None:
        ignored = ("subscribers", "delivery")
        yield from immutable(_spec(channel, *ignored), _spec(old, *ignored), "spec")


def check_in_memory_channel(
    channel: InMemoryChannel, old: InMemoryChannel | None, context: Context
) -> Iterator[FieldError]:
    """Subscribers are the controller's to write."""
    yield from _check_subscribable(channel, channel.spec, context)
    if old is None or channel.spec.subscribers == old.spec.subscribers:
        return
    account = f"system:serviceaccount:{context.system_namespace}:eventing-controller"
    if context.username != account:
        text = f"imc.spec.subscribers changed by user {context.username} which was not the {account} service account"
        yield FieldError(text, ("spec.subscribers",))


def check_jetstream_channel(
    channel: NatsJetStreamChannel, old: NatsJetStreamChannel | None, context: Context
) -> Iterator[FieldError]:
    """Stream and consumers are checked by the server that has to make them."""
    yield from _check_subscribable(channel, channel.spec, context)


def _check_subscribable(channel: Resource, spec: SubscribableSpec, context: Context) -> Iterator[FieldError]:
    for index, entry in enumerate(spec.subscribers):
        if not entry.subscriber_uri and not entry.reply_uri:
            details = "expected at least one of, got none"
            error = FieldError("missing field(s)", ("replyURI", "subscriberURI"), details)
            yield from at_index("spec.subscribers", index, [error])
    yield from at("spec.delivery", check_delivery(spec.delivery, channel.namespace, context))
    scope = channel.metadata.annotations.get(SCOPE_ANNOTATION)
    if scope is not None and scope not in ("cluster", "namespace"):
        path = f"metadata.annotations.[{SCOPE_ANNOTATION}]"
        yield invalid_value(scope, path, "expected either 'cluster' or 'namespace'")


def check_subscription(subscription: Subscription, old: Subscription | None, context: Context) -> Iterator[FieldError]:
    """The channel never changes, and there is a subscriber (statement 56)."""
    spec, namespace = subscription.spec, subscription.namespace
    if spec.channel == KReference():
        details = "the Subscription must reference a channel"
        yield FieldError("missing field(s)", ("spec.channel",), details)
    else:
        yield from at("spec.channel", _check_channel_reference(spec.channel, namespace, context))
    subscriber = spec.subscriber
    if subscriber is None or (subscriber.ref is None and not subscriber.uri):
        details = "the Subscription must reference a subscriber"
        yield FieldError("missing field(s)", ("spec.subscriber",), details)
    else:
        yield from at("spec.subscriber", check_destination(subscriber, namespace))
    if spec.reply is not None and (spec.reply.ref is not None or spec.reply.uri):
        yield from at("spec.reply", check_destination(spec.reply, namespace))
    yield from at("spec.delivery", check_delivery(spec.delivery, namespace, context))
    if old is not None:
        ignored = ("subscriber", "reply", "delivery")
        yield from immutable(_spec(subscription, *ignored), _spec(old, *ignored), "spec")


def _check_channel_reference(ref: KReference, namespace: str, context: Context) -> Iterator[FieldError]:
    yield from check_reference(ref, namespace)
    has_links = context.settings.features.has_cross_namespace_links
    surplus = [
        field for field, text in (("namespace", "" if has_links else ref.namespace), ("address", ref.address)) if text
    ]
    if surplus:
        error = disallowed(*surplus)
        yield FieldError(error.message, error.paths, "only name, apiVersion and kind are supported fields")


def check_sequence(sequence: Sequence, old: Sequence | None, context: Context) -> Iterator[FieldError]:
    """At least one step."""
    spec, namespace = sequence.spec, sequence.namespace
    if not spec.steps:
        yield missing("spec.steps")
    for index, step in enumerate(spec.steps):
        yield from at_index("spec.steps", index, check_destination(step, namespace))
        delivery = at("delivery", check_delivery(step.delivery, namespace, context))
        yield from at_index("spec.steps", index, delivery)
    yield from at("spec", check_template(spec.channel_template))
    if spec.reply is not None:
        yield from at("spec.reply", check_destination(spec.reply, namespace))


def check_parallel(parallel: Parallel, old: Parallel | None, context: Context) -> Iterator[FieldError]:
    """At least one branch, and each with somebody who gets its events."""
    spec, namespace = parallel.spec, parallel.namespace
    if not spec.branches:
        yield missing("spec.branches")
    for index, branch in enumerate(spec.branches):
        found = list(at("subscriber", check_destination(branch.subscriber, namespace)))
        for field, destination in (("filter", branch.filter), ("reply", branch.reply)):
            if destination is not None:
                found += at(field, check_destination(destination, namespace))
        found += at("delivery", check_delivery(branch.delivery, namespace, context))
        yield from at_index("spec.branches", index, found)
    yield from at("spec", check_template(spec.channel_template))
    if spec.reply is not None:
        yield from at("spec.reply", check_destination(spec.reply, namespace))


def check_job_sink(sink: JobSink, old: JobSink | None, context: Context) -> Iterator[FieldError]:
    """What the API would refuse of every Job, told before there is an event."""
    if len(sink.name) > _LABEL_MAX:
        details = f"expected at most {_LABEL_MAX} characters: Jobs have it as a label"
        yield invalid_value(sink.name, "metadata.name", details)
    job = sink.spec.job
    if not job:
        yield missing("spec.job")
        return
    metadata = job.get("metadata") or {}
    if not isinstance(metadata, dict) or not isinstance(metadata.get("labels") or {}, dict):
        yield invalid_value(metadata, "spec.job.metadata", "expected the metadata of a Job")
    template = (job.get("spec") or {}).get("template") if isinstance(job.get("spec") or {}, dict) else None
    pod = template.get("spec") if isinstance(template, dict) else None
    yield from at("spec.job.spec.template.spec", _check_job_pod(pod if isinstance(pod, dict) else {}))


def _check_job_pod(pod: dict[str, Any]) -> Iterator[FieldError]:
    """Containers that have what each of them needs, and an end."""
    if not pod.get("containers"):
        yield missing("containers")
    for group in ("initContainers", "containers"):
        containers = pod.get(group) or []
        if not isinstance(containers, list):
            yield invalid_value(containers, group, "expected a list of containers")
            continue
        for index, container in enumerate(containers):
            if not isinstance(container, dict):
                yield from at_index(group, index, [invalid_value(container, "", "expected a container")])
                continue
            empty = [name for name in ("name", "image") if not container.get(name)]
            yield from at_index(group, index, (missing(name) for name in empty))
            for name in ("env", "volumeMounts"):
                if not _are_objects(container.get(name)):
                    yield from at_index(group, index, [invalid_value(container[name], name, "expected a list")])
    if not _are_objects(pod.get("volumes")):
        yield invalid_value(pod["volumes"], "volumes", "expected a list")
    if pod.get("restartPolicy") not in _RESTART_POLICIES:
        details = f"expected {' or '.join(_RESTART_POLICIES)}"
        yield invalid_value(pod.get("restartPolicy", ""), "restartPolicy", details)


def _are_objects(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, dict) for each in value))


def check_event_type(event_type: EventType, old: EventType | None, context: Context) -> Iterator[FieldError]:
    """All attributes that every event has, and never another spec (eventing-sources statement 58)."""
    named = {attribute.name for attribute in event_type.spec.attributes}
    absent = [f"spec.attributes.{name}" for name in _EVENT_TYPE_ATTRIBUTES if name not in named]
    if absent:
        yield missing(*absent)
    if event_type.spec.reference is not None:
        yield from at("spec.reference", check_reference(event_type.spec.reference, event_type.namespace))
    if old is not None:
        yield from immutable(_spec(event_type), _spec(old), "spec")


def check_event_policy(policy: EventPolicy, old: EventPolicy | None, context: Context) -> Iterator[FieldError]:
    """Nobody is to believe in a policy that does not hold (eventing-sources statements 56, 57)."""
    if old is None and not context.settings.features.is_oidc_on:
        yield FieldError('policies can only be created while feature "authentication-oidc" is enabled', ("spec",))
    for index, source in enumerate(policy.spec.from_):
        yield from at_index("spec.from", index, _check_policy_source(source, policy.namespace))
    for index, target in enumerate(policy.spec.to):
        yield from at_index("spec.to", index, _check_policy_target(target, policy.namespace))
    yield from at("spec.filters", check_filters(policy.spec.filters))


def _check_policy_source(source: PolicySource, namespace: str) -> Iterator[FieldError]:
    if source.ref is not None and source.sub is not None:
        yield multiple_one_of("ref", "sub")
    elif source.ref is not None:
        yield from at("ref", check_reference(source.ref, namespace))
    elif not source.sub:
        yield missing_one_of("ref", "sub")
    elif "*" in source.sub[:-1]:
        yield invalid_value(source.sub, "sub", "'*' is only allowed as suffix")


def _check_policy_target(target: PolicyTarget, namespace: str) -> Iterator[FieldError]:
    if target.ref is not None and target.selector is not None:
        yield multiple_one_of("ref", "selector")
    elif target.ref is not None:
        yield from at("ref", check_reference(target.ref, namespace, may_cross=False))
    elif target.selector is not None:
        for field, text in (("apiVersion", target.selector.api_version), ("kind", target.selector.kind)):
            if not text:
                yield missing(f"selector.{field}")
    else:
        yield missing_one_of("ref", "selector")


def _cross_namespace(path: str) -> FieldError:
    return FieldError('feature "cross-namespace-event-links" must be enabled to refer to another namespace', (path,))


def _spec(obj: Resource, *without: str) -> dict[str, Any]:
    """The spec as JSON, for comparison, without some of its fields."""
    spec: dict[str, Any] = msgspec.to_builtins(obj).get("spec") or {}
    return {name: value for name, value in spec.items() if name not in without}
