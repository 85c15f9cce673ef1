"""The part of a pod's spec that decides its life: containers, probes' timing, hooks, restart policy, grace period."""

from dataclasses import dataclass

from kube.models.core import Container, Pod
from local_cluster.node.probe_state import ProbeKind, ProbeTiming

__all__ = ["ContainerPlan", "PodPlan"]

_DEFAULT_GRACE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPlan:
    """What the machine needs to know of a container's spec."""

    name: str
    image: str = ""
    restart_policy: str = "Always"
    """Always, OnFailure or Never: what happens when it ends."""
    probes: tuple[tuple[ProbeKind, ProbeTiming], ...] = ()
    has_pre_stop: bool = False
    has_post_start: bool = False

    @classmethod
    def of(cls, container: Container, restart_policy: str) -> "ContainerPlan":
        """The plan of one container of a spec."""
        timings = (
            (ProbeKind.STARTUP, ProbeTiming.of(container.startup_probe)),
            (ProbeKind.READINESS, ProbeTiming.of(container.readiness_probe)),
            (ProbeKind.LIVENESS, ProbeTiming.of(container.liveness_probe)),
        )
        lifecycle = container.lifecycle
        return cls(
            name=container.name,
            image=container.image,
            restart_policy=restart_policy,
            probes=tuple((kind, timing) for kind, timing in timings if timing is not None),
            has_pre_stop=lifecycle is not None and lifecycle.pre_stop is not None,
            has_post_start=lifecycle is not None and lifecycle.post_start is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlan:
    """What the machine needs to know of a pod."""

    key: str
    """`name_namespace(uid)`, as the kubelet's messages name a pod."""
    containers: tuple[ContainerPlan, ...]
    init_containers: tuple[ContainerPlan, ...] = ()
    restart_policy: str = "Always"
    grace_s: float = _DEFAULT_GRACE_S

    @classmethod
    def of(cls, pod: Pod) -> "PodPlan":
        """The plan of an API object."""
        spec = pod.spec
        # An init container that fails is tried again unless the pod never restarts anything.
        init_policy = "Never" if spec.restart_policy == "Never" else "OnFailure"
        grace_s = spec.termination_grace_period_seconds
        return cls(
            key=f"{pod.name}_{pod.namespace}({pod.metadata.uid})",
            containers=tuple(ContainerPlan.of(c, spec.restart_policy) for c in spec.containers),
            init_containers=tuple(ContainerPlan.of(c, c.restart_policy or init_policy) for c in spec.init_containers),
            restart_policy=spec.restart_policy,
            grace_s=_DEFAULT_GRACE_S if grace_s is None else float(grace_s),
        )
