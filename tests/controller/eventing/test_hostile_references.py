"""What people refer to may be anything: nothing of it is done with the controller's rights, and nothing loops."""

import base64
import json
from typing import Any

import pytest

from controller.eventing import ducks
from kube.models import core
from kube.models.eventing import Broker, Trigger
from kube.models.flows import Sequence
from kube.models.messaging import Channel, InMemoryChannel, Subscription
from tests.controller.eventing.cluster import SYSTEM, Eventing
from tests.controller.eventing.test_ducks import define, put, to
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGING = "messaging.knative.dev/v1"
STEPS = [{"uri": "http://app"}]


def failures(eventing: Eventing) -> list[str]:
    """Objects of the test that could not be reconciled."""
    lines = map(json.loads, eventing.log_lines)
    return [
        line["key"] for line in lines if line["message"] == "reconcile_failed" and eventing.namespace in line["key"]
    ]


@pytest.mark.parametrize("url", ["http://[x", "//host", "text", "/path"])
async def test_an_address_that_is_no_url_is_told_and_not_tried_again_and_again(eventing: Eventing, url: str) -> None:
    plural = f"dolls{eventing.namespace.rpartition('-')[2]}"
    kind = plural.capitalize()
    await define(eventing, plural, kind)
    await put(eventing, plural, kind, {"address": {"url": url}})
    await eventing.broker()
    for name, uri in (("plain", {}), ("joined", {"uri": "/x"})):
        await eventing.create(Trigger, name, {"broker": "default", "subscriber": {**to(kind), **uri}})
        _, message = await eventing.until_condition(Trigger, name, "SubscriberResolved", "False")
        assert message == f"address of {kind} it: expected an absolute URL, got {url!r}"
    assert failures(eventing) == []


@pytest.mark.parametrize("api_version", ["v1/pods?watch=true&x=", "a.b/../../api/v1/secrets#", "apps/v1/x", "V1"])
async def test_a_version_is_no_way_to_another_path(eventing: Eventing, api_version: str) -> None:
    await eventing.broker()
    ref = {"apiVersion": api_version, "kind": "Thing", "name": "it"}
    await eventing.create(Trigger, "mine", {"broker": "default", "subscriber": {"ref": ref}})
    _, message = await eventing.until_condition(Trigger, "mine", "SubscriberResolved", "False")
    assert message == f"expected group/version or a version, got {api_version!r}"
    assert failures(eventing) == []


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v1", "Secret"),
        ("apps/v1", "Deployment"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        ("eventing.knative.dev/v1alpha1", "EventPolicy"),
        (MESSAGING, "Subscription"),
    ],
)
async def test_a_template_is_of_a_channel(eventing: Eventing, api_version: str, kind: str) -> None:
    template = {"apiVersion": api_version, "kind": kind}
    for each, spec in ((Sequence, {"steps": STEPS}), (Channel, {})):
        text = await eventing.refusal(each, "mine", {**spec, "channelTemplate": template})
        assert "spec.channelTemplate" in text
        assert "expected the kind of a channel" in text


