"""Services from manifest to Ready and on, against a real API server (`tests.controller.cluster` says who plays)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from kube.errors import Invalid
from kube.informer import Informer
from kube.models import core, serving
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.meta import Resource
from kube.models.networking import Ingress, ServerlessService
from kube.timestamps import format_time
from tests.controller.cluster import NAMESPACE, SYSTEM, Kn, condition, control_plane, service
from tests.support.processes import eventually

BY_SERVICE = {"serving.knative.dev/service": "hello"}


@pytest.fixture
async def kn() -> AsyncIterator[Kn]:
    async with control_plane() as running:
        yield running


async def update(kn: Kn, name: str, image: str, traffic: list[dict[str, Any]] | None = None) -> serving.Service:
    """Give a Service another image, and another traffic block if there is one."""
    spec: dict[str, Any] = {"template": {"spec": {"containers": [{"image": image}]}}}
    if traffic is not None:
        spec["traffic"] = traffic
    return await kn.client.patch(serving.Service, name, NAMESPACE, {"spec": spec})


async def two_revisions(kn: Kn) -> None:
    """Service `hello` with a ready `hello-00001` and a ready `hello-00002`, which has all traffic."""
    await kn.create(serving.Service, service("hello"))
    await kn.until_ready("hello")
    await update(kn, "hello", "dev.local/hello:2")
    await kn.until_ready("hello", generation=2)


def splits(ingress: Ingress, host: str) -> list[tuple[str, int]]:
    """(Revision, percent) behind a host."""
    return [
        (split.service_name, split.percent)
        for rule in ingress.spec.rules
        if host in rule.hosts and rule.http is not None
        for split in rule.http.paths[0].splits
    ]


async def test_s45_a_service_becomes_ready_with_its_whole_tree(kn: Kn) -> None:
    created = await kn.create(serving.Service, service("hello"))
    ready = await kn.until_ready("hello")
    assert ready.status.url == "http://hello.default.example.com"
    assert ready.status.address == {"url": "http://hello.default.svc.cluster.local"}
    assert ready.status.latest_ready_revision_name == "hello-00001"
    assert [(t.revision_name, t.percent, t.latest_revision) for t in ready.status.traffic] == [
        ("hello-00001", 100, True)
    ]
    configuration = await kn.get(serving.Configuration, "hello")
    route = await kn.get(serving.Route, "hello")
    for child in (configuration, route):
        assert child.is_controlled_by(created)
        assert BY_SERVICE.items() <= child.metadata.labels.items()
    revision = await kn.get(serving.Revision, "hello-00001")
    assert revision.is_controlled_by(configuration)
    assert revision.metadata.labels["serving.knative.dev/routingState"] == "active"
    assert revision.metadata.annotations["serving.knative.dev/routes"] == "hello"
    for kind, name, owner in (
        (Deployment, "hello-00001-deployment", revision),
        (PodAutoscaler, "hello-00001", revision),
        (Ingress, "hello", route),
        (core.Service, "hello", route),
    ):
        assert (await kn.client.get(kind, name, NAMESPACE)).is_controlled_by(owner)


async def test_an_invalid_manifest_is_refused_with_path_and_reason(kn: Kn) -> None:
    body = service("hello")
    body["spec"]["template"]["spec"]["timeoutSeconds"] = 601
    with pytest.raises(Invalid) as caught:
        await kn.create(serving.Service, body)
    assert caught.value.message == (
        'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: '
        "expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds"
    )


async def test_s46_s49_annotations_and_labels_go_where_they_belong(kn: Kn) -> None:
    body = service("hello", labels={"tier": "gold"})
    body["metadata"] |= {
        "labels": {"team": "blue"},
        "annotations": {"serving.knative.dev/rollout-duration": "0s", "a": "b"},
    }
    await kn.create(serving.Service, body)
    await kn.until_ready("hello")
    configuration, route = await kn.get(serving.Configuration, "hello"), await kn.get(serving.Route, "hello")
    assert route.metadata.annotations["serving.knative.dev/rollout-duration"] == "0s"
    assert "serving.knative.dev/rollout-duration" not in configuration.metadata.annotations
    assert configuration.metadata.annotations["a"] == "b"
    labels = (await kn.get(serving.Revision, "hello-00001")).metadata.labels
    assert labels["tier"] == "gold"
    assert "team" not in labels


async def test_a_new_revision_takes_over_and_the_old_one_becomes_unreachable(kn: Kn) -> None:
    ingresses = Informer(kn.client, Ingress, namespace=NAMESPACE)
    history: list[list[tuple[str, int]]] = []
    ingresses.on_change(lambda _old, new: history.append(splits(new, "hello.default.example.com")) if new else None)
    await ingresses.start()
    await two_revisions(kn)
    await ingresses.stop()
    assert [("hello-00001", 99), ("hello-00002", 1)] not in history
    assert splits(await kn.get(Ingress, "hello"), "hello.default.example.com") == [("hello-00002", 100)]
    old = await kn.until(
        PodAutoscaler, "hello-00001", "unreachable", lambda found: found.spec.reachability == "Unreachable"
    )
    assert old.metadata.labels["serving.knative.dev/service"] == "hello"
    revision = await kn.get(serving.Revision, "hello-00001")
    assert revision.metadata.labels["serving.knative.dev/routingState"] == "reserve"
    assert "serving.knative.dev/routes" not in revision.metadata.annotations
    assert (await kn.get(PodAutoscaler, "hello-00002")).spec.reachability == "Reachable"


async def test_80_20_between_two_revisions_with_a_tag(kn: Kn) -> None:
    await two_revisions(kn)
    await kn.until(PodAutoscaler, "hello-00001", "unreachable", lambda found: found.spec.reachability == "Unreachable")
    traffic = [
        {"revisionName": "hello-00001", "percent": 80},
        {"latestRevision": True, "percent": 20, "tag": "next"},
    ]
    await kn.client.patch(serving.Service, "hello", NAMESPACE, {"spec": {"traffic": traffic}})
    ready = await kn.until_ready("hello", generation=3)
    assert [(t.revision_name, t.percent, t.tag, t.url) for t in ready.status.traffic] == [
        ("hello-00001", 80, "", ""),
        ("hello-00002", 20, "next", "http://next-hello.default.example.com"),
    ]
    ingress = await kn.get(Ingress, "hello")
    assert splits(ingress, "hello.default.example.com") == [("hello-00001", 80), ("hello-00002", 20)]
    assert splits(ingress, "next-hello.default.example.com") == [("hello-00002", 100)]
    assert (await kn.get(core.Service, "next-hello")).is_controlled_by(await kn.get(serving.Route, "hello"))
    await kn.until(PodAutoscaler, "hello-00001", "reachable", lambda found: found.spec.reachability == "Reachable")
    # Without its tag the placeholder goes.
    await kn.client.patch(
        serving.Service, "hello", NAMESPACE, {"spec": {"traffic": [{"latestRevision": True, "percent": 100}]}}
    )
    await kn.until_gone(core.Service, "next-hello")


async def test_s60_a_failing_container_is_reported_up_to_the_service(kn: Kn) -> None:
    ended = core.ContainerStateTerminated(exit_code=5, message="boom", reason="Error")
    waiting = core.ContainerState(waiting=core.ContainerStateWaiting(reason="CrashLoopBackOff"))
    kn.peers.failures["dev.local/broken"] = core.ContainerStatus(
        name="user-container", state=waiting, last_state=core.ContainerState(terminated=ended), restart_count=1
    )
    await kn.create(serving.Service, service("hello", "dev.local/broken"))
    failed = await kn.until(serving.Service, "hello", "failed", lambda found: condition(found, "Ready")[0] == "False")
    assert condition(failed, "ConfigurationsReady") == ("False", "RevisionFailed")
    message = next(c.message for c in failed.status.conditions if c.type == "Ready")
    assert "Container failed with: boom" in message
    revision = await kn.get(serving.Revision, "hello-00001")
    assert condition(revision, "ContainerHealthy") == ("False", "ExitCode5")


async def test_a_container_that_fails_late_is_reported_when_nothing_else_changes(kn: Kn) -> None:
    creating = core.ContainerState(waiting=core.ContainerStateWaiting(reason="ContainerCreating"))
    kn.peers.failures["dev.local/slow"] = core.ContainerStatus(name="user-container", state=creating)
    await kn.create(serving.Service, service("hello", "dev.local/slow"))
    await kn.until(Deployment, "hello-00001-deployment", "one pod", lambda found: found.status.replicas == 1)
    (pod,) = (await kn.client.list(core.Pod, NAMESPACE)).items
    await kn.until(core.Pod, pod.name, "creating", lambda found: bool(found.status.container_statuses))
    async with changes_of(kn, serving.Revision, Deployment) as changed:
        await quiet(changed)
    ended = core.ContainerState(terminated=core.ContainerStateTerminated(exit_code=3, message="late"))
    state = core.ContainerStatus(name="user-container", state=creating, last_state=ended)
    pod = await kn.get(core.Pod, pod.name)
    pod.status.container_statuses = [state]
    await kn.client.patch_status(pod, pod.status)
    await kn.until(
        serving.Revision, "hello-00001", "failed", lambda found: condition(found, "ContainerHealthy")[1] == "ExitCode3"
    )


async def test_a_serverless_service_waits_for_its_deployment(kn: Kn) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x-deployment"}
    spec = {"mode": "Proxy", "objectRef": reference, "protocolType": "http1", "numActivators": 0}
    await kn.create(ServerlessService, {"metadata": {"name": "x"}, "spec": spec})
    async with changes_of(kn, ServerlessService) as changed:
        await quiet(changed)
    labels = {"serving.knative.dev/revision": "x", "serving.knative.dev/revisionUID": "u"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "dev.local/hello"}]}}
    deployment = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    await kn.create(Deployment, {"metadata": {"name": "x-deployment", "labels": labels}, "spec": deployment})
    private = await kn.until(core.Service, "x-private", "there", lambda found: True)
    assert private.spec.selector == labels


async def test_s54_a_failing_second_revision_leaves_the_first_in_place(kn: Kn) -> None:
    await kn.create(serving.Service, service("hello"))
    await kn.until_ready("hello")
    missing = core.ContainerState(waiting=core.ContainerStateWaiting(reason="ErrImagePull", message="no such image"))
    kn.peers.failures["dev.local/missing"] = core.ContainerStatus(name="user-container", state=missing)
    await update(kn, "hello", "dev.local/missing")
    configuration = await kn.until(
        serving.Configuration, "hello", "failed", lambda found: condition(found, "Ready")[0] == "False"
    )
    assert condition(configuration, "Ready") == ("False", "RevisionFailed")
    assert configuration.status.latest_ready_revision_name == "hello-00001"
    assert configuration.status.latest_created_revision_name == "hello-00002"
    revision = await kn.get(serving.Revision, "hello-00002")
    assert condition(revision, "ContainerHealthy") == ("False", "ContainerMissing")
    assert splits(await kn.get(Ingress, "hello"), "hello.default.example.com") == [("hello-00001", 100)]


async def test_s51_edits_of_a_services_configuration_are_reverted(kn: Kn) -> None:
    await kn.create(serving.Service, service("hello"))
    await kn.until_ready("hello")
    patch = {
        "metadata": {"labels": {"stray": "x"}},
        "spec": {"template": {"spec": {"containers": [{"image": "dev.local/other"}]}}},
    }
    await kn.client.patch(serving.Configuration, "hello", NAMESPACE, patch)

    def is_reverted(found: serving.Configuration) -> bool:
        image = found.spec.template["spec"]["containers"][0]["image"]
        return image == "dev.local/hello" and "stray" not in found.metadata.labels

    await kn.until(serving.Configuration, "hello", "reverted", is_reverted)


async def test_s52_a_foreign_configuration_of_the_name_is_left_alone(kn: Kn) -> None:
    template = {"spec": {"containers": [{"image": "dev.local/theirs"}]}}
    theirs = await kn.create(serving.Configuration, {"metadata": {"name": "hello"}, "spec": {"template": template}})
    await kn.create(serving.Service, service("hello"))
    refused = await kn.until(
        serving.Service,
        "hello",
        "not owned",
        lambda found: condition(found, "ConfigurationsReady") == ("False", "NotOwned"),
    )
    assert condition(refused, "Ready") == ("False", "NotOwned")
    now = await kn.get(serving.Configuration, "hello")
    assert now.spec == theirs.spec


async def test_s50_a_configuration_of_its_own_makes_pending_revisions_without_its_labels(kn: Kn) -> None:
    body = {
        "metadata": {"name": "alone", "labels": {"team": "blue"}},
        "spec": {"template": {"spec": {"containers": [{"image": "dev.local/hello"}]}}},
    }
    await kn.create(serving.Configuration, body)
    await kn.until(serving.Configuration, "alone", "ready", lambda found: condition(found, "Ready")[0] == "True")
    labels = (await kn.get(serving.Revision, "alone-00001")).metadata.labels
    assert labels["serving.knative.dev/routingState"] == "pending"
    assert "team" not in labels


async def test_s76_a_route_to_nothing_says_what_is_missing_and_recovers(kn: Kn) -> None:
    traffic = [{"configurationName": "later", "percent": 100}]
    await kn.create(serving.Route, {"metadata": {"name": "front"}, "spec": {"traffic": traffic}})
    lost = await kn.until(serving.Route, "front", "missing", lambda found: condition(found, "Ready")[0] == "False")
    assert condition(lost, "AllTrafficAssigned") == ("False", "ConfigurationMissing")
    template = {"spec": {"containers": [{"image": "dev.local/hello"}]}}
    await kn.create(serving.Configuration, {"metadata": {"name": "later"}, "spec": {"template": template}})
    found = await kn.until(serving.Route, "front", "ready", lambda found: condition(found, "Ready")[0] == "True")
    assert found.status.traffic[0].revision_name == "later-00001"


async def test_s76_a_route_to_a_revision_that_is_missing_says_so(kn: Kn) -> None:
    traffic = [{"revisionName": "nobody-00001", "percent": 100}]
    await kn.create(serving.Route, {"metadata": {"name": "front"}, "spec": {"traffic": traffic}})
    await kn.until(
        serving.Route,
        "front",
        "missing",
        lambda found: condition(found, "AllTrafficAssigned") == ("False", "RevisionMissing"),
    )


async def test_s77_a_revision_of_another_service_is_not_served(kn: Kn) -> None:
    await kn.create(serving.Service, service("other"))
    await kn.until_ready("other")
    body = service("hello")
    body["spec"]["traffic"] = [{"revisionName": "other-00001", "percent": 100}]
    await kn.create(serving.Service, body)
    route = await kn.until(serving.Route, "hello", "refused", lambda found: condition(found, "Ready")[0] == "False")
    assert condition(route, "AllTrafficAssigned") == ("False", "RevisionNotOwned")
    # A Route that belongs to no Service may.
    await kn.create(serving.Route, {"metadata": {"name": "bare"}, "spec": {"traffic": body["spec"]["traffic"]}})
    bare = await kn.until(serving.Route, "bare", "ready", lambda found: condition(found, "Ready")[0] == "True")
    assert [(target.revision_name, target.percent) for target in bare.status.traffic] == [("other-00001", 100)]


async def test_s88_a_foreign_service_of_the_routes_name_stops_the_route(kn: Kn) -> None:
    await kn.create(core.Service, {"metadata": {"name": "hello"}, "spec": {"ports": [{"port": 1}]}})
    await kn.create(serving.Service, service("hello"))
    route = await kn.until(
        serving.Route, "hello", "not owned", lambda found: condition(found, "IngressReady") == ("False", "NotOwned")
    )
    assert condition(route, "AllTrafficAssigned")[0] == "True"
    assert (await kn.get(core.Service, "hello")).spec.ports[0].port == 1


async def test_s86_placeholders_lead_to_the_gateway_once_it_is_known(kn: Kn) -> None:
    kn.peers.lets_ingresses_ready = False
    await kn.create(serving.Service, service("hello"))
    before = await kn.until(core.Service, "hello", "there", lambda found: True)
    assert (before.spec.type, before.spec.external_name) == ("ExternalName", "hello.default.svc.cluster.local")
    waiting = await kn.until(
        serving.Route, "hello", "waiting", lambda found: condition(found, "IngressReady")[1] == "IngressNotConfigured"
    )
    assert condition(waiting, "Ready")[0] == "Unknown"
    await kn.until(Ingress, "hello", "there", lambda found: True)
    kn.peers.let_ingresses_ready()
    await kn.until_ready("hello")
    after = await kn.until(core.Service, "hello", "headless", lambda found: found.spec.cluster_ip == "None")
    assert after.spec.external_name == ""
    addresses = await kn.until(core.Endpoints, "hello", "there", lambda found: bool(found.subsets))
    assert [address.ip for address in addresses.subsets[0].addresses] == ["127.9.0.6"]


async def test_public_endpoints_follow_the_mode_at_once(kn: Kn) -> None:
    await kn.create(serving.Service, service("hello"))
    await kn.until_ready("hello")

    def ips(endpoints: core.Endpoints) -> list[str]:
        return [address.ip for subset in endpoints.subsets for address in subset.addresses]

    await kn.until(core.Endpoints, "hello-00001", "pods", lambda found: ips(found) == ["127.9.1.1"])
    await kn.client.patch(ServerlessService, "hello-00001", NAMESPACE, {"spec": {"mode": "Proxy"}})
    await kn.until(core.Endpoints, "hello-00001", "activators", lambda found: ips(found) == ["127.9.0.2"])
    proxied = await kn.until(
        ServerlessService,
        "hello-00001",
        "told",
        lambda found: condition(found, "ActivatorEndpointsPopulated")[0] == "True",
    )
    assert condition(proxied, "Ready")[0] == "True"
    # Another activator appears: every ServerlessService that is proxied hears of it.
    subsets = [{"addresses": [{"ip": "127.9.0.2"}, {"ip": "127.9.0.3"}], "ports": [{"name": "http", "port": 8012}]}]
    await kn.client.patch(core.Endpoints, "activator-service", SYSTEM, {"subsets": subsets})
    await kn.until(core.Endpoints, "hello-00001", "both", lambda found: ips(found) == ["127.9.0.2", "127.9.0.3"])
    # Without a ready pod there is no choice.
    await kn.client.patch(ServerlessService, "hello-00001", NAMESPACE, {"spec": {"mode": "Serve"}})
    await kn.until(core.Endpoints, "hello-00001", "pods again", lambda found: ips(found) == ["127.9.1.1"])
    await kn.client.patch_scale(Deployment, "hello-00001-deployment", NAMESPACE, 0)
    await kn.until(core.Endpoints, "hello-00001", "activators", lambda found: "127.9.0.2" in ips(found))
    idle = await kn.until(
        ServerlessService, "hello-00001", "idle", lambda found: condition(found, "Ready")[1] == "NoHealthyBackends"
    )
    assert condition(idle, "Ready")[0] == "Unknown"


async def test_s81_a_tag_is_hidden_by_its_placeholder(kn: Kn) -> None:
    body = service("hello")
    body["spec"]["traffic"] = [{"latestRevision": True, "percent": 100, "tag": "inner"}]
    await kn.create(serving.Service, body)
    await kn.until_ready("hello")
    label = {"metadata": {"labels": {"networking.knative.dev/visibility": "cluster-local"}}}
    await kn.client.patch(core.Service, "inner-hello", NAMESPACE, label)
    public = "inner-hello.default.example.com"
    await kn.until(Ingress, "hello", "hidden", lambda found: not splits(found, public))
    route = await kn.until(
        serving.Route,
        "hello",
        "local URL",
        lambda found: found.status.traffic[0].url == "http://inner-hello.default.svc.cluster.local",
    )
    assert route.status.url == "http://hello.default.example.com"


async def test_a_named_revision_is_used_again_and_never_replaced(kn: Kn) -> None:
    await kn.create(serving.Service, service("hello", name="hello-one"))
    await kn.until_ready("hello")
    template = {"metadata": {"name": "hello-two"}, "spec": {"containers": [{"image": "dev.local/hello:2"}]}}
    await kn.client.patch(serving.Service, "hello", NAMESPACE, {"spec": {"template": template}})
    await kn.until_ready("hello", generation=2)
    # Back to the first: same content, same name.
    template = {"metadata": {"name": "hello-one"}, "spec": {"containers": [{"image": "dev.local/hello"}]}}
    await kn.client.patch(serving.Service, "hello", NAMESPACE, {"spec": {"template": template}})
    back = await kn.until_ready("hello", generation=3)
    assert back.status.latest_ready_revision_name == "hello-one"
    # The name with other content is taken: traffic stays where it is.
    template = {"metadata": {"name": "hello-two"}, "spec": {"containers": [{"image": "dev.local/hello:3"}]}}
    await kn.client.patch(serving.Service, "hello", NAMESPACE, {"spec": {"template": template}})
    taken = await kn.until(
        serving.Service, "hello", "taken", lambda found: condition(found, "RoutesReady")[1] == "RevisionNameTaken"
    )
    assert condition(taken, "Ready")[0] == "False"
    assert splits(await kn.get(Ingress, "hello"), "hello.default.example.com") == [("hello-one", 100)]


async def test_settings_take_effect_at_once_and_bad_ones_never(kn: Kn) -> None:
    await kn.create(serving.Service, service("hello"))
    await kn.until_ready("hello")
    with pytest.raises(Invalid, match=r"config\.webhook"):
        await kn.client.patch(core.ConfigMap, "config-deployment", SYSTEM, {"data": {"progress-deadline": "1ms"}})
    image = {"data": {"queue-sidecar-image": "dev.local/knuv/queue-proxy:2"}}
    await kn.client.patch(core.ConfigMap, "config-deployment", SYSTEM, image)
    await kn.client.patch(core.ConfigMap, "config-domain", SYSTEM, {"data": {"example.com": None, "example.org": ""}})

    def uses_new_image(found: Deployment) -> bool:
        containers: list[dict[str, Any]] = found.spec.template["spec"]["containers"]
        return containers[-1]["image"] == "dev.local/knuv/queue-proxy:2"

    await kn.until(Deployment, "hello-00001-deployment", "new image", uses_new_image)
    await kn.until(
        serving.Service, "hello", "new domain", lambda found: found.status.url == "http://hello.default.example.org"
    )


async def test_s90_s95_a_gradual_rollout_begins_with_one_percent_and_ends_with_all(kn: Kn) -> None:
    body = service("hello")
    body["metadata"]["annotations"] = {"serving.knative.dev/rollout-duration": "3s"}
    await kn.create(serving.Service, body)
    # The first Revision ever has everything at once.
    await kn.until_ready("hello")
    kn.peers.lets_ingresses_ready = False
    await update(kn, "hello", "dev.local/hello:2")
    host = "hello.default.example.com"
    begun = [("hello-00001", 99), ("hello-00002", 1)]
    await kn.until(Ingress, "hello", "begun", lambda found: splits(found, host) == begun)
    kn.peers.let_ingresses_ready()
    rolling = await kn.until(
        serving.Route, "hello", "rolling", lambda found: condition(found, "IngressReady")[1] == "RolloutInProgress"
    )
    assert condition(rolling, "Ready")[0] == "Unknown"
    shown = [(t.revision_name, t.percent) for t in rolling.status.traffic]
    assert [name for name, _ in shown] == ["hello-00001", "hello-00002"]
    assert sum(percent for _, percent in shown) == 100
    await kn.until(Ingress, "hello", "done", lambda found: splits(found, host) == [("hello-00002", 100)])
    await kn.until_ready("hello", generation=2)


async def test_s96_a_revision_is_in_reserve_when_its_traffic_has_gone_and_not_before(kn: Kn) -> None:
    state, modified = "serving.knative.dev/routingState", "serving.knative.dev/routingStateModified"
    await kn.create(serving.Service, service("hello"))
    await kn.until_ready("hello")
    since = (await kn.get(serving.Revision, "hello-00001")).metadata.annotations[modified]
    kn.peers.lets_ingresses_ready = False
    await update(kn, "hello", "dev.local/hello:2")
    host = "hello.default.example.com"
    await kn.until(Ingress, "hello", "moved", lambda found: splits(found, host) == [("hello-00002", 100)])
    # What the gateway serves is not known yet. Times have whole seconds: it is to be told in a later one.
    await kn.until(serving.Route, "hello", "waiting", lambda found: condition(found, "Ready")[0] == "Unknown")
    await eventually(lambda: format_time(time.time()) > since)
    assert (await kn.get(serving.Revision, "hello-00001")).metadata.labels[state] == "active"
    kn.peers.let_ingresses_ready()
    found = await kn.until(
        serving.Revision, "hello-00001", "in reserve", lambda found: found.metadata.labels[state] == "reserve"
    )
    assert found.metadata.annotations[modified] > since
    assert "serving.knative.dev/routes" not in found.metadata.annotations
    assert condition(await kn.get(serving.Route, "hello"), "Ready")[0] == "True"


async def test_deletion_leaves_nothing_behind(kn: Kn) -> None:
    await two_revisions(kn)
    await kn.client.delete(serving.Service, "hello", NAMESPACE)
    for kind in (serving.Route, serving.Configuration, Ingress):
        await kn.until_gone(kind, "hello")
    for name in ("hello-00001", "hello-00002"):
        for kind in (serving.Revision, PodAutoscaler, ServerlessService, core.Endpoints):
            await kn.until_gone(kind, name)
        await kn.until_gone(Deployment, f"{name}-deployment")
    await kn.until_gone(core.Service, "hello")


async def test_a_ready_service_is_left_in_peace(kn: Kn) -> None:
    await two_revisions(kn)
    await kn.until(PodAutoscaler, "hello-00001", "unreachable", lambda found: found.spec.reachability == "Unreachable")
    kinds = (serving.Service, serving.Configuration, serving.Revision, serving.Route, Ingress, Deployment, core.Service)
    async with changes_of(kn, *kinds) as changed:
        await quiet(changed)
        # Makes every Revision and Route be looked at again.
        await kn.client.patch(core.ConfigMap, "config-gc", SYSTEM, {"data": {"min-non-active-revisions": "1"}})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(changed.wait(), 0.3)
    await eventually(lambda: kn.events("settings_changed"))


@asynccontextmanager
async def changes_of(kn: Kn, *kinds: type[Resource]) -> AsyncIterator[asyncio.Event]:
    """An event that is set at each change of objects of `kinds`."""
    changed = asyncio.Event()
    async with AsyncExitStack() as stack:
        for kind in kinds:
            informer: Informer[Any] = Informer(kn.client, kind, namespace=NAMESPACE)
            await informer.start()
            stack.push_async_callback(informer.stop)
            informer.on_change(lambda _old, _new: changed.set())
        yield changed


async def quiet(changed: asyncio.Event) -> None:
    """Wait until nothing changes any more."""
    async with asyncio.timeout(10):
        while True:
            changed.clear()
            try:
                await asyncio.wait_for(changed.wait(), 0.3)
            except TimeoutError:
                return
