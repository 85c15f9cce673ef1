"""Sequence: a channel before each step, a Subscription for it, and the answer goes to the next channel.

Source: knative/eventing `pkg/reconciler/sequence`; spec eventing-sources.md 7.1.
"""

import msgspec

from controller.collection import Reconciler
from controller.eventing.addresses import apply_policies, sequence_channel
from controller.eventing.children import NotOwned
from controller.eventing.cluster import EventingCluster
from controller.eventing.ducks import UnknownKind
from controller.eventing.flows import CONDITIONS, FlowChildren, channel_status, subscription_status, tell_readiness
from kube.conditions import Conditions
from kube.models.duck import Destination
from kube.models.flows import Sequence, SequenceStatus, SequenceStep

__all__ = ["SequenceReconciler"]

_RETRY_S = 30.0


class SequenceReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[Sequence]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.sequences, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, sequence: Sequence, status: SequenceStatus, conditions: Conditions) -> float | None:
        """One pass."""
        apply_policies(self._cluster, sequence, status, conditions)
        template = sequence.spec.channel_template
        if template is None or not sequence.spec.steps:
            conditions.mark_false("ChannelsReady", "Incomplete", "spec.steps and spec.channelTemplate are needed")
            return None
        children = FlowChildren(self._cluster, sequence, template)
        names = [sequence_channel(sequence.name, index) for index in range(len(sequence.spec.steps))]
        try:
            channels = [await children.channel(name) for name in names]
            subscriptions = []
            for index, (name, step) in enumerate(zip(names, sequence.spec.steps, strict=True)):
                is_last = index + 1 == len(names)
                if not is_last:
                    await children.let_send(name, names[index + 1])
                made = await children.subscription(
                    name,
                    channel=name,
                    subscriber=_destination(step),
                    reply=sequence.spec.reply if is_last else children.to_channel(names[index + 1]),
                    delivery=step.delivery,
                )
                subscriptions.append(subscription_status(made, name, sequence.namespace))
            await children.remove_surplus()
        except (NotOwned, UnknownKind) as error:
            conditions.mark_false("ChannelsReady", "ChildFailure", str(error))
            return _RETRY_S
        status.channel_statuses = [channel_status(channel) for channel in channels]
        status.subscription_statuses = subscriptions
        tell_readiness(conditions, status.channel_statuses, status.subscription_statuses)
        first = channels[0].status
        status.address, status.addresses = first.address, first.addresses
        if first.address is not None and first.address.url:
            conditions.mark_true("Addressable")
        else:
            conditions.mark_false("Addressable", "emptyAddress", "addressable is nil")
        return None


def _destination(step: SequenceStep) -> Destination:
    return msgspec.convert({**msgspec.to_builtins(step), "delivery": None}, Destination)
