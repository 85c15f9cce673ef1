"""Ingresses, Services and endpoints as Envoy resources (spec ingress.md 2, 4.2, 5.4, 5.5)."""

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from hypothesis import given
from hypothesis import strategies as st

from gateway.clusters import Backend, cluster, load_assignment
from gateway.faces import EXTERNAL, EXTERNAL_TLS, INTERNAL, INTERNAL_TLS
from gateway.listeners import listener
from gateway.translate import (
    CertificateUse,
    Translation,
    route_configuration,
    translate,
)
from kube.addresses import Address
from kube.ingress.spec import defaulted, tls_entries, with_probes
from kube.models.core import ServicePort
from kube.models.networking import Ingress, IngressRule, IngressSpec, IngressTLS
from tests.gateway.objects import endpoint_slice, ingress, path, rule, service, split

WEB = Backend("shop", "web", 80)


def translated(of: Ingress) -> Translation:
    """As the programmer does it, without probes."""
    return translate(of, defaulted(of.spec))


def hosts(of: Translation, face: str = EXTERNAL) -> list[VirtualHost]:
    """The virtual hosts that it adds to a face, by name."""
    return [VirtualHost.FromString(content) for _, content in sorted(of.faces.get(face, {}).items())]


def routes_of(of: Ingress) -> list[Any]:
    """The routes of the only host, as the external face has them."""
    (host,) = hosts(translated(of))
    return list(host.routes)


def set_headers(options: list[HeaderValueOption]) -> dict[str, str]:
    """Headers that are set; fails on those that would be added to what the client sent."""
    assert {option.append_action for option in options} <= {HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD}
    return {option.header.key: option.header.value for option in options}


def addresses(of: ClusterLoadAssignment) -> list[tuple[str, int]]:
    sockets = [e.endpoint.address.socket_address for locality in of.endpoints for e in locality.lb_endpoints]
    return [(socket.address, socket.port_value) for socket in sockets]


def speaks_http2(of: Cluster) -> bool:
    options = HttpProtocolOptions()
    (packed,) = of.typed_extension_protocol_options.values()
    assert packed.Unpack(options)
    return bool(options.explicit_http_config.HasField("http2_protocol_options"))


class TestDefaults:
    def test_1_a_rule_is_external_and_a_lone_split_gets_everything(self) -> None:
        spec = ingress("web", rule("h", to=[path(split("web", 0))], visibility="")).spec
        done = defaulted(spec)
        assert done.rules[0].visibility == "ExternalIP"
        assert done.rules[0].http is not None
        assert done.rules[0].http.paths[0].splits[0].percent == 100
        assert spec.rules[0].visibility == "", "the object in the cache is shared"

    def test_what_is_given_stays(self) -> None:
        given_ = ingress(
            "web", rule("h", to=[path(split("a", 0), split("b", 100)), path(split("c", 40))], visibility="ClusterLocal")
        ).spec
        assert defaulted(given_) == given_

    def test_a_rule_without_http_serves_nothing(self) -> None:
        bare = ingress("web", IngressRule(hosts=["h"]))
        assert translate(bare, with_probes(defaulted(bare.spec), "v")) == Translation()


class TestProbes:
    def test_10_paths_double_and_the_copies_come_first(self) -> None:
        tagged, plain = path(split("b"), match={"Tag": "b"}), path(split("a"), prefix="/a")
        plain.append_headers = {"X": "x"}
        spec = ingress("web", rule("h", to=[tagged, plain])).spec
        rule_ = with_probes(spec, "v1").rules[0]
        assert rule_.http is not None
        assert rule_.http.paths[2:] == [tagged, plain]
        assert [p.headers for p in rule_.http.paths[:2]] == [
            {"Tag": {"exact": "b"}, "K-Network-Hash": {"exact": "override"}},
            {"K-Network-Hash": {"exact": "override"}},
        ]
        assert [p.append_headers for p in rule_.http.paths[:2]] == [
            {"K-Network-Hash": "v1"},
            {"X": "x", "K-Network-Hash": "v1"},
        ]
        assert [p.splits for p in rule_.http.paths[:2]] == [tagged.splits, plain.splits]
        assert [p.path for p in rule_.http.paths[:2]] == ["", "/a"]
        assert spec == ingress("web", rule("h", to=[tagged, plain])).spec, "the object in the cache is shared"

    def test_a_probe_route_is_ahead_of_its_plain_route(self) -> None:
        of = ingress("web", rule("h"))
        (host,) = hosts(translate(of, with_probes(defaulted(of.spec), "v1")))
        probe, plain = host.routes
        (match,) = probe.match.headers
        assert (match.name, match.string_match.exact) == ("K-Network-Hash", "override")
        assert set_headers(probe.request_headers_to_add) == {"K-Network-Hash": "v1"}
        assert not plain.match.headers
        assert not plain.request_headers_to_add


