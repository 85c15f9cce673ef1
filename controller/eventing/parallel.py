"""Parallel: a channel that all branches hear, and one for each branch behind its filter.

Source: knative/eventing `pkg/reconciler/parallel`; spec eventing-sources.md 7.2.
"""

from controller.collection import Reconciler
from controller.eventing.addresses import apply_policies, parallel_channel
from controller.eventing.children import NotOwned
from controller.eventing.cluster import EventingCluster
from controller.eventing.ducks import UnknownKind
from controller.eventing.flows import CONDITIONS, FlowChildren, channel_status, subscription_status, tell_readiness
from kube.conditions import Conditions
from kube.models.flows import Parallel, ParallelBranchStatus, ParallelStatus
from kube.names import child_name

__all__ = ["ParallelReconciler"]

_RETRY_S = 30.0


class ParallelReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[Parallel]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.parallels, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, parallel: Parallel, status: ParallelStatus, conditions: Conditions) -> float | None:
        """One pass."""
        apply_policies(self._cluster, parallel, status, conditions)
        template = parallel.spec.channel_template
        if template is None or not parallel.spec.branches:
            conditions.mark_false("ChannelsReady", "Incomplete", "spec.branches and spec.channelTemplate are needed")
            return None
        children = FlowChildren(self._cluster, parallel, template)
        ingress_name = parallel_channel(parallel.name)
        try:
            ingress = await children.channel(ingress_name)
            status.branch_statuses = [
                await self._branch(parallel, children, ingress_name, index)
                for index in range(len(parallel.spec.branches))
            ]
            await children.remove_surplus()
        except (NotOwned, UnknownKind) as error:
            conditions.mark_false("ChannelsReady", "ChildFailure", str(error))
            return _RETRY_S
        status.ingress_channel_status = channel_status(ingress)
        branches = status.branch_statuses
        tell_readiness(
            conditions,
            [status.ingress_channel_status, *(branch.filter_channel_status for branch in branches)],
            [
                found
                for branch in branches
                for found in (branch.filter_subscription_status, branch.subscriber_subscription_status)
            ],
        )
        status.address, status.addresses = ingress.status.address, ingress.status.addresses
        if ingress.status.address is not None and ingress.status.address.url:
            conditions.mark_true("Addressable")
        else:
            conditions.mark_false("Addressable", "emptyAddress", "addressable is nil")
        return None

    async def _branch(
        self, parallel: Parallel, children: FlowChildren, ingress: str, index: int
    ) -> ParallelBranchStatus:
        """A branch's channel, who fills it, and who empties it. Without a filter everything goes through."""
        branch, namespace = parallel.spec.branches[index], parallel.namespace
        name = child_name(parallel.name, f"-kn-parallel-{index}")
        filter_name = child_name(parallel.name, f"-kn-parallel-filter-{index}")
        channel = await children.channel(name)
        into_branch = children.to_channel(name)
        await children.let_send(filter_name, name)
        filtering = await children.subscription(
            filter_name,
            channel=ingress,
            subscriber=branch.filter if branch.filter is not None else into_branch,
            reply=into_branch if branch.filter is not None else None,
        )
        subscription = await children.subscription(
            name,
            channel=name,
            subscriber=branch.subscriber,
            reply=branch.reply if branch.reply is not None else parallel.spec.reply,
            delivery=branch.delivery,
        )
        return ParallelBranchStatus(
            filter_subscription_status=subscription_status(filtering, filter_name, namespace),
            filter_channel_status=channel_status(channel),
            subscriber_subscription_status=subscription_status(subscription, name, namespace),
        )
