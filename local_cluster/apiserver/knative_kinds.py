"""Knative's kinds: names, short names, categories and printer columns as those of its CRDs.

Source: spec control-plane.md 1; the CRDs under `config/core/resources` of knative/eventing.
"""

from typing import Any

from local_cluster.apiserver.columns import AGE
from local_cluster.apiserver.resources import Column, ResourceType

__all__ = ["KNATIVE_KINDS"]


def _condition(kind: str, field: str) -> str:
    return f".status.conditions[?(@.type=='{kind}')].{field}"


_READY = Column(name="Ready", cell=_condition("Ready", "status"))
_REASON = Column(name="Reason", cell=_condition("Ready", "reason"))


def _text(name: str, path: str) -> Column:
    return Column(name=name, cell=path)


def _number(name: str, path: str) -> Column:
    return Column(name=name, cell=path, type="integer")


def _knative(group: str, version: str, plural: str, kind: str, *columns: Column, **options: Any) -> ResourceType:
    return ResourceType(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        columns=columns,
        is_custom=True,
        has_status=options.pop("has_status", True),
        schema=f"{group}/{version}.{kind}",
        **options,
    )


_SERVING = ("all", "knative", "serving")
_NETWORKING = ("knative-internal", "networking")
_AUTOSCALING = ("knative-internal", "autoscaling")
_NETWORKING_GROUP = "networking.internal.knative.dev"
_AUTOSCALING_GROUP = "autoscaling.internal.knative.dev"

_SERVING_KINDS: tuple[ResourceType, ...] = (
    _knative("serving.knative.dev", "v1", "services", "Service",
             _text("URL", ".status.url"), _text("LatestCreated", ".status.latestCreatedRevisionName"),
             _text("LatestReady", ".status.latestReadyRevisionName"), _READY, _REASON,
             short_names=("kservice", "ksvc"), categories=_SERVING),
    _knative("serving.knative.dev", "v1", "configurations", "Configuration",
             _text("LatestCreated", ".status.latestCreatedRevisionName"),
             _text("LatestReady", ".status.latestReadyRevisionName"), _READY, _REASON,
             short_names=("config", "cfg"), categories=_SERVING),
    _knative("serving.knative.dev", "v1", "revisions", "Revision",
             _text("Config Name", r".metadata.labels['serving\.knative\.dev/configuration']"),
             _text("Generation", r".metadata.labels['serving\.knative\.dev/configurationGeneration']"),
             _READY, _REASON, _number("Actual Replicas", ".status.actualReplicas"),
             _number("Desired Replicas", ".status.desiredReplicas"),
             short_names=("rev",), categories=_SERVING),
    _knative("serving.knative.dev", "v1", "routes", "Route", _text("URL", ".status.url"), _READY, _REASON,
             short_names=("rt",), categories=_SERVING),
    _knative("serving.knative.dev", "v1beta1", "domainmappings", "DomainMapping", _text("URL", ".status.url"), _READY,
             _REASON, short_names=("dm",), categories=_SERVING),
    _knative(_AUTOSCALING_GROUP, "v1alpha1", "podautoscalers", "PodAutoscaler",
             _number("DesiredScale", ".status.desiredScale"), _number("ActualScale", ".status.actualScale"), _READY,
             _REASON, short_names=("kpa", "pa"), categories=_AUTOSCALING),
    _knative(_AUTOSCALING_GROUP, "v1alpha1", "metrics", "Metric", _READY, _REASON, categories=_AUTOSCALING),
    _knative(_NETWORKING_GROUP, "v1alpha1", "ingresses", "Ingress", _READY, _REASON,
             short_names=("kingress", "king"), categories=_NETWORKING),
    _knative(_NETWORKING_GROUP, "v1alpha1", "serverlessservices", "ServerlessService",
             _text("Mode", ".spec.mode"), _number("Activators", ".spec.numActivators"),
             _text("ServiceName", ".status.serviceName"), _text("PrivateServiceName", ".status.privateServiceName"),
             _READY, _REASON, short_names=("sks",), categories=_NETWORKING),
    _knative(_NETWORKING_GROUP, "v1alpha1", "certificates", "Certificate", _READY, _REASON,
             short_names=("kcert",), categories=_NETWORKING),
    _knative(_NETWORKING_GROUP, "v1alpha1", "clusterdomainclaims", "ClusterDomainClaim",
             namespaced=False, has_status=False, short_names=("cdc",), categories=_NETWORKING),
    _knative("caching.internal.knative.dev", "v1alpha1", "images", "Image", _text("Image", ".spec.image"),
             categories=("knative-internal", "caching")),
)  # fmt: skip

