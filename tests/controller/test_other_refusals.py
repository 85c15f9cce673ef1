"""Invalid objects of other kinds, and values of ConfigMaps: refused with path and reason, on creation and on change.

Source: spec control-plane.md 4.7, 10, 11; ingress.md 2.
"""

from typing import Any

import pytest

from tests.controller.writes import Json, Write, admit, refusal

NETWORKING, AUTOSCALING = "networking.internal.knative.dev", "autoscaling.internal.knative.dev"
SPLIT = {"serviceNamespace": "default", "serviceName": "web", "servicePort": 80, "percent": 100}
PATH = {"splits": [SPLIT]}
CERTIFICATE = {"dnsNames": ["a.example.com"], "secretName": "s"}
DEPLOYMENT = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
SERVERLESS = {"mode": "Serve", "objectRef": DEPLOYMENT, "protocolType": "http1"}
AUTOSCALER = {"scaleTargetRef": DEPLOYMENT, "protocolType": "http1"}
SERVICE = {"kind": "Service", "name": "web", "apiVersion": "serving.knative.dev/v1"}


def an(kind: str, spec: Json, **meta: Any) -> Json:
    return {"kind": kind, "metadata": {"name": "web", "namespace": "default", **meta}, "spec": spec}


def mapping(name: str = "shop.example.com", ref: Json | None = None, **meta: Any) -> Json:
    return an("DomainMapping", {"ref": SERVICE if ref is None else ref}, name=name, **meta)


def ingress(rule: Json, **spec: Any) -> Json:
    return an("Ingress", {"rules": [{"visibility": "ExternalIP", **rule}], **spec})


def leading(*paths: Json) -> Json:
    """A rule with these paths."""
    return {"http": {"paths": list(paths)}}


