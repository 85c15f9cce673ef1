"""Statements about sinks, adapters, bindings and containers, against a running control plane."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kube.models.apps import Deployment
from kube.models.core import ConfigMap, Endpoints, Namespace, Service
from kube.models.sinks import JobSink
from kube.models.sources import ApiServerSource, ContainerSource, JetStreamSource, PingSource, SinkBinding
from tests.controller.eventing.cluster import SYSTEM, Eventing, running
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SINK: dict[str, Any] = {"uri": "http://sink.example/"}
AVAILABLE = [{"type": "Available", "status": "True", "reason": "", "message": ""}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api() -> AsyncIterator[Eventing]:
    async with running() as found:
        yield found


async def deployment(api: Eventing, name: str, namespace: str = "default", **metadata: Any) -> Deployment:
    pod = {
        "initContainers": [{"name": "i", "image": "i", "env": [{"name": "K_SINK", "value": "by hand"}]}],
        "containers": [{"name": "c", "image": "c", "env": [{"name": "A", "value": "b"}]}],
    }
    spec = {
        "replicas": 0,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }
    return await api.create(Deployment, name, spec, namespace=namespace, **metadata)


async def become_available(api: Eventing, name: str, namespace: str = "default") -> None:
    found = await api.client.get(Deployment, name, namespace)
    await api.client.patch_status(found, {"conditions": AVAILABLE})


def told(found: Deployment) -> list[dict[str, str]]:
    """The environment of every container."""
    pod = found.spec.template["spec"]
    return [
        {each["name"]: each.get("value", "") for each in container.get("env") or []}
        for container in (*pod.get("initContainers", []), *pod["containers"])
    ]


async def until_told(api: Eventing, name: str, **wanted: str) -> Deployment:
    """Wait until every container has these variables, and K_SINK only then."""

    def is_so(found: Deployment) -> bool:
        environments = told(found)
        return all({key: text for key, text in env.items() if key.startswith("K_")} == wanted for env in environments)

    return await api.until(Deployment, name, f"{wanted}", is_so)


async def bind(api: Eventing, name: str, subject: str = "", **spec: Any) -> None:
    whole = {
        "sink": SINK,
        "subject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": subject or name},
        **spec,
    }
    await api.create(SinkBinding, name, whole)


async def test_10_and_11_a_ping_source_is_ready_with_its_sink_and_its_adapter(api: Eventing) -> None:
    ref = {"apiVersion": "v1", "kind": "Service", "name": "later"}
    await api.create(PingSource, "p", {"sink": {"ref": ref, "uri": "/x"}})
    reason, message = await api.until_condition(PingSource, "p", "SinkProvided", "False")
    assert (reason, message) == ("NotFound", 'services "later" not found')
    await api.service("later")
    await api.until_condition(PingSource, "p", "SinkProvided", "True")
    reason, _ = await api.until_condition(PingSource, "p", "Deployed", "False")
    assert reason == "DeploymentMissing"
    await deployment(api, "pingsource-mt-adapter", SYSTEM)

    async def replicas() -> int | None:
        return (await api.client.get(Deployment, "pingsource-mt-adapter", SYSTEM)).spec.replicas

    assert await eventually(replicas) == 1
    await api.until_condition(PingSource, "p", "Deployed", "Unknown")
    await become_available(api, "pingsource-mt-adapter", SYSTEM)
    ready = await api.until_ready(PingSource, "p")
    assert ready.status.sink_uri == "http://later.default.svc.cluster.local/x"
    (attributes,) = ready.status.ce_attributes
    assert attributes.type == "dev.knative.sources.ping"
    assert attributes.source == "/apis/v1/namespaces/default/pingsources/p"


async def test_10_a_changed_address_is_followed(api: Eventing) -> None:
    await api.create(PingSource, "q", {"sink": SINK})
    await api.until(PingSource, "q", "resolved", lambda found: found.status.sink_uri == "http://sink.example/")
    await api.patch(PingSource, "q", {"spec": {"sink": {"uri": "http://other.example/"}}})
    await api.until(PingSource, "q", "moved", lambda found: found.status.sink_uri == "http://other.example/")


async def test_an_apiserver_source_gets_an_adapter_of_its_own(api: Eventing) -> None:
    spec = {
        "sink": SINK,
        "serviceAccountName": "watcher",
        "ceOverrides": {"extensions": {"a": "b"}},
        "resources": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "selector": {"matchLabels": {"x": "y"}}},
            {"apiVersion": "v1", "kind": "Endpoints"},
        ],
        "namespaceSelector": {"matchLabels": {"team": "a"}},
    }
    await api.create(ApiServerSource, "a", spec)
    await api.until_condition(ApiServerSource, "a", "SufficientPermissions", "True")
    source = await api.until(ApiServerSource, "a", "told", lambda found: bool(found.status.ce_attributes))
    assert [each.type for each in source.status.ce_attributes] == [
        f"dev.knative.apiserver.ref.{verb}" for verb in ("add", "delete", "update")
    ]
    assert source.status.namespaces == []
    name = f"apiserversource-a-{source.metadata.uid}"[:63]
    for namespace in ("team-b", "team-a"):
        body = {"metadata": {"name": namespace, "labels": {"team": "a"}}}
        await api.client.raw("POST", Namespace.RESOURCE.path(), body=json.dumps(body).encode())

    def config_of(found: Deployment) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(told(found)[0]["K_SOURCE_CONFIG"])
        return parsed

    made = await api.until(
        Deployment, name, "both namespaces", lambda found: config_of(found)["namespaces"] == ["team-a", "team-b"]
    )
    assert made.spec.template["spec"]["serviceAccountName"] == "watcher"
    config, env = config_of(made), told(made)[0]
    assert env["K_SINK"] == "http://sink.example/"
    assert env["K_CE_OVERRIDES"] == '{"extensions":{"a":"b"}}'
    assert config["resources"] == [
        {"gvr": {"Group": "apps", "Version": "v1", "Resource": "deployments"}, "selector": "x=y"},
        {"gvr": {"Group": "", "Version": "v1", "Resource": "endpoints"}, "selector": ""},
    ]
    assert (config["allNamespaces"], config["mode"]) == (False, "Reference")
    await become_available(api, name)
    await api.until_ready(ApiServerSource, "a")


async def test_38_missing_permissions(api: Eventing, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.app is not None
    client = api.app._cluster.client
    ask = client.raw

    async def with_a_role(method: str, path: str, **options: Any) -> bytes:
        """The local API server lets everybody do everything; this account may not list."""
        if path.endswith("/subjectaccessreviews"):
            asked = json.loads(options["body"])["spec"]
            assert asked["user"] == "system:serviceaccount:default:nobody"
            is_allowed = asked["resourceAttributes"]["verb"] != "list"
            return json.dumps({"status": {"allowed": is_allowed}}).encode()
        return await ask(method, path, **options)

    monkeypatch.setattr(client, "raw", with_a_role)
    spec = {"sink": SINK, "serviceAccountName": "nobody", "resources": [{"apiVersion": "v1", "kind": "Secret"}]}
    await api.create(ApiServerSource, "a38", spec)
    _, message = await api.until_condition(ApiServerSource, "a38", "SufficientPermissions", "False")
    assert message == (
        'User system:serviceaccount:default:nobody cannot list resource "secrets" in API group "" '
        'in Namespace "default"'
    )


async def test_a_jetstream_source_gets_an_adapter_that_is_told_its_stream(api: Eventing) -> None:
    spec = {"sink": SINK, "stream": "orders", "subject": "orders.>", "maxAckPending": 5}
    made = await api.create(JetStreamSource, "j", spec)
    name = f"jetstreamsource-j-{made.metadata.uid}"[:63]
    found = await api.until(Deployment, name, "there", lambda _found: True)
    (container,) = found.spec.template["spec"]["containers"]
    assert container["args"] == ["jetstream"]
    assert json.loads(told(found)[0]["K_SOURCE_CONFIG"]) == {
        "stream": "orders",
        "subject": "orders.>",
        "maxAckPending": 5,
    }
    assert told(found)[0]["K_SINK"] == "http://sink.example/"
    await become_available(api, name)
    await api.until_ready(JetStreamSource, "j")


async def test_39_to_41_containers_are_told(api: Eventing) -> None:
    await deployment(api, "s39")
    await bind(api, "s39", ceOverrides={"extensions": {"a": "b"}})
    found = await until_told(api, "s39", K_SINK="http://sink.example/", K_CE_OVERRIDES='{"extensions":{"a":"b"}}')
    assert list(told(found)[1]) == ["A", "K_SINK", "K_CE_OVERRIDES"]
    await api.until_ready(SinkBinding, "s39")


async def test_39_what_is_written_later_is_told_at_once(api: Eventing) -> None:
    await bind(api, "later")
    reason, _ = await api.until_condition(SinkBinding, "later", "SinkBindingAvailable", "False")
    assert reason == "SubjectMissing"
    made = await deployment(api, "later")
    assert {env["K_SINK"] for env in told(made)} == {"http://sink.example/"}
    assert {env["K_CE_OVERRIDES"] for env in told(made)} == {""}


async def test_41_certificates_only_when_the_sink_has_some(api: Eventing) -> None:
    await deployment(api, "s41")
    await bind(api, "s41", sink={**SINK, "CACerts": "PEM"})
    await until_told(api, "s41", K_SINK="http://sink.example/", K_CA_CERTS="PEM", K_CE_OVERRIDES="")


async def test_42_and_43_changes_and_the_end(api: Eventing) -> None:
    await deployment(api, "s42")
    await bind(api, "s42")
    await until_told(api, "s42", K_SINK="http://sink.example/", K_CE_OVERRIDES="")
    await api.patch(SinkBinding, "s42", {"spec": {"sink": {"uri": "http://other.example/"}}})
    await until_told(api, "s42", K_SINK="http://other.example/", K_CE_OVERRIDES="")
    await api.client.delete(SinkBinding, "s42", "default")
    found = await until_told(api, "s42")
    assert told(found)[1] == {"A": "b"}
    await api.until_gone(SinkBinding, "s42")


async def test_44_labels_keep_subjects_out(api: Eventing) -> None:
    await deployment(api, "out", labels={"bindings.knative.dev/exclude": "true", "team": "44"})
    await deployment(api, "in", labels={"team": "44"})
    subject = {"apiVersion": "apps/v1", "kind": "Deployment", "selector": {"matchLabels": {"team": "44"}}}
    await api.create(SinkBinding, "s44", {"sink": SINK, "subject": subject})
    await until_told(api, "in", K_SINK="http://sink.example/", K_CE_OVERRIDES="")
    await api.until_ready(SinkBinding, "s44")
    assert [env.get("K_SINK") for env in told(await api.get(Deployment, "out"))] == ["by hand", None]
    namespace = await api.client.get(Namespace, "default")
    assert namespace.metadata.labels["bindings.knative.dev/include"] == "true"


async def test_46_a_container_source_owns_a_deployment_and_a_binding(api: Eventing) -> None:
    template = {"spec": {"containers": [{"image": "a", "env": [{"name": "A", "value": "1"}]}]}}
    await api.create(ContainerSource, "c", {"sink": SINK, "template": template})
    await api.until_ready(SinkBinding, "c-sinkbinding")
    found = await until_told(api, "c-deployment", K_SINK="http://sink.example/", K_CE_OVERRIDES="")
    assert found.spec.replicas == 1
    source = await api.get(ContainerSource, "c")
    assert found.is_controlled_by(source)
    assert (await api.get(SinkBinding, "c-sinkbinding")).is_controlled_by(source)
    labels = found.metadata.labels
    assert labels["sources.knative.dev/source"] == "container-source-controller"
    assert labels["sources.knative.dev/containerSource"] == "c"
    await api.until_condition(ContainerSource, "c", "ReceiveAdapterReady", "Unknown")
    await become_available(api, "c-deployment")
    ready = await api.until_ready(ContainerSource, "c")
    assert ready.status.sink_uri == "http://sink.example/"
    changed = {"spec": {"containers": [{"name": "c-0", "image": "b"}]}}
    await api.patch(ContainerSource, "c", {"spec": {"template": changed}})
    await api.until(
        Deployment,
        "c-deployment",
        "the other image, and still told",
        lambda each: (
            each.spec.template["spec"]["containers"][0]["image"] == "b"
            and told(each) == [{"K_SINK": "http://sink.example/", "K_CE_OVERRIDES": ""}]
        ),
    )


async def test_an_adapter_that_has_settled_is_left_alone(api: Eventing) -> None:
    """What the API server fills in and what a binding adds is no drift."""
    before = await api.get(Deployment, "c-deployment")
    await api.patch(ContainerSource, "c", {"metadata": {"labels": {"look": "again"}}})
    await api.create(PingSource, "mark", {"sink": SINK})
    await api.until_condition(PingSource, "mark", "SinkProvided", "True")
    after = await api.get(Deployment, "c-deployment")
    assert after.metadata.generation == before.metadata.generation


async def test_a_service_that_goes_takes_readiness_along(api: Eventing) -> None:
    sink = await api.service("going")
    await api.create(PingSource, "g", {"sink": sink})
    await api.until_condition(PingSource, "g", "SinkProvided", "True")
    await api.client.delete(Service, "going", "default")
    await api.until_condition(PingSource, "g", "SinkProvided", "False")
    assert (await api.get(PingSource, "g")).status.sink_uri is None


async def test_a_job_sink_is_ready_when_the_process_behind_it_is(api: Eventing) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c"}]}
    await api.create(JobSink, "jobs", {"job": {"spec": {"template": {"spec": pod}}}})
    reason, _ = await api.until_condition(JobSink, "jobs", "Addressable", "False")
    assert reason == "EndpointsUnavailable"
    subsets = [{"addresses": [{"ip": "127.0.0.9"}], "ports": [{"name": "http", "port": 8080}]}]
    body = {"metadata": {"name": "job-sink"}, "subsets": subsets}
    await api.client.raw("POST", Endpoints.RESOURCE.path(SYSTEM), body=json.dumps(body).encode())
    ready = await api.until_ready(JobSink, "jobs")
    assert ready.status.address is not None
    assert ready.status.address.url == "http://job-sink.knative-eventing.svc.cluster.local/default/jobs"
    assert ready.status.job is not None
    assert ready.status.job.selector == "sinks.knative.dev/job-sink-name=jobs"
    ref = {"apiVersion": "sinks.knative.dev/v1alpha1", "kind": "JobSink", "name": "jobs"}
    await api.create(PingSource, "to-jobs", {"sink": {"ref": ref}})
    await api.until(PingSource, "to-jobs", "resolved", lambda each: each.status.sink_uri == ready.status.address.url)


async def test_trust_bundles_are_copied_for_subjects_and_mounted(api: Eventing) -> None:
    """Spec eventing-sources.md 4.2: the volume, and the condition."""

    async def bundle(**data: str) -> None:
        labels = {"networking.knative.dev/trust-bundle": "true"}
        body = {"metadata": {"name": "ours", "labels": labels}, "data": data}
        await api.client.raw("POST", ConfigMap.RESOURCE.path(SYSTEM), body=json.dumps(body).encode())

    def folders(found: Deployment) -> list[list[str]]:
        """Of each container: where the bundles are."""
        pod = found.spec.template["spec"]
        names = {each["name"] for each in pod.get("volumes") or []}
        return [
            [each["mountPath"] for each in container.get("volumeMounts") or [] if each["name"] in names]
            for container in (*pod.get("initContainers", []), *pod["containers"])
        ]

    await bundle(**{"ca.crt": "PEM"})
    for name in ("bundled", "other"):
        await deployment(api, name)
        await bind(api, name)
    both = [["/knative-custom-certs"]] * 2
    found = await api.until(Deployment, "bundled", "the folder", lambda each: folders(each) == both)
    (volume,) = found.spec.template["spec"]["volumes"]
    assert volume["projected"]["sources"] == [{"configMap": {"name": "ours-kne-bundle", "optional": True}}]
    await api.until(Deployment, "other", "the folder", lambda each: folders(each) == both)
    await api.until_condition(SinkBinding, "bundled", "TrustBundlePropagated", "True")

    def has_both_owners(each: ConfigMap) -> bool:
        return {owner.name for owner in each.metadata.owner_references} >= {"bundled", "other"}

    copied = await api.until(ConfigMap, "ours-kne-bundle", "both as its owners", has_both_owners)
    assert copied.data == {"ours.ca.crt": "PEM"}
    later = await deployment_told_at_once(api, "later-bundled")
    assert folders(later) == both
    await api.patch(ConfigMap, "ours", {"data": {"ca.crt": "OTHER"}}, SYSTEM)
    await api.until(ConfigMap, "ours-kne-bundle", "the change", lambda each: each.data == {"ours.ca.crt": "OTHER"})
    await api.client.delete(ConfigMap, "ours", SYSTEM)
    await api.until(Deployment, "bundled", "no folder", lambda each: folders(each) == [[], []])
    await api.until_gone(ConfigMap, "ours-kne-bundle")


async def deployment_told_at_once(api: Eventing, name: str) -> Deployment:
    """One whose binding was ready before it was written."""
    await bind(api, name)
    await api.until(SinkBinding, name, "its sink", lambda each: bool(each.status.sink_uri))
    return await deployment(api, name)
