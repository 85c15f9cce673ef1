"""Subjects that bindings may not have, and bindings that can always be deleted."""

import json
from typing import Any

import pytest

from controller.eventing.app import App
from controller.eventing.config import EventingConfig
from controller.eventing.sources import sink_binding
from controller.eventing.sources.sink_binding import SinkBindingReconciler
from kube.client import Client
from kube.models.apps import Deployment
from kube.models.core import ConfigMap, Namespace
from kube.models.duck import Destination
from kube.models.meta import ObjectMeta
from kube.models.sources import ApiServerSource, SinkBinding, SinkBindingSpec, SubjectReference
from proxies.logs import Logger
from tests.controller.eventing.cluster import Eventing
from tests.support.api import running_api_server
from tests.support.processes import eventually

SINK = {"uri": "http://sink/"}
SUBJECT = {"apiVersion": "apps/v1", "kind": "Deployment"}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("subject", "path"),
    [
        ({**SUBJECT, "name": "../../other/deployments/web"}, "spec.subject.name"),
        ({**SUBJECT, "name": ".."}, "spec.subject.name"),
        ({**SUBJECT, "name": "web?x=y"}, "spec.subject.name"),
        ({"apiVersion": "apps/v1/namespaces/other", "kind": "Deployment", "name": "web"}, "spec.subject.apiVersion"),
        ({"apiVersion": "apps/v1", "kind": "../web", "name": "web"}, "spec.subject.kind"),
    ],
    ids=["other namespace", "above", "query", "version", "kind"],
)
async def test_a_subject_is_no_path_to_elsewhere(eventing: Eventing, subject: dict[str, Any], path: str) -> None:
    """The controller would go there with its own rights."""
    assert path in await eventing.refusal(SinkBinding, "b", {"sink": SINK, "subject": subject})


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("selector", "path"),
    [
        ({"matchLabels": {"a b": "c"}}, "matchLabels"),
        ({"matchLabels": {"a": "=,"}}, "matchLabels[a]"),
        ({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}, "matchExpressions[0].operator"),
        ({"matchExpressions": [{"key": "a", "operator": "In"}]}, "matchExpressions[0].values"),
        ({"matchExpressions": [{"key": "a,b", "operator": "Exists"}]}, "matchExpressions[0].key"),
    ],
    ids=["key", "value", "operator", "no values", "expression's key"],
)
async def test_a_selector_that_the_api_cannot_read_is_refused(
    eventing: Eventing, selector: dict[str, Any], path: str
) -> None:
    bound = {"sink": SINK, "subject": {**SUBJECT, "selector": selector}}
    assert path in await eventing.refusal(SinkBinding, "b", bound)
    pods = {"apiVersion": "v1", "kind": "Pod"}
    watched = {"sink": SINK, "resources": [{**pods, "selector": selector}]}
    assert path in await eventing.refusal(ApiServerSource, "a", watched)
    around = {"sink": SINK, "resources": [pods], "namespaceSelector": selector}
    assert path in await eventing.refusal(ApiServerSource, "a", around)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "subject",
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "here"},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "not-here"},
        {"apiVersion": "v1", "kind": "ConfigMap", "selector": {}},
        {"apiVersion": "nowhere.example/v1", "kind": "Thing", "name": "a"},
    ],
    ids=["without a template", "absent", "selected", "unknown kind"],
)
async def test_a_binding_goes_whatever_its_subject_is(eventing: Eventing, subject: dict[str, Any]) -> None:
    """What has no template is told nothing, and keeps nobody from going."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "here"}, "data": {}}
    await eventing.client.raw("POST", ConfigMap.RESOURCE.path(eventing.namespace), body=json.dumps(body).encode())
    await eventing.create(SinkBinding, "b", {"sink": SINK, "subject": subject})
    await eventing.until(SinkBinding, "b", "looked at", lambda found: bool(found.metadata.finalizers))
    await eventing.client.raw("DELETE", SinkBinding.RESOURCE.path(eventing.namespace, "b"))
    await eventing.until_gone(SinkBinding, "b")


async def test_two_bindings_of_one_subject_do_not_quarrel_where_admission_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last by name has the last word, as at admission; or the subject's pods would be exchanged for ever."""
    passes = 0
    look = SinkBindingReconciler._subjects

    async def counted(reconciler: SinkBindingReconciler, binding: SinkBinding) -> list[dict[str, Any]]:
        nonlocal passes
        passes += 1
        return await look(reconciler, binding)

    monkeypatch.setattr(SinkBindingReconciler, "_subjects", counted)
    monkeypatch.setattr(sink_binding, "_RESYNC_S", 0.01)
    subject = SubjectReference(api_version="apps/v1", kind="Deployment", namespace="ns", name="web")
    async with running_api_server() as api, Client(api.config) as client:
        for namespace in ("knative-eventing", "ns"):
            await client.create(Namespace(metadata=ObjectMeta(name=namespace)))
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        body = {**SUBJECT, "metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"a": "b"}}}}
        body["spec"]["template"] = template
        await client.raw("POST", Deployment.RESOURCE.path("ns"), body=json.dumps(body).encode())
        app = App(EventingConfig(api=api.config), Logger("eventing-controller", write=lambda _line: None))
        try:
            await app.start()
            for name in ("first", "last"):
                spec = SinkBindingSpec(sink=Destination(uri=f"http://{name}/"), subject=subject)
                await client.create(SinkBinding(metadata=ObjectMeta(name=name, namespace="ns"), spec=spec))

            async def sinks() -> list[str]:
                found = await client.get(Deployment, "web", "ns")
                env = found.spec.template["spec"]["containers"][0].get("env") or []
                return [each["value"] for each in env if each["name"] == "K_SINK"]

            async def is_told() -> bool:
                ready = [each.status.is_ready() for each in (await client.list(SinkBinding, "ns")).items]
                return ready == [True, True] and await sinks() == ["http://last/"]

            await eventually(is_told, timeout_s=20)
            before = passes
            await eventually(lambda: passes > before + 10, timeout_s=20)
            generation = (await client.get(Deployment, "web", "ns")).metadata.generation
            await eventually(lambda: passes > before + 30, timeout_s=20)
            found = await client.get(Deployment, "web", "ns")
            assert (found.metadata.generation, await sinks()) == (generation, ["http://last/"])
            await client.delete(SinkBinding, "last", "ns")

            async def is_gone() -> bool:
                return len((await client.list(SinkBinding, "ns")).items) == 1

            await eventually(is_gone, timeout_s=20)
            found = await client.get(Deployment, "web", "ns")
            assert (found.metadata.generation, await sinks()) == (generation + 1, ["http://first/"])
        finally:
            await app.stop()
