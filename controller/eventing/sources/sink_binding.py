"""SinkBinding: existing subjects are told of the sink by a patch, those that are written later by admission.

Admission reads what the status says, so subjects are patched only when the resolved sink stands there: a pass that
finds another sink writes it and leaves the rest to the next. Source: knative/eventing `pkg/reconciler/sinkbinding`,
`knative.dev/pkg/webhook/psbinding`; spec eventing-sources.md 4.
"""

import copy
import json
from typing import Any, Final

from controller.collection import Reconciler
from controller.eventing.children import NotOwned
from controller.eventing.cluster import EventingCluster
from controller.eventing.identities import provide_identity
from controller.eventing.sources.adapters import resolve_sink, selector_text
from controller.eventing.sources.binding_rules import (
    EXCLUDE,
    INCLUDE,
    SelectionMode,
    apply_bindings,
    injection_of,
    is_about,
    is_selected,
)
from controller.eventing.sources.binding_tokens import TokenSecrets
from controller.eventing.sources.collections import SourceCollections
from controller.eventing.sources.injection import unbind
from controller.eventing.sources.trust_bundles import TrustBundles
from kube.conditions import Conditions, ConditionSet
from kube.errors import ApiError, Invalid, NotFound
from kube.events import WARNING
from kube.models.sources import SinkBinding, SinkBindingStatus
from kube.names import plural_of

__all__ = ["SinkBindingReconciler"]

JsonObject = dict[str, Any]

CONDITIONS: Final = ConditionSet(
    (
        "SinkBindingAvailable",
        "SinkProvided",
        "OIDCIdentityCreated",
        "OIDCTokenSecretCreated",
        "TrustBundlePropagated",
    )
)
_RESYNC_S: Final = 30.0
"""Subjects can be of any kind and are not followed; admission tells those that are written, this finds the rest."""
_MISSING_S: Final = 5.0
_REFUSED: Final = frozenset([400, 403, 404, 405, 422])
"""What the API would answer again, whenever it is asked."""


class SinkBindingReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(
        self, cluster: EventingCluster, sources: SourceCollections, *, mode: SelectionMode = SelectionMode.EXCLUSION
    ) -> None:
        self._cluster = cluster
        self._sources = sources
        self._mode = mode
        self._secrets = TokenSecrets(cluster.client, cluster.now_s)
        self._bundles = TrustBundles(cluster)

    def reconciler(self) -> Reconciler[SinkBinding]:
        """The envelope for this kind."""
        return Reconciler(
            self._sources.sink_bindings, CONDITIONS, self.reconcile, self._cluster.now_s, finalize=self.finalize
        )

    async def reconcile(self, binding: SinkBinding, status: SinkBindingStatus, conditions: Conditions) -> float | None:
        """One pass."""
        await self._label_namespace(binding.namespace)
        await self._provide_bundles(binding, status, conditions)
        status.auth = await provide_identity(self._cluster, binding, status.auth, conditions)
        again_s = await resolve_sink(self._cluster, binding.spec.sink, binding.namespace, status, conditions)
        if not conditions.is_true("SinkProvided"):
            return again_s
        renewal_s = await self._secrets.provide(binding, status, conditions)
        if injection_of(binding) != _injected(binding, status):
            return None  # writing the status wakes us
        try:
            subjects = await self._subjects(binding)
        except NotFound as error:
            conditions.mark_false("SinkBindingAvailable", "SubjectMissing", error.message)
            return _MISSING_S
        for subject in subjects:
            if self._takes_part(subject):
                bound = copy.deepcopy(subject)
                apply_bindings(bound, [binding, *self._others(binding)])
                await self._patch(subject, bound)
        conditions.mark_true("SinkBindingAvailable")
        return min(_RESYNC_S, renewal_s or _RESYNC_S)

    async def _provide_bundles(self, binding: SinkBinding, status: SinkBindingStatus, conditions: Conditions) -> None:
        """What cannot be made must not keep subjects from their sink, which may need none of it."""
        try:
            await self._bundles.provide(binding, status)
        except NotOwned as error:
            conditions.mark_false("TrustBundlePropagated", "NotOwned", str(error))
        except ApiError as error:
            if error.code not in _REFUSED:
                raise
            conditions.mark_false("TrustBundlePropagated", "TrustBundleNotPropagated", error.message)
        else:
            conditions.mark_true("TrustBundlePropagated")

    async def finalize(self, binding: SinkBinding) -> None:
        """Take out what was put in, as far as the API lets us: a binding whose end is refused would stay for ever."""
        try:
            subjects = await self._subjects(binding)
        except ApiError as error:
            self._give_up(binding, error)
            return
        for subject in subjects:
            if is_about(binding, subject) and self._takes_part(subject):
                bare = copy.deepcopy(subject)
                unbind(bare)
                apply_bindings(bare, self._others(binding))
                try:
                    await self._patch(subject, bare)
                except ApiError as error:
                    self._give_up(binding, error)

    def _give_up(self, binding: SinkBinding, error: ApiError) -> None:
        """Tell of subjects that stay as they are; raises `error` when asking again may help."""
        if error.code not in _REFUSED:
            raise error
        if not isinstance(error, NotFound):
            self._cluster.events.report(binding, WARNING, "SubjectNotReleased", error.message)

    async def _subjects(self, binding: SinkBinding) -> list[JsonObject]:
        """The subjects, whole. Raises `NotFound` when the one that is named does not exist, or the kind does not."""
        subject, client = binding.spec.subject, self._cluster.client
        path = _collection_path(subject.api_version, subject.kind, binding.namespace)
        if subject.name:
            return [json.loads(await client.raw("GET", f"{path}/{subject.name}"))]
        listed = json.loads(await client.raw("GET", path, params={"labelSelector": selector_text(subject.selector)}))
        about = {"apiVersion": subject.api_version, "kind": subject.kind}
        return [{**item, **about} for item in listed.get("items") or ()]

    async def _patch(self, before: JsonObject, after: JsonObject) -> None:
        """Write a template that has changed, provided that the object is still as it was seen."""
        if before.get("spec") == after.get("spec"):
            return
        metadata = before["metadata"]
        operations = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            {"op": "replace", "path": "/spec/template", "value": after["spec"]["template"]},
        ]
        path = f"{_collection_path(before['apiVersion'], before['kind'], metadata['namespace'])}/{metadata['name']}"
        body = json.dumps(operations).encode()
        try:
            await self._cluster.client.raw("PATCH", path, body=body, content_type="application/json-patch+json")
        except Invalid:
            if before["kind"] != "Job":  # whose template never changes: only later ones are told
                raise

    def _others(self, binding: SinkBinding) -> list[SinkBinding]:
        """Those that may be about the same subjects: all say together what admission says, or they would quarrel."""
        listed = self._sources.sink_bindings.informer.list(binding.namespace)
        # One that has no sink yet is no reason to take out another's.
        return [each for each in listed if each.name != binding.name and injection_of(each) is not None]

    def _takes_part(self, subject: JsonObject) -> bool:
        metadata = subject["metadata"]
        namespace = self._sources.namespaces.get("", metadata["namespace"])
        around = namespace.metadata.labels if namespace is not None else {}
        return is_selected(self._mode, metadata.get("labels") or {}, around)

    async def _label_namespace(self, name: str) -> None:
        """Let the namespace of a binding take part, unless somebody has decided about it."""
        namespace = self._sources.namespaces.get("", name)
        if namespace is not None and not {INCLUDE, EXCLUDE} & namespace.metadata.labels.keys():
            await self._sources.namespaces.patch(namespace, {"metadata": {"labels": {INCLUDE: "true"}}})


def _injected(binding: SinkBinding, status: SinkBindingStatus) -> object:
    """What the subjects are told once `status` is written."""
    written = SinkBinding(metadata=binding.metadata, spec=binding.spec, status=status)
    return injection_of(written)


def _collection_path(api_version: str, kind: str, namespace: str) -> str:
    begin = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return f"{begin}/namespaces/{namespace}/{plural_of(kind)}"