async def test_a_broker_makes_no_secret_of_its_template(eventing: Eventing) -> None:
    data = {"channel-template-spec": "apiVersion: v1\nkind: Secret\n"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": data}
    await eventing.client.raw("POST", core.ConfigMap.RESOURCE.path(eventing.namespace), body=json.dumps(body).encode())
    config = {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "namespace": eventing.namespace}
    await eventing.create(Broker, "mine", {"config": config})
    _, message = await eventing.until_condition(Broker, "mine", "TriggerChannelReady", "False")
    assert message == "v1 Secret cannot be a channel"
    assert [each.name for each in (await eventing.client.list(core.Secret, eventing.namespace)).items] == []


async def test_a_subscription_changes_nothing_that_is_no_channel(eventing: Eventing) -> None:
    channel = {"apiVersion": "v1", "kind": "ConfigMap", "name": "kube-root-ca.crt"}
    await eventing.create(Subscription, "mine", {"channel": channel, "subscriber": {"uri": "http://app"}})
    _, message = await eventing.until_condition(Subscription, "mine", "ReferencesResolved", "False")
    assert "v1 ConfigMap cannot be a channel" in message


async def test_nobody_is_subscribed_by_a_template(eventing: Eventing) -> None:
    """An entry names the account with whose tokens the dispatcher sends."""
    entry = {"uid": "u", "subscriberUri": "http://me", "auth": {"serviceAccountName": "powerful"}}
    template = {"apiVersion": MESSAGING, "kind": "InMemoryChannel", "spec": {"subscribers": [entry]}}
    await eventing.create(Sequence, "flow", {"steps": STEPS, "channelTemplate": template})
    await eventing.create(Channel, "mine", {"channelTemplate": template})
    await eventing.until_ready(Sequence, "flow")
    await eventing.until_ready(Channel, "mine")
    for name in ("flow-kn-sequence-0", "mine"):
        channel = await eventing.get(InMemoryChannel, name)
        assert "u" not in [each.uid for each in channel.spec.subscribers]


async def test_an_authority_that_cannot_be_read_is_told_once_and_stops_nothing(eventing: Eventing) -> None:
    async def put_secret(method: str, data: dict[str, str]) -> None:
        name = "mt-broker-ingress-server-tls"
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        path = core.Secret.RESOURCE.path(SYSTEM, None if method == "POST" else name)
        await eventing.client.raw(method, path, body=json.dumps(body).encode())

    def told() -> int:
        return sum(json.loads(line)["message"] == "certificate_refused" for line in eventing.log_lines)

    await put_secret("POST", {"ca.crt": base64.b64encode(b"\xff\xfe").decode()})
    try:
        for name in ("one", "two"):
            await eventing.broker(name)
        await eventing.create(Trigger, "mine", {"broker": "two", "subscriber": {"uri": "http://app"}})
        await eventing.until_ready(Trigger, "mine")
        await eventually(lambda: told() == 1)
        assert failures(eventing) == []
    finally:
        await eventing.client.delete(core.Secret, "mt-broker-ingress-server-tls", SYSTEM)


async def test_what_a_trigger_no_more_asks_of_jetstream_goes_from_its_subscription(eventing: Eventing) -> None:
    await eventing.broker()
    asked = {"jetstream.eventing.knuv.dev/ordered": "true", "jetstream.eventing.knuv.dev/max-ack-pending": "5"}
    made = await eventing.create(
        Trigger, "mine", {"broker": "default", "subscriber": {"uri": "http://app"}}, annotations=asked
    )
    await eventing.until_ready(Trigger, "mine")
    name = f"default-mine-{made.metadata.uid}"
    theirs = {"example.com/note": "theirs"}
    await eventing.patch(Subscription, name, {"metadata": {"annotations": theirs}})
    gone = {"jetstream.eventing.knuv.dev/ordered": None}
    await eventing.patch(Trigger, "mine", {"metadata": {"annotations": gone}})

    def is_so(found: Subscription) -> bool:
        own = {key: text for key, text in found.metadata.annotations.items() if not key.startswith("messaging")}
        return own == {"jetstream.eventing.knuv.dev/max-ack-pending": "5", **theirs}

    await eventing.until(Subscription, name, "without what the Trigger has no more", is_so)


async def test_a_subscription_goes_when_it_is_known_whether_its_channel_holds_it(
    eventing: Eventing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ducks, "_SYNC_S", 0.1)
    await define(eventing, "pipes", "Pipe")
    await put(eventing, "pipes", "Pipe", {"address": "not what a channel has"})
    it = {"apiVersion": "example.com/v1", "kind": "Pipe", "name": "mine"}
    made = await eventing.create(Subscription, "mine", {"channel": it, "subscriber": {"uri": "http://app"}})
    _, message = await eventing.until_condition(Subscription, "mine", "ReferencesResolved", "False")
    assert "cannot be listed" in message
    # A controller before this one has subscribed it.
    path = f"/apis/example.com/v1/namespaces/{eventing.namespace}/pipes"
    pipe = {"metadata": {"name": "mine"}, "spec": {"subscribers": [{"uid": made.metadata.uid}, {"uid": "other"}]}}
    await eventing.client.raw("POST", path, body=json.dumps({**it, **pipe}).encode())
    await eventing.client.delete(Subscription, "mine", eventing.namespace)

    async def is_told() -> bool:
        events = (await eventing.client.list(core.Event, eventing.namespace)).items
        return any(each.reason == "ChannelNotListed" for each in events)

    await eventually(is_told, timeout_s=20)
    assert (await eventing.get(Subscription, "mine")).metadata.finalizers
    await eventing.client.raw("DELETE", f"{path}/it")
    await eventing.until_gone(Subscription, "mine")
    left = json.loads(await eventing.client.raw("GET", f"{path}/mine"))["spec"]["subscribers"]
    assert [each["uid"] for each in left] == ["other"]
    assert failures(eventing) == []


async def test_a_subscription_goes_when_its_kind_of_channel_is_gone(
    eventing: Eventing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ducks, "_SYNC_S", 0.1)
    await define(eventing, "tubes", "Tube")
    await put(eventing, "tubes", "Tube", {"address": "not what a channel has"})
    it = {"apiVersion": "example.com/v1", "kind": "Tube", "name": "it"}
    await eventing.create(Subscription, "mine", {"channel": it, "subscriber": {"uri": "http://app"}})
    await eventing.until_condition(Subscription, "mine", "ReferencesResolved", "False")
    await eventing.client.raw("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tubes.example.com")
    await eventing.client.delete(Subscription, "mine", eventing.namespace)
    await eventing.until_gone(Subscription, "mine")