class TestFaces:
    def test_20_22_public_hosts_are_on_both_faces_and_local_ones_on_the_internal_one(self) -> None:
        of = ingress("web", rule("web.example.com"), rule("web.shop", "web.shop.svc", visibility="ClusterLocal"))
        done = translated(of)
        assert [h.domains[0] for h in hosts(done)] == ["web.example.com"]
        assert [h.domains[0] for h in hosts(done, INTERNAL)] == ["web.example.com", "web.shop", "web.shop.svc"]
        assert done.domains == {"web.example.com", "web.shop", "web.shop.svc"}

    def test_21_a_host_is_also_served_with_any_port(self) -> None:
        (host,) = hosts(translated(ingress("web", rule("web.example.com"))))
        assert list(host.domains) == ["web.example.com", "web.example.com:*"]
        assert host.name == "(shop/web).Domain[web.example.com]"

    def test_a_rule_without_hosts_is_for_every_host(self) -> None:
        (host,) = hosts(translated(ingress("web", rule())))
        assert list(host.domains) == ["*"]

    def test_rules_that_share_a_host_share_a_virtual_host(self) -> None:
        (host,) = hosts(
            translated(ingress("web", rule("h", to=[path(split("a"), prefix="/a")]), rule("h", to=[path(split("b"))])))
        )
        assert [r.match.prefix for r in host.routes] == ["/a", "/"]

    def test_every_split_is_a_backend_and_ports_tell_them_apart(self) -> None:
        done = translated(
            ingress("web", rule("h", to=[path(split("a", 50), split("a", 50, "admin")), path(split("b"))]))
        )
        assert done.backends == {Backend("shop", "a", 80), Backend("shop", "a", "admin"), Backend("shop", "b", 80)}
        assert len({backend.cluster_name for backend in done.backends}) == 3

    def test_a_face_is_the_same_bytes_in_whatever_order_its_hosts_come(self) -> None:
        face = translated(ingress("web", rule("b", "a", "c"))).faces[EXTERNAL]
        one = route_configuration(EXTERNAL, face)
        assert one == route_configuration(EXTERNAL, dict(reversed(face.items())))
        parsed = RouteConfiguration.FromString(one)
        assert [host.domains[0] for host in parsed.virtual_hosts] == ["a", "b", "c"]
        assert parsed.validate_clusters.value
        assert parsed.name == EXTERNAL

    def test_a_virtual_host_of_any_size_is_read_back_whole(self) -> None:
        paths = [path(split("web"), prefix=f"/{index}/{'x' * index}") for index in range(200)]
        face = translated(ingress("web", rule("h", to=paths))).faces[EXTERNAL]
        (host,) = RouteConfiguration.FromString(route_configuration(EXTERNAL, face)).virtual_hosts
        assert sorted(route.match.prefix for route in host.routes) == sorted(p.path for p in paths)

    def test_hosts_are_one_whatever_their_case(self) -> None:
        done = translated(
            ingress("web", rule("Web.Example.com", to=[path(split("a"), prefix="/a")]), rule("web.example.com"))
        )
        assert done.domains == {"web.example.com"}
        assert [route.match.prefix for route in hosts(done)[0].routes] == ["/a", "/"]


