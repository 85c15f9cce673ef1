"""The kinds of eventing: columns as the originals', misspelt fields told, and models that read what is kept."""

from typing import Any

import msgspec
import pytest

from kube.models.eventing import Broker, EventType, Trigger
from kube.models.eventpolicy import EventPolicy
from kube.models.flows import Parallel, Sequence
from kube.models.messaging import Channel, InMemoryChannel, NatsJetStreamChannel, Subscription
from kube.models.meta import Resource
from kube.models.sources import ApiServerSource, ContainerSource, JetStreamSource, PingSource, SinkBinding
from tests.local_cluster.apiserver.raw import TABLE, Api

_REF = {"apiVersion": "v1", "kind": "Service", "name": "app"}
_SINK = {"ref": _REF, "uri": "/path", "CACerts": "PEM", "audience": "them"}
_DELIVERY = {
    "deadLetterSink": _SINK,
    "retry": 0,
    "timeout": "PT1S",
    "backoffPolicy": "linear",
    "backoffDelay": "PT2S",
    "retryAfterMax": "PT3S",
    "format": "json",
}
_TEMPLATE = {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "spec": {"delivery": {"retry": 1}}}
_SUBSCRIBER = {
    "uid": "u",
    "name": "s",
    "generation": 2,
    "subscriberUri": "http://a",
    "subscriberCACerts": "PEM",
    "subscriberAudience": "a",
    "replyUri": "http://b",
    "replyCACerts": "PEM",
    "replyAudience": "b",
    "delivery": _DELIVERY,
    "auth": {"serviceAccountName": "them"},
}
_CHANNEL = {"subscribers": [_SUBSCRIBER], "delivery": {}}
_FILTERS = [
    {"not": {"any": [{"exact": {"type": "a"}}, {"all": [{"prefix": {"type": "a"}}, {"suffix": {"source": "b"}}]}]}},
    {"cesql": "EXISTS foo"},
]
_SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}
_SOURCE = {"sink": _SINK, "ceOverrides": {"extensions": {"a": "b"}}}

SPECS: list[tuple[type[Resource], dict[str, Any], list[str]]] = [
    (Broker, {"config": _REF, "delivery": _DELIVERY}, ["Name", "URL", "Age", "Ready", "Reason"]),
    (
        Trigger,
        {"broker": "default", "filter": {"attributes": {"type": ""}}, "filters": _FILTERS, "subscriber": _SINK,
         "delivery": _DELIVERY},
        ["Name", "Broker", "Subscriber_URI", "Age", "Ready", "Reason"],
    ),
    (
        EventType,
        {"reference": _REF, "description": "d", "attributes": [{"name": "type", "required": True, "value": "a"}]},
        ["Name", "Reference Name", "Reference Kind", "Description", "Ready", "Reason"],
    ),
    (
        EventPolicy,
        {"to": [{"ref": _REF}, {"selector": {"apiVersion": "v1", "kind": "Broker", **_SELECTOR}}],
         "from": [{"sub": "a*"}, {"ref": _REF}], "filters": _FILTERS},
        ["Name", "Ready", "Reason"],
    ),
    (Channel, {"channelTemplate": _TEMPLATE, **_CHANNEL}, ["Name", "URL", "Age", "Ready", "Reason"]),
    (InMemoryChannel, _CHANNEL, ["Name", "URL", "Age", "Ready", "Reason"]),
    (
        NatsJetStreamChannel,
        {"stream": {"config": {"storage": "File"}}, "consumerConfigTemplate": {"ackWait": "30s"}, **_CHANNEL},
        ["Name", "Ready", "Reason", "URL", "Age"],
    ),
    (
        Subscription,
        {"channel": _REF, "subscriber": _SINK, "reply": {"uri": "http://r"}, "delivery": {}},
        ["Name", "Age", "Ready", "Reason"],
    ),
    (
        Sequence,
        {"steps": [{"ref": _REF, "delivery": _DELIVERY}, {"uri": "http://b"}], "channelTemplate": _TEMPLATE,
         "reply": _SINK},
        ["Name", "URL", "Age", "Ready", "Reason"],
    ),
    (
        Parallel,
        {"branches": [{"filter": _SINK, "subscriber": _SINK, "reply": _SINK, "delivery": _DELIVERY}],
         "channelTemplate": _TEMPLATE, "reply": _SINK},
        ["Name", "URL", "Age", "Ready", "Reason"],
    ),
    (
        PingSource,
        {"schedule": "* * * * *", "timezone": "UTC", "contentType": "text/plain", "data": "d", **_SOURCE},
        ["Name", "Sink", "Schedule", "Age", "Ready", "Reason"],
    ),
    (
        ApiServerSource,
        {"resources": [{"apiVersion": "v1", "kind": "Pod", "selector": _SELECTOR}],
         "owner": {"apiVersion": "apps/v1", "kind": "Deployment"}, "mode": "Resource", "serviceAccountName": "them",
         "namespaceSelector": {}, "filters": _FILTERS, **_SOURCE},
        ["Name", "Sink", "Age", "Ready", "Reason"],
    ),
    (
        ContainerSource,
        {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}, **_SOURCE},
        ["Name", "Sink", "Age", "Ready", "Reason"],
    ),
    (
        SinkBinding,
        {"subject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "selector": _SELECTOR},
         **_SOURCE},
        ["Name", "Sink", "Age", "Ready", "Reason"],
    ),
    (
        JetStreamSource,
        {"url": "nats://a", "stream": "S", "subject": "s.>", "consumer": "c", "deliverPolicy": "All", "ackWait": "30s",
         "maxAckPending": 3, "eventType": "t", "contentType": "text/plain", **_SOURCE},
        ["Name", "Sink", "Stream", "Age", "Ready", "Reason"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "columns"), SPECS, ids=[kind.__name__ for kind, _, _ in SPECS])
