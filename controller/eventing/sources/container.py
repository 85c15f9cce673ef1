"""ContainerSource: a Deployment of the user's containers, and a SinkBinding that tells them where to send.

Source: knative/eventing `pkg/reconciler/containersource`; spec eventing-sources.md 5.
"""

import copy
from typing import Any, Final

import msgspec

from controller.collection import Reconciler, happy_condition
from controller.eventing.children import NotOwned, child_metadata, provide
from controller.eventing.cluster import EventingCluster
from controller.eventing.resolving import within
from controller.eventing.sources.adapters import mark_deployed
from controller.eventing.sources.collections import SOURCE_LABEL, SourceCollections
from controller.eventing.sources.workloads import provide_deployment
from kube.conditions import Conditions, ConditionSet
from kube.models.apps import Deployment
from kube.models.sources import ContainerSource, SinkBinding, SourceStatus
from kube.names import child_name

__all__ = ["ContainerSourceReconciler"]

JsonObject = dict[str, Any]

CONDITIONS: Final = ConditionSet(("SinkBindingReady", "ReceiveAdapterReady"))
_CONTROLLER: Final = "container-source-controller"
_NAME_LABEL: Final = "sources.knative.dev/containerSource"
_RETRY_S: Final = 30.0


class ContainerSourceReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster, sources: SourceCollections) -> None:
        self._cluster = cluster
        self._sources = sources

    def reconciler(self) -> Reconciler[ContainerSource]:
        """The envelope for this kind."""
        return Reconciler(self._sources.container_sources, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, source: ContainerSource, status: SourceStatus, conditions: Conditions) -> float | None:
        """One pass."""
        again_s = None
        try:
            binding = await provide(self._sources.sink_bindings, source, _binding_of(source))
            _tell_binding(binding, status, conditions)
        except NotOwned as error:
            conditions.mark_false("SinkBindingReady", "NotOwned", str(error))
            again_s = _RETRY_S
        try:
            deployment = await provide_deployment(self._sources.deployments, source, _deployment_of(source))
            mark_deployed("ReceiveAdapterReady", deployment, conditions)
        except NotOwned as error:
            conditions.mark_false("ReceiveAdapterReady", "NotOwned", str(error))
            again_s = _RETRY_S
        return again_s


def _labels(source: ContainerSource) -> dict[str, str]:
    return {SOURCE_LABEL: _CONTROLLER, _NAME_LABEL: source.name}


def _deployment_name(source: ContainerSource) -> str:
    return child_name(source.name, "-deployment")


def _deployment_of(source: ContainerSource) -> JsonObject:
    labels, template = _labels(source), copy.deepcopy(source.spec.template)
    metadata = template.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    return {
        "apiVersion": Deployment.RESOURCE.api_version,
        "kind": "Deployment",
        "metadata": child_metadata(source, _deployment_name(source), labels),
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


def _binding_of(source: ContainerSource) -> JsonObject:
    spec: JsonObject = {
        "sink": msgspec.to_builtins(within(source.spec.sink, source.namespace)),
        "subject": {
            "apiVersion": Deployment.RESOURCE.api_version,
            "kind": "Deployment",
            "namespace": source.namespace,
            "name": _deployment_name(source),
        },
    }
    if source.spec.ce_overrides is not None:
        spec["ceOverrides"] = msgspec.to_builtins(source.spec.ce_overrides)
    return {
        "apiVersion": SinkBinding.RESOURCE.api_version,
        "kind": "SinkBinding",
        "metadata": child_metadata(source, child_name(source.name, "-sinkbinding"), _labels(source)),
        "spec": spec,
    }


def _tell_binding(binding: SinkBinding, status: SourceStatus, conditions: Conditions) -> None:
    told = binding.status
    status.sink_uri, status.sink_ca_certs, status.sink_audience = (
        told.sink_uri,
        told.sink_ca_certs,
        told.sink_audience,
    )
    status.auth = told.auth
    ready = happy_condition(told)
    if ready is None or told.observed_generation != binding.metadata.generation:
        text = f'SinkBinding "{binding.name}" has not been reconciled at its generation {binding.metadata.generation}'
        conditions.mark_unknown("SinkBindingReady", "SinkBindingNotConfigured", text)
    elif ready.status == "True":
        conditions.mark_true("SinkBindingReady")
    elif ready.status == "False":
        conditions.mark_false("SinkBindingReady", ready.reason, ready.message)
    else:
        conditions.mark_unknown("SinkBindingReady", ready.reason, ready.message)
