"""Names, Ingress and placeholder Services of a Route (statements 78-88)."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from controller import domains, ingress, placeholder, rollout, traffic
from controller.domains import DomainError, Hosts
from controller.rollout import Rollout
from controller.settings import Settings
from controller.traffic import Target
from kube.models.core import Service
from kube.models.networking import Ingress, IngressStatus, LoadBalancer, LoadBalancerIngress
from kube.models.serving import Route, TrafficTarget
from tests.controller.objects import CLUSTER_DOMAIN, route, settings

Json = dict[str, Any]
LOCAL = {"networking.knative.dev/visibility": "cluster-local"}


def hosts(
    subject: Route | None = None,
    *tags: str,
    given: Settings | None = None,
    hidden: dict[str, str] | None = None,
) -> dict[str, Hosts]:
    return domains.hosts_of(subject or route(), {"", *tags}, given or settings(), CLUSTER_DOMAIN, hidden or {})


def built(
    groups: dict[str, list[Target]],
    subject: Route | None = None,
    given: Settings | None = None,
    state: Rollout | None = None,
) -> Json:
    subject = subject or route()
    names = hosts(subject, *groups, given=given)
    return ingress.build(subject, groups, names, state or rollout.current(groups), given or settings())


def target(revision: str, percent: int, tag: str = "", *, latest: bool = False, protocol: str = "http1") -> Target:
    return Target(revision, "web", percent, latest, tag, protocol)


# Names.


def test_names_of_a_route_and_of_a_tag() -> None:
    found = hosts(route(), "v2")
    assert found[""].url_host == "web.shop.example.com"
    assert found["v2"].url_host == "v2-web.shop.example.com"
    assert found[""].local == ("web.shop", "web.shop.svc", "web.shop.svc.cluster.local")
    assert found["v2"].label == "v2-web"


def test_s80_a_cluster_local_route_has_no_public_name() -> None:
    found = hosts(route(labels=LOCAL))[""]
    assert (found.url_host, found.public) == ("web.shop.svc.cluster.local", ())
    rules = built({"": [target("web-1", 100)]}, route(labels=LOCAL))["spec"]["rules"]
    assert [rule["visibility"] for rule in rules] == ["ClusterLocal"]


def test_only_the_exact_value_hides_a_route() -> None:
    assert hosts(route(labels={"networking.knative.dev/visibility": "other"}))[""].public


def test_s81_a_hidden_placeholder_hides_its_tag_alone() -> None:
    found = hosts(route(), "v2", hidden={"v2-web": "anything"})
    assert found["v2"].is_local
    assert not found[""].is_local


def test_s82_the_domain_with_most_labels_wins_and_ties_go_to_the_smaller_name() -> None:
    given = settings(
        domain={
            "default.com": "",
            "one.com": "selector: {team: blue}",
            "two.com": "selector: {team: blue, tier: gold}",
            "also-one.com": "selector: {team: blue}",
        }
    )
    assert hosts(route(labels={"team": "blue", "tier": "gold"}), given=given)[""].url_host == "web.shop.two.com"
    assert hosts(route(labels={"team": "blue"}), given=given)[""].url_host == "web.shop.also-one.com"
    assert hosts(route(), given=given)[""].url_host == "web.shop.default.com"


def test_without_a_default_domain_routes_are_cluster_local() -> None:
    given = settings(domain={"one.com": "selector: {team: blue}"})
    assert hosts(route(), given=given)[""].is_local


def test_templates_make_public_names_and_never_local_ones() -> None:
    template = '{{.Name}}-{{index .Labels "team"}}.{{.Domain}}'
    given = settings(network={"domain-template": template, "tag-template": "{{.Name}}-{{.Tag}}"})
    found = hosts(route(labels={"team": "blue"}), "v2", given=given)
    assert found[""].url_host == "web-blue.example.com"
    assert found["v2"].local[-1] == "web-v2.shop.svc.cluster.local"


def test_a_name_that_is_no_host_is_an_error() -> None:
    given = settings(network={"domain-template": "{{.Name}}.{{.Annotations.sub}}.{{.Domain}}"})
    with pytest.raises(DomainError, match="fully qualified"):
        hosts(route(annotations={"sub": "Not A Host"}), given=given)


def test_names_that_end_in_digits_are_left_out() -> None:
    subject = route()
    subject.metadata.namespace = "123"
    assert hosts(subject)[""].local == ("web.123.svc", "web.123.svc.cluster.local")


# The Ingress.


def test_s84_rules_come_by_tag_with_the_routes_own_first_and_local_before_public() -> None:
    groups = {"v2": [target("web-2", 100, "v2")], "": [target("web-1", 100)], "a": [target("web-1", 100, "a")]}
    rules = built(groups)["spec"]["rules"]
    assert [(rule["hosts"][0], rule["visibility"]) for rule in rules] == [
        ("web.shop", "ClusterLocal"),
        ("web.shop.example.com", "ExternalIP"),
        ("a-web.shop", "ClusterLocal"),
        ("a-web.shop.example.com", "ExternalIP"),
        ("v2-web.shop", "ClusterLocal"),
        ("v2-web.shop.example.com", "ExternalIP"),
    ]


def test_s85_splits_name_their_revision_and_leave_out_zero() -> None:
    groups = {"": [target("web-1", 80), target("web-2", 20, protocol="h2c"), target("web-3", 0)]}
    assert built(groups)["spec"]["rules"][0]["http"]["paths"][0]["splits"] == [
        {
            "serviceNamespace": "shop",
            "serviceName": name,
            "servicePort": port,
            "percent": percent,
            "appendHeaders": {"Knative-Serving-Revision": name, "Knative-Serving-Namespace": "shop"},
        }
        for name, port, percent in (("web-1", 80, 80), ("web-2", 81, 20))
    ]


def test_a_rollout_splits_the_share_of_its_configuration() -> None:
    groups = {"": [target("web-2", 60, latest=True), target("pinned", 40)]}
    shares = (rollout.RevisionShare("web-1", 59), rollout.RevisionShare("web-2", 1))
    state = Rollout((rollout.ConfigurationRollout("web", "", 60, shares),))
    splits = built(groups, state=state)["spec"]["rules"][0]["http"]["paths"][0]["splits"]
    assert [(split["serviceName"], split["percent"]) for split in splits] == [
        ("web-1", 59),
        ("web-2", 1),
        ("pinned", 40),
    ]


def test_labels_and_annotations_of_the_ingress() -> None:
    subject = route(
        labels={"team": "blue"},
        annotations={
            "a": "b",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "networking.knative.dev/certificate-class": "x",
        },
    )
    meta = built({"": [target("web-1", 100)], "v2": [target("web-1", 100, "v2")]}, subject)["metadata"]
    assert meta["labels"] == {
        "team": "blue",
        "serving.knative.dev/route": "web",
        "serving.knative.dev/routeNamespace": "shop",
    }
    annotations = meta["annotations"]
    assert json.loads(annotations.pop("networking.internal.knative.dev/tag-to-host"))["v2"][-1] == (
        "v2-web.shop.svc.cluster.local"
    )
    assert annotations.pop("networking.internal.knative.dev/rollout") == '{"configurations":[]}'
    assert annotations == {"a": "b", "networking.knative.dev/ingress.class": "istio.ingress.networking.knative.dev"}


def test_the_http_option_is_the_routes_then_the_clusters() -> None:
    groups = {"": [target("web-1", 100)]}
    key = "networking.knative.dev/http-protocol"
    assert built(groups)["spec"]["httpOption"] == "Enabled"
    assert built(groups, given=settings(network={"http-protocol": "Redirected"}))["spec"]["httpOption"] == "Redirected"
    assert built(groups, given=settings(network={"http-protocol": "disabled"}))["spec"]["httpOption"] == ""
    assert built(groups, route(annotations={key: "REDIRECTED"}))["spec"]["httpOption"] == "Redirected"
    with pytest.raises(ingress.HttpOptionError):
        built(groups, route(annotations={key: "off"}))


def test_tags_can_be_chosen_by_header() -> None:
    given = settings(features={"tag-header-based-routing": "Enabled"})
    groups = {"": [target("web-1", 100)], "v2": [target("web-2", 100, "v2")]}
    own, _, tagged, _ = built(groups, given=given)["spec"]["rules"]
    by_header, default = own["http"]["paths"]
    assert by_header["headers"] == {"Knative-Serving-Tag": {"exact": "v2"}}
    assert by_header["splits"][0]["serviceName"] == "web-2"
    assert default["appendHeaders"] == {"Knative-Serving-Default-Route": "true"}
    assert tagged["http"]["paths"][0]["appendHeaders"] == {"Knative-Serving-Tag": "v2"}


def test_an_ingress_that_is_as_wanted_is_left_alone() -> None:
    wanted = built({"": [target("web-1", 100)]})
    existing = msgspec.convert(wanted, Ingress)
    assert ingress.drift_patch(existing, wanted) is None
    other = built({"": [target("web-2", 100)]})
    assert [op["path"] for op in ingress.drift_patch(existing, other) or []] == ["/spec"]


def test_s78_s79_shares_of_one_revision_are_one_and_a_tag_has_its_own_host() -> None:
    @dataclass(frozen=True)
    class Known:
        name: str
        configuration: str = ""
        service: str = ""
        protocol: str = "http1"
        ready: bool | None = True

    targets = [
        TrafficTarget(revision_name="web-1", percent=30),
        TrafficTarget(revision_name="web-1", percent=60),
        TrafficTarget(revision_name="web-1", percent=10, tag="v2"),
    ]
    found = traffic.build(targets, "", lambda name: None, Known)
    rules = built(found.groups)["spec"]["rules"]
    assert [rule["http"]["paths"][0]["splits"][0]["percent"] for rule in rules] == [100, 100, 100, 100]
    assert [rule["hosts"][0] for rule in rules if rule["visibility"] == "ExternalIP"] == [
        "web.shop.example.com",
        "v2-web.shop.example.com",
    ]


# Placeholders.


def status(*, private: LoadBalancerIngress | None = None, public: LoadBalancerIngress | None = None) -> IngressStatus:
    return IngressStatus(
        private_load_balancer=LoadBalancer(ingress=[private]) if private else None,
        public_load_balancer=LoadBalancer(ingress=[public]) if public else None,
    )


def test_a_placeholder_begins_as_an_alias_of_its_own_name() -> None:
    subject = route(labels={"team": "blue", **LOCAL}, annotations={"a": "b"})
    made = placeholder.build(subject, hosts()[""])
    assert made["metadata"]["labels"] == {"team": "blue", "serving.knative.dev/route": "web"}
    assert made["spec"]["externalName"] == "web.shop.svc.cluster.local"
    assert made["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/h2c"


@pytest.mark.parametrize(
    ("entry", "type_", "detail"),
    [
        (LoadBalancerIngress(ip="10.0.0.5", domain_internal="x"), "ClusterIP", "None"),
        (LoadBalancerIngress(domain_internal="gw.internal", domain="x"), "ExternalName", "gw.internal"),
        (LoadBalancerIngress(domain="gw.example.com", mesh_only=True), "ExternalName", "gw.example.com"),
        (LoadBalancerIngress(mesh_only=True), "ClusterIP", None),
    ],
)
def test_s86_a_placeholder_leads_to_the_gateway(entry: LoadBalancerIngress, type_: str, detail: str | None) -> None:
    spec = placeholder.spec_for(entry)
    assert spec is not None
    assert spec["type"] == type_
    assert spec.get("clusterIP", spec.get("externalName")) == detail


def test_s86_a_headless_placeholder_has_one_address() -> None:
    made = placeholder.endpoints(route(), "web", LoadBalancerIngress(ip="10.0.0.5"))
    assert made is not None
    assert made["subsets"][0]["addresses"] == [{"ip": "10.0.0.5"}]
    assert placeholder.endpoints(route(), "web", LoadBalancerIngress(domain="x")) is None


def test_the_private_face_is_preferred_and_needed_by_what_is_local() -> None:
    private, public = LoadBalancerIngress(ip="10.0.0.5"), LoadBalancerIngress(ip="1.2.3.4")
    assert placeholder.load_balancer(status(private=private, public=public), is_local=False) == private
    assert placeholder.load_balancer(status(public=public), is_local=False) == public
    assert placeholder.load_balancer(status(public=public), is_local=True) is None
    two = IngressStatus(private_load_balancer=LoadBalancer(ingress=[private, public]))
    assert placeholder.load_balancer(two, is_local=False) is None


def test_a_cluster_ip_is_given_up_only_by_a_new_service() -> None:
    def made(spec: Json) -> Service:
        return msgspec.convert(placeholder.build(route(), hosts()[""], spec), Service)

    headless = placeholder.spec_for(LoadBalancerIngress(ip="10.0.0.5"))
    alias = placeholder.spec_for(LoadBalancerIngress(domain="x"))
    plain = placeholder.spec_for(LoadBalancerIngress(mesh_only=True))
    assert headless is not None
    assert alias is not None
    assert plain is not None
    assert not placeholder.must_recreate(made(alias), headless)
    assert placeholder.must_recreate(made(headless), alias)
    assert placeholder.must_recreate(made(headless), plain)
    assert placeholder.drift_patch(made(headless), headless) is None
    patch = placeholder.drift_patch(made(alias), headless)
    assert patch is not None
    assert patch["spec"]["externalName"] is None
