"""What objects of eventing get where their author said nothing.

Every function changes the raw object in place; running one twice changes nothing more. Source: knative/eventing
`pkg/apis/{eventing,messaging,flows}/v1/*_defaults.go`; spec eventing-broker.md 8.5, 11, eventing-channels.md 6.4, 6.5.
"""

import copy
from typing import Any

from controller.eventing import keys
from controller.eventing.settings import EventingSettings
from kube.models.eventing import BROKER_CLASS_ANNOTATION
from kube.models.messaging import SUBSCRIBABLE_ANNOTATION

__all__ = [
    "broker",
    "channel",
    "event_policy",
    "event_type",
    "flow",
    "job_sink",
    "physical_channel",
    "subscription",
    "trigger",
]

JsonObject = dict[str, Any]


def broker(obj: JsonObject, settings: EventingSettings) -> None:
    """Class, configuration and delivery from `config-br-defaults`."""
    namespace = _namespace(obj)
    defaults = settings.brokers.of(namespace)
    annotations = _part(obj["metadata"], "annotations")
    if not annotations.get(BROKER_CLASS_ANNOTATION):
        annotations[BROKER_CLASS_ANNOTATION] = defaults.broker_class
    spec = _part(obj, "spec")
    if spec.get("config") is None and defaults.config is not None:
        spec["config"] = copy.deepcopy(defaults.config)
    if spec.get("delivery") is None and defaults.delivery is not None:
        spec["delivery"] = copy.deepcopy(defaults.delivery)
    _fill_reference(spec.get("config"), namespace)
    _fill_delivery(spec, namespace)


def trigger(obj: JsonObject, settings: EventingSettings) -> None:
    """A filter that lets everything through, and the label by which a Broker's Triggers are found."""
    namespace, spec = _namespace(obj), _part(obj, "spec")
    _part(spec, "filter")
    name = spec.get("broker") or (spec.get("brokerRef") or {}).get("name")
    if name:
        _part(obj["metadata"], "labels")[keys.BROKER] = name
    _fill_reference(spec.get("brokerRef"), namespace)
    _fill_destination(spec.get("subscriber"), namespace)
    _fill_delivery(spec, namespace)


def channel(obj: JsonObject, settings: EventingSettings) -> None:
    """The template from `default-ch-webhook`."""
    physical_channel(obj, settings)
    spec = _part(obj, "spec")
    if spec.get("channelTemplate") is None:
        spec["channelTemplate"] = copy.deepcopy(settings.channels.of(_namespace(obj)))


def physical_channel(obj: JsonObject, settings: EventingSettings) -> None:
    """An InMemoryChannel or a NatsJetStreamChannel: which version of subscribers it understands."""
    _part(obj["metadata"], "annotations").setdefault(SUBSCRIBABLE_ANNOTATION, "v1")
    _fill_delivery(_part(obj, "spec"), _namespace(obj))


def subscription(obj: JsonObject, settings: EventingSettings) -> None:
    """Namespaces of what it refers to; that of the channel stays as it is."""
    namespace, spec = _namespace(obj), _part(obj, "spec")
    for field in ("subscriber", "reply"):
        _fill_destination(spec.get(field), namespace)
    _fill_delivery(spec, namespace)


def flow(obj: JsonObject, settings: EventingSettings) -> None:
    """A Sequence or a Parallel: the template, and namespaces."""
    namespace, spec = _namespace(obj), _part(obj, "spec")
    if spec.get("channelTemplate") is None:
        spec["channelTemplate"] = copy.deepcopy(settings.channels.of(namespace))
    _fill_destination(spec.get("reply"), namespace)
    for step in spec.get("steps") or ():
        _fill_destination(step, namespace)
        _fill_delivery(step, namespace)
    for branch in spec.get("branches") or ():
        for field in ("filter", "subscriber", "reply"):
            _fill_destination(branch.get(field), namespace)
        _fill_delivery(branch, namespace)


def job_sink(obj: JsonObject, settings: EventingSettings) -> None:
    """Nothing: what a Job needs for its event it gets when it is made."""


def event_type(obj: JsonObject, settings: EventingSettings) -> None:
    """The namespace of what it refers to."""
    _fill_reference(_part(obj, "spec").get("reference"), _namespace(obj))


def event_policy(obj: JsonObject, settings: EventingSettings) -> None:
    """Namespaces of senders."""
    for each in _part(obj, "spec").get("from") or ():
        _fill_reference(each.get("ref"), _namespace(obj))


def _namespace(obj: JsonObject) -> str:
    return str(obj["metadata"].get("namespace") or "")


def _part(obj: JsonObject, name: str) -> JsonObject:
    """A mapping inside of `obj`, made if it is absent or null."""
    found: JsonObject | None = obj.get(name)
    if found is None:
        found = obj[name] = {}
    return found


def _fill_reference(ref: JsonObject | None, namespace: str) -> None:
    if ref is not None and not ref.get("namespace") and namespace:
        ref["namespace"] = namespace


def _fill_destination(destination: JsonObject | None, namespace: str) -> None:
    if destination is not None:
        _fill_reference(destination.get("ref"), namespace)


def _fill_delivery(spec: JsonObject, namespace: str) -> None:
    _fill_destination((spec.get("delivery") or {}).get("deadLetterSink"), namespace)
