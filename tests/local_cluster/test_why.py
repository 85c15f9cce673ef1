"""`knuv why`: the walk from a Service down to the first object that is not ready."""

import asyncio
from typing import Any

import msgspec
import pytest

from kube.client import Client
from kube.models.serving import Service
from local_cluster import cli_why
from local_cluster.why import Finding, Snapshot, cause, findings, lines, take
from tests.support.api import running_api_server

NOW_S = 1_800_000_060.0
A_MINUTE_AGO = "2027-01-15T08:00:00Z"
NAME, REVISION = "hello", "hello-00002"


def condition(type_: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": A_MINUTE_AGO}


def thing(name: str, *conditions: dict[str, Any], generation: int = 2, seen: int = 2, **more: Any) -> dict[str, Any]:
    """An object whose controller has seen its generation `seen`; `more` of its status."""
    status = {"observedGeneration": seen, "conditions": list(conditions), **more}
    meta = {"name": name, "namespace": "default", "generation": generation, "creationTimestamp": A_MINUTE_AGO}
    return {"metadata": meta, "status": status, "spec": {}}


def backend(service: str, *addresses: str) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"name": service, "labels": labels}, "endpoints": [{"addresses": [a]} for a in addresses]}


def snapshot(**changed: Any) -> Snapshot:
    """A Service whose update went well, but for what is `changed`."""
    ready = condition("Ready", "True")
    names: dict[str, Any] = {"latestCreatedRevisionName": REVISION, "latestReadyRevisionName": REVISION}
    deployment = thing(f"{REVISION}-deployment", readyReplicas=2) | {"spec": {"replicas": 2}}
    ingress = thing(NAME, ready)
    ingress["spec"] = {"rules": [{"hosts": ["h"], "http": {"paths": [{"splits": [{"serviceName": REVISION}]}]}}]}
    objects = {
        "service": thing(NAME, ready),
        "configuration": thing(NAME, ready, **names),
        "route": thing(NAME, ready, traffic=[{"revisionName": REVISION, "percent": 100}]),
        "revision": thing(REVISION, ready),
        "deployment": deployment,
        "pods": [],
        "autoscaler": thing(REVISION, ready, actualScale=2, desiredScale=2),
        "serverless_service": thing(REVISION, ready, serviceName=REVISION) | {"spec": {"mode": "Serve"}},
        "ingress": ingress,
        "slices": [backend(REVISION, "127.0.0.9")],
        "warnings": [],
    }
    return msgspec.convert(objects | changed, Snapshot)


def unready(name: str, type_: str, reason: str, message: str, **more: Any) -> dict[str, Any]:
    """An object that is not ready because of one of its conditions, which Ready repeats."""
    conditions = [condition("Ready", "Unknown", reason, message), condition(type_, "Unknown", reason, message)]
    return thing(name, *conditions, **more)


def failed_revision(**changed: Any) -> Snapshot:
    """A Service whose newest revision is not ready, and so nothing above it."""
    text = f'Revision "{REVISION}" is not ready'
    above = {
        "service": unready(NAME, "ConfigurationsReady", "RevisionFailed", text),
        "configuration": unready(NAME, "Ready", "RevisionFailed", text, latestCreatedRevisionName=REVISION),
        "revision": unready(REVISION, "ResourcesAvailable", "Deploying", ""),
        "deployment": thing(f"{REVISION}-deployment", readyReplicas=0) | {"spec": {"replicas": 2}},
    }
    return snapshot(**above | changed)


def culprit(seen: Snapshot) -> Finding:
    found = cause(findings(seen, NOW_S))
    assert found is not None
    return found


def test_of_a_service_that_is_ready_one_line_says_so() -> None:
    found = findings(snapshot(), NOW_S)
    assert lines(found) == ["ok  Service hello: ready, since 60 s"]
    assert cause(found) is None


def test_a_pod_that_fails_is_the_cause_with_what_its_container_and_its_probe_said() -> None:
    running = {"name": "queue-proxy", "state": {"running": {}}, "ready": False}
    ended = {"exitCode": 3, "message": "no database\n"}
    crashed = {"name": "user-container", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 4}
    pod = thing("pod-1", condition("Ready", "False"), condition("ContainersReady", "False", "ContainersNotReady"))
    pod["status"]["containerStatuses"] = [running, crashed | {"lastState": {"terminated": ended}}]
    warning = {"kind": "Pod", "name": "pod-1", "text": "Unhealthy: probe failed: 503", "at": A_MINUTE_AGO}
    seen = failed_revision(pods=[pod], warnings=[warning])
    found = culprit(seen)
    assert (found.kind, found.name) == ("Pod", "pod-1")
    assert found.said == (
        "queue-proxy runs and is not ready",
        "user-container ended with 3: no database; started again 4 times so far",
        "user-container waits: CrashLoopBackOff",
        "ContainersReady is False, since 60 s: ContainersNotReady",
    )
    text = lines(findings(seen, NOW_S))
    assert "              last warning: Unhealthy: probe failed: 503 (60 s ago)" in text
    assert text[-2:] == [
        "cause: Pod pod-1: queue-proxy runs and is not ready",
        "next:  knuv logs pod-1; knuv logs pod-1 -c queue-proxy",
    ]


