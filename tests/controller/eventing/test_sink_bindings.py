"""Subjects that bindings may not have, and bindings that can always be deleted."""

import json
from typing import Any

import pytest

from kube.models.core import ConfigMap
from kube.models.sources import ApiServerSource, SinkBinding
from tests.controller.eventing.cluster import Eventing

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
