"""Every kind of invalid manifest: refused with path and reason, when it is created and when it is changed.

Rows follow the tables of the contract (spec control-plane.md 4.1-4.5); those with a numbered statement are in
`test_admission`, and are repeated here as changes.
"""

from typing import Any

import pytest

from controller.admission import Denied
from tests.controller.test_admission import REFUSED
from tests.controller.writes import (
    ANNOTATIONS,
    CONTAINER,
    TEMPLATE,
    Json,
    Write,
    admit,
    changed,
    new,
    refusal,
    route,
    service,
)

LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
SECRET = {"name": "v", "secret": {"secretName": "s"}}
NO_EMPTY = {"features": {"kubernetes.podspec-volumes-emptydir": "Disabled"}}
NO_MULTI = {"features": {"multi-container": "Disabled"}}
Maps = dict[str, dict[str, str]]


def enabled(*names: str) -> Maps:
    return {"features": dict.fromkeys(names, "Enabled")}


def mounted(volume: Json, mount: Json | None = None) -> Json:
    """A Service with a volume and a mount of it."""
    whole = {"name": volume.get("name", "v"), "mountPath": "/etc/x", "readOnly": True, **(mount or {})}
    return service({"volumes": [volume]}, container={"volumeMounts": [whole]})


def probing(probe: Json, kind: str = "readinessProbe") -> Json:
    return service(container={kind: probe})


def beside(**sidecar: Any) -> Json:
    """A Service with a sidecar."""
    serving = {"image": "a/b", "ports": [{"containerPort": 80}]}
    return service({"containers": [serving, {"image": "a/c", **sidecar}]})


def variable(**of: Any) -> Json:
    return service(container={"env": [of]})


def annotated(key: str, value: str) -> Json:
    return service(template_meta={"annotations": {key: value}})


