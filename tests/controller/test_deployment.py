"""The Deployment of a Revision and its queue-proxy container (statements 64-75)."""

import json
from typing import Any

import msgspec
import pytest

from controller import deployment, pod_autoscaler, queue_container
from controller.settings import Settings
from kube.models.apps import Deployment
from kube.models.serving import Revision
from tests.controller.objects import container, revision, settings

Json = dict[str, Any]


def built(subject: Revision | None = None, given: Settings | None = None) -> Json:
    return deployment.build(subject or revision(), given or settings(), "knative-serving")


def pod(subject: Revision | None = None, given: Settings | None = None) -> Json:
    spec: Json = built(subject, given)["spec"]["template"]["spec"]
    return spec


def user(subject: Revision | None = None, given: Settings | None = None) -> Json:
    first: Json = pod(subject, given)["containers"][0]
    return first


def queue(subject: Revision | None = None, given: Settings | None = None) -> Json:
    last: Json = pod(subject, given)["containers"][-1]
    return last


def variables(container_: Json) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container_["env"]}


def test_s64_selector_is_the_revision_uid_alone() -> None:
    assert built()["spec"]["selector"] == {"matchLabels": {"serving.knative.dev/revisionUID": "uid-1"}}


def test_pods_are_replaced_without_a_gap_and_without_a_history() -> None:
    spec = built()["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}
    assert spec["revisionHistoryLimit"] == 0


def test_s65_pods_are_labelled_app_and_not_with_what_changes() -> None:
    labels = built()["spec"]["template"]["metadata"]["labels"]
    assert labels["app"] == "web-00001"
    assert labels["serving.knative.dev/revision"] == "web-00001"
    assert "serving.knative.dev/routingState" not in labels
    assert "serving.knative.dev/deployment-hash" not in labels
    own = built(revision(labels={"app": "mine"}))["spec"]["template"]["metadata"]["labels"]
    assert own["app"] == "mine"


def test_s66_replicas_start_at_the_initial_scale_whatever_the_minimum() -> None:
    assert built(revision(annotations={"autoscaling.knative.dev/min-scale": "5"}))["spec"]["replicas"] == 1
    assert built(revision(annotations={"autoscaling.knative.dev/initial-scale": "3"}))["spec"]["replicas"] == 3
    given = settings(autoscaler={"initial-scale": "0", "allow-zero-initial-scale": "true"})
    assert built(given=given)["spec"]["replicas"] == 0


def test_s67_pods_have_as_long_to_end_as_a_request_may_take() -> None:
    assert pod(revision(timeoutSeconds=77))["terminationGracePeriodSeconds"] == 77


def test_s68_every_user_container_waits_for_the_drain_before_it_stops() -> None:
    subject = revision(container(ports=[{"containerPort": 80}]), container(name="helper", readinessProbe=None))
    hook = {"preStop": {"httpGet": {"port": 8022, "path": "/wait-for-drain"}}}
    assert [c.get("lifecycle") for c in pod(subject)["containers"]] == [hook, hook, None]


def test_s69_queue_proxy_runs_the_http_probe_instead_of_the_kubelet() -> None:
    subject = revision(container(readinessProbe={"httpGet": {"path": "/ok"}, "periodSeconds": 5, "timeoutSeconds": 2}))
    assert "readinessProbe" not in user(subject)
    assert json.loads(variables(queue(subject))["SERVING_READINESS_PROBE"]) == {
        "httpGet": {"path": "/ok", "port": 8080, "host": "127.0.0.1", "scheme": "HTTP"},
        "timeoutSeconds": 2,
        "periodSeconds": 5,
    }


def test_s70_an_exec_probe_stays_and_queue_proxy_connects_instead() -> None:
    probe = {"exec": {"command": ["true"]}, "successThreshold": 1}
    subject = revision(container(readinessProbe=probe))
    assert user(subject)["readinessProbe"] == probe
    assert variables(queue(subject))["SERVING_READINESS_PROBE"] == (
        '{"tcpSocket":{"port":8080,"host":"127.0.0.1"},"successThreshold":1}'
    )


def test_s71_liveness_goes_to_the_port_of_the_user_container() -> None:
    probes = {"livenessProbe": {"httpGet": {"port": 9999}}, "startupProbe": {"httpGet": {"port": 9999}}}
    subject = revision(container(**probes, ports=[{"containerPort": 3000}]))
    assert user(subject)["livenessProbe"]["httpGet"]["port"] == 3000
    assert user(subject)["startupProbe"]["httpGet"]["port"] == 9999
    several = settings(features={"multi-container-probing": "Enabled"})
    assert user(subject, several)["livenessProbe"]["httpGet"]["port"] == 9999


def test_s72_queue_proxy_requests_25_millicores_and_nothing_else() -> None:
    assert queue()["resources"] == {"requests": {"cpu": "25m"}}


def test_s73_h2c_moves_the_queue_port() -> None:
    subject = revision(container(ports=[{"name": "h2c", "containerPort": 5000}]))
    assert [port["containerPort"] for port in queue(subject)["ports"]] == [9090, 9091, 8013, 8112]
    assert variables(queue(subject))["QUEUE_SERVING_PORT"] == "8013"
    assert queue(subject)["readinessProbe"]["httpGet"]["port"] == 8013
    assert pod_autoscaler.build(subject, "", "kpa")["spec"]["protocolType"] == "h2c"
    assert pod_autoscaler.build(revision(), "", "kpa")["spec"]["protocolType"] == "http1"


def test_s74_what_others_added_survives_an_update() -> None:
    before = built()
    before["metadata"]["labels"]["team"] = "blue"
    before["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    before["spec"]["template"]["metadata"]["annotations"]["serving.knative.dev/gone"] = "x"
    existing = msgspec.convert(before, Deployment)
    assert deployment.update_patch(existing, built()) is None
    changed = built(given=settings(deployment={"queue-sidecar-image": "example.com/queue:2"}))
    operations = deployment.update_patch(existing, changed)
    assert operations is not None
    values = {operation["path"]: operation["value"] for operation in operations}
    assert values["/metadata/labels"]["team"] == "blue"
    assert (
        values["/metadata/labels"]["serving.knative.dev/deployment-hash"]
        != (before["metadata"]["labels"]["serving.knative.dev/deployment-hash"])
    )
    annotations = values["/spec/template"]["metadata"]["annotations"]
    assert annotations["kubectl.kubernetes.io/restartedAt"] == "now"
    assert "serving.knative.dev/gone" not in annotations
    assert {"/spec/replicas", "/spec/selector"}.isdisjoint(values)


def test_s75_init_containers_are_left_as_they_were_written() -> None:
    init = {"name": "init", "image": "example.com/init:1"}
    assert pod(revision(initContainers=[init]))["initContainers"] == [init]


def test_the_hash_does_not_depend_on_the_scale() -> None:
    scaled = revision(annotations={"autoscaling.knative.dev/initial-scale": "3"})
    key = "serving.knative.dev/deployment-hash"
    assert built(scaled)["metadata"]["labels"][key] == built()["metadata"]["labels"][key]


def test_the_user_container_gets_its_port_and_its_names_after_its_own_variables() -> None:
    subject = revision(container(env=[{"name": "A", "value": "b"}], ports=[{"name": "http1", "containerPort": 3000}]))
    assert user(subject)["ports"] == [{"name": "user-port", "containerPort": 3000}]
    assert user(subject)["env"] == [
        {"name": "A", "value": "b"},
        {"name": "PORT", "value": "3000"},
        {"name": "K_REVISION", "value": "web-00001"},
        {"name": "K_CONFIGURATION", "value": "web"},
        {"name": "K_SERVICE", "value": "web"},
    ]
    assert user(subject)["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_a_sidecar_gets_the_names_only() -> None:
    subject = revision(container(ports=[{"containerPort": 80}]), container(name="helper", readinessProbe=None))
    helper = pod(subject)["containers"][1]
    assert [entry["name"] for entry in helper["env"]] == ["K_REVISION", "K_CONFIGURATION", "K_SERVICE"]
    assert "ports" not in helper


def test_variables_of_queue_proxy_are_in_order() -> None:
    assert [entry["name"] for entry in queue()["env"]] == [
        "SERVING_NAMESPACE",
        "SERVING_SERVICE",
        "SERVING_CONFIGURATION",
        "SERVING_REVISION",
        "QUEUE_SERVING_PORT",
        "QUEUE_SERVING_TLS_PORT",
        "CONTAINER_CONCURRENCY",
        "REVISION_TIMEOUT_SECONDS",
        "REVISION_RESPONSE_START_TIMEOUT_SECONDS",
        "REVISION_IDLE_TIMEOUT_SECONDS",
        "SERVING_POD",
        "SERVING_POD_IP",
        "SERVING_LOGGING_CONFIG",
        "SERVING_LOGGING_LEVEL",
        "USER_PORT",
        "SYSTEM_NAMESPACE",
        "SERVING_READINESS_PROBE",
        "HOST_IP",
        "ENABLE_HTTP2_AUTO_DETECTION",
        "ENABLE_HTTP_FULL_DUPLEX",
        "ROOT_CA",
        "QUEUE_PROXY_TLS_MIN_VERSION",
        "QUEUE_PROXY_TLS_MAX_VERSION",
        "QUEUE_PROXY_TLS_CIPHER_SUITES",
        "QUEUE_PROXY_TLS_CURVE_PREFERENCES",
        "ENABLE_MULTI_CONTAINER_PROBES",
        "OBSERVABILITY_CONFIG",
    ]


def test_values_of_queue_proxy_follow_the_revision_and_the_settings() -> None:
    subject = revision(
        annotations={"features.knative.dev/http-full-duplex": "enabled"},
        containerConcurrency=7,
        timeoutSeconds=60,
        responseStartTimeoutSeconds=30,
        idleTimeoutSeconds=20,
    )
    given = settings(
        logging={"zap-logger-config": "{}", "loglevel.queueproxy": "debug"},
        observability={"logging.enable-request-log": "true"},
        features={"autodetect-http2": "enabled"},
    )
    found = variables(queue(subject, given))
    assert (found["CONTAINER_CONCURRENCY"], found["REVISION_TIMEOUT_SECONDS"]) == ("7", "60")
    assert found["REVISION_RESPONSE_START_TIMEOUT_SECONDS"] == "30"
    assert found["REVISION_IDLE_TIMEOUT_SECONDS"] == "20"
    assert (found["SERVING_LOGGING_CONFIG"], found["SERVING_LOGGING_LEVEL"]) == ("{}", "debug")
    assert found["ENABLE_HTTP_FULL_DUPLEX"] == "true"
    assert found["ENABLE_HTTP2_AUTO_DETECTION"] == "true"
    assert found["SERVING_POD"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert json.loads(found["OBSERVABILITY_CONFIG"])["enableRequestLog"] is True


def test_profiling_opens_its_port_between_metrics_and_requests() -> None:
    ports = queue(given=settings(observability={"runtime-profiling": "enabled"}))["ports"]
    assert [port["name"] for port in ports] == [
        "http-autometric",
        "http-usermetric",
        "profiling-port",
        "queue-port",
        "https-port",
    ]


def test_the_probe_of_queue_proxy_keeps_the_users_timing() -> None:
    probe = {"tcpSocket": {"port": 0}, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 4}
    assert queue(revision(container(readinessProbe=probe)))["readinessProbe"] == {
        "periodSeconds": 5,
        "timeoutSeconds": 2,
        "failureThreshold": 4,
        "httpGet": {"port": 8012, "httpHeaders": [{"name": "K-Network-Probe", "value": "queue"}]},
    }


def test_a_percentage_of_the_users_resources_is_clamped() -> None:
    resources = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "256Mi"}}
    subject = revision(
        container(resources=resources),
        annotations={"queue.sidecar.serving.knative.dev/resource-percentage": "20"},
    )
    assert queue(subject)["resources"] == {
        "requests": {"cpu": "100m", "memory": "53687091200m"},
        "limits": {"cpu": "400m", "memory": "214748364800m"},
    }
    explicit = revision(annotations={"queue.sidecar.serving.knative.dev/cpu-resource-request": "1"})
    assert queue(explicit)["resources"] == {"requests": {"cpu": "1"}}


def test_several_probes_go_to_queue_proxy_as_a_list_and_need_ports() -> None:
    several = settings(features={"multi-container-probing": "enabled"})
    serving = container(ports=[{"containerPort": 80}])
    helper = container(name="helper", readinessProbe={"tcpSocket": {"port": 4000}, "successThreshold": 1})
    found = json.loads(variables(queue(revision(serving, helper), several))["SERVING_READINESS_PROBE"])
    assert [probe["tcpSocket"]["port"] for probe in found] == [80, 4000]
    nameless = container(name="helper", readinessProbe={"tcpSocket": {"port": 0}})
    with pytest.raises(queue_container.ProbeWithoutPort, match="helper"):
        built(revision(serving, nameless), several)


def test_pods_prefer_nodes_without_the_revision_unless_told_otherwise() -> None:
    preferred = pod()["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred[0]["weight"] == 100
    assert "affinity" not in pod(given=settings(deployment={"default-affinity-type": "none"}))
    own = {"nodeAffinity": {}}
    assert pod(revision(affinity=own))["affinity"] == own


def test_runtime_class_with_the_most_labels_wins() -> None:
    classes = "plain: {}\ngvisor: {selector: {team: blue}}\nkata: {selector: {team: blue, tier: gold}}\n"
    given = settings(deployment={"runtime-class-name": classes})
    assert pod(revision(), given)["runtimeClassName"] == "plain"
    assert pod(revision(labels={"team": "blue"}), given)["runtimeClassName"] == "gvisor"
    assert pod(revision(labels={"team": "blue", "tier": "gold"}), given)["runtimeClassName"] == "kata"


def test_fields_of_knative_do_not_reach_the_pod() -> None:
    names = {"containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds", "idleTimeoutSeconds"}
    assert names.isdisjoint(pod(revision(responseStartTimeoutSeconds=1, idleTimeoutSeconds=1)))


def test_a_recorded_digest_replaces_the_tag() -> None:
    subject = revision()
    subject.status.container_statuses = [{"name": "user-container", "imageDigest": "example.com/web@sha256:1"}]
    assert user(subject)["image"] == "example.com/web@sha256:1"


def test_building_leaves_the_revision_as_it_was() -> None:
    subject = revision(container(livenessProbe={"httpGet": {"port": 1}}))
    before = json.dumps(subject.spec)
    built(subject)
    assert json.dumps(subject.spec) == before


def test_progress_deadline_is_the_annotations_else_the_clusters() -> None:
    annotated = revision(annotations={"serving.knative.dev/progress-deadline": "90s"})
    assert built(annotated)["spec"]["progressDeadlineSeconds"] == 90
    assert built(given=settings(deployment={"progress-deadline": "120s"}))["spec"]["progressDeadlineSeconds"] == 120