class TestRoutes:
    def test_shares_are_weights_and_headers_are_set(self) -> None:
        to = path(split("a", 80, Knative_Serving_Revision="a"), split("b", 20, Knative_Serving_Revision="b"))
        to.append_headers = {"K-Original-Host": "h"}
        (route,) = routes_of(ingress("web", rule("h", to=[to])))
        clusters = route.route.weighted_clusters.clusters
        assert [(c.name, c.weight.value) for c in clusters] == [("shop/a:80", 80), ("shop/b:80", 20)]
        assert [set_headers(c.request_headers_to_add) for c in clusters] == [
            {"Knative-Serving-Revision": "a"},
            {"Knative-Serving-Revision": "b"},
        ]
        assert set_headers(route.request_headers_to_add) == {"K-Original-Host": "h"}

    def test_30_the_host_is_rewritten(self) -> None:
        to = path(split("web"))
        to.rewrite_host = "web.shop.svc.cluster.local"
        (route,) = routes_of(ingress("vanity", rule("h", to=[to])))
        assert route.route.host_rewrite_literal == "web.shop.svc.cluster.local"
        (plain,) = routes_of(ingress("web", rule("h")))
        assert plain.route.host_rewrite_literal == ""

    def test_headers_match_exactly_or_by_presence(self) -> None:
        to = path(split("web"), match={"Tag": "v2"})
        to.headers["Seen"] = {}
        (route,) = routes_of(ingress("web", rule("h", to=[to])))
        exact, present = route.match.headers
        assert (exact.name, exact.string_match.exact, exact.present_match) == ("Tag", "v2", False)
        assert (present.name, present.present_match) == ("Seen", True)

    @pytest.mark.parametrize("order", [["/", "/a", "/a/b"], ["/a/b", "/", "/a"], ["/a", "/a/b", "/"]])
    def test_37_the_longest_prefix_comes_first(self, order: list[str]) -> None:
        routes = routes_of(ingress("web", rule("h", to=[path(split("web"), prefix=p) for p in order])))
        assert [r.match.prefix for r in routes] == ["/a/b", "/a", "/"]

    @given(st.lists(st.sampled_from(["", "/", "/a", "/b", "/a/b", "/c/d"]), min_size=1, max_size=12))
    def test_37_equal_lengths_keep_their_order(self, prefixes: list[str]) -> None:
        paths = [path(split(f"s{i}"), prefix=p) for i, p in enumerate(prefixes)]
        routes = routes_of(ingress("web", rule("h", to=paths)))
        order = [
            (-len(r.match.prefix), int(r.route.weighted_clusters.clusters[0].name.removeprefix("shop/s")[:-3]))
            for r in routes
        ]
        assert order == sorted(order)
        assert len(routes) == len(prefixes)

    def test_24_a_challenge_wins_over_a_path_less_entry_of_another_rule(self) -> None:
        challenge = path(split("solver"), prefix="/.well-known/acme-challenge/x")
        routes = routes_of(ingress("web", rule("h"), rule("h", to=[challenge])))
        assert routes[0].match.prefix == "/.well-known/acme-challenge/x"

    def test_38_no_timeout_and_upgrades_pass(self) -> None:
        (route,) = routes_of(ingress("web", rule("h")))
        assert route.route.HasField("timeout"), "without it Envoy ends requests after 15 s"
        assert route.route.timeout.ToTimedelta().total_seconds() == 0
        manager = manager_of(listener("face", "127.0.0.1", 8080, None))
        assert [upgrade.upgrade_type for upgrade in manager.upgrade_configs] == ["websocket"]
        assert manager.HasField("stream_idle_timeout"), "without it Envoy ends idle streams after 5 min"
        assert manager.stream_idle_timeout.ToTimedelta().total_seconds() == 0

    def test_28_only_what_no_backend_has_begun_is_tried_again(self) -> None:
        (route,) = routes_of(ingress("web", rule("h")))
        assert set(route.route.retry_policy.retry_on.split(",")) == {
            "connect-failure",
            "refused-stream",
            "reset-before-request",
        }

    def test_29_redirected_hosts_answer_with_https_on_both_faces_probes_too(self) -> None:
        of = ingress("web", rule("h"), rule("h.svc", visibility="ClusterLocal"), http_option="Redirected")
        done = translate(of, with_probes(defaulted(of.spec), "v"))
        by_domain = {host.domains[0]: host for host in hosts(done, INTERNAL)}
        for host in (*hosts(done), by_domain["h"]):
            assert [r.redirect.https_redirect for r in host.routes] == [True, True]
        for route in by_domain["h.svc"].routes:
            assert not route.HasField("redirect"), "local callers are not redirected"

    def test_29_with_a_certificate_the_tls_faces_answer_themselves(self) -> None:
        of = ingress("web", rule("h"), rule("h.svc", visibility="ClusterLocal"), http_option="Redirected")
        of.spec.tls = [IngressTLS(hosts=["h"], secret_name="s", secret_namespace="shop")]
        done = translate(of, with_probes(defaulted(of.spec), "v"))
        for face, name in ((EXTERNAL_TLS, "h"), (INTERNAL_TLS, "h.svc")):
            (host,) = hosts(done, face)
            assert host.domains[0] == name
            assert not any(route.HasField("redirect") for route in host.routes)

    def test_a_challenge_is_not_redirected(self) -> None:
        to = [path(split("solver"), prefix="/.well-known/acme-challenge/x"), path(split("web"))]
        challenge, plain = routes_of(ingress("web", rule("h", to=to), http_option="Redirected"))
        assert not challenge.HasField("redirect")
        assert plain.redirect.https_redirect

    def test_a_percent_sign_is_no_command_of_envoys(self) -> None:
        (route,) = routes_of(ingress("web", rule("h", to=[path(split("web", X="100%REQ(cookie)%"))])))
        (weighted,) = route.route.weighted_clusters.clusters
        assert set_headers(weighted.request_headers_to_add) == {"X": "100%%REQ(cookie)%%"}


