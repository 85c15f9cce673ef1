"""Schemas of the kinds of eventing: a misspelt field in a Trigger is told by its path.

Templates of channels, the stream of a NatsJetStreamChannel and pod templates are open or a pod's own. Source: the
field tables of spec eventing-broker.md 8, eventing-channels.md 1, 6, 7, 9 and eventing-sources.md 1-5, 7-9.
"""

from typing import Any

from local_cluster.apiserver.schemas import ANYTHING, Schemas

__all__ = ["add_eventing_schemas"]

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_COUNT = {"type": "integer", "format": "int64"}
_SMALL_COUNT = {"type": "integer", "format": "int32"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_METADATA = {"$ref": "meta/v1.ObjectMeta"}
_SELECTOR = {"$ref": "meta/v1.LabelSelector"}
_FILTER_NAME = "eventing.knative.dev/v1.SubscriptionsAPIFilter"
_FILTER = {"$ref": _FILTER_NAME}


def _object(description: str = "", /, **properties: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"type": "object", "properties": properties}
    return {"description": description, **node} if description else node


def _list(items: dict[str, Any], description: str = "") -> dict[str, Any]:
    node = {"type": "array", "items": items}
    return {"description": description, **node} if description else node


def _said(node: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, **node}


_REFERENCE = _object(
    "An object by its name.", apiVersion=_TEXT, kind=_TEXT, name=_TEXT, namespace=_TEXT, group=_TEXT, address=_TEXT
)
_DESTINATION_FIELDS = {
    "ref": _said(_REFERENCE, "An object with an address."),
    "uri": _said(_TEXT, "A URL; with ref one relative to its address."),
    "CACerts": _said(_TEXT, "Certificates to trust, as PEM."),
    "audience": _said(_TEXT, "Audience of the token that is sent along."),
}
_DESTINATION = _object("Where events go.", **_DESTINATION_FIELDS)
_DELIVERY = _object(
    "How often and how long a delivery is tried, and where it ends.",
    deadLetterSink=_said(_DESTINATION, "Where an event goes that cannot be delivered."),
    retry=_said(_SMALL_COUNT, "Attempts after the first one."),
    timeout=_said(_TEXT, "Longest time of one attempt, as an ISO 8601 duration."),
    backoffPolicy=_said(_TEXT, "linear or exponential."),
    backoffDelay=_said(_TEXT, "The time before the next attempt begins with this, as an ISO 8601 duration."),
    retryAfterMax=_said(_TEXT, "Longest time that a Retry-After is obeyed for, as an ISO 8601 duration."),
    format=_said(_TEXT, "json or binary."),
)
_CONDITION = _object(type=_TEXT, status=_TEXT, severity=_TEXT, reason=_TEXT, message=_TEXT, lastTransitionTime=_TEXT)
_STATUS = {
    **_object(
        "What was observed; written by the controller.",
        observedGeneration=_said(_COUNT, "The generation that the conditions are about."),
        conditions=_list(_CONDITION, "Observations; `Ready` sums them up."),
        annotations=_TEXTS,
    ),
    "x-kubernetes-preserve-unknown-fields": True,
}
_AUTH = _object(serviceAccountName=_TEXT, serviceAccountNames=_list(_TEXT))
_SUBSCRIBER = _object(
    uid=_TEXT,
    name=_TEXT,
    generation=_COUNT,
    subscriberUri=_TEXT,
    subscriberCACerts=_TEXT,
    subscriberAudience=_TEXT,
    replyUri=_TEXT,
    replyCACerts=_TEXT,
    replyAudience=_TEXT,
    delivery=_DELIVERY,
    auth=_AUTH,
)
_SUBSCRIBABLE = {
    "subscribers": _list(_SUBSCRIBER, "Who gets the events; written by the controller alone."),
    "delivery": _said(_DELIVERY, "For Subscriptions that have none of their own."),
}
_CHANNEL_TEMPLATE = _object(
    "What channels are made from.", apiVersion=_TEXT, kind=_TEXT, metadata=_METADATA, spec=ANYTHING
)
_SOURCE = {
    "sink": _DESTINATION,
    "ceOverrides": _object("What is set on every event.", extensions=_TEXTS),
}
_SUBJECT = _object(apiVersion=_TEXT, kind=_TEXT, namespace=_TEXT, name=_TEXT, selector=_SELECTOR)
_POLICY_TARGET = _object(apiVersion=_TEXT, kind=_TEXT, matchLabels=_TEXTS, matchExpressions=_list(ANYTHING))


def add_eventing_schemas(schemas: Schemas) -> None:
    """Offer the schemas of all kinds of eventing in `knative_kinds.KNATIVE_KINDS`."""
    filters = _object(
        "One condition; exactly one of its fields is set.",
        exact=_said(_TEXTS, "Attributes and their values."),
        prefix=_said(_TEXTS, "Attributes and how they begin."),
        suffix=_said(_TEXTS, "Attributes and how they end."),
        all=_said(_list(_FILTER), "Conditions that all hold."),
        any=_said(_list(_FILTER), "Conditions of which one holds."),
        cesql=_said(_TEXT, "An expression in CloudEvents SQL."),
    )
    filters["properties"]["not"] = _said(_FILTER, "A condition that does not hold.")
    schemas.add(_FILTER_NAME, filters)
    for group, kinds in (
        ("eventing.knative.dev", _eventing()),
        ("messaging.knative.dev", _messaging()),
        ("flows.knative.dev", _flows()),
        ("sources.knative.dev", _sources()),
        ("sinks.knative.dev", _sinks()),
    ):
        for name, (description, spec) in kinds.items():
            node = _object(description, apiVersion=_TEXT, kind=_TEXT, metadata=_METADATA, spec=spec, status=_STATUS)
            schemas.add(f"{group}/{name}", node)


_Kinds = dict[str, tuple[str, dict[str, Any]]]


def _eventing() -> _Kinds:
    trigger = _object(
        "Which events, and where to.",
        broker=_said(_TEXT, "Name of the Broker."),
        brokerRef=_said(_REFERENCE, "The Broker, if it is in another namespace."),
        filter=_object("Attributes that an event must have.", attributes=_TEXTS),
        filters=_list(_FILTER, "Conditions that must all hold; if there are any, `filter` counts for nothing."),
        subscriber=_said(_DESTINATION, "Who gets the events."),
        delivery=_DELIVERY,
    )
    attribute = _object(name=_TEXT, required=_FLAG, value=_TEXT)
    event_type = _object(reference=_REFERENCE, description=_TEXT, attributes=_list(attribute))
    policy = _object(
        to=_list(_object(ref=_REFERENCE, selector=_POLICY_TARGET), "Who is protected; nobody: all of the namespace."),
        filters=_list(_FILTER, "Conditions on the events."),
    )
    policy["properties"]["from"] = _list(_object(ref=_REFERENCE, sub=_TEXT), "Who may send.")
    return {
        "v1.Broker": ("Takes events in for Triggers.", _object(config=_REFERENCE, delivery=_DELIVERY)),
        "v1.Trigger": ("The wish to get some of a Broker's events.", trigger),
        "v1beta3.EventType": ("A type of events that exists.", event_type),
        "v1alpha1.EventPolicy": ("Who may send events to whom.", policy),
    }


def _messaging() -> _Kinds:
    subscription = _object(
        channel=_said(_REFERENCE, "The channel; never changes."),
        subscriber=_said(_DESTINATION, "Who gets the events."),
        reply=_said(_DESTINATION, "Where the answers go."),
        delivery=_DELIVERY,
    )
    return {
        "v1.Channel": (
            "A channel of a kind that others chose.",
            _object(channelTemplate=_CHANNEL_TEMPLATE, **_SUBSCRIBABLE),
        ),
        "v1.InMemoryChannel": ("A channel that keeps nothing.", _object(**_SUBSCRIBABLE)),
        "v1alpha1.NatsJetStreamChannel": (
            "A channel that keeps events in a stream of NATS.",
            _object(stream=ANYTHING, consumerConfigTemplate=ANYTHING, **_SUBSCRIBABLE),
        ),
        "v1.Subscription": ("Who gets the events of a channel.", subscription),
    }


def _flows() -> _Kinds:
    step = _object(**_DESTINATION_FIELDS, delivery=_DELIVERY)
    branch = _object(filter=_DESTINATION, subscriber=_DESTINATION, reply=_DESTINATION, delivery=_DELIVERY)
    common = {"channelTemplate": _CHANNEL_TEMPLATE, "reply": _DESTINATION}
    return {
        "v1.Sequence": ("Steps, one after the other.", _object(steps=_list(step), **common)),
        "v1.Parallel": ("Branches, all at once.", _object(branches=_list(branch), **common)),
    }


def _sources() -> _Kinds:
    ping = _object(
        schedule=_said(_TEXT, "Times, as cron has them."),
        timezone=_said(_TEXT, "Name of a time zone."),
        contentType=_TEXT,
        data=_TEXT,
        dataBase64=_TEXT,
        **_SOURCE,
    )
    resource = _object(apiVersion=_TEXT, kind=_TEXT, selector=_SELECTOR)
    api_server = _object(
        resources=_list(resource, "Which kinds are watched."),
        owner=_object("Only what this kind controls.", apiVersion=_TEXT, kind=_TEXT),
        mode=_said(_TEXT, "Reference or Resource."),
        serviceAccountName=_TEXT,
        namespaceSelector=_SELECTOR,
        filters=_list(_FILTER),
        **_SOURCE,
    )
    jetstream = _object(
        url=_TEXT,
        stream=_TEXT,
        subject=_TEXT,
        consumer=_TEXT,
        deliverPolicy=_TEXT,
        ackWait=_TEXT,
        maxAckPending=_COUNT,
        eventType=_TEXT,
        contentType=_TEXT,
        **_SOURCE,
    )
    template = {"$ref": "core/v1.PodTemplateSpec"}
    return {
        "v1.PingSource": ("Events at times.", ping),
        "v1.ApiServerSource": ("Events of what happens to objects.", api_server),
        "v1.ContainerSource": ("Events of the user's own containers.", _object(template=template, **_SOURCE)),
        "v1.SinkBinding": ("Tells containers where the sink is.", _object(subject=_SUBJECT, **_SOURCE)),
        "v1alpha1.JetStreamSource": ("Events of a stream of NATS.", jetstream),
    }


def _sinks() -> _Kinds:
    job = _said({"$ref": "batch/v1.Job"}, "What is made of each event.")
    return {"v1alpha1.JobSink": ("Runs a Job for each event.", _object(job=job))}
