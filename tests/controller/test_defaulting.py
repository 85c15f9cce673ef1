"""Defaults of what is written (statements 1, 14-34)."""

import pytest

from tests.controller.writes import admit, changed, new, of, service, volume


def test_s1_traffic_goes_to_the_newest_revision_by_default() -> None:
    assert admit(new(service()))["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]


def test_s14_a_timeout_of_zero_means_the_default() -> None:
    assert of(admit(new(service({"timeoutSeconds": 0}))))["timeoutSeconds"] == 300


def test_s16_s17_the_response_start_timeout_has_a_default_only_below_the_timeout() -> None:
    assert "responseStartTimeoutSeconds" not in of(admit(new(service())))
    given = {"revision-response-start-timeout-seconds": "100"}
    assert of(admit(new(service({"timeoutSeconds": 300})), defaults=given))["responseStartTimeoutSeconds"] == 100


def test_s19_containers_get_names_that_nobody_else_has() -> None:
    assert [c["name"] for c in of(admit(new(service())))["containers"]] == ["user-container"]
    two = [{"image": "a/b", "ports": [{"containerPort": 80}]}, {"image": "a/c"}]
    named = of(admit(new(service({"containers": two}))))["containers"]
    assert [c["name"] for c in named] == ["user-container-0", "user-container-1"]
    clash = [{"name": "user-container-0", **two[0]}, two[1]]
    named = of(admit(new(service({"containers": clash}))))["containers"]
    assert [c["name"] for c in named] == ["user-container-0", "user-container-1"]


def test_s19_names_can_follow_the_service() -> None:
    given = {"container-name-template": "{{.Name}}-app"}
    assert of(admit(new(service()), defaults=given))["containers"][0]["name"] == "web-app"


def test_s20_s21_readiness_is_probed_by_connecting_aggressively_by_default() -> None:
    probe = of(admit(new(service())))["containers"][0]["readinessProbe"]
    assert probe == {"tcpSocket": {"port": 0}, "successThreshold": 1}
    slow = admit(new(service(container={"readinessProbe": {"periodSeconds": 10}})))
    assert of(slow)["containers"][0]["readinessProbe"] == {
        "tcpSocket": {"port": 0},
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
        "timeoutSeconds": 1,
    }


def test_s29_secrets_are_mounted_read_only_and_scratch_space_is_not() -> None:
    assert of(admit(new(volume("/etc/x"))))["containers"][0]["volumeMounts"][0]["readOnly"] is True
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/x"}]}
    scratch = service({"volumes": [{"name": "v", "emptyDir": {}}]}, container=mounts)
    assert "readOnly" not in of(admit(new(scratch)))["containers"][0]["volumeMounts"][0]


@pytest.mark.parametrize(("value", "non_root"), [("Enabled", True), ("AllowRootBounded", None)])
def test_s33_secure_defaults_restrict_an_empty_container(value: str, non_root: bool | None) -> None:
    stored = admit(new(service()), features={"secure-pod-defaults": value})
    context = of(stored)["containers"][0]["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context.get("runAsNonRoot") is non_root


def test_s34_secure_defaults_keep_low_ports_usable() -> None:
    stored = admit(
        new(service(container={"ports": [{"containerPort": 80}]})), features={"secure-pod-defaults": "enabled"}
    )
    added = of(stored)["containers"][0]["securityContext"]["capabilities"]["add"]
    assert added == ["NET_BIND_SERVICE"]


def test_defaulting_twice_changes_nothing_more() -> None:
    once = admit(new(service(container={"livenessProbe": {"grpc": {}}, "env": [{"name": "A", "value": ""}]})))
    again = admit(changed(once, once))
    assert again == once