REFUSED: dict[str, tuple[Json, str]] = {
    "a mapping with a generated name": (
        mapping("", generateName="x-"),
        (
            "invalid value: : metadata.name\n"
            "expected a fully qualified domain name such as shop.example.com\n"
            "must not set the field(s): metadata.generateName"
        ),
    ),
    "a mapping of no domain": (
        mapping("shop"),
        ("invalid value: shop: metadata.name\nexpected a fully qualified domain name such as shop.example.com"),
    ),
    "a mapping within the cluster": (
        mapping("x.svc.cluster.local"),
        (
            'invalid name "x.svc.cluster.local": must not be a subdomain of cluster local domain "cluster.local": '
            "metadata.name"
        ),
    ),
    "a mapping to nothing": (mapping(ref={}), "missing field(s): spec.ref.apiVersion, spec.ref.kind, spec.ref.name"),
    "a mapping to another namespace": (
        mapping(ref={**SERVICE, "namespace": "other"}),
        ('mismatched namespaces: spec.ref.namespace\nparent namespace: "default" does not match ref: "other"'),
    ),
    "an Ingress without anything": (an("Ingress", {}), "missing field(s): spec"),
    "an Ingress without rules": (an("Ingress", {"rules": [], "httpOption": "Enabled"}), "missing field(s): spec.rules"),
    "a rule without http": (ingress({"hosts": ["a"]}), "missing field(s): spec.rules[0].http"),
    "a rule without paths": (ingress(leading()), "missing field(s): spec.rules[0].http.paths"),
    "a path without splits": (ingress(leading({})), "missing field(s): spec.rules[0].http.paths[0].splits"),
    "an unknown visibility": (
        ingress({**leading(PATH), "visibility": "Secret"}),
        "invalid value: Secret: spec.rules[0].visibility",
    ),
    "a share beyond all": (
        ingress(leading({"splits": [{**SPLIT, "percent": 101}]})),
        (
            "expected 0 <= 101 <= 100: spec.rules[0].http.paths[0].splits[0].percent\n"
            "traffic split percentage must total to 100, but was 101: spec.rules[0].http.paths[0].splits"
        ),
    ),
    "a split to nothing": (
        ingress(leading({"splits": [{"percent": 100, "serviceNamespace": "default"}]})),
        (
            "missing field(s): spec.rules[0].http.paths[0].splits[0].serviceName, "
            "spec.rules[0].http.paths[0].splits[0].servicePort"
        ),
    ),
    "a certificate without a Secret": (
        ingress(leading(PATH), tls=[{"hosts": ["a"]}]),
        "missing field(s): spec.tls[0].secretName, spec.tls[0].secretNamespace",
    ),
    "an unknown HTTP option": (ingress(leading(PATH), httpOption="foo"), "invalid value: foo: spec.httpOption"),
    "a Certificate without names": (
        an("Certificate", {**CERTIFICATE, "dnsNames": []}),
        "missing field(s): spec.dnsNames",
    ),
    "a Certificate with an empty name": (
        an("Certificate", {**CERTIFICATE, "dnsNames": ["a.example.com", ""]}),
        "invalid value: : spec.dnsNames[1]",
    ),
    "a Certificate of another domain": (
        an("Certificate", {**CERTIFICATE, "domain": "other.org"}),
        "invalid value: other.org: spec.domain",
    ),
    "a Certificate without a Secret": (
        an("Certificate", {"dnsNames": ["a.example.com"]}),
        "missing field(s): spec.secretName",
    ),
    "a ServerlessService without a mode": (
        an("ServerlessService", {**SERVERLESS, "mode": ""}),
        "missing field(s): spec.mode",
    ),
    "a ServerlessService of an unknown mode": (
        an("ServerlessService", {**SERVERLESS, "mode": "Both"}),
        "invalid value: Both: spec.mode",
    ),
    "activators below zero": (
        an("ServerlessService", {**SERVERLESS, "numActivators": -1}),
        "invalid value: -1: spec.numActivators",
    ),
    "a ServerlessService of nothing": (an("ServerlessService", {"mode": "Serve"}), "missing field(s): spec.objectRef"),
    "a PodAutoscaler of nothing": (
        an("PodAutoscaler", {**AUTOSCALER, "scaleTargetRef": {}}),
        "missing field(s): spec.scaleTargetRef.name",
    ),
    "an unknown reachability": (
        an("PodAutoscaler", {**AUTOSCALER, "reachability": "Maybe"}),
        "invalid value: Maybe: spec.reachability",
    ),
    "a PodAutoscaler's bad target": (
        an("PodAutoscaler", AUTOSCALER, annotations={"autoscaling.knative.dev/target": "0"}),
        "target 0 should be at least 0.01: metadata.annotations.autoscaling.knative.dev/target",
    ),
}
GOOD = {
    "DomainMapping": mapping(),
    "Ingress": ingress(leading(PATH)),
    "Certificate": an("Certificate", CERTIFICATE),
    "ServerlessService": an("ServerlessService", SERVERLESS),
    "PodAutoscaler": an("PodAutoscaler", AUTOSCALER),
}
SYSTEM = "knative-serving"
NEEDED = {"deployment": {"queue-sidecar-image": "x"}, "observability": {"logging.enable-request-log": "true"}}
"""Without which the map would be refused for another reason, or the value not be looked at."""


def written(obj: Json, operation: str, old: Json | None = None) -> Write:
    kind = obj["kind"]
    group = {"DomainMapping": "serving.knative.dev", "PodAutoscaler": AUTOSCALING}.get(kind, NETWORKING)
    return Write(kind, obj, old or {}, group=group, name=obj["metadata"]["name"], operation=operation)


@pytest.mark.parametrize("row", REFUSED)
def test_an_object_is_refused_when_it_is_created_and_when_it_is_changed(row: str) -> None:
    obj, text = REFUSED[row]
    good = admit(written(GOOD[obj["kind"]], "CREATE"))
    assert refusal(written(obj, "CREATE")) == text
    authors = good["metadata"].get("annotations", {})
    kept = {
        **obj,
        "metadata": {**obj["metadata"], "annotations": {**authors, **obj["metadata"].get("annotations", {})}},
    }
    assert refusal(written(kept, "UPDATE", good)) == text


