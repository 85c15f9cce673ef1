"""What a Revision says of its Deployment, pods and PodAutoscaler (statements 57-63)."""

import pytest

from controller import pod_autoscaler, revision
from kube.conditions import Conditions
from kube.models.apps import Deployment, DeploymentSpec, DeploymentStatus
from kube.models.autoscaling import PodAutoscalerStatus
from kube.models.core import (
    Container,
    ContainerState,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodSpec,
    PodStatus,
)
from kube.models.meta import Condition
from kube.models.serving import RevisionStatus
from tests.controller import objects

HEALTHY = Condition(type="Progressing", status="True")
EXCEEDED = Condition(type="Progressing", status="False", reason="ProgressDeadlineExceeded", message="too slow")


def conditions() -> Conditions:
    fresh = revision.CONDITIONS.manage([], 1000.0)
    fresh.initialise()
    return fresh


def told(found: Conditions, type_: str) -> tuple[str, str, str]:
    condition = found.get(type_)
    assert condition is not None
    return condition.status, condition.reason, condition.message


def pod(status: ContainerStatus, *more: Condition) -> Pod:
    return Pod(
        spec=PodSpec(containers=[Container(name="user-container", image="example.com/web:1")]),
        status=PodStatus(container_statuses=[ContainerStatus(name="queue-proxy"), status], conditions=list(more)),
    )


def container(
    *, ended: ContainerStateTerminated | None = None, waits: ContainerStateWaiting | None = None
) -> ContainerStatus:
    return ContainerStatus(
        name="user-container", state=ContainerState(waiting=waits), last_state=ContainerState(terminated=ended)
    )


def of_pod(subject: Pod, *deployment: Condition, always: bool = False) -> Conditions:
    found = conditions()
    revision.apply_pod(subject, DeploymentStatus(conditions=list(deployment)), found, is_always_schedulable=always)
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ("Unknown", "Deploying", "")),
        ([HEALTHY], ("True", "", "")),
        ([EXCEEDED], ("False", "ProgressDeadlineExceeded", "too slow")),
        (
            [HEALTHY, Condition(type="ReplicaFailure", status="True", reason="FailedCreate", message="quota")],
            ("False", "FailedCreate", "quota"),
        ),
    ],
)
def test_resources_follow_the_deployment(given: list[Condition], expected: tuple[str, str, str]) -> None:
    found = conditions()
    revision.apply_deployment(DeploymentStatus(conditions=given), found)
    assert told(found, "ResourcesAvailable") == expected


def test_s60_a_container_that_ends_says_how_and_why() -> None:
    found = of_pod(pod(container(ended=ContainerStateTerminated(exit_code=5, message="boom"))))
    assert told(found, "ContainerHealthy") == ("False", "ExitCode5", "Container failed with: boom")
    assert told(found, "Ready") == ("False", "ExitCode5", "Container failed with: boom")


def test_a_container_that_ends_well_failed_as_well() -> None:
    found = of_pod(pod(container(ended=ContainerStateTerminated(exit_code=0))))
    assert told(found, "ContainerHealthy")[1:] == ("ExitCode0", "Container failed with: container exited with no error")


def test_s58_an_image_that_cannot_be_had_is_missing() -> None:
    waits = ContainerStateWaiting(reason="ErrImagePull", message="no such image")
    found = of_pod(pod(container(waits=waits)))
    assert told(found, "ContainerHealthy") == (
        "False",
        "ContainerMissing",
        'Unable to fetch image "example.com/web:1": no such image',
    )


def test_waiting_counts_only_after_the_deadline() -> None:
    waits = ContainerStateWaiting(reason="CreateContainerError", message="no volume")
    assert told(of_pod(pod(container(waits=waits)), HEALTHY), "ResourcesAvailable")[0] == "Unknown"
    assert told(of_pod(pod(container(waits=waits)), EXCEEDED), "ResourcesAvailable") == (
        "False",
        "CreateContainerError",
        "no volume",
    )


def test_s61_a_pod_without_a_node_says_so_unless_nodes_come_by_themselves() -> None:
    unscheduled = Condition(type="PodScheduled", status="False", reason="Unschedulable", message="no cpu")
    subject = Pod(status=PodStatus(conditions=[unscheduled]))
    assert told(of_pod(subject), "ResourcesAvailable") == ("False", "Unschedulable", "no cpu")
    assert told(of_pod(subject, always=True), "ResourcesAvailable")[0] == "Unknown"


def of_autoscaler(
    ready: str | None, *, initialised: bool, service_name: str = "web-00001", before: Conditions | None = None
) -> tuple[RevisionStatus, Conditions]:
    found, status = before or conditions(), RevisionStatus()
    given = [Condition(type="ScaleTargetInitialized", status="True" if initialised else "Unknown")]
    if ready is not None:
        given.append(Condition(type="Ready", status=ready, reason="NoTraffic", message="idle"))
    source = PodAutoscalerStatus(conditions=given, service_name=service_name, actual_scale=2, desired_scale=-1)
    revision.apply_pod_autoscaler(source, status, found)
    return status, found


def test_s62_a_revision_at_zero_stays_ready() -> None:
    status, found = of_autoscaler("False", initialised=True)
    assert told(found, "Ready")[0] == "True"
    assert told(found, "Active") == ("False", "NoTraffic", "idle")
    assert (status.actual_replicas, status.desired_replicas) == (2, None)


def test_s63_a_revision_that_never_reached_its_scale_failed() -> None:
    _, found = of_autoscaler("False", initialised=False)
    assert told(found, "ResourcesAvailable") == (
        "False",
        "ProgressDeadlineExceeded",
        "Initial scale was never achieved",
    )


def test_a_revision_without_a_service_name_is_still_deploying() -> None:
    _, found = of_autoscaler("Unknown", initialised=True, service_name="")
    assert told(found, "ResourcesAvailable")[:2] == ("Unknown", "Deploying")


def test_nothing_is_known_before_the_autoscaler_spoke() -> None:
    _, found = of_autoscaler(None, initialised=False)
    assert told(found, "Active")[:2] == ("Unknown", "Deploying")


def test_a_failure_is_not_covered_up_by_an_old_success() -> None:
    before = conditions()
    before.mark_false("ContainerHealthy", "ExitCode1", "x")
    _, found = of_autoscaler("True", initialised=True, before=before)
    assert told(found, "Ready")[:2] == ("False", "ExitCode1")


# Reachability.


@pytest.mark.parametrize(
    ("state", "expected"), [("active", "Reachable"), ("reserve", "Unreachable"), ("pending", ""), ("", "")]
)
def test_reachability_follows_the_routing_state(state: str, expected: str) -> None:
    subject = objects.revision(labels={"serving.knative.dev/routingState": state})
    assert pod_autoscaler.reachability(subject, conditions(), None) == expected


def test_pods_that_all_fail_make_a_revision_unreachable() -> None:
    failed = conditions()
    failed.mark_false("ContainerHealthy", "ExitCode1", "x")
    running = Deployment(spec=DeploymentSpec(replicas=1))
    assert pod_autoscaler.reachability(objects.revision(), failed, running) == "Unreachable"
    assert pod_autoscaler.reachability(objects.revision(), failed, Deployment(spec=DeploymentSpec(replicas=0))) == (
        "Reachable"
    )
    half = Deployment(spec=DeploymentSpec(replicas=2), status=DeploymentStatus(ready_replicas=1))
    assert pod_autoscaler.reachability(objects.revision(), failed, half) == "Reachable"
