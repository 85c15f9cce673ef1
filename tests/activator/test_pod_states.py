"""Decisions about backends on a stepped clock: who is probed when, what is published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.endpoints import Addresses
from activator.pod_states import Backends, MeshMode, PodStates, ProbeOutcome, ProbeSettings

A, B, CLUSTER = "10.0.0.1:8012", "10.0.0.2:8012", "10.1.0.1:80"


def addresses(*ready: str, not_ready: tuple[str, ...] = ()) -> Addresses:
    return Addresses(frozenset(ready), frozenset(not_ready))


def pod_states(
    *, mesh_mode: MeshMode = MeshMode.AUTO, passthrough: bool = False, trusts_not_ready: bool = True
) -> PodStates:
    return PodStates(ProbeSettings(mesh_mode=mesh_mode, passthrough=passthrough), trusts_not_ready=trusts_not_ready)


def probe(states: PodStates, address: str, outcome: ProbeOutcome, now_s: float) -> None:
    assert address in states.take_due(now_s)
    states.probed(address, outcome, now_s)


def test_a_pod_is_probed_at_once_and_healthy_when_it_passes() -> None:
    states = pod_states()
    states.observe(addresses(not_ready=(A,)), "", 0.0)
    assert states.next_s == 0.0
    assert states.take_due(0.0) == [A]
    assert states.take_due(9.0) == [], "probed twice at the same time"
    assert states.next_s is None
    states.probed(A, ProbeOutcome.PASSED, 0.1)
    assert states.backends == Backends(pods=(A,))
    assert states.next_s is None, "a settled revision costs nothing"


def test_a_suspect_takes_no_requests_before_it_has_passed_again() -> None:
    states = pod_states(mesh_mode=MeshMode.DISABLED)
    states.observe(addresses(A, B), "", 0.0)
    assert states.suspect(A, 5.0)
    assert states.backends == Backends(pods=(B,))
    assert not states.suspect(A, 5.1)
    assert states.next_s == 5.0, "suspected twice, and still due at once"
    probe(states, A, ProbeOutcome.PASSED, 5.1)
    assert states.backends == Backends(pods=(A, B))


def test_a_suspect_cluster_address_is_probed_again() -> None:
    states = pod_states(mesh_mode=MeshMode.ENABLED)
    states.observe(addresses(A), CLUSTER, 0.0)
    assert states.take_cluster_due(0.0) == CLUSTER
    states.cluster_probed(CLUSTER, ProbeOutcome.PASSED, 0.1)
    assert states.backends.cluster_address == CLUSTER
    states.suspect(CLUSTER, 5.0)
    assert states.backends == Backends()
    assert states.take_cluster_due(5.0) == CLUSTER


def test_healthy_pods_are_in_the_order_of_their_texts() -> None:
    states = pod_states()
    pods = ("10.0.0.9:1", "10.0.0.10:1")
    states.observe(addresses(*pods), "", 0.0)
    for pod in pods:
        probe(states, pod, ProbeOutcome.PASSED, 0.0) if pod == pods[0] else states.probed(pod, ProbeOutcome.PASSED, 0.0)
    assert states.backends.pods == ("10.0.0.10:1", "10.0.0.9:1")


def test_after_an_answer_the_frequency_counts_from_the_start_of_the_probe() -> None:
    states = pod_states()
    states.observe(addresses(not_ready=(A,)), "", 0.0)
    states.take_due(0.0)
    states.probed(A, ProbeOutcome.MAYBE_MESH, 0.05)
    assert states.next_s == pytest.approx(0.2)
    states.take_due(0.2)
    states.probed(A, ProbeOutcome.SILENT, 0.5)
    assert states.next_s == pytest.approx(0.5), "longer than the frequency: again at once"


def test_pods_that_are_due_almost_together_are_probed_together() -> None:
    states = pod_states()
    states.observe(addresses(not_ready=(A, B)), "", 0.0)
    assert states.take_due(0.0) == [A, B]
    states.probed(A, ProbeOutcome.SILENT, 0.3)
    states.probed(B, ProbeOutcome.SILENT, 0.3015)
    assert states.take_due(0.2975) == []
    assert states.take_due(0.3) == [A, B], "two wake-ups for what one can do"
    states.probed(A, ProbeOutcome.SILENT, 0.6)
    states.probed(B, ProbeOutcome.SILENT, 0.6025)
    assert states.take_due(0.6) == [A]


def test_refused_probes_come_again_soon_and_then_less_often() -> None:
    states = pod_states()
    states.observe(addresses(not_ready=(A,)), "", 0.0)
    now_s, gaps_s = 0.0, []
    while now_s < 30.0:
        probe(states, A, ProbeOutcome.REFUSED, now_s)
        assert states.next_s is not None
        gaps_s.append(states.next_s - now_s)
        now_s = states.next_s
    assert gaps_s[0] == pytest.approx(0.005)
    assert gaps_s == sorted(gaps_s)
    assert gaps_s[-1] == pytest.approx(1.0)
    assert len(gaps_s) < 150


def test_other_pods_are_probed_at_the_frequency_and_at_last_as_rarely() -> None:
    states = pod_states()
    states.observe(addresses(not_ready=(A,)), "", 0.0)
    now_s, gaps_s = 0.0, []
    while now_s < 30.0:
        probe(states, A, ProbeOutcome.MAYBE_MESH, now_s)
        assert states.next_s is not None
        gaps_s.append(states.next_s - now_s)
        now_s = states.next_s
    assert gaps_s[:20] == pytest.approx([0.2] * 20)
    assert gaps_s[-1] == pytest.approx(1.0)


def test_a_probe_without_an_answer_gives_the_next_one_more_time() -> None:
    states = pod_states()
    states.observe(addresses(not_ready=(A,)), "", 0.0)
    assert (states.timeout_s(A, 0.3), states.is_repeated(A)) == (0.3, False)
    for now_s, timeout_s in ((0.0, 0.6), (1.0, 1.0), (2.0, 1.0)):
        probe(states, A, ProbeOutcome.SILENT, now_s)
        assert (states.timeout_s(A, 0.3), states.is_repeated(A)) == (timeout_s, True)
    assert states.timeout_s(A, 3.0) == 3.0, "what was configured is the least"
    probe(states, A, ProbeOutcome.REFUSED, 3.0)
    assert states.timeout_s(A, 0.3) == 0.3


def test_many_pods_that_refuse_are_probed_less_often_each() -> None:
    states = pod_states()
    pods = tuple(f"10.0.0.{index}:1" for index in range(20))
    states.observe(addresses(not_ready=pods), "", 0.0)
    states.take_due(0.0)
    for pod in pods:
        states.probed(pod, ProbeOutcome.REFUSED, 0.0)
    assert states.next_s == pytest.approx(0.1)


def test_another_set_of_addresses_begins_the_back_off_anew() -> None:
    states = pod_states()
    states.observe(addresses(not_ready=(A,)), "", 0.0)
    probe(states, A, ProbeOutcome.REFUSED, 5.0)
    assert states.next_s == pytest.approx(5.255)
    states.observe(addresses(not_ready=(A, B)), "", 5.01)
    assert sorted(states.take_due(5.01)) == [A, B]


def test_what_is_not_listed_any_more_is_gone_at_once_and_its_probe_unwanted() -> None:
    states = pod_states()
    states.observe(addresses(A, B), "", 0.0)
    states.take_due(0.0)
    states.probed(A, ProbeOutcome.PASSED, 0.0)
    states.observe(addresses(), "", 0.1)
    assert states.backends == Backends()
    assert not states.is_wanted(B)
    states.probed(B, ProbeOutcome.PASSED, 0.2)
    assert states.backends == Backends()


def test_a_pod_that_becomes_ready_is_not_probed_again_one_that_ceases_to_be_is() -> None:
    states = pod_states()
    states.observe(addresses(not_ready=(A,)), "", 0.0)
    probe(states, A, ProbeOutcome.PASSED, 0.0)
    states.observe(addresses(A), "", 1.0)
    assert states.backends.pods == (A,)
    assert states.next_s is None
    states.observe(addresses(not_ready=(A,)), "", 2.0)
    assert states.backends.pods == ()
    assert states.take_due(2.0) == [A]


def test_without_trust_a_pod_that_is_not_ready_is_not_even_probed() -> None:
    states = pod_states(trusts_not_ready=False)
    states.observe(addresses(not_ready=(A,)), "", 0.0)
    assert states.next_s is None
    states.observe(addresses(A), "", 1.0)
    assert states.take_due(1.0) == [A]


def test_with_mesh_compatibility_disabled_ready_pods_are_healthy_and_others_probed() -> None:
    states = pod_states(mesh_mode=MeshMode.DISABLED)
    states.observe(addresses(A, not_ready=(B,)), CLUSTER, 0.0)
    assert states.backends.pods == (A,)
    assert states.take_due(0.0) == [B]
    assert states.take_cluster_due(0.0) == ""


def test_the_cluster_address_is_tried_when_ready_pods_cannot_be_reached() -> None:
    states = pod_states()
    states.observe(addresses(A), CLUSTER, 0.0)
    assert states.take_cluster_due(0.0) == "", "no pod was tried yet"
    probe(states, A, ProbeOutcome.MAYBE_MESH, 0.0)
    assert states.take_cluster_due(0.0) == CLUSTER
    assert states.take_cluster_due(0.1) == "", "probed twice at the same time"
    states.cluster_probed(CLUSTER, ProbeOutcome.SILENT, 0.1)
    assert states.take_cluster_due(0.1) == "", "before the frequency"
    assert states.take_cluster_due(0.2) == CLUSTER
    states.cluster_probed(CLUSTER, ProbeOutcome.PASSED, 0.2)
    assert states.backends == Backends(cluster_address=CLUSTER, ready_count=1)
    assert states.next_s is None
    states.observe(addresses(A, B), CLUSTER, 1.0)
    assert states.backends == Backends(cluster_address=CLUSTER, ready_count=2)
    assert states.take_due(1.0) == [], "pods are not tried again"


def test_without_addresses_the_cluster_address_has_to_be_proved_anew() -> None:
    states = pod_states(mesh_mode=MeshMode.ENABLED)
    states.observe(addresses(A), CLUSTER, 0.0)
    assert states.take_due(0.0) == []
    assert states.take_cluster_due(0.0) == CLUSTER
    states.cluster_probed(CLUSTER, ProbeOutcome.PASSED, 0.0)
    states.observe(addresses(), CLUSTER, 1.0)
    assert states.backends == Backends()
    states.observe(addresses(A), CLUSTER, 2.0)
    assert states.backends == Backends()
    assert states.take_cluster_due(2.0) == CLUSTER


@pytest.mark.parametrize(
    ("listed", "outcome", "why"),
    [
        (addresses(A), ProbeOutcome.NOT_MESH, "only the pod itself answers so"),
        (addresses(A), ProbeOutcome.PASSED, "the pod is reachable"),
        (addresses(not_ready=(A,)), ProbeOutcome.SILENT, "no pod is ready: nothing would answer behind it"),
    ],
)
def test_the_cluster_address_is_not_tried(listed: Addresses, outcome: ProbeOutcome, why: str) -> None:
    states = pod_states()
    states.observe(listed, CLUSTER, 0.0)
    probe(states, A, outcome, 0.0)
    assert states.take_cluster_due(9.0) == "", why


def test_with_pass_through_the_cluster_address_is_never_tried() -> None:
    for mesh_mode in MeshMode:
        states = pod_states(mesh_mode=mesh_mode, passthrough=True)
        states.observe(addresses(A), CLUSTER, 0.0)
        for address in states.take_due(0.0):
            states.probed(address, ProbeOutcome.SILENT, 0.0)
        assert states.take_cluster_due(9.0) == ""


LISTED = st.builds(
    lambda ready, not_ready: Addresses(frozenset(ready), frozenset(not_ready - ready)),
    st.sets(st.sampled_from([A, B, "10.0.0.3:8012"])),
    st.sets(st.sampled_from([A, B, "10.0.0.3:8012"])),
)
OUTCOME = st.sampled_from(ProbeOutcome)


@given(
    st.sampled_from(MeshMode),
    st.booleans(),
    st.booleans(),
    st.lists(st.one_of(LISTED, OUTCOME, st.floats(0, 0.3)), max_size=40),
)
def test_only_listed_pods_are_published_and_a_settled_revision_is_left_alone(
    mesh_mode: MeshMode, passthrough: bool, trusts_not_ready: bool, events: list[Addresses | ProbeOutcome | float]
) -> None:
    states = pod_states(mesh_mode=mesh_mode, passthrough=passthrough, trusts_not_ready=trusts_not_ready)
    now_s, listed, probes = 0.0, addresses(), list[str]()
    for event in events:
        if isinstance(event, float):
            now_s += event
            probes += states.take_due(now_s)
            assert len(probes) == len(set(probes)), "a pod is probed twice at the same time"
            if cluster := states.take_cluster_due(now_s):
                states.cluster_probed(cluster, ProbeOutcome.SILENT, now_s)
        elif isinstance(event, Addresses):
            listed = event
            states.observe(listed, CLUSTER, now_s)
            probes = [address for address in probes if states.is_wanted(address)]
        elif probes:
            states.probed(probes.pop(), event, now_s)
        everything = listed.ready | listed.not_ready
        published = set(states.backends.pods)
        assert published <= everything
        if not trusts_not_ready:
            assert published <= listed.ready
        if published == everything:
            assert states.next_s is None
