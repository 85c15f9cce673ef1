"""ApiServerSource: an adapter of its own, once its account may read what it is to watch.

Source: knative/eventing `pkg/reconciler/apiserversource`; spec eventing-sources.md 3.
"""

import json
from typing import Any, Final

import msgspec

from controller.collection import Reconciler
from controller.eventing.addresses import selects
from controller.eventing.children import NotOwned
from controller.eventing.cluster import EventingCluster
from controller.eventing.identities import provide_identity
from controller.eventing.sources.adapters import (
    AdapterKind,
    adapter_deployment,
    mark_deployed,
    resolve_sink,
    selector_text,
)
from controller.eventing.sources.collections import SourceCollections
from controller.eventing.sources.workloads import provide_deployment
from kube.conditions import Conditions, ConditionSet
from kube.models.meta import LabelSelector
from kube.models.sources import ApiServerSource, ApiServerSourceStatus, CloudEventAttributes
from kube.names import plural_of

__all__ = ["ApiServerSourceReconciler"]

JsonObject = dict[str, Any]

CONDITIONS: Final = ConditionSet(("SinkProvided", "Deployed", "SufficientPermissions", "OIDCIdentityCreated"))
SKIP_PERMISSIONS: Final = "features.knative.dev/apiserversource-skip-permissions-check"
IMAGE: Final = "dev.local/knuv/apiserver-source"
ABOUT: Final = AdapterKind(
    component="apiserversource",
    controller="apiserver-source-controller",
    name_label="sources.knative.dev/apiServerSource",
    role="apiserver",
)
_VERBS: Final = ("get", "list", "watch")
_TYPES: Final = {"Reference": "dev.knative.apiserver.ref", "Resource": "dev.knative.apiserver.resource"}
_PERMISSIONS_RETRY_S: Final = 30.0
"""Nobody tells when roles change."""


class ApiServerSourceReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster, sources: SourceCollections, *, image: str = IMAGE) -> None:
        """`image` is the adapter's."""
        self._cluster = cluster
        self._sources = sources
        self._image = image

    def reconciler(self) -> Reconciler[ApiServerSource]:
        """The envelope for this kind."""
        return Reconciler(self._sources.api_server_sources, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(
        self, source: ApiServerSource, status: ApiServerSourceStatus, conditions: Conditions
    ) -> float | None:
        """One pass."""
        again_s = await resolve_sink(self._cluster, source.spec.sink, source.namespace, status, conditions)
        if not conditions.is_true("SinkProvided"):
            return again_s
        status.auth = await provide_identity(self._cluster, source, status.auth, conditions)
        namespaces = self._namespaces_of(source)
        status.namespaces = namespaces
        is_unbounded = _selects_everything(source.spec.namespace_selector)
        if source.metadata.annotations.get(SKIP_PERMISSIONS) != "true":
            missing = await self._missing_permissions(source, [""] if is_unbounded else namespaces)
            if missing:
                conditions.mark_false("SufficientPermissions", "Forbidden", missing)
                return _PERMISSIONS_RETRY_S
        conditions.mark_true("SufficientPermissions")
        try:
            wanted = adapter_deployment(
                self._cluster,
                source,
                status,
                about=ABOUT,
                image=self._image,
                config=self._source_config(source, status),
                service_account=source.spec.service_account_name,
                node_selector=self._cluster.settings.features.source_node_selector,
            )
            deployment = await provide_deployment(self._sources.deployments, source, wanted)
        except NotOwned as error:
            conditions.mark_false("Deployed", "NotOwned", str(error))
            return _PERMISSIONS_RETRY_S
        mark_deployed("Deployed", deployment, conditions)
        prefix = _TYPES[source.spec.mode or "Reference"]
        status.ce_attributes = [
            CloudEventAttributes(type=f"{prefix}.{verb}", source=self._cluster.client.config.server)
            for verb in ("add", "delete", "update")
        ]
        return again_s

    def _source_config(self, source: ApiServerSource, status: ApiServerSourceStatus) -> str:
        spec = source.spec
        is_unbounded = _selects_everything(spec.namespace_selector)
        config: JsonObject = {
            "namespaces": [""] if is_unbounded else status.namespaces,
            "allNamespaces": is_unbounded,
            "resources": [
                {"gvr": _gvr(each.api_version, each.kind), "selector": selector_text(each.selector)}
                for each in spec.resources
            ],
            "mode": spec.mode or "Reference",
            "failFast": source.metadata.annotations.get(SKIP_PERMISSIONS) == "true",
        }
        if spec.owner is not None:
            config["owner"] = msgspec.to_builtins(spec.owner)
        if spec.filters:
            config["filters"] = spec.filters
        return json.dumps(config, separators=(",", ":"), sort_keys=True)

    def _namespaces_of(self, source: ApiServerSource) -> list[str]:
        """The watched namespaces, sorted."""
        selector = source.spec.namespace_selector
        if selector is None:
            return [source.namespace]
        found = self._sources.namespaces.informer.list()
        return sorted(each.name for each in found if selects(selector, each.metadata.labels))

    async def _missing_permissions(self, source: ApiServerSource, namespaces: list[str]) -> str:
        """What the account may not do, for people; empty when it may do everything."""
        account = f"system:serviceaccount:{source.namespace}:{source.spec.service_account_name or 'default'}"
        lacking = []
        for each in source.spec.resources:
            gvr = _gvr(each.api_version, each.kind)
            for namespace in namespaces:
                verbs = [verb for verb in _VERBS if not await self._may(account, gvr, namespace, verb)]
                if verbs:
                    where = f'in Namespace "{namespace}"' if namespace else "in all Namespaces"
                    lacking.append(
                        f'{", ".join(verbs)} resource "{gvr["Resource"]}" in API group "{gvr["Group"]}" {where}'
                    )
        return f"User {account} cannot {'; cannot '.join(lacking)}" if lacking else ""

    async def _may(self, account: str, gvr: JsonObject, namespace: str, verb: str) -> bool:
        attributes = {
            "group": gvr["Group"],
            "version": gvr["Version"],
            "resource": gvr["Resource"],
            "namespace": namespace,
            "verb": verb,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"resourceAttributes": attributes, "user": account},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        answer = json.loads(await self._cluster.client.raw("POST", path, body=json.dumps(review).encode()))
        return bool((answer.get("status") or {}).get("allowed"))


def _selects_everything(selector: LabelSelector | None) -> bool:
    return selector is not None and not selector.match_labels and not selector.match_expressions


def _gvr(api_version: str, kind: str) -> JsonObject:
    group, slash, version = api_version.rpartition("/")
    return {"Group": group if slash else "", "Version": version, "Resource": plural_of(kind)}
