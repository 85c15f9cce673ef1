"""EventType and EventPolicy: statuses only, of what other objects say.

Source: knative/eventing `pkg/reconciler/{eventtype,eventpolicy}`; spec eventing-sources.md 8.
"""

from controller.collection import Reconciler
from controller.eventing.addresses import OIDC_FLAG
from controller.eventing.cluster import EventingCluster
from controller.eventing.resolving import Unresolved
from kube.conditions import Conditions, ConditionSet
from kube.models.duck import Auth, PlainStatus
from kube.models.eventing import EventType
from kube.models.eventpolicy import EventPolicy, EventPolicyStatus

__all__ = ["EventPolicyReconciler", "EventTypeReconciler"]

TYPE_CONDITIONS = ConditionSet(("ReferenceExists",))
POLICY_CONDITIONS = ConditionSet(("AuthenticationEnabled", "SubjectsResolved"))
_RETRY_S = 30.0


class EventTypeReconciler:
    """Whether there is what an EventType refers to."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[EventType]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.event_types, TYPE_CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, event_type: EventType, status: PlainStatus, conditions: Conditions) -> float | None:
        """One pass."""
        ref = event_type.spec.reference
        if ref is None:
            conditions.mark_true("ReferenceExists", "ReferenceNotSet")
            return None
        try:
            await self._cluster.references.exists(ref, event_type.namespace)
        except Unresolved as error:
            conditions.mark_false("ReferenceExists", "ResourceDoesNotExist", f"Resource in spec.reference: {error}")
            return _RETRY_S if error.is_transient else None
        conditions.mark_true("ReferenceExists")
        return None


class EventPolicyReconciler:
    """Whose events a policy lets through, as subjects of tokens."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[EventPolicy]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.event_policies, POLICY_CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, policy: EventPolicy, status: EventPolicyStatus, conditions: Conditions) -> float | None:
        """One pass."""
        if not self._cluster.settings.features.is_oidc_on:
            text = f'Feature "{OIDC_FLAG}" must be enabled to support Authorization'
            conditions.mark_false("AuthenticationEnabled", "OIDCDisabled", text)
            conditions.mark_unknown("SubjectsResolved", "OIDCDisabled", text)
            return None
        conditions.mark_true("AuthenticationEnabled")
        subjects = []
        for each in policy.spec.from_:
            if each.sub is not None:
                subjects.append(each.sub)
            elif each.ref is not None:
                namespace = each.ref.namespace or policy.namespace
                try:
                    found = await self._cluster.references.find(each.ref, policy.namespace)
                except Unresolved as error:
                    conditions.mark_false("SubjectsResolved", "SubjectsNotResolved", str(error))
                    return _RETRY_S if error.is_transient else None
                # Kinds that are followed for another reason have no identity in their model, and none of their own.
                auth: Auth | None = getattr(found.status, "auth", None)
                account = auth.service_account_name if auth is not None else None
                if not account:
                    text = f"{each.ref.kind} {namespace}/{each.ref.name} has no identity"
                    conditions.mark_false("SubjectsResolved", "SubjectsNotResolved", text)
                    return None
                subjects.append(f"system:serviceaccount:{namespace}:{account}")
        status.from_ = subjects
        conditions.mark_true("SubjectsResolved")
        return None