_URL = _text("URL", ".status.address.url")
_SINK = _text("Sink", ".status.sinkUri")
_EVENTING_GROUP = "eventing.knative.dev"
_MESSAGING_GROUP = "messaging.knative.dev"
_FLOWS_GROUP = "flows.knative.dev"
_SOURCES_GROUP = "sources.knative.dev"
_SINKS_GROUP = "sinks.knative.dev"
_EVENTING = ("all", "knative", "eventing")
_MESSAGING = ("all", "knative", "messaging", "channel")
_FLOWS = ("all", "knative", "flows")
_SOURCES = ("all", "knative", "sources")
_SINKS = ("all", "knative", "sinks")

_EVENTING_KINDS: tuple[ResourceType, ...] = (
    _knative(_EVENTING_GROUP, "v1", "brokers", "Broker", _URL, AGE, _READY, _REASON, categories=_EVENTING),
    _knative(_EVENTING_GROUP, "v1", "triggers", "Trigger",
             _text("Broker", ".spec.broker"), _text("Subscriber_URI", ".status.subscriberUri"), AGE, _READY, _REASON,
             categories=_EVENTING),
    _knative(_EVENTING_GROUP, "v1beta3", "eventtypes", "EventType",
             _text("Reference Name", ".spec.reference.name"), _text("Reference Kind", ".spec.reference.kind"),
             _text("Description", ".spec.description"), _READY, _REASON,
             categories=_EVENTING),
    _knative(_EVENTING_GROUP, "v1alpha1", "eventpolicies", "EventPolicy", _READY, _REASON, categories=_EVENTING),
    _knative(_MESSAGING_GROUP, "v1", "channels", "Channel", _URL, AGE, _READY, _REASON,
             short_names=("ch",), categories=_MESSAGING),
    _knative(_MESSAGING_GROUP, "v1", "inmemorychannels", "InMemoryChannel", _URL, AGE, _READY, _REASON,
             short_names=("imc",), categories=_MESSAGING),
    _knative(_MESSAGING_GROUP, "v1alpha1", "natsjetstreamchannels", "NatsJetStreamChannel", _READY, _REASON, _URL, AGE,
             short_names=("natsjsm",), categories=_MESSAGING),
    _knative(_MESSAGING_GROUP, "v1", "subscriptions", "Subscription", AGE, _READY, _REASON,
             short_names=("sub",), categories=("all", "knative", "messaging")),
    _knative(_FLOWS_GROUP, "v1", "sequences", "Sequence", _URL, AGE, _READY, _REASON, categories=_FLOWS),
    _knative(_FLOWS_GROUP, "v1", "parallels", "Parallel", _URL, AGE, _READY, _REASON, categories=_FLOWS),
    _knative(_SOURCES_GROUP, "v1", "pingsources", "PingSource", _SINK, _text("Schedule", ".spec.schedule"), AGE, _READY,
             _REASON, categories=_SOURCES),
    _knative(_SOURCES_GROUP, "v1", "apiserversources", "ApiServerSource", _SINK, AGE, _READY, _REASON,
             categories=_SOURCES),
    _knative(_SOURCES_GROUP, "v1", "containersources", "ContainerSource", _SINK, AGE, _READY, _REASON,
             categories=_SOURCES),
    _knative(_SOURCES_GROUP, "v1", "sinkbindings", "SinkBinding", _SINK, AGE, _READY, _REASON, categories=_SOURCES),
    _knative(_SOURCES_GROUP, "v1alpha1", "jetstreamsources", "JetStreamSource", _SINK,
             _text("Stream", ".spec.stream"), AGE, _READY, _REASON, categories=_SOURCES),
    _knative(_SINKS_GROUP, "v1alpha1", "jobsinks", "JobSink", _URL, AGE, _READY, _REASON, categories=_SINKS),
)  # fmt: skip

KNATIVE_KINDS = (*_SERVING_KINDS, *_EVENTING_KINDS)