ROWS: dict[str, tuple[Json, str, Maps]] = {
    "a service account that is no name": (
        service({"serviceAccountName": "Not_One"}),
        f"invalid value: Not_One: {TEMPLATE}.serviceAccountName",
        {},
    ),
    "two containers where only one may be": (
        beside(),
        f"multi-container is off, but found 2 containers: {TEMPLATE}",
        NO_MULTI,
    ),
    "two containers of one name": (
        service(
            {
                "containers": [
                    {"name": "a", "image": "a/b", "ports": [{"containerPort": 80}]},
                    {"name": "a", "image": "a/c"},
                ]
            }
        ),
        f'duplicate container name "a": {TEMPLATE}.containers[1].name',
        {},
    ),
    "a probe of a sidecar": (
        beside(readinessProbe={"tcpSocket": {"port": 1}}),
        f"must not set the field(s): {TEMPLATE}.containers[1].readinessProbe",
        {},
    ),
    "a termination message policy that is none": (
        service(container={"terminationMessagePolicy": "Shout"}),
        f"invalid value: Shout: {CONTAINER}.terminationMessagePolicy",
        {},
    ),
    "a port of UDP": (
        service(container={"ports": [{"containerPort": 80, "protocol": "UDP"}]}),
        f"invalid value: UDP: {CONTAINER}.ports.protocol",
        {},
    ),
    "a port beyond all": (
        service(container={"ports": [{"containerPort": 70000}]}),
        f"expected 0 <= 70000 <= 65535: {CONTAINER}.ports.containerPort",
        {},
    ),
    "a port with a host's": (
        service(container={"ports": [{"containerPort": 80, "hostPort": 80}]}),
        f"must not set the field(s): {CONTAINER}.ports.hostPort",
        {},
    ),
    "a variable without a name": (variable(value="x"), f"missing field(s): {CONTAINER}.env[0].name", {}),
    "a variable of the pod": (
        variable(name="A", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}),
        f"must not set the field(s): {CONTAINER}.env[0].valueFrom.fieldRef",
        {},
    ),
    "a variable of a map without a key": (
        variable(name="A", valueFrom={"configMapKeyRef": {"name": "m"}}),
        f"missing field(s): {CONTAINER}.env[0].valueFrom.configMapKeyRef.key",
        {},
    ),
    "variables from nothing": (
        service(container={"envFrom": [{}]}),
        f"expected exactly one, got neither: {CONTAINER}.envFrom[0].configMapRef, {CONTAINER}.envFrom[0].secretRef",
        {},
    ),
    "variables from a map without a name": (
        service(container={"envFrom": [{"configMapRef": {}}]}),
        f"missing field(s): {CONTAINER}.envFrom[0].configMapRef.name",
        {},
    ),
    "claims in resources": (
        service(container={"resources": {"claims": [{"name": "c"}]}}),
        f"must not set the field(s): {CONTAINER}.resources.claims",
        {},
    ),
    "no success in a probe": (
        probing({"tcpSocket": {}, "successThreshold": -1}),
        f"expected 1 <= -1 <= 2147483647: {CONTAINER}.readinessProbe.successThreshold",
        {},
    ),
    "no failure in a probe": (
        probing({"tcpSocket": {}, "periodSeconds": 5, "failureThreshold": -1}),
        f"expected 1 <= -1 <= 2147483647: {CONTAINER}.readinessProbe.failureThreshold",
        {},
    ),
    "a failure threshold of aggressive probing": (
        probing({"tcpSocket": {}, "periodSeconds": 0, "failureThreshold": 2}),
        f"failureThreshold is disallowed when periodSeconds is zero: {CONTAINER}.readinessProbe.failureThreshold",
        {},
    ),
    "a grace period of a probe": (
        probing({"tcpSocket": {}, "terminationGracePeriodSeconds": 5}),
        f"must not set the field(s): {CONTAINER}.readinessProbe.terminationGracePeriodSeconds",
        {},
    ),
    "a probe's unknown field": (
        probing({"httpGet": {"path": "/", "port": 80, "what": 1}}),
        f"must not set the field(s): {CONTAINER}.readinessProbe.httpGet.what",
        {},
    ),
    "a sidecar's probe without a port": (
        beside(livenessProbe={"tcpSocket": {}}),
        (f"invalid value: 0: {TEMPLATE}.containers[1].livenessProbe.tcpSocket.port\nProbe port must be specified"),
        enabled("multi-container-probing"),
    ),
    "a liveness probe of nothing": (
        probing({"periodSeconds": 1}, "livenessProbe"),
        (
            "expected exactly one, got neither: "
            f"{CONTAINER}.livenessProbe.exec, "
            f"{CONTAINER}.livenessProbe.grpc, "
            f"{CONTAINER}.livenessProbe.httpGet, "
            f"{CONTAINER}.livenessProbe.tcpSocket"
        ),
        {},
    ),
    "a pod's security context": (
        service({"securityContext": {"runAsUser": 1}}),
        f"must not set the field(s): {TEMPLATE}.securityContext.runAsUser",
        {},
    ),
    "a pod's user below zero": (
        service({"securityContext": {"runAsUser": -1}}),
        f"expected 0 <= -1 <= 2147483647: {TEMPLATE}.securityContext.runAsUser",
        enabled("kubernetes.podspec-securitycontext"),
    ),
    "a group below zero": (
        service({"securityContext": {"supplementalGroups": [-1]}}),
        f"expected 0 <= -1 <= 2147483647: {TEMPLATE}.securityContext.supplementalGroups[0]",
        enabled("kubernetes.podspec-securitycontext"),
    ),
    "a sysctl": (
        service({"securityContext": {"sysctls": []}}),
        f"must not set the field(s): {TEMPLATE}.securityContext.sysctls",
        enabled("kubernetes.podspec-securitycontext"),
    ),
    "a capability that is added": (
        service(container={"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}),
        f"must not set the field(s): {CONTAINER}.securityContext.capabilities.add",
        {},
    ),
    "a process namespace that is shared": (
        service({"shareProcessNamespace": True}),
        f"must not set the field(s): {TEMPLATE}.shareProcessNamespace",
        {},
    ),
    "an init container": (
        service({"initContainers": [{"image": "a/b"}]}),
        f"must not set the field(s): {TEMPLATE}.initContainers",
        {},
    ),
    "an init container's probe": (
        service({"initContainers": [{"image": "a/b", "readinessProbe": {"tcpSocket": {"port": 1}}}]}),
        f"must not set the field(s): {CONTAINER}.readinessProbe",
        enabled("kubernetes.podspec-init-containers"),
    ),
    "an empty directory where there are none": (
        mounted({"name": "v", "emptyDir": {}}),
        (
            f"EmptyDir volume support is disabled, but found EmptyDir volume v: {TEMPLATE}.volumes[0]\n"
            f"must not set the field(s): {TEMPLATE}.volumes[0].emptyDir"
        ),
        NO_EMPTY,
    ),
    "a claim where there are none": (
        mounted({"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}}),
        (
            "Persistent volume claim volume support is disabled, but found Persistent volume claim volume v: "
            f"{TEMPLATE}.volumes[0]\n"
            f"must not set the field(s): {TEMPLATE}.volumes[0].persistentVolumeClaim"
        ),
        {},
    ),
    "a claim that is written": (
        mounted({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}),
        f"Persistent volume write support is disabled, but found volume v not read-only: {TEMPLATE}.volumes[0]",
        enabled("kubernetes.podspec-persistent-volume-claim"),
    ),
    "a claim that is only read, and a mount that writes": (
        mounted({"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}}, {"readOnly": False}),
        f"volume is readOnly but volume mount is not: {CONTAINER}.volumeMounts[0].readOnly",
        enabled("kubernetes.podspec-persistent-volume-claim"),
    ),
    "two volumes of one name": (
        service({"volumes": [SECRET, SECRET]}, container={"volumeMounts": [{"name": "v", "mountPath": "/etc/x"}]}),
        f'duplicate volume name "v": {TEMPLATE}.volumes[1].name',
        {},
    ),
    "a volume without a name": (
        mounted({"name": "", "secret": {"secretName": "s"}}),
        f"missing field(s): {TEMPLATE}.volumes[0].name",
        {},
    ),
    "a volume whose name is none": (
        mounted({"name": "V_1", "secret": {"secretName": "s"}}),
        f"invalid value: V_1: {TEMPLATE}.volumes[0].name",
        {},
    ),
    "a volume of the host": (
        mounted({"name": "v", "hostPath": {"path": "/"}}),
        f"must not set the field(s): {TEMPLATE}.volumes[0].hostPath",
        {},
    ),
    "a volume of two sources": (
        mounted({"name": "v", "secret": {"secretName": "s"}, "configMap": {"name": "m"}}),
        f"expected exactly one, got both: {TEMPLATE}.volumes[0].configMap, {TEMPLATE}.volumes[0].secret",
        {},
    ),
    "an item without a path": (
        mounted({"name": "v", "secret": {"secretName": "s", "items": [{"key": "k"}]}}),
        f"missing field(s): {TEMPLATE}.volumes[0].items[0].path",
        {},
    ),
    "an empty projection": (
        mounted({"name": "v", "projected": {"sources": [{}]}}),
        (
            "expected exactly one, got neither: "
            f"{TEMPLATE}.volumes[0].projected[0].configMap, "
            f"{TEMPLATE}.volumes[0].projected[0].downwardAPI, "
            f"{TEMPLATE}.volumes[0].projected[0].secret, "
            f"{TEMPLATE}.volumes[0].projected[0].serviceAccountToken"
        ),
        {},
    ),
    "a projection of two": (
        mounted({"name": "v", "projected": {"sources": [{"secret": {"name": "s"}, "configMap": {"name": "m"}}]}}),
        (
            "expected exactly one, got both: "
            f"{TEMPLATE}.volumes[0].projected[0].configMap, "
            f"{TEMPLATE}.volumes[0].projected[0].secret"
        ),
        {},
    ),
    "a projection of what is unknown": (
        mounted({"name": "v", "projected": {"sources": [{"clusterTrustBundle": {}}]}}),
        (
            "expected exactly one, got neither: "
            f"{TEMPLATE}.volumes[0].projected[0].configMap, "
            f"{TEMPLATE}.volumes[0].projected[0].downwardAPI, "
            f"{TEMPLATE}.volumes[0].projected[0].secret, "
            f"{TEMPLATE}.volumes[0].projected[0].serviceAccountToken\n"
            f"must not set the field(s): {TEMPLATE}.volumes[0].projected[0].clusterTrustBundle"
        ),
        {},
    ),
    "a projection without a name": (
        mounted({"name": "v", "projected": {"sources": [{"secret": {"items": [{"key": "k"}]}}]}}),
        (
            "missing field(s): "
            f"{TEMPLATE}.volumes[0].projected[0].secret.items[0].path, "
            f"{TEMPLATE}.volumes[0].projected[0].secret.name"
        ),
        {},
    ),
    "a projected token without a path": (
        mounted({"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}),
        f"missing field(s): {TEMPLATE}.volumes[0].projected[0].serviceAccountToken.path",
        {},
    ),
    "a medium that is none": (
        mounted({"name": "v", "emptyDir": {"medium": "Disk"}}),
        f"invalid value: Disk: {TEMPLATE}.volumes[0].emptyDir.medium",
        {},
    ),
    "a size below zero": (
        mounted({"name": "v", "emptyDir": {"sizeLimit": "-1"}}),
        f"invalid value: -1: {TEMPLATE}.volumes[0].emptyDir.sizeLimit",
        {},
    ),
    "a size that is none": (
        mounted({"name": "v", "emptyDir": {"sizeLimit": "much"}}),
        f"invalid value: much: {TEMPLATE}.volumes[0].emptyDir.sizeLimit",
        {},
    ),
    "a mount without a path": (
        mounted(SECRET, {"mountPath": ""}),
        f"missing field(s): {CONTAINER}.volumeMounts[0].mountPath",
        {},
    ),
    "a mount that propagates": (
        mounted(SECRET, {"mountPropagation": "HostToContainer"}),
        f"must not set the field(s): {CONTAINER}.volumeMounts[0].mountPropagation",
        {},
    ),
    "a mount that propagates both ways": (
        mounted(SECRET, {"mountPropagation": "Bidirectional"}),
        f"invalid value: Bidirectional: {CONTAINER}.volumeMounts[0].mountPropagation",
        enabled("kubernetes.podspec-volumes-mount-propagation"),
    ),
    "a generated name that is none": (
        service(meta={"name": "", "generateName": "Not_One"}),
        f"not a DNS 1035 label prefix: [{LABEL}]: metadata.generateName",
        {},
    ),
    "no name at all": (service(meta={"name": ""}), "name or generateName is required: metadata.name", {}),
    "a name that is none": (service(meta={"name": "Not_One"}), f"not a DNS 1035 label: [{LABEL}]: metadata.name", {}),
    "a Revision's name that is none": (
        service(template_meta={"name": "web-X"}),
        f"invalid value: not a DNS 1035 label: [{LABEL}]: spec.template.metadata.name",
        {},
    ),
    "a queue-proxy resource that is no quantity": (
        annotated("queue.sidecar.serving.knative.dev/cpu-resource-request", "much"),
        f"invalid value: much: {ANNOTATIONS}.queue.sidecar.serving.knative.dev/cpu-resource-request",
        {},
    ),
    "a progress deadline of half seconds": (
        annotated("serving.knative.dev/progress-deadline", "1500ms"),
        f"progress-deadline=1500ms is not at second precision: {ANNOTATIONS}.serving.knative.dev/progress-deadline",
        {},
    ),
    "a progress deadline below zero": (
        annotated("serving.knative.dev/progress-deadline", "-1s"),
        f"progress-deadline=-1s must be positive: {ANNOTATIONS}.serving.knative.dev/progress-deadline",
        {},
    ),
    "a progress deadline that is none": (
        annotated("serving.knative.dev/progress-deadline", "soon"),
        f"invalid value: soon: {ANNOTATIONS}.serving.knative.dev/progress-deadline",
        {},
    ),
    "a rollout that is no duration": (
        service(meta={"annotations": {"serving.knative.dev/rollout-duration": "soon"}}),
        "invalid value: soon: metadata.annotations.serving.knative.dev/rollout-duration",
        {},
    ),
    "a target of two": (
        route({"revisionName": "web-1", "configurationName": "web", "percent": 100}),
        "expected exactly one, got both: spec.traffic[0].configurationName, spec.traffic[0].revisionName",
        {},
    ),
    "a URL that is asked for": (
        service(traffic=[{"percent": 100, "url": "http://x"}]),
        "must not set the field(s): spec.traffic[0].url",
        {},
    ),
}

CREATED_ONLY = frozenset(("no name at all", "a generated name that is none", "a name that is none"))
"""Names never change."""
GOOD: dict[str, Json] = {
    "Service": service(),
    "Route": route({"revisionName": "web-1", "percent": 100}),
    "Configuration": {**service(), "kind": "Configuration"},
}


@pytest.mark.parametrize("row", ROWS)
def test_refused_when_it_is_created(row: str) -> None:
    obj, text, maps = ROWS[row]
    assert refusal(new(obj), **maps) == text


@pytest.mark.parametrize("row", sorted(ROWS.keys() - CREATED_ONLY))
def test_refused_when_it_is_changed(row: str) -> None:
    obj, text, maps = ROWS[row]
    assert refusal(change(obj), **maps) == text


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_a_statement_refuses_is_refused_when_it_is_changed(case: str) -> None:
    obj, text = REFUSED[case]
    assert refusal(change(obj)) == text


def change(obj: Json) -> Write:
    """The same as a change of something good, by somebody who leaves its authors alone."""
    stored = admit(new(GOOD[obj["kind"]]))
    authors = stored["metadata"]["annotations"]
    meta = obj["metadata"]
    whole = {**obj, "metadata": {**meta, "annotations": {**authors, **meta.get("annotations", {})}}}
    return changed(stored, whole)


def test_good_ones_are_admitted_when_they_are_created_and_when_they_are_changed() -> None:
    for obj in GOOD.values():
        admit(new(obj))
        try:
            admit(change(obj))
        except Denied as denied:
            raise AssertionError(denied.message) from None