def test_pods_fare_alike_and_three_are_enough() -> None:
    pods = [thing(f"pod-{number}") for number in range(9)]
    told = [each.name for each in findings(failed_revision(pods=pods), NOW_S) if each.kind == "Pod"]
    assert told == ["pod-0", "pod-1", "pod-2"]


def test_where_pods_are_ready_the_autoscaler_or_what_stands_below_it_is_the_cause() -> None:
    fine = {"deployment": thing(f"{REVISION}-deployment", readyReplicas=2) | {"spec": {"replicas": 2}}}
    waiting = unready(REVISION, "SKSReady", "NotReady", "", actualScale=2, desiredScale=2)
    service = unready(REVISION, "EndpointsPopulated", "NoHealthyBackends", "", serviceName=REVISION)
    seen = failed_revision(**fine, autoscaler=waiting, serverless_service=service | {"spec": {"mode": "Proxy"}})
    found = culprit(seen)
    assert found.kind == "ServerlessService"
    assert found.said == (
        "EndpointsPopulated is Unknown, since 60 s: NoHealthyBackends",
        "mode Proxy",
        f"1 ready addresses behind {REVISION}",
    )
    assert culprit(failed_revision(**fine, autoscaler=None)).said == ("it does not exist (yet)",)


def test_an_ingress_that_waits_for_a_revision_without_addresses_says_so() -> None:
    ingress = unready(NAME, "LoadBalancerReady", "Uninitialized", "Waiting for load balancer to be ready")
    ingress["spec"] = {"rules": [{"hosts": ["h"], "http": {"paths": [{"splits": [{"serviceName": REVISION}]}]}}]}
    above = {
        "service": unready(NAME, "RoutesReady", "Uninitialized", "Waiting"),
        "route": unready(NAME, "IngressReady", "Uninitialized", "Waiting", traffic=[]),
        "ingress": ingress,
    }
    waits = "LoadBalancerReady is Unknown, since 60 s: Uninitialized: Waiting for load balancer to be ready"
    assert culprit(snapshot(**above)).said == (waits,)
    assert culprit(snapshot(**above, slices=[])).said == (waits, f"nobody is ready behind {REVISION}: it waits")


def failing(seen: dict[str, Any], type_: str, reason: str, message: str) -> dict[str, Any]:
    """The object, whose controller says No."""
    bad = [condition("Ready", "False", reason, message), condition(type_, "False", reason, message)]
    return seen | {"status": seen["status"] | {"conditions": bad}}


def test_what_was_never_made_is_not_the_cause_where_the_one_above_says_why_it_did_not_make_it() -> None:
    revision = failing(thing(REVISION), "ContainerHealthy", "ContainerMissing", "no such image")
    seen = failed_revision(revision=revision, deployment=None, autoscaler=None)
    assert (culprit(seen).kind, culprit(seen).said) == (
        "Revision",
        ("ContainerHealthy is False, since 60 s: ContainerMissing: no such image",),
    )
    service = failing(thing(NAME), "RoutesReady", "NotOwned", "There is an existing Route")
    assert culprit(snapshot(service=service, route=None)).kind == "Service"
    route = failing(thing(NAME), "AllTrafficAssigned", "RevisionMissing", "no such revision")
    assert culprit(snapshot(service=service, route=route, ingress=None)).kind == "Route"


def test_a_controller_that_lags_behind_is_told_from_one_that_says_no() -> None:
    late = thing(NAME, condition("Ready", "True"), generation=3, seen=2, latestCreatedRevisionName=REVISION)
    seen = failed_revision(configuration=late, revision=thing(REVISION, condition("Ready", "True")))
    found = culprit(seen)
    assert found.kind == "Configuration"
    assert found.said == ("its controller has not seen generation 3 yet, but 2",)
    nothing = culprit(snapshot(service=thing(NAME, seen=0), configuration=None))
    assert nothing.said == ("it does not exist (yet)",)


async def test_what_an_api_has_of_a_service_is_read() -> None:
    async with running_api_server() as running, Client(running.config) as client:
        await client.create(msgspec.convert({"metadata": {"name": NAME, "namespace": "default"}}, Service))
        seen = await take(client, NAME, "default")
    found = findings(seen, NOW_S)
    assert [(each.kind, each.said[-1]) for each in found[1:]] == [
        ("Configuration", "it does not exist (yet)"),
        ("Route", "it does not exist (yet)"),
    ]


def test_what_objects_say_is_shown_as_it_is_and_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = thing(NAME, condition("a:100:[b]\ncause: none\x1b[2J", "False"))

    async def taken(*_: object) -> Snapshot:
        return snapshot(service=hostile)

    monkeypatch.setattr(cli_why, "take", taken)
    monkeypatch.setattr(cli_why, "with_client", lambda _dir, work: asyncio.run(work(None)))
    cli_why.why(NAME)
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(r"NOT Service hello: a:100:[b] cause: none\x1b[2J is False")