async def test_a_full_spec_is_kept_whole_and_read_whole_by_its_model(
    api: Api, kind: type[Resource], spec: dict[str, Any], columns: list[str]
) -> None:
    """Nothing of what a manifest can say is lost on the way to a reconciler, and tables look as people know them."""
    info = kind.RESOURCE
    body = {"apiVersion": info.api_version, "kind": info.kind, "metadata": {"name": "a"}, "spec": spec}
    path = info.path("default")
    created = await api.call("POST", path, body, fieldValidation="Strict")
    assert created.status == 201, created.data
    assert created.data["spec"] == spec
    model = msgspec.convert(created.data, kind)
    assert msgspec.to_builtins(model)["spec"] == spec

    table = await api.call("GET", path, headers={"Accept": TABLE})
    assert [column["name"] for column in table.data["columnDefinitions"]] == columns

    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "observedGeneration": 1,
        "subscribers": [{"uid": "u"}],
    }
    patched = await api.call(
        "PATCH", f"{path}/a/status", {"status": status}, content_type="application/merge-patch+json"
    )
    assert patched.data["status"] == status
    assert patched.data["metadata"]["generation"] == 1


async def test_a_misspelt_field_deep_in_a_filter_is_told_by_its_path(api: Api) -> None:
    """Filters nest; their schema does as well."""
    body = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "a"},
        "spec": {"broker": "b", "filters": [{"not": {"all": [{"exactly": {"type": "a"}}]}}]},
    }
    refused = await api.call("POST", Trigger.RESOURCE.path("default"), body, fieldValidation="Strict")
    assert refused.status == 400
    assert 'unknown field "spec.filters[0].not.all[0].exactly"' in refused.data["message"]


async def test_short_names_are_the_originals(api: Api) -> None:
    """`kubectl get imc`, `sub`, `ch`."""
    found = (await api.call("GET", "/apis/messaging.knative.dev/v1")).data["resources"]
    names = {each["name"]: each.get("shortNames") for each in found if "/" not in each["name"]}
    assert names == {"channels": ["ch"], "inmemorychannels": ["imc"], "subscriptions": ["sub"]}
