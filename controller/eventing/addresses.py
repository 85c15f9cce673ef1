"""What the statuses of everything with an address have in common: addresses by transport, dead letter sink, policies.

Source: knative/eventing `pkg/reconciler/{broker,inmemorychannel}`, `pkg/auth/event_policy.go`; spec eventing-broker.md
9.2, 11, eventing-channels.md 6.4.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from controller.eventing.cluster import EventingCluster
from controller.eventing.resolving import Unresolved
from eventing.features import Features, TransportEncryption
from kube.conditions import Conditions
from kube.models.core import Endpoints
from kube.models.duck import Addressable, AddressableStatus, AppliedPolicy, DeliverySpec
from kube.models.eventpolicy import EventPolicy, PolicyTarget
from kube.models.meta import LabelSelector, Resource
from kube.names import child_name

__all__ = [
    "apply_policies",
    "concerns",
    "has_addresses",
    "parallel_channel",
    "resolve_dead_letter_sink",
    "selects",
    "sequence_channel",
    "tell_addresses",
]

OIDC_FLAG = "authentication-oidc"
_SINK_FAILED = "Unable to get the DeadLetterSink's URI"


class SinkStatus(Protocol):
    """Where the dead letter sink is told."""

    dead_letter_sink_uri: str | None
    dead_letter_sink_ca_certs: str | None
    dead_letter_sink_audience: str | None


def tell_addresses(
    status: AddressableStatus, *, http_url: str, https_url: str, ca_certs: str | None, features: Features, audience: str
) -> None:
    """Set `address` and `addresses` as `transport-encryption` has them; the audience is told while OIDC is on."""
    whom = audience if features.is_oidc_on else None
    http = Addressable(name="http", url=http_url, audience=whom)
    https = Addressable(name="https", url=https_url, ca_certs=ca_certs, audience=whom)
    match features.transport_encryption:
        case TransportEncryption.DISABLED:
            status.address, status.addresses = http, []
        case TransportEncryption.PERMISSIVE:
            status.address, status.addresses = http, [https, http]
        case TransportEncryption.STRICT:
            status.address, status.addresses = https, [https]


def set_sink(status: SinkStatus, sink: Addressable | None) -> None:
    """Tell where the dead letter sink is; None: nowhere."""
    status.dead_letter_sink_uri = sink.url if sink is not None else None
    status.dead_letter_sink_ca_certs = sink.ca_certs if sink is not None else None
    status.dead_letter_sink_audience = sink.audience if sink is not None else None


async def resolve_dead_letter_sink(
    cluster: EventingCluster,
    delivery: DeliverySpec | None,
    namespace: str,
    status: SinkStatus,
    conditions: Conditions,
) -> float | None:
    """Set the status's dead letter sink and its condition; seconds after which to look again, or None."""
    sink = delivery.dead_letter_sink if delivery is not None else None
    if sink is None:
        set_sink(status, None)
        mark_no_sink(conditions)
        return None
    try:
        set_sink(status, await cluster.references.resolve(sink, namespace))
    except Unresolved as error:
        set_sink(status, None)
        conditions.mark_false("DeadLetterSinkResolved", _SINK_FAILED, str(error))
        return _retry_s(error)
    conditions.mark_true("DeadLetterSinkResolved")
    return None


def mark_no_sink(conditions: Conditions) -> None:
    """Say that there is none, which is fine."""
    conditions.mark_true("DeadLetterSinkResolved", "DeadLetterSinkNotConfigured", "No dead letter sink is configured.")


def _retry_s(error: Unresolved) -> float | None:
    return 30.0 if error.is_transient else None


def has_addresses(endpoints: Endpoints | None) -> bool:
    """Whether anybody is behind a Service."""
    return endpoints is not None and any(subset.addresses for subset in endpoints.subsets)