class TestCertificates:
    def test_7_an_entry_counts_only_if_it_has_every_host_of_a_rule(self) -> None:
        spec = ingress("web", rule("a", "b"), rule("c"), rule("l", visibility="ClusterLocal")).spec
        both, part, local = (
            IngressTLS(hosts=hosts_, secret_name=name, secret_namespace="shop")
            for hosts_, name in ((["a", "b", "c"], "both"), (["a"], "part"), (["l"], "local"))
        )
        spec.tls = [both, part, local]
        assert tls_entries(spec, "ExternalIP") == [both, both]
        assert tls_entries(spec, "ClusterLocal") == [local]
        spec.rules.insert(1, rule())
        assert tls_entries(spec, "ExternalIP") == [both], "a rule without hosts ends the search"

    def test_40_names_of_one_secret_are_together_and_only_our_own(self) -> None:
        of = ingress("web", rule("a"), rule("b"))
        of.spec.tls = [
            IngressTLS(hosts=["a", "elsewhere"], secret_name="s", secret_namespace="shop"),
            IngressTLS(hosts=["b"], secret_name="s", secret_namespace="shop"),
            IngressTLS(hosts=["b"], secret_name="late", secret_namespace="shop"),
        ]
        assert translated(of).certificates == {CertificateUse(EXTERNAL_TLS, "shop", "s", ("a", "b"))}


class TestClusters:
    @pytest.mark.parametrize(
        ("port", "expected"),
        [
            (ServicePort(name="http2", port=80), True),
            (ServicePort(name="h2c", port=80), True),
            (ServicePort(name="grpc", port=80, app_protocol="kubernetes.io/h2c"), True),
            (ServicePort(name="http", port=80), False),
            (ServicePort(name="http", port=80, app_protocol="http"), False),
        ],
        ids=lambda value: f"{value.name}-{value.app_protocol}" if isinstance(value, ServicePort) else str(value),
    )
    def test_31_http2_is_told_by_the_ports_name_or_protocol(self, port: ServicePort, expected: bool) -> None:
        assert speaks_http2(cluster(WEB, service("web", port))) is expected

    def test_31_another_port_of_the_service_does_not_decide(self) -> None:
        both = service("web", ServicePort(name="http", port=80), ServicePort(name="http2", port=81))
        assert not speaks_http2(cluster(WEB, both))
        assert speaks_http2(cluster(Backend("shop", "web", 81), both))
        assert speaks_http2(cluster(Backend("shop", "web", "http2"), both))

    def test_31_http1_is_spoken_where_it_is_asked_for(self) -> None:
        of = ingress("web", rule("h"))
        of.metadata.annotations["kourier.knative.dev/disable-http2"] = "TRUE"
        (backend,) = translated(of).backends
        assert not speaks_http2(cluster(backend, service("web", ServicePort(name="http2", port=80))))
        assert backend.cluster_name != WEB.cluster_name, "another Ingress may speak HTTP/2 to it"

    def test_a_placeholder_that_leads_to_us_needs_no_name_server(self) -> None:
        placeholder = service("web", ServicePort(name="http2", port=80), type_="ExternalName", external_name="our.name")
        done = cluster(WEB, placeholder, {"our.name": Address("127.0.0.6", 8081)})
        assert done.type == Cluster.STATIC
        assert addresses(done.load_assignment) == [("127.0.0.6", 8081)]

    def test_32_another_name_is_resolved_by_dns_at_the_services_port(self) -> None:
        placeholder = service(
            "web", ServicePort(name="http2", port=80), type_="ExternalName", external_name="gw.example.com"
        )
        done = cluster(WEB, placeholder)
        assert done.type == Cluster.LOGICAL_DNS
        assert addresses(done.load_assignment) == [("gw.example.com", 80)]
        assert speaks_http2(done)

    @pytest.mark.parametrize("name", ["", "no name", "a..b", "x" * 64])
    def test_another_name_that_is_none_is_no_address(self, name: str) -> None:
        done = cluster(WEB, service("web", type_="ExternalName", external_name=name))
        assert done.type == Cluster.EDS

    def test_32_other_services_get_endpoints_by_eds(self) -> None:
        done = cluster(WEB, service("web"))
        assert done.type == Cluster.EDS
        assert done.eds_cluster_config.eds_config.HasField("ads")
        assert done.connect_timeout.ToTimedelta().total_seconds() == 5

    def test_a_cold_start_may_hold_more_requests_than_envoys_default_of_1024(self) -> None:
        done = cluster(WEB, service("web"))
        for threshold in done.circuit_breakers.thresholds:
            limits = (threshold.max_connections, threshold.max_pending_requests, threshold.max_requests)
            assert {limit.value for limit in limits} == {1 << 20}
        assert len(done.circuit_breakers.thresholds) == 2