@pytest.mark.parametrize(
    ("section", "key", "value", "text"),
    [
        ("defaults", "container-concurrency", "-1", "expected 0 <= -1 <= 1000: container-concurrency"),
        (
            "defaults",
            "container-name-template",
            "{{.Nope",
            "failed to parse \"container-name-template\": unclosed action in template '{{.Nope'",
        ),
        (
            "defaults",
            "revision-cpu-request",
            "much",
            "failed to parse \"revision-cpu-request\": expected a quantity such as 100m or 1Gi, got 'much'",
        ),
        (
            "defaults",
            "revision-timeout-seconds",
            "x",
            'failed to parse "revision-timeout-seconds": strconv.ParseInt: parsing "x": invalid syntax',
        ),
        ("deployment", "default-affinity-type", "other", "unsupported default-affinity-type: other"),
        (
            "deployment",
            "digest-resolution-timeout",
            "0s",
            "digest-resolution-timeout cannot be a non-positive duration, was 0s",
        ),
        ("deployment", "progress-deadline", "-1s", "progress-deadline cannot be a non-positive duration, was -1s"),
        (
            "deployment",
            "queue-sidecar-cpu-request",
            "much",
            "failed to parse \"queue-sidecar-cpu-request\": expected a quantity such as 100m or 1Gi, got 'much'",
        ),
        ("domain", "example.com", "selector: [a]", "example.com: selector must be a map of labels"),
        ("domain", "example.com", "text", "example.com: expected a mapping, got 'text'"),
        ("gc", "min-non-active-revisions", "-1", "min-non-active-revisions must be non-negative, was: -1"),
        ("gc", "retain-since-create-time", "-1h", "retain-since-create-time must be non-negative, was: -1h0m0s"),
        (
            "gc",
            "retain-since-create-time",
            "soon",
            'failed to parse "retain-since-create-time": time: invalid duration "soon"',
        ),
        (
            "network",
            "autocreate-cluster-domain-claims",
            "maybe",
            'failed to parse "autocreate-cluster-domain-claims": strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        ("network", "http-protocol", "foo", "httpProtocol foo in config-network ConfigMap is not supported"),
        (
            "network",
            "namespace-wildcard-cert-selector",
            "[a]",
            "namespace-wildcard-cert-selector: expected a mapping, got '[a]'",
        ),
        ("network", "rollout-duration", "-1", "rollout-duration must be a positive integer, but was -1"),
        (
            "network",
            "system-internal-tls",
            "maybe",
            'failed to parse "system-internal-tls": expected enabled or disabled, got "maybe"',
        ),
        (
            "observability",
            "logging.request-log-template",
            "",
            "logging.request-log-template must not be empty when the request log is enabled",
        ),
        ("observability", "metrics-endpoint", "http://x", 'endpoint should not be set when protocol is "none"'),
        (
            "observability",
            "metrics-export-interval",
            "-1s",
            "metrics-export-interval must be greater than or equal to zero, was -1s",
        ),
        ("observability", "metrics-protocol", "x", 'unsupported protocol "x"'),
        (
            "observability",
            "request-metrics-protocol",
            "http/protobuf",
            'endpoint should be set when protocol is "http/protobuf"',
        ),
        (
            "observability",
            "runtime-export-interval",
            "soon",
            'failed to parse "runtime-export-interval": time: invalid duration "soon"',
        ),
        ("observability", "runtime-profiling", "maybe", 'unsupported runtime-profiling value "maybe"'),
        ("observability", "tracing-protocol", "x", 'unsupported protocol "x"'),
    ],
)
def test_a_value_of_a_config_map_is_refused(section: str, key: str, value: str, text: str) -> None:
    name = f"config-{section}"
    meta = {"name": name, "namespace": SYSTEM}
    obj = {"kind": "ConfigMap", "metadata": meta, "data": {**NEEDED.get(section, {}), key: value}}
    for operation in ("CREATE", "UPDATE"):
        write = Write("ConfigMap", obj, group="", namespace=SYSTEM, name=name, operation=operation)
        assert refusal(write) == text
