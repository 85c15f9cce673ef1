"""What is offered to Envoy as Ingresses, Services and endpoints come and go (spec ingress.md 5.6)."""

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from hypothesis import given
from hypothesis import strategies as st

from gateway.checks import InvalidIngress
from gateway.faces import EXTERNAL, INTERNAL
from gateway.programmer import UNUSED_CLUSTER_S, DomainConflict, Programmer
from gateway.xds import CLUSTER, ENDPOINTS, ROUTES, Resources
from kube.models.core import Service, ServicePort
from kube.models.discovery import EndpointSlice
from tests.gateway.objects import NAMESPACE, endpoint_slice, ingress, path, rule, service, split


class Gateway:
    """A programmer over a cluster that a test writes, and what it offers."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.slices: dict[str, list[EndpointSlice]] = {}
        self.resources = Resources()
        self.programmer = Programmer(
            self.resources,
            service=lambda namespace, name: self.services.get(name) if namespace == NAMESPACE else None,
            slices=lambda _namespace, name: self.slices.get(name, []),
        )

    def run(self, name: str, *endpoints: str) -> None:
        """A Service with these addresses."""
        self.services[name] = service(name)
        self.slices[name] = [endpoint_slice(name, *endpoints)]

    def routes(self, face: str) -> RouteConfiguration:
        parsed: RouteConfiguration = RouteConfiguration.FromString(self.resources.of(ROUTES)[face][1])
        return parsed

    def hosts(self, face: str = EXTERNAL) -> list[str]:
        return [host.domains[0] for host in self.routes(face).virtual_hosts]

    def routed_clusters(self) -> set[str]:
        """Every cluster that some route names."""
        return {
            weighted.name
            for face in (EXTERNAL, INTERNAL)
            for host in self.routes(face).virtual_hosts
            for route in host.routes
            for weighted in route.route.weighted_clusters.clusters
        }

    def clusters(self) -> set[str]:
        """Clusters with their endpoints; fails when one comes without the other."""
        assert set(self.resources.of(CLUSTER)) == set(self.resources.of(ENDPOINTS))
        return set(self.resources.of(CLUSTER))

    def cluster(self, name: str) -> Cluster:
        parsed: Cluster = Cluster.FromString(self.resources.of(CLUSTER)[name][1])
        return parsed

    def addresses(self, name: str) -> list[str]:
        parsed = ClusterLoadAssignment.FromString(self.resources.of(ENDPOINTS)[name][1])
        return [e.endpoint.address.socket_address.address for part in parsed.endpoints for e in part.lb_endpoints]

    def versions(self, type_url: str) -> dict[str, str]:
        return {name: version for name, (version, _) in self.resources.of(type_url).items()}

    def all_versions(self) -> dict[str, dict[str, str]]:
        return {type_url: self.versions(type_url) for type_url in (CLUSTER, ENDPOINTS, ROUTES)}


@pytest.fixture
def gateway() -> Gateway:
    made = Gateway()
    made.run("web", "10.0.0.1")
    made.run("api", "10.0.0.2")
    return made


def key(name: str) -> tuple[str, str]:
    return NAMESPACE, name


def test_both_faces_exist_before_any_ingress() -> None:
    assert (Gateway().hosts(EXTERNAL), Gateway().hosts(INTERNAL)) == ([], [])


def test_an_ingress_is_served_with_its_probe_route(gateway: Gateway) -> None:
    assert gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
    assert gateway.hosts() == ["a.com"]
    assert len(gateway.routes(EXTERNAL).virtual_hosts[0].routes) == 2
    assert gateway.clusters() == {"shop/web:80"}
    assert gateway.addresses("shop/web:80") == ["10.0.0.1"]


def test_a_local_host_is_offered_on_the_internal_face_only(gateway: Gateway) -> None:
    gateway.programmer.apply(ingress("a", rule("a.com"), rule("a.shop", visibility="ClusterLocal")), 0.0)
    assert (gateway.hosts(EXTERNAL), gateway.hosts(INTERNAL)) == (["a.com"], ["a.com", "a.shop"])


def test_the_same_ingress_again_changes_nothing(gateway: Gateway) -> None:
    gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
    assert not gateway.programmer.apply(ingress("a", rule("a.com")), 1.0)
    assert not gateway.programmer.expire(100.0)
    assert gateway.clusters() == {"shop/web:80"}


def test_36_an_unused_cluster_stays_for_15_seconds(gateway: Gateway) -> None:
    gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
    assert gateway.programmer.remove(key("a"), 100.0)
    assert gateway.hosts() == []
    assert not gateway.programmer.expire(100.0 + UNUSED_CLUSTER_S - 0.1)
    assert gateway.clusters() == {"shop/web:80"}
    assert gateway.programmer.expire(100.0 + UNUSED_CLUSTER_S)
    assert gateway.clusters() == set()
    assert not gateway.programmer.expire(200.0)
    assert UNUSED_CLUSTER_S == 15.0


def test_another_backend_is_made_before_the_former_is_broken(gateway: Gateway) -> None:
    gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
    assert gateway.programmer.apply(ingress("a", rule("a.com", to="api")), 1.0)
    assert gateway.routed_clusters() == {"shop/api:80"}
    assert gateway.clusters() == {"shop/api:80", "shop/web:80"}
    assert gateway.programmer.expire(1.0 + UNUSED_CLUSTER_S)
    assert gateway.clusters() == {"shop/api:80"}


def test_a_cluster_that_is_used_again_stays(gateway: Gateway) -> None:
    gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
    gateway.programmer.remove(key("a"), 1.0)
    gateway.programmer.apply(ingress("b", rule("b.com")), 2.0)
    assert not gateway.programmer.expire(60.0)
    assert gateway.clusters() == {"shop/web:80"}


def test_a_cluster_of_two_ingresses_outlives_one_of_them(gateway: Gateway) -> None:
    for name in ("a", "b"):
        gateway.programmer.apply(ingress(name, rule(f"{name}.com")), 0.0)
    gateway.programmer.remove(key("a"), 1.0)
    assert not gateway.programmer.expire(60.0)
    assert gateway.clusters() == {"shop/web:80"}
    gateway.programmer.remove(key("b"), 61.0)
    assert gateway.programmer.expire(61.0 + UNUSED_CLUSTER_S)
    assert gateway.clusters() == set()


def test_a_removal_of_what_is_not_there_changes_nothing(gateway: Gateway) -> None:
    assert not gateway.programmer.remove(key("a"), 0.0)


class TestConflicts:
    def test_35_a_host_is_served_for_the_first_until_that_is_removed(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        second = ingress("b", rule("b.com", "a.com", to="api"))
        with pytest.raises(DomainConflict, match=r"a\.com is served for shop/a"):
            gateway.programmer.apply(second, 1.0)
        assert gateway.hosts() == ["a.com"], "nothing of the second is served, its free host neither"
        assert gateway.routed_clusters() == {"shop/web:80"}
        gateway.programmer.remove(key("a"), 2.0)
        assert gateway.programmer.apply(second, 3.0)
        assert gateway.hosts() == ["a.com", "b.com"]
        assert gateway.routed_clusters() == {"shop/api:80"}

    def test_an_ingress_that_comes_into_conflict_loses_what_it_had(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        gateway.programmer.apply(ingress("b", rule("b.com", to="api")), 0.0)
        with pytest.raises(DomainConflict):
            gateway.programmer.apply(ingress("b", rule("a.com", to="api")), 1.0)
        assert gateway.hosts() == ["a.com"]
        assert gateway.programmer.apply(ingress("c", rule("b.com")), 2.0), "its host is free"

    def test_a_host_that_is_given_up_is_free(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com", "b.com")), 0.0)
        gateway.programmer.apply(ingress("a", rule("a.com")), 1.0)
        assert gateway.programmer.apply(ingress("b", rule("b.com")), 2.0)

    def test_a_local_host_is_claimed_as_well(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("web.shop", visibility="ClusterLocal")), 0.0)
        with pytest.raises(DomainConflict):
            gateway.programmer.apply(ingress("b", rule("web.shop")), 1.0)


class TestRefresh:
    def test_other_endpoints_change_endpoints_and_nothing_else(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        before = gateway.all_versions()
        gateway.slices["web"] = [endpoint_slice("web", "10.0.0.9")]
        assert gateway.programmer.refresh(NAMESPACE, "web")
        assert gateway.addresses("shop/web:80") == ["10.0.0.9"]
        assert gateway.versions(CLUSTER) == before[CLUSTER]
        assert gateway.versions(ROUTES) == before[ROUTES]
        assert gateway.versions(ENDPOINTS) != before[ENDPOINTS]

    def test_equal_endpoints_change_nothing(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        gateway.slices["web"] = [endpoint_slice("web", "10.0.0.1", ("10.0.0.7", False))]
        assert not gateway.programmer.refresh(NAMESPACE, "web")

    def test_every_port_of_the_service_is_refreshed(self, gateway: Gateway) -> None:
        ports = [ServicePort(name="http", port=80), ServicePort(name="admin", port=81)]
        gateway.services["web"] = service("web", *ports)
        gateway.programmer.apply(ingress("a", rule("a.com", to=[path(split("web", 50), split("web", 50, 81))])), 0.0)
        gateway.slices["web"] = [endpoint_slice("web", "10.0.0.9", ports={"http": 1, "admin": 2})]
        assert gateway.programmer.refresh(NAMESPACE, "web")
        assert gateway.addresses("shop/web:80") == gateway.addresses("shop/web:81") == ["10.0.0.9"]

    def test_services_that_nobody_routes_to_are_not_offered(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        gateway.slices["api"] = [endpoint_slice("api", "10.0.0.9")]
        assert not gateway.programmer.refresh(NAMESPACE, "api")
        assert not gateway.programmer.refresh("elsewhere", "web")
        assert gateway.clusters() == {"shop/web:80"}

    def test_a_service_that_is_missing_gets_an_empty_cluster_until_it_comes(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        gateway.programmer.apply(ingress("b", rule("b.com", to="late")), 0.0)
        assert gateway.hosts() == ["a.com", "b.com"]
        assert gateway.addresses("shop/late:80") == []
        assert gateway.addresses("shop/web:80") == ["10.0.0.1"]
        gateway.services["late"] = service("late", ServicePort(name="http2", port=80))
        gateway.slices["late"] = [endpoint_slice("late", "10.0.0.3", ports={"http2": 8013})]
        before = gateway.versions(CLUSTER)
        assert gateway.programmer.refresh(NAMESPACE, "late")
        assert gateway.addresses("shop/late:80") == ["10.0.0.3"]
        assert gateway.versions(CLUSTER)["shop/late:80"] != before["shop/late:80"], "it speaks HTTP/2"


class TestNobodyThere:
    def test_33_a_backend_without_endpoints_leaves_the_ingress_as_it_was(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        before = gateway.all_versions()
        assert not gateway.programmer.apply(ingress("a", rule("a.com", to="late")), 1.0)
        assert gateway.all_versions() == before
        assert gateway.programmer.waiting_for(NAMESPACE, "late") == [key("a")]
        gateway.run("late", "10.0.0.3")
        assert gateway.programmer.apply(ingress("a", rule("a.com", to="late")), 2.0)
        assert gateway.routed_clusters() == {"shop/late:80"}
        assert gateway.programmer.waiting_for(NAMESPACE, "late") == []

    def test_endpoints_that_go_away_later_change_no_route(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        gateway.slices["web"] = []
        gateway.programmer.refresh(NAMESPACE, "web")
        assert gateway.programmer.apply(ingress("a", rule("a.com", "b.com")), 1.0)
        assert gateway.hosts() == ["a.com", "b.com"]

    def test_who_goes_waits_no_longer(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("a.com")), 0.0)
        gateway.programmer.apply(ingress("a", rule("a.com", to="late")), 1.0)
        gateway.programmer.remove(key("a"), 2.0)
        assert gateway.programmer.waiting_for(NAMESPACE, "late") == []


class TestWhatEnvoyWouldRefuse:
    @pytest.mark.parametrize(
        ("wrong", "where"),
        [
            (rule("a b.com"), "hosts"),
            (rule("a.com\nb"), "hosts"),
            (rule("*.com"), "hosts"),
            (rule("x" * 254), "hosts"),
            (rule("a.com", to=[path(split("web"), prefix="a")]), "path"),
            (rule("a.com", to=[path(split("web"), prefix="/\r")]), "path"),
            (rule("a.com", to=[path(split("web"), match={"no token": "x"})]), "headers"),
            (rule("a.com", to=[path(split("web", Host="x"))]), "appendHeaders"),
            (rule("a.com", to=[path(split("web", X="a\r\nY: b"))]), "appendHeaders"),
            (rule("a.com", to=[path(split("web", 60), split("api", 30))]), "but was 90"),
            (rule("a.com", to=[path(split("web", 150), split("api", -50))]), "percent"),
            (rule("a.com", to=[path(split("web", 0), split("api", 0))]), "but was 0"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_it_is_refused_before_and_the_others_are_served(self, gateway: Gateway, wrong: Any, where: str) -> None:
        gateway.programmer.apply(ingress("good", rule("good.com")), 0.0)
        gateway.programmer.apply(ingress("bad", rule("bad.com")), 0.0)
        before = gateway.all_versions()
        with pytest.raises(InvalidIngress, match=where):
            gateway.programmer.apply(ingress("bad", wrong), 1.0)
        assert gateway.all_versions() == before

    def test_hosts_that_differ_in_case_only_conflict(self, gateway: Gateway) -> None:
        gateway.programmer.apply(ingress("a", rule("web.example.com")), 0.0)
        with pytest.raises(DomainConflict):
            gateway.programmer.apply(ingress("b", rule("WEB.example.com")), 1.0)


NAMES = st.sampled_from("abcd")
HOSTS = st.sampled_from(["h0", "h1", "h2", "h3", "h4"])
SERVICES = st.sampled_from(["web", "api", "missing"])
STEPS = st.one_of(
    st.tuples(st.just("apply"), NAMES, st.lists(HOSTS, min_size=1, max_size=3, unique=True), SERVICES),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("wait"), st.floats(0.0, 20.0)),
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_happens_exactly_the_present_is_served_and_every_route_has_its_cluster(steps: list[Any]) -> None:
    gateway = Gateway()
    gateway.run("web", "10.0.0.1")
    gateway.run("api", "10.0.0.2")
    present: dict[str, tuple[set[str], str]] = {}
    last_used: dict[str, float] = {}
    now_s = 0.0
    for step in steps:
        if step[0] == "wait":
            now_s += step[1]
            gateway.programmer.expire(now_s)
            stale = {name for name, at_s in last_used.items() if now_s - at_s >= UNUSED_CLUSTER_S}
        else:
            stale = set()
            before = gateway.all_versions()
            if step[0] == "remove":
                changed = gateway.programmer.remove(key(step[1]), now_s)
                present.pop(step[1], None)
            else:
                _, name, hosts, backend = step
                taken = {host for other, (theirs, _) in present.items() if other != name for host in theirs}
                if taken & set(hosts):
                    with pytest.raises(DomainConflict):
                        gateway.programmer.apply(ingress(name, rule(*hosts, to=backend)), now_s)
                    present.pop(name, None)
                    changed = None
                else:
                    changed = gateway.programmer.apply(ingress(name, rule(*hosts, to=backend)), now_s)
                    # What leads to nobody does not take the place of what leads to somebody.
                    if backend != "missing" or present.get(name, (set(), backend))[1] == "missing":
                        present[name] = (set(hosts), backend)
            after = gateway.all_versions()
            assert changed in (None, after != before)
        used = {f"shop/{backend}:80" for _, backend in present.values()}
        last_used.update(dict.fromkeys(used, now_s))
        served = sorted(host for hosts, _ in present.values() for host in hosts)
        assert gateway.hosts(EXTERNAL) == gateway.hosts(INTERNAL) == served
        assert gateway.routed_clusters() == used
        assert used <= gateway.clusters()
        assert {name for name, at_s in last_used.items() if now_s - at_s < UNUSED_CLUSTER_S} <= gateway.clusters()
        assert not (stale - used) & gateway.clusters()