class TestEndpoints:
    def test_34_ready_unknown_counts_as_ready_and_not_ready_does_not(self) -> None:
        piece = endpoint_slice("web", ("10.0.0.1", None), ("10.0.0.2", False), ("10.0.0.3", True))
        assert addresses(load_assignment(WEB, service("web"), [piece])) == [("10.0.0.1", 8012), ("10.0.0.3", 8012)]

    def test_the_slices_port_is_found_by_the_name_of_the_services_port(self) -> None:
        both = service("web", ServicePort(name="http", port=80), ServicePort(name="admin", port=9090))
        piece = endpoint_slice("web", "10.0.0.1", ports={"admin": 8022, "http": 8012})
        assert addresses(load_assignment(WEB, both, [piece])) == [("10.0.0.1", 8012)]
        assert addresses(load_assignment(Backend("shop", "web", 9090), both, [piece])) == [("10.0.0.1", 8022)]
        assert addresses(load_assignment(Backend("shop", "web", "admin"), both, [piece])) == [("10.0.0.1", 8022)]
        assert addresses(load_assignment(Backend("shop", "web", 7), both, [piece])) == []

    def test_an_unnamed_port_is_matched_by_its_number(self) -> None:
        unnamed = service("web", ServicePort(port=80))
        piece = endpoint_slice("web", "10.0.0.1", ports={"": 8012})
        assert addresses(load_assignment(WEB, unnamed, [piece])) == [("10.0.0.1", 8012)]

    def test_slices_are_merged_sorted_and_without_duplicates(self) -> None:
        expected = [f"10.0.0.{last}" for last in range(1, 10)]
        pieces = [endpoint_slice("web", *reversed(expected)), endpoint_slice("web", "10.0.0.2")]
        done = load_assignment(WEB, service("web"), pieces)
        assert addresses(done) == [(address, 8012) for address in expected]

    def test_names_among_addresses_are_left_out(self) -> None:
        piece = endpoint_slice("web", "10.0.0.1", "pod.example.com", "::1")
        assert addresses(load_assignment(WEB, service("web"), [piece])) == [("10.0.0.1", 8012), ("::1", 8012)]

    def test_without_a_service_there_is_an_empty_cluster(self) -> None:
        done = load_assignment(WEB, None, [endpoint_slice("web", "10.0.0.1")])
        assert done.cluster_name == "shop/web:80"
        assert addresses(done) == []


class TestListeners:
    def test_a_face_takes_its_routes_over_ads_and_leaves_paths_alone(self) -> None:
        face = listener(EXTERNAL, "127.0.0.1", 8080, None)
        socket = face.address.socket_address
        assert (face.name, socket.address, socket.port_value) == (EXTERNAL, "127.0.0.1", 8080)
        manager = manager_of(face)
        assert manager.rds.route_config_name == EXTERNAL
        assert manager.rds.config_source.HasField("ads")
        assert not manager.normalize_path.value
        assert not manager.merge_slashes
        assert not manager.access_log

    def test_an_access_log_is_written_where_it_is_asked_for(self) -> None:
        (log,) = manager_of(listener(EXTERNAL, "127.0.0.1", 8080, "/dev/stdout")).access_log
        assert b"/dev/stdout" in log.typed_config.value


def manager_of(face: Listener) -> HttpConnectionManager:
    manager = HttpConnectionManager()
    assert face.filter_chains[0].filters[0].typed_config.Unpack(manager)
    return manager


def test_an_empty_spec_serves_nothing() -> None:
    nothing = ingress("web")
    nothing.spec = IngressSpec()
    assert translated(nothing) == Translation()