def apply_policies(cluster: EventingCluster, obj: Resource, status: AddressableStatus, conditions: Conditions) -> None:
    """List the EventPolicies that hold for `obj`; while OIDC is off there are none.

    A channel that is the way in to another object has that one's, too: events come to its address, not to the other's.
    """
    features = cluster.settings.features
    if not features.is_oidc_on:
        status.policies = []
        text = f'Feature "{OIDC_FLAG}" must be enabled to support Authorization'
        conditions.mark_true("EventPoliciesReady", "OIDCDisabled", text)
        return
    policies = cluster.event_policies.informer.list(obj.namespace)
    found: list[EventPolicy] = []
    for each in _way_in_to(cluster, obj):
        found += [policy for policy in policies_for(each, policies) if policy not in found]
    found.sort(key=lambda policy: policy.name)
    ready = [policy for policy in found if policy.status.is_ready()]
    status.policies = [AppliedPolicy(name=policy.name, api_version=policy.api_version) for policy in ready]
    waiting = [policy.name for policy in found if policy not in ready]
    if waiting:
        text = f"event policies {', '.join(waiting)} are not ready"
        conditions.mark_false("EventPoliciesReady", "EventPoliciesNotReady", text)
    elif not found:
        text = f'Default authz mode is "{features.authorization_mode.value}"'
        conditions.mark_true("EventPoliciesReady", "DefaultAuthorizationMode", text)
    else:
        conditions.mark_true("EventPoliciesReady")


def concerns(cluster: EventingCluster, policy: EventPolicy, obj: Resource) -> bool:
    """Whether the policy holds for `obj`, or for what `obj` is the way in to."""
    return any(policies_for(each, [policy]) for each in _way_in_to(cluster, obj))


def sequence_channel(name: str, index: int) -> str:
    """Name of the channel before a step of a Sequence."""
    return child_name(name, f"-kn-sequence-{index}")


def parallel_channel(name: str) -> str:
    """Name of the channel that all branches of a Parallel hear."""
    return child_name(name, "-kn-parallel")


def policies_for(obj: Resource, policies: Iterable[EventPolicy]) -> list[EventPolicy]:
    """The policies of its namespace that hold for `obj`, by name."""
    return sorted(
        (policy for policy in policies if not policy.spec.to or any(_means(each, obj) for each in policy.spec.to)),
        key=lambda policy: policy.name,
    )


def _way_in_to(cluster: EventingCluster, obj: Resource) -> Iterator[Resource]:
    """`obj`, and what it is the way in to. Each once: anybody may write that two channels own one another."""
    seen: set[str] = set()
    behind: Resource | None = obj
    while behind is not None and behind.metadata.uid not in seen:
        yield behind
        seen.add(behind.metadata.uid)
        behind = _leads_to(cluster, behind)


def _leads_to(cluster: EventingCluster, obj: Resource) -> Resource | None:
    """The owner whose address is that of `obj`: of a Channel, and of the first channel of a flow."""
    owner = obj.metadata.controller()
    if owner is None:
        return None
    found: Resource | None = None
    match _group(owner.api_version), owner.kind:
        case "messaging.knative.dev", "Channel":
            found = cluster.channels.get(obj.namespace, owner.name)
        case "flows.knative.dev", "Sequence" if obj.name == sequence_channel(owner.name, 0):
            found = cluster.sequences.get(obj.namespace, owner.name)
        case "flows.knative.dev", "Parallel" if obj.name == parallel_channel(owner.name):
            found = cluster.parallels.get(obj.namespace, owner.name)
    return found if found is not None and found.metadata.uid == owner.uid else None


def _means(target: PolicyTarget, obj: Resource) -> bool:
    wanted = target.ref or target.selector
    if wanted is None or wanted.kind != obj.kind or _group(wanted.api_version) != _group(obj.api_version):
        return False
    if target.ref is not None:
        return target.ref.name == obj.name
    return target.selector is not None and selects(target.selector, obj.metadata.labels)


def _group(api_version: str) -> str:
    return api_version.partition("/")[0]


def selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    """Whether labels match; an empty selector matches everything."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(_holds(each.operator, labels.get(each.key), each.values) for each in selector.match_expressions)


def _holds(operator: str, value: str | None, values: Sequence[str]) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False
