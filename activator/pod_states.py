"""Which backends of one revision take requests, found out by probes; the part that decides.

Theory of operation. Kubernetes lists a revision's pods as ready and not ready. A pod takes requests when its
queue-proxy answered a probe; it need not be ready, which saves a cold start the kubelet's and the API's delays. Healthy
pods are looked at only while they are in use (`pod_checks`), so a settled revision costs nothing. Each pod is probed on
its own: one that hangs delays no other.

    listed  ->  unsettled  -- probe passed -------------------------->  healthy, until it is not listed any more or
                   ^  |                                                    Kubernetes withdraws its ready
                   |  | other outcomes: again after the probe frequency; after a refused connection sooner
                   +--+ healthy, but a request could not be sent there: suspect

Where a mesh stands between the activator and the pods, they cannot be reached one by one. When none passes, none gives
an answer that a mesh would not, and a ready one exists, the cluster address is probed; once that worked it stays in use
for as long as the revision's Endpoints exist.

Pure: times are seconds of one clock.
Source: knative/serving `pkg/activator/net/revision_backends.go`; spec activator.md 9.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from activator.endpoints import Addresses

__all__ = ["Backends", "MeshMode", "PodStates", "ProbeOutcome", "ProbeSettings"]

_REFUSED_FIRST_S: Final = 0.005
_WAITED_RATIO: Final = 0.05
_GAP_MAX_S: Final = 1.0
"""A pod that refuses has not opened its port yet. The next probe comes after 5 ms, times the pods of the revision that
are unsettled, plus a twentieth of the time waited so far: found hardly late, with about 50 probes in the first
second, and one a second for an address that is dead. Other pods are probed at the frequency, and at last as rarely."""
_TOGETHER_S: Final = 0.002
"""A pod is probed so much too early rather than by itself: being woken for one costs more than the probe."""
_TIMEOUT_MAX_S: Final = 1.0
"""Of a probe that got no answer the next one may take twice as long, up to this: a network may be slow."""


class MeshMode(Enum):
    """`mesh-compatibility-mode` of config-network."""

    AUTO = "auto"
    """Pods directly, the cluster address where that does not work."""
    ENABLED = "enabled"
    """The cluster address only."""
    DISABLED = "disabled"
    """Pods only; ready ones are trusted unprobed."""


class ProbeOutcome(Enum):
    """What a probe says about its pod, and about a mesh in between."""

    PASSED = "passed"
    """200 with the expected body."""
    REFUSED = "refused"
    """Nobody listens there yet, or any more."""
    SILENT = "silent"
    """No answer in time, or a broken connection."""
    DRAINING = "draining"
    """503 from a queue-proxy that shuts down; for the question of a mesh as any 503."""
    MAYBE_MESH = "maybe-mesh"
    """502 or 503: from the pod, or from a mesh that does not let us through."""
    NOT_MESH = "not-mesh"
    """Any other answer, which only the pod itself can have given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """What is the same for all revisions."""

    mesh_mode: MeshMode = MeshMode.AUTO
    passthrough: bool = False
    """`enable-mesh-pod-addressability`: the mesh passes requests for single pods on; no cluster address then."""
    frequency_s: float = 0.2
    """Between the starts of two probes of a pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """Where requests of a revision may go."""

    pods: tuple[str, ...] = ()
    """Healthy pods as `ip:port`, in the order of their texts; empty in ClusterIP mode."""
    cluster_address: str = ""
    """The private Service's `ip:port`, when that is used instead."""
    ready_count: int = 0
    """In ClusterIP mode: pods that Kubernetes calls ready."""


class _Pod:
    __slots__ = ("due_s", "is_probed", "outcome", "silences", "since_s", "started_s")

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        """Since when it is looked for; the set of addresses did not change since."""
        self.due_s = now_s
        self.started_s = now_s
        self.is_probed = False
        self.outcome: ProbeOutcome | None = None
        self.silences = 0
        """Probes without an answer, one after another."""


