"""Admission: what is refused, and in which words (statements 2-36, 38-44).

Every case goes the way of a write: defaults, then checks. The number in a case's name is the statement's.
"""

import copy
import zlib

import pytest

from controller.admission import Admission, Denied
from controller.settings import example_checksum
from tests.controller.writes import (
    ANNOTATIONS,
    CONTAINER,
    MULTI,
    PINNED,
    SECRET_VOLUME,
    TEMPLATE,
    Json,
    Write,
    admit,
    changed,
    new,
    of,
    refusal,
    route,
    service,
    volume,
)

REFUSED: dict[str, tuple[Json, str]] = {
    "s2 a bare Route without traffic": (route(), "Traffic targets sum to 0, want 100: spec.traffic"),
    "s3 percents of 90 in all": (
        service(traffic=[{"percent": 50}, {"percent": 40, **PINNED}]),
        "Traffic targets sum to 90, want 100: spec.traffic",
    ),
    "s3 percents out of bounds": (
        service(traffic=[{"percent": 101}, {"percent": -1, **PINNED}]),
        "expected 0 <= -1 <= 100: spec.traffic[1].percent\nexpected 0 <= 101 <= 100: spec.traffic[0].percent",
    ),
    "s4 a tag twice": (
        service(traffic=[{"percent": 50, "tag": "a"}, {"percent": 50, "tag": "a", **PINNED}]),
        'Multiple definitions for "a": spec.traffic[0].tag, spec.traffic[1].tag',
    ),
    "a tag that is no label": (
        service(traffic=[{"percent": 100, "tag": "a" * 64}]),
        "invalid value: not a DNS 1035 label: [must be no more than 63 characters]: spec.traffic.tag[0]",
    ),
    "s5 a Configuration named in a Service": (
        service(traffic=[{"percent": 100, "configurationName": "web"}]),
        "must not set the field(s): spec.traffic[0].configurationName",
    ),
    "s6 latest and pinned": (
        service(traffic=[{"percent": 100, "latestRevision": True, **PINNED}]),
        'may not set revisionName "web-1" when latestRevision is true: spec.traffic[0].latestRevision',
    ),
    "s6 neither latest nor pinned": (
        service(traffic=[{"percent": 100, "latestRevision": False}]),
        'may not set revisionName "" when latestRevision is false: spec.traffic[0].latestRevision',
    ),
    "s7 autoscaling on the Service itself": (
        service(meta={"annotations": {"autoscaling.knative.dev/target": "10"}}),
        (
            'invalid key name "autoscaling.knative.dev/target": metadata.annotations\n'
            'autoscaling annotations must be put under "spec.template.metadata.annotations" to work'
        ),
    ),
    "s7 our own autoscaling on the Service itself": (
        service(meta={"annotations": {"autoscaling.knuv.dev/metric-url": ":80/metrics#a"}}),
        (
            'invalid key name "autoscaling.knuv.dev/metric-url": metadata.annotations\n'
            'autoscaling annotations must be put under "spec.template.metadata.annotations" to work'
        ),
    ),
    "s8 a rollout of half seconds": (
        service(meta={"annotations": {"serving.knative.dev/rollout-duration": "1500ms"}}),
        "rollout-duration=1500ms is not at second precision: metadata.annotations.serving.knative.dev/rollout-duration",
    ),
    "s8 a negative rollout": (
        service(meta={"annotations": {"serving.knative.dev/rollout-duration": "-1s"}}),
        "rollout-duration=-1s must be positive: metadata.annotations.serving.knative.dev/rollout-duration",
    ),
    "s10 a Revision named after something else": (
        service(template_meta={"name": "other-x"}),
        'invalid value: "other-x" must have prefix "web-": spec.template.metadata.name',
    ),
    "s12 a Revision's name without a Service's": (
        service(meta={"name": "", "generateName": "web-"}, template_meta={"name": "web-x"}),
        "must not set the field(s): spec.template.metadata.name",
    ),
    "s14 too long a timeout": (
        service({"timeoutSeconds": 601}),
        f"expected 0 <= 601 <= 600: {TEMPLATE}.timeoutSeconds",
    ),
    "s15 too much concurrency": (
        service({"containerConcurrency": 1001}),
        f"expected 0 <= 1001 <= 1000: {TEMPLATE}.containerConcurrency",
    ),
    "s15 negative concurrency": (
        service({"containerConcurrency": -1}),
        f"expected 0 <= -1 <= 1000: {TEMPLATE}.containerConcurrency",
    ),
    "s21 a timeout of aggressive probing": (
        service(container={"readinessProbe": {"periodSeconds": 0, "timeoutSeconds": 5}}),
        f"timeoutSeconds is disallowed when periodSeconds is zero: {CONTAINER}.readinessProbe.timeoutSeconds",
    ),
    "s23 a port named http": (
        service(container={"ports": [{"name": "http", "containerPort": 80}]}),
        f"Port name http is not allowed: {CONTAINER}.ports\nName must be empty, or one of: 'h2c', 'http1'",
    ),
    "s24 two containers without ports": (service(MULTI), f"missing field(s): {TEMPLATE}.containers[*].ports"),
    "s24 two containers with ports": (
        service({"containers": [{"image": "a/b", "ports": [{"containerPort": port}]} for port in (80, 81)]}),
        (
            f"more than one container port is set: {TEMPLATE}.containers[*].ports\n"
            "Only a single port is allowed across all containers"
        ),
    ),
    "s25 a reserved variable": (
        service(container={"env": [{"name": "K_SERVICE", "value": "x"}]}),
        f'"K_SERVICE" is a reserved environment variable: {CONTAINER}.env[0].name',
    ),
    "s25 the port of the serving container": (
        service(container={"env": [{"name": "PORT", "value": "1"}]}),
        f'"PORT" is a reserved environment variable: {CONTAINER}.env[0].name',
    ),
    "s26 a container named queue-proxy": (
        service(container={"name": "queue-proxy"}),
        f'"queue-proxy" is a reserved container name: {CONTAINER}.name',
    ),
    "s27 a mount at /dev/": (
        volume("/dev/"),
        f'mountPath "/dev" is a reserved path: {CONTAINER}.volumeMounts[0].mountPath',
    ),
    "s27 a mount at the root": (
        volume("/"),
        f'mountPath "/" is a reserved path: {CONTAINER}.volumeMounts[0].mountPath',
    ),
    "s27 a relative mount": (volume("etc"), f"invalid value: etc: {CONTAINER}.volumeMounts[0].mountPath"),
    "s27 two mounts at one place": (
        volume("/etc/x", "/etc//x/"),
        f'invalid value: "/etc//x/" must be unique: {CONTAINER}.volumeMounts[1].mountPath',
    ),
    "s28 a volume that nobody mounts": (
        service(SECRET_VOLUME),
        f'volume with name "v" not mounted: {TEMPLATE}.volumes[0].name',
    ),
    "s31 a service account's token": (
        service({"automountServiceAccountToken": True}),
        f"must not set the field(s): {TEMPLATE}.automountServiceAccountToken",
    ),
    "s32 a privileged container": (
        service(container={"securityContext": {"privileged": True}}),
        f"must not set the field(s): {CONTAINER}.securityContext.privileged",
    ),
    "s35 an unknown networking annotation": (
        service(template_meta={"annotations": {"networking.knative.dev/foo": "x"}}),
        f'invalid key name "networking.knative.dev/foo": {ANNOTATIONS}',
    ),
    "s36 too small a percentage": (
        service(template_meta={"annotations": {"queue.sidecar.serving.knative.dev/resource-percentage": "0.05"}}),
        f"expected 0.1 <= 0.05 <= 100: {ANNOTATIONS}.queue.sidecar.serving.knative.dev/resource-percentage",
    ),
    "no container": (service({"containers": []}), f"missing field(s): {TEMPLATE}.containers"),
    "no image": (service(container={"image": ""}), f"missing field(s): {CONTAINER}.image"),
    "an image that is none": (
        service(container={"image": "Not An Image"}),
        (
            f"Failed to parse image reference: {CONTAINER}.image\n"
            'image: "Not An Image", error: could not parse reference: Not An Image'
        ),
    ),
    "lifecycle hooks": (
        service(container={"lifecycle": {}}),
        f"must not set the field(s): {CONTAINER}.lifecycle",
    ),
    "a host name": (service({"hostname": "x"}), f"must not set the field(s): {TEMPLATE}.hostname"),
    "a node selector": (
        service({"nodeSelector": {"a": "b"}}),
        f"must not set the field(s): {TEMPLATE}.nodeSelector",
    ),
    "a quantity that is none": (
        service(container={"resources": {"requests": {"cpu": "much"}}}),
        f"invalid value: much: {CONTAINER}.resources.requests.cpu\nquantities look like 100m, 0.5, 128Mi or 1Gi",
    ),
    "two handlers of a probe": (
        service(container={"readinessProbe": {"httpGet": {}, "exec": {"command": ["x"]}}}),
        f"expected exactly one, got both: {CONTAINER}.readinessProbe.exec, {CONTAINER}.readinessProbe.httpGet",
    ),
    "a probe of a port that has another name": (
        service(container={"readinessProbe": {"httpGet": {"port": "web"}}}),
        f"invalid value: web: {CONTAINER}.readinessProbe.httpGet.port\nProbe port must match container port",
    ),
    "a volume without a source": (
        service({"volumes": [{"name": "v"}]}, container={"volumeMounts": [{"name": "v", "mountPath": "/x"}]}),
        "expected exactly one, got neither: "
        + ", ".join(f"{TEMPLATE}.volumes[0].{source}" for source in ("configMap", "emptyDir", "projected", "secret")),
    ),
    "a mount without a volume": (
        service(container={"volumeMounts": [{"name": "v", "mountPath": "/x", "readOnly": True}]}),
        f"volumeMount has no matching volume: {CONTAINER}.volumeMounts[0].name",
    ),
    "two sources of one envFrom": (
        service(container={"envFrom": [{"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}]}),
        f"expected exactly one, got both: {CONTAINER}.envFrom[0].configMapRef, {CONTAINER}.envFrom[0].secretRef",
    ),
    "a user below zero": (
        service(container={"securityContext": {"runAsUser": -1}}),
        f"expected 0 <= -1 <= 2147483647: {CONTAINER}.securityContext.runAsUser",
    ),
    "a bare Route to nothing": (
        route({"percent": 100}),
        "expected exactly one, got neither: spec.traffic[0].configurationName, spec.traffic[0].revisionName",
    ),
    "a Configuration that claims a Service": (
        {**service(meta={"labels": {"serving.knative.dev/service": "web"}}), "kind": "Configuration"},
        "missing field(s): metadata.labels.serving.knative.dev/service",
    ),
    "a bad target annotation": (
        service(template_meta={"annotations": {"autoscaling.knative.dev/target": "0"}}),
        f"target 0 should be at least 0.01: {ANNOTATIONS}.autoscaling.knative.dev/target",
    ),
    "two wrongs in one answer": (
        service({"timeoutSeconds": 601, "hostname": "x"}),
        f"expected 0 <= 601 <= 600: {TEMPLATE}.timeoutSeconds\nmust not set the field(s): {TEMPLATE}.hostname",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    obj, text = REFUSED[case]
    assert refusal(new(obj)) == text


ACCEPTED: dict[str, Json] = {
    "s3 50 and 50": service(traffic=[{"percent": 50}, {"percent": 50, **PINNED}]),
    "s8 no rollout": service(meta={"annotations": {"serving.knative.dev/rollout-duration": "0s"}}),
    "s8 a rollout in seconds": service(meta={"annotations": {"serving.knative.dev/rollout-duration": "90s"}}),
    "s8 a rollout in minutes": service(meta={"annotations": {"serving.knative.dev/rollout-duration": "2m"}}),
    "s10 a Revision with a name": service(template_meta={"name": "web-x"}),
    "s14 the longest timeout": service({"timeoutSeconds": 600}),
    "s18 an idle timeout beyond everything": service({"idleTimeoutSeconds": 100000}),
    "s22 port 8112": service(container={"ports": [{"containerPort": 8112}]}),
    "s23 h2c": service(container={"ports": [{"name": "h2c", "containerPort": 80}]}),
    "s23 http1": service(container={"ports": [{"name": "http1", "containerPort": 80}]}),
    "s23 no port name": service(container={"ports": [{"containerPort": 80}]}),
    "s25 PORT of a sidecar": service(
        {
            "containers": [
                {"image": "a/b", "ports": [{"containerPort": 80}]},
                {"image": "a/c", "env": [{"name": "PORT", "value": "1"}]},
            ]
        }
    ),
    "s31 no token": service({"automountServiceAccountToken": False}),
    "s32 not privileged": service(container={"securityContext": {"privileged": False}}),
    "s35 an ingress class": service(template_meta={"annotations": {"networking.knative.dev/ingress-class": "x"}}),
    "s36 a percentage": service(
        template_meta={"annotations": {"queue.sidecar.serving.knative.dev/resource-percentage": "20"}}
    ),
    "zeros and empty texts": service({"hostNetwork": False, "hostname": "", "tolerations": []}),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(case: str) -> None:
    admit(new(ACCEPTED[case]))


@pytest.mark.parametrize("port", [8012, 8013, 8022, 9090, 9091, 8008])
def test_s22_ports_of_the_system_are_refused(port: int) -> None:
    assert refusal(new(service(container={"ports": [{"containerPort": port}]}))) == (
        f"invalid value: {port} is a reserved port: {CONTAINER}.ports.containerPort\n"
        f"{port} is a reserved port, please use a different value"
    )


def test_s9_the_creator_stays_and_the_modifier_needs_a_change() -> None:
    old = admit(new(service()))
    assert old["metadata"]["annotations"] == {
        "serving.knative.dev/creator": "alice",
        "serving.knative.dev/lastModifier": "alice",
    }
    by_bob = admit(changed(old, {**old, "spec": service({"timeoutSeconds": 1})["spec"]}, username="bob"))
    assert by_bob["metadata"]["annotations"] == {
        "serving.knative.dev/creator": "alice",
        "serving.knative.dev/lastModifier": "bob",
    }
    for key, text in (
        ("creator", "annotation value is immutable: metadata.annotations.serving.knative.dev/creator"),
        ("lastModifier", "invalid value: eve: metadata.annotations.serving.knative.dev/lastModifier"),
    ):
        forged = copy.deepcopy(old)
        forged["metadata"]["annotations"][f"serving.knative.dev/{key}"] = "eve"
        assert refusal(changed(old, forged)) == text


def test_s11_a_named_template_changes_its_name_with_its_content() -> None:
    old = admit(new(service(template_meta={"name": "web-x"})))
    other = copy.deepcopy(old)
    of(other)["containers"][0]["image"] = "example.com/app:2"
    assert refusal(changed(old, other)) == (
        "Saw the following changes without a name change (-old +new): spec.template.metadata.name\n"
        '-spec.containers[0].image: "example.com/app:1"\n+spec.containers[0].image: "example.com/app:2"'
    )
    other["spec"]["template"]["metadata"]["name"] = "web-y"
    admit(changed(old, other))


def test_a_named_template_that_is_applied_again_is_the_same() -> None:
    manifest = service(template_meta={"name": "web-a"}, traffic=[{"percent": 100, "revisionName": "web-a"}])
    stored = admit(new(manifest))
    moved = {**copy.deepcopy(manifest), "metadata": stored["metadata"]}
    moved["spec"]["traffic"] = [{"percent": 100, "latestRevision": True}]
    again = admit(changed(stored, moved))
    assert again["spec"]["template"] == stored["spec"]["template"]
    assert again["spec"]["traffic"] == [{"percent": 100, "latestRevision": True}]
    moved["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/app:2"
    assert refusal(changed(stored, moved)).startswith("Saw the following changes without a name change")


def test_s13_a_revision_is_immutable_but_for_its_metadata() -> None:
    spec = {"containers": [{"image": "example.com/app:1"}]}
    obj = {"kind": "Revision", "metadata": {"name": "web-1", "namespace": "default"}, "spec": spec}
    old = admit(new(obj))
    other = copy.deepcopy(old)
    other["metadata"]["labels"] = {"a": "b"}
    admit(changed(old, other))
    other["spec"]["timeoutSeconds"] = 1
    assert refusal(changed(old, other)) == (
        "Immutable fields changed (-old +new): spec\n-timeoutSeconds: 300\n+timeoutSeconds: 1"
    )


def test_s15_zero_concurrency_can_be_forbidden() -> None:
    text = refusal(new(service()), defaults={"allow-container-concurrency-zero": "false"})
    assert text == f"expected 1 <= 0 <= 1000: {TEMPLATE}.containerConcurrency"


def test_s30_allowed_is_enough_for_fields_and_not_for_init_containers() -> None:
    selected = service({"nodeSelector": {"a": "b"}})
    admit(new(selected), features={"kubernetes.podspec-nodeselector": "Allowed"})
    init = service({"initContainers": [{"image": "a/b"}]})
    flag = "kubernetes.podspec-init-containers"
    assert "init-containers is off" in refusal(new(init), features={flag: "Allowed"})
    assert refusal(new(init)) == f"must not set the field(s): {TEMPLATE}.initContainers"
    admit(new(init), features={flag: "Enabled"})


def test_s36_a_percentage_brings_a_warning() -> None:
    write = new(ACCEPTED["s36 a percentage"])
    admission = Admission({}.get)
    warnings = admission.validate(Write("Service", admission.default(write)))
    assert len(warnings) == 1
    assert "deprecated" in warnings[0]


def config_map(name: str, data: dict[str, str], annotations: dict[str, str] | None = None) -> Write:
    meta = {"name": name, "namespace": "knative-serving", "annotations": annotations or {}}
    obj = {"kind": "ConfigMap", "metadata": meta, "data": data}
    return Write("ConfigMap", obj, group="", namespace="knative-serving", name=name)


def test_s38_an_example_is_not_to_be_edited() -> None:
    text = "\n# a\n\n\nkey: value\n"
    checksum = f"{zlib.crc32(b'# a' + bytes([92]) + b'nkey: value'):08x}"
    assert example_checksum(text) == checksum
    admit(config_map("config-gc", {"_example": text}, {"knative.dev/example-checksum": checksum}))
    assert "_example" in refusal(
        config_map("config-gc", {"_example": text + "x"}, {"knative.dev/example-checksum": checksum})
    )


CONFIG_MAPS: dict[str, tuple[str, dict[str, str], str]] = {
    "s39": ("gc", {"min-non-active-revisions": "10", "max-non-active-revisions": "5"}, "must be <="),
    "s41": (
        "defaults",
        {"revision-timeout-seconds": "700"},
        "cannot be greater than max-revision-timeout-seconds (600)",
    ),
    "s42 no image": ("deployment", {}, "queue sidecar image cannot be empty or unset"),
    "s42 half seconds": (
        "deployment",
        {"queue-sidecar-image": "x", "progress-deadline": "1500ms"},
        "must be rounded to a whole second",
    ),
    "s43 protocol": ("network", {"http-protocol": "foo"}, "foo"),
    "s43 template": ("network", {"domain-template": "{{.Name}}/x"}, "domain template"),
    "s43 function": ("network", {"domain-template": "{{ printf .Name }}"}, "domain-template"),
    "s44 endpoint": ("observability", {"tracing-endpoint": "x"}, "endpoint should not be set"),
    "s44 rate": ("observability", {"tracing-sampling-rate": "1.5"}, "should be between 0 and 1"),
    "autoscaler": ("autoscaler", {"stable-window": "1s"}, "stable-window"),
    "issuers": ("certmanager", {"issuerRef": "name: x"}, "issuerRef.kind: expected the kind of an issuer"),
    "gateways": ("gateway", {"local-gateways": "[]"}, "local-gateways: expected a list with exactly one Gateway"),
}


@pytest.mark.parametrize("case", CONFIG_MAPS)
def test_config_maps_that_cannot_be_used_are_refused(case: str) -> None:
    name, data, text = CONFIG_MAPS[case]
    assert text in refusal(config_map(f"config-{name}", data))


def test_s39_s40_disabled_bounds_and_unknown_features_are_fine() -> None:
    admit(config_map("config-gc", {"max-non-active-revisions": "Disabled"}))
    admit(config_map("config-features", {"multi-container": "maybe"}))
    admit(config_map("somebody-elses", {"anything": "goes"}))


def test_a_wrong_type_is_refused_with_its_path() -> None:
    with pytest.raises(Denied) as caught:
        admit(new(service({"timeoutSeconds": "long"})))
    assert caught.value.message == (
        "mutation failed: cannot decode incoming new object: "
        "spec.template.spec.timeoutSeconds: Expected `int | null`, got `str`"
    )
    assert caught.value.causes[0][0] == "spec.template.spec.timeoutSeconds"


def test_the_causes_name_every_path() -> None:
    with pytest.raises(Denied) as caught:
        admit(new(REFUSED["two wrongs in one answer"][0]))
    assert [path for path, _ in caught.value.causes] == [f"{TEMPLATE}.timeoutSeconds", f"{TEMPLATE}.hostname"]


def test_deletion_and_status_updates_pass() -> None:
    bad = service({"timeoutSeconds": 601})
    admission = Admission({}.get)
    for write in (Write("Service", bad, operation="DELETE"), Write("Service", bad, bad, subresource="status")):
        assert admission.default(write) is bad
        assert admission.validate(write) == []