class PodStates:
    """The pods of one revision. Whoever uses it probes what `take_due` returns and reports back with `probed`."""

    __slots__ = (
        "_addresses",
        "_cluster_address",
        "_cluster_due_s",
        "_healthy",
        "_is_cluster_healthy",
        "_is_cluster_probed",
        "_pods_addressable",
        "_settings",
        "_trusts_not_ready",
        "_unsettled",
    )

    def __init__(self, settings: ProbeSettings, *, trusts_not_ready: bool) -> None:
        self._settings = settings
        self._trusts_not_ready = trusts_not_ready
        self._addresses = Addresses()
        self._cluster_address = ""
        self._healthy: set[str] = set()
        self._unsettled: dict[str, _Pod] = {}
        self._pods_addressable = settings.mesh_mode is not MeshMode.ENABLED
        self._is_cluster_healthy = False
        self._is_cluster_probed = False
        self._cluster_due_s = 0.0

    @property
    def backends(self) -> Backends:
        """What requests may go to at this moment."""
        if self._is_cluster_healthy:
            return Backends(cluster_address=self._cluster_address, ready_count=len(self._addresses.ready))
        return Backends(pods=tuple(sorted(self._healthy)))

    @property
    def unsettled(self) -> list[str]:
        """The pods that are looked for, in the order of their texts."""
        return sorted(self._unsettled)

    def observe(self, addresses: Addresses, cluster_address: str, now_s: float) -> None:
        """Kubernetes lists these addresses; `cluster_address` is the private Service's, empty when it has none."""
        self._cluster_address = cluster_address
        if addresses == self._addresses:
            return
        withdrawn = self._healthy & self._addresses.ready & addresses.not_ready
        self._addresses = addresses
        listed = addresses.ready | addresses.not_ready
        self._healthy = (self._healthy & listed) - withdrawn
        if not listed:
            self._is_cluster_healthy = False
        if self._settings.mesh_mode is MeshMode.DISABLED:
            self._healthy |= addresses.ready
        self._cluster_due_s = now_s
        self._list_unsettled(now_s)

    def take_due(self, now_s: float) -> list[str]:
        """Return the pods to be probed at once; each is not due again before it was reported."""
        due = []
        for address, pod in self._unsettled.items():
            if not pod.is_probed and pod.due_s <= now_s + _TOGETHER_S:
                pod.is_probed = True
                pod.started_s = now_s
                due.append(address)
        return due

    def probed(self, address: str, outcome: ProbeOutcome, now_s: float) -> None:
        """A probe of `address` has ended. One that is not looked for any more is ignored."""
        pod = self._unsettled.get(address)
        if pod is None:
            return
        pod.is_probed = False
        pod.outcome = outcome
        if outcome is ProbeOutcome.PASSED:
            del self._unsettled[address]
            self._healthy.add(address)
            return
        pod.silences = pod.silences + 1 if outcome is ProbeOutcome.SILENT else 0
        frequency_s = self._settings.frequency_s
        waited_s = _WAITED_RATIO * (now_s - pod.since_s)
        if outcome is ProbeOutcome.REFUSED:
            gap_s = _REFUSED_FIRST_S * len(self._unsettled) + waited_s
            pod.due_s = now_s + min(gap_s, max(_GAP_MAX_S, frequency_s))
        else:
            pod.due_s = max(now_s, pod.started_s + max(frequency_s, min(waited_s, _GAP_MAX_S)))

    def timeout_s(self, address: str, first_s: float) -> float:
        """Return how long a probe of `address` may take, where a first one may take `first_s`."""
        pod = self._unsettled.get(address)
        return first_s if pod is None else min(first_s * 2**pod.silences, max(first_s, _TIMEOUT_MAX_S))

    def is_repeated(self, address: str) -> bool:
        """Whether `address` has been probed before."""
        pod = self._unsettled.get(address)
        return pod is not None and pod.outcome is not None

    def has_refused(self, address: str) -> bool:
        """Whether nobody listened at `address` when it was probed last."""
        pod = self._unsettled.get(address)
        return pod is not None and pod.outcome is ProbeOutcome.REFUSED

    def suspect(self, address: str, now_s: float) -> bool:
        """A request could not be sent to `address`: it takes none before it has passed a probe again.

        False: it is not in use.
        """
        if self._is_cluster_healthy and address == self._cluster_address:
            self._is_cluster_healthy = False
            self._cluster_due_s = now_s
        elif address in self._healthy:
            self._healthy.discard(address)
            self._unsettled[address] = _Pod(now_s)
        else:
            return False
        return True

    def is_checkable(self, address: str) -> bool:
        """Whether `address` is in use because it has passed a probe, so that another one can tell that it is over."""
        return address in self._healthy and self._settings.mesh_mode is not MeshMode.DISABLED

    def is_wanted(self, address: str) -> bool:
        """Whether the outcome of a probe of `address` under way is still wanted."""
        return address in self._unsettled

    def take_cluster_due(self, now_s: float) -> str:
        """Return the cluster address when it is to be probed at once, else an empty text."""
        if not self._wants_cluster or self._cluster_due_s > now_s:
            return ""
        self._is_cluster_probed = True
        self._cluster_due_s = now_s + self._settings.frequency_s
        return self._cluster_address

    def cluster_probed(self, address: str, outcome: ProbeOutcome, now_s: float) -> None:
        """A probe of the cluster address has ended."""
        self._is_cluster_probed = False
        self._cluster_due_s = max(now_s, self._cluster_due_s)
        if outcome is not ProbeOutcome.PASSED or address != self._cluster_address or not self._wants_cluster:
            return
        self._is_cluster_healthy = True
        self._pods_addressable = False
        self._healthy.clear()
        self._unsettled.clear()

    @property
    def next_s(self) -> float | None:
        """When something is to be probed next; None while nothing is, or only probes under way can change that."""
        due = [pod.due_s for pod in self._unsettled.values() if not pod.is_probed]
        if self._wants_cluster:
            due.append(self._cluster_due_s)
        return min(due, default=None)

    @property
    def _wants_cluster(self) -> bool:
        """Whether the cluster address is worth a probe: pods are ready and none of them can be reached directly.

        Without a ready pod it would have no capacity, whatever the probe says.
        """
        settings = self._settings
        if (
            settings.passthrough
            or settings.mesh_mode is MeshMode.DISABLED
            or not self._cluster_address
            or not self._addresses.ready
            or self._is_cluster_healthy
            or self._is_cluster_probed
        ):
            return False
        if not self._pods_addressable:
            return True
        return not self._healthy and all(
            pod.outcome is not None and pod.outcome is not ProbeOutcome.NOT_MESH for pod in self._unsettled.values()
        )

    def _list_unsettled(self, now_s: float) -> None:
        """Look for what is listed and not healthy; all of it anew, since the set has changed."""
        wanted: frozenset[str] = frozenset()
        if self._pods_addressable:
            wanted = self._addresses.ready
            if self._trusts_not_ready:
                wanted |= self._addresses.not_ready
        before = self._unsettled
        self._unsettled = {}
        for address in sorted(wanted - self._healthy):
            pod = before.get(address) or _Pod(now_s)
            pod.since_s = pod.due_s = now_s
            self._unsettled[address] = pod
