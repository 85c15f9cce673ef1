"""The roles in `deploy/manifests/full` are what the components need, no less and no more.

A stack whose API server notes down every kind of request is put through the lives of a Service and of events; what its
components asked is compared with what their roles allow. Rights for what a machine without registries, certificates and
rivals never sees are listed below, each with its reason.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.models.core import Endpoints
from kube.models.horizontal_autoscaling import HorizontalPodAutoscaler
from kube.models.serving import Revision, Service
from loadtests.load import fetch
from loadtests.scenario import until
from local_cluster.manifests import apply
from local_cluster.system import SYSTEM_NAMESPACE
from tests.deploy.manifests import rendered_objects
from tests.deploy.recording_stack import FILE
from tests.deploy.rights import Request, rights_of, uncovered, unused
from tests.support import http as events
from tests.support.processes import kill_group
from tests.system.conftest import System, running_system, service
from tests.system.test_serving import at_zero, host, ready

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("stack-rbac")]

ACCOUNTS = ("activator", "autoscaler", "controller", "gateway", "webhook")
EVENTING_ACCOUNTS = (
    "eventing-controller",
    "eventing-webhook",
    "imc-dispatcher",
    "jetstream-ch-dispatcher",
    "mt-broker-filter",
    "mt-broker-ingress",
    "pingsource-mt-adapter",
    "job-sink",
)
NAMESPACE = "default"
ROOT = Path(__file__).parents[2]

LOCAL_ONLY = {
    # In place of DNS: KNUV_SERVICE_RESOLUTION=endpoints.
    *((account, "", kind, "get") for account in (*ACCOUNTS, *EVENTING_ACCOUNTS) for kind in ("services", "endpoints")),
}
SERVING, NETWORKING = "serving.knative.dev", "networking.internal.knative.dev"
AUTOSCALING = "autoscaling.internal.knative.dev"
EVENTING, MESSAGING = "eventing.knative.dev", "messaging.knative.dev"
CHANNELS_AND_SUBSCRIPTIONS = ("inmemorychannels", "natsjetstreamchannels", "subscriptions")
ROLES = ("ingress", "filter")
SOURCES = "sources.knative.dev"
RIGHTS_FOR_SOURCES = (
    *((SOURCES, "sinkbindings", verb) for verb in ("get", "create", "patch")),
    *(
        (SOURCES, f"{kind}/finalizers", "update")
        for kind in ("pingsources", "apiserversources", "containersources", "sinkbindings", "jetstreamsources")
    ),
    (SOURCES, "jetstreamsources/status", "patch"),
    *(("apps", "deployments", verb) for verb in ("get", "list", "create", "patch")),
    *(
        ("apps", kind, verb)
        for kind in ("statefulsets", "daemonsets", "replicasets")
        for verb in ("get", "list", "patch")
    ),
    *(("batch", "jobs", verb) for verb in ("get", "list", "patch")),
    *(
        ("serving.knative.dev", kind, verb)
        for kind in ("services", "configurations")
        for verb in ("get", "list", "patch")
    ),
    ("", "namespaces", "patch"),
    ("authorization.k8s.io", "subjectaccessreviews", "create"),
    ("", "serviceaccounts", "create"),
    ("", "serviceaccounts", "get"),
    ("", "serviceaccounts/token", "create"),
    *(("", "secrets", verb) for verb in ("get", "create", "patch")),
    *(("", "configmaps", verb) for verb in ("create", "patch", "delete")),
)

SELDOM = {
    # Two were faster than one another, and the one that lost looks again.
    ("autoscaler", AUTOSCALING, "metrics", "get"),
    ("autoscaler", NETWORKING, "serverlessservices", "get"),
    ("autoscaler", "autoscaling", "horizontalpodautoscalers", "get"),
    *((account, "coordination.k8s.io", "leases", "get") for account in ("autoscaler", "controller", "gateway")),
    ("controller", SERVING, "services", "get"),
    ("controller", SERVING, "configurations", "get"),
    ("controller", SERVING, "routes", "get"),
    ("controller", SERVING, "revisions", "get"),
    ("controller", SERVING, "domainmappings", "get"),
    ("controller", NETWORKING, "ingresses", "get"),
    ("controller", NETWORKING, "certificates", "get"),
    ("controller", NETWORKING, "clusterdomainclaims", "get"),
    ("controller", NETWORKING, "serverlessservices", "get"),
    ("controller", AUTOSCALING, "podautoscalers", "get"),
    ("controller", "apps", "deployments", "get"),
    ("controller", "", "services", "get"),
    ("controller", "", "endpoints", "get"),
    # The annotations of a Revision, or its HPA, were changed by hand.
    ("autoscaler", AUTOSCALING, "metrics", "patch"),
    ("autoscaler", "autoscaling", "horizontalpodautoscalers", "patch"),
    ("controller", AUTOSCALING, "podautoscalers", "patch"),
    # The bucket's Lease went from one replica to another.
    *(("autoscaler", "discovery.k8s.io", "endpointslices", verb) for verb in ("get", "patch", "delete")),
    # A ConfigMap that cannot be used, and an event that is repeated.
    ("autoscaler", "", "events", "create"),
    ("autoscaler", "", "events", "patch"),
    ("controller", "", "events", "patch"),
    # No autoscaler for KNUV_WAKE_SECONDS while a request waits (tests/activator/test_waker.py).
    ("activator", AUTOSCALING, "podautoscalers", "get"),
    ("activator", "apps", "deployments/scale", "get"),
    ("activator", "apps", "deployments/scale", "patch"),
    # Depends on whether pods or activators were first behind a name, and whether a Route or its Revisions.
    ("controller", "", "endpoints", "patch"),
    ("controller", SERVING, "revisions", "patch"),
    # A tag that is taken away again, and Revisions that nobody needs.
    ("controller", "", "services", "delete"),
    ("controller", "", "endpoints", "delete"),
    ("controller", SERVING, "revisions", "delete"),
    # config-deployment was changed; autocreate-cluster-domain-claims.
    ("controller", "apps", "deployments", "patch"),
    ("controller", NETWORKING, "clusterdomainclaims", "create"),
    ("controller", NETWORKING, "clusterdomainclaims", "delete"),
    # system-internal-tls.
    ("activator", "", "secrets", "list"),
    ("activator", "", "secrets", "watch"),
    ("controller", "", "namespaces", "get"),
    # Certificates for domains.
    *(("controller", NETWORKING, "certificates", verb) for verb in ("create", "patch", "delete")),
    # Registries are asked for digests with a revision's pull secrets.
    ("controller", "", "serviceaccounts", "get"),
    ("controller", "", "secrets", "get"),
    # Only where the API server enforces it.
    ("controller", "", "endpoints/restricted", "create"),
    ("autoscaler", AUTOSCALING, "podautoscalers/finalizers", "update"),
    ("controller", NETWORKING, "serverlessservices/finalizers", "update"),
    *(
        ("controller", SERVING, f"{kind}/finalizers", "update")
        for kind in ("services", "configurations", "routes", "revisions", "domainmappings")
    ),
    # Loose ends of objects that others own: garbage collection is faster, or nobody changed them by hand.
    *(("eventing-controller", MESSAGING, kind, "get") for kind in CHANNELS_AND_SUBSCRIPTIONS),
    *(("eventing-controller", MESSAGING, kind, "delete") for kind in CHANNELS_AND_SUBSCRIPTIONS),
    ("eventing-controller", "", "services", "patch"),
    ("eventing-controller", "", "services", "delete"),
    ("eventing-controller", "", "events", "create"),
    ("eventing-controller", "", "events", "patch"),
    # Kinds that this life has none of: JetStream's channels, types and policies of events, other sources.
    *(("eventing-controller", MESSAGING, "natsjetstreamchannels", verb) for verb in ("create", "patch")),
    ("eventing-controller", MESSAGING, "natsjetstreamchannels/status", "patch"),
    ("eventing-controller", EVENTING, "eventtypes/status", "patch"),
    ("eventing-controller", EVENTING, "eventpolicies/status", "patch"),
    *(
        ("eventing-controller", "sources.knative.dev", f"{kind}/status", "patch")
        for kind in ("apiserversources", "containersources", "sinkbindings")
    ),
    # A channel was changed while its status was told.
    ("jetstream-ch-dispatcher", MESSAGING, "natsjetstreamchannels", "get"),
    # Brokers of class JetStreamBroker.
    *((f"mt-broker-{role}", "", kind, "get") for role in ROLES for kind in ("configmaps", "secrets")),
    *(("mt-broker-ingress", EVENTING, kind, "patch") for kind in ("brokers", "brokers/status")),
    ("mt-broker-filter", EVENTING, "triggers/status", "patch"),
    # eventtype-auto-create and authentication-oidc.
    *((f"mt-broker-{role}", EVENTING, "eventtypes", verb) for role in ROLES for verb in ("list", "watch", "create")),
    *((account, "", "serviceaccounts/token", "create") for account in EVENTING_ACCOUNTS[2:6]),
    *(("eventing-controller", EVENTING, "eventpolicies", verb) for verb in ("get", "create", "patch", "delete")),
    # Only where the API server enforces it.
    *(("eventing-controller", EVENTING, f"{kind}/finalizers", "update") for kind in ("brokers", "triggers")),
    *(
        ("eventing-controller", MESSAGING, f"{kind}/finalizers", "update")
        for kind in (*CHANNELS_AND_SUBSCRIPTIONS, "channels")
    ),
    *(
        ("eventing-controller", "flows.knative.dev", f"{kind}/finalizers", "update")
        for kind in ("sequences", "parallels")
    ),
    *(
        (account, "coordination.k8s.io", "leases", "get")
        for account in ("eventing-controller", "pingsource-mt-adapter")
    ),
    # A life that is over before the Lease is renewed.
    ("eventing-controller", "coordination.k8s.io", "leases", "patch"),
    # sink-event-error-reporting.enable.
    *(("pingsource-mt-adapter", "", "events", verb) for verb in ("create", "patch")),
    # Sources that this life has none of, and the subjects of their bindings.
    *(("eventing-controller", *right) for right in RIGHTS_FOR_SOURCES),
    # Certificates of webhooks are renewed after six days.
    ("webhook", "", "secrets", "patch"),
    ("eventing-webhook", "", "secrets", "patch"),
}


def test_every_right_that_is_excused_for_being_seldom_is_given() -> None:
    given = {right.what for right in rights_of([*rendered_objects("full"), *rendered_objects("full/jetstream")])}
    assert SELDOM - given == set()


async def test_components_may_do_what_they_do_and_nothing_else(tmp_path: Path) -> None:
    module = "tests.deploy.recording_stack"
    async with (
        # With JetStream for Brokers; the flows name channels in memory.
        running_system(tmp_path, "--eventing", "jetstream", module=module) as system,
        _webhook(system, "serving"),
        _webhook(system, "eventing"),
    ):
        await _life_of_events(system)
        await _life_of_a_service(system)
    accounts = {*ACCOUNTS, *EVENTING_ACCOUNTS}
    requests = [request for request in _recorded(tmp_path / FILE) if request.account in accounts]
    needed = [each for each in requests if (each.account, each.group, each.resource, each.verb) not in LOCAL_ONLY]
    rights = rights_of([*rendered_objects("full"), *rendered_objects("full/jetstream")])

    assert {right.account for right in rights} == accounts
    missing = uncovered(needed, rights)
    assert missing == [], f"asked, but not allowed: {missing}"
    idle = {right.what for right in unused(rights, requests)}
    assert idle - SELDOM == set(), f"allowed, but not asked: {sorted(idle - SELDOM)}"


def _recorded(path: Path) -> list[Request]:
    found = []
    for line in path.read_text().splitlines():
        user, verb, group, resource, namespace, name = json.loads(line)
        *account_of, account = user.split(":")
        if account_of in (
            ["system", "serviceaccount", SYSTEM_NAMESPACE],
            ["system", "serviceaccount", "knative-eventing"],
        ):
            found.append(Request(account, group, resource, verb, namespace, name))
    return found


async def _life_of_a_service(system: System) -> None:
    client, port = system.client, system.stack.http_port
    await apply(client, system.kinds, service("hello"), NAMESPACE)
    found = await ready(system, "hello")
    assert (await fetch(port, host(found), "/")).status == 200
    await at_zero(system, "hello")
    assert (await fetch(port, host(found), "/")).status == 200

    split = service("hello", TARGET="second")
    split["spec"]["traffic"] = [  # type: ignore[index]
        {"revisionName": "hello-00001", "percent": 50},
        {"revisionName": "hello-00002", "percent": 50, "tag": "second"},
    ]
    await apply(client, system.kinds, split, NAMESPACE)
    await ready(system, "hello", generation=2)
    mapping = {
        "apiVersion": f"{SERVING}/v1beta1",
        "kind": "DomainMapping",
        "metadata": {"name": "hello.example.com"},
        "spec": {"ref": {"apiVersion": f"{SERVING}/v1", "kind": "Service", "name": "hello"}},
    }
    claim = {
        "apiVersion": f"{NETWORKING}/v1alpha1",
        "kind": "ClusterDomainClaim",
        "metadata": {"name": "hello.example.com"},
        "spec": {"namespace": NAMESPACE},
    }
    await apply(client, system.kinds, claim, NAMESPACE)
    await apply(client, system.kinds, mapping, NAMESPACE)

    by_cpu = service("by-cpu")
    by_cpu["spec"]["template"]["metadata"] = {  # type: ignore[index]
        "annotations": {"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"}
    }
    await apply(client, system.kinds, by_cpu, NAMESPACE)

    async def horizontal() -> list[HorizontalPodAutoscaler] | None:
        return (await client.list(HorizontalPodAutoscaler, NAMESPACE)).items or None

    await until(horizontal, 90, "a HorizontalPodAutoscaler")
    await client.delete(Service, "hello", NAMESPACE)

    async def no_revision() -> bool | None:
        selector = "serving.knative.dev/service=hello"
        return True if not (await client.list(Revision, NAMESPACE, label_selector=selector)).items else None

    await until(no_revision, 90, "the Service's Revisions to go with it")


async def _life_of_events(system: System) -> None:
    """A Broker with a Trigger, flows, a Channel, a JobSink and a clock, each of which becomes Ready; then they go."""
    await apply(system.client, system.kinds, service("sink"), NAMESPACE)
    await ready(system, "sink")
    sink = {"ref": {"apiVersion": f"{SERVING}/v1", "kind": "Service", "name": "sink"}}
    broker = {"ref": {"apiVersion": f"{EVENTING}/v1", "kind": "Broker", "name": "default"}}
    template = {"apiVersion": f"{MESSAGING}/v1", "kind": "InMemoryChannel"}
    container = {"name": "c", "image": "dev.local/nothing", "command": ["true"]}
    job = {"restartPolicy": "Never", "containers": [container]}
    life: list[tuple[str, str, dict[str, object]]] = [
        (f"{EVENTING}/v1", "Broker", {}),
        (f"{EVENTING}/v1", "Trigger", {"broker": "default", "subscriber": sink}),
        ("flows.knative.dev/v1", "Sequence", {"channelTemplate": template, "steps": [sink]}),
        ("flows.knative.dev/v1", "Parallel", {"channelTemplate": template, "branches": [{"subscriber": sink}]}),
        (f"{MESSAGING}/v1", "Channel", {}),
        ("sinks.knative.dev/v1alpha1", "JobSink", {"job": {"spec": {"template": {"spec": job}}}}),
        ("sources.knative.dev/v1", "PingSource", {"schedule": "* * * * * *", "data": "tick", "sink": broker}),
    ]
    for api_version, kind, spec in life:
        made = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "default"}, "spec": spec}
        await apply(system.client, system.kinds, made, NAMESPACE)
    for api_version, kind, _ in life:
        path = system.kinds.of(api_version, kind).path(NAMESPACE, "default")

        async def is_ready(path: str = path) -> bool | None:
            status = json.loads(await system.client.raw("GET", path)).get("status", {})
            found = {each["type"]: each["status"] for each in status.get("conditions", ())}
            return True if found.get("Ready") == "True" else None

        await until(is_ready, 90, f"{kind} to be Ready")
    job_sink = await system.client.get(Endpoints, "job-sink", "knative-eventing")
    event = ["ce-specversion: 1.0", "ce-id: 1", "ce-source: /rbac", "ce-type: a"]
    for _ in range(2):
        address = job_sink.subsets[0].addresses[0].ip
        answer = await events.fetch(address, 8080, f"/{NAMESPACE}/default", method="POST", headers=event)
        assert answer.status == 202, answer
    for api_version, kind, _ in reversed(life):
        await system.client.raw("DELETE", system.kinds.of(api_version, kind).path(NAMESPACE, "default"))

    async def no_channel() -> bool | None:
        path = system.kinds.of(f"{MESSAGING}/v1", "InMemoryChannel").path(NAMESPACE)
        return True if not json.loads(await system.client.raw("GET", path))["items"] else None

    await until(no_channel, 90, "the channels to go with their owners")


@contextlib.asynccontextmanager
async def _webhook(system: System, half: str) -> AsyncIterator[None]:
    """A webhook server beside the stack, which has the same rules built in: it is asked about what does not exist."""
    objects = rendered_objects(f"full/{half}")
    configurations = [each for each in objects if each["kind"].endswith("WebhookConfiguration")]
    for each in configurations:
        rule = {"operations": ["CREATE"], "apiGroups": ["example"], "apiVersions": ["v1"], "resources": ["none"]}
        changed = {**each, "webhooks": [{**each["webhooks"][0], "rules": [rule]}]}
        await apply(system.client, system.kinds, changed, NAMESPACE)
    (deployment,) = [
        each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"].endswith("webhook")
    ]
    namespace, pod = deployment["metadata"]["namespace"], deployment["spec"]["template"]["spec"]
    name = pod["serviceAccountName"]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    await apply(system.client, system.kinds, account, namespace)
    printed = await system.knuv("kubeconfig", "--as", f"{namespace}/{name}")
    assert printed.code == 0, printed.err
    kubeconfig = system.stack.state_dir / f"{name}.kubeconfig"
    kubeconfig.write_text(printed.out)
    environment = {
        **{each["name"]: each["value"] for each in pod["containers"][0]["env"] if "value" in each},
        "KUBECONFIG": str(kubeconfig),
        "SYSTEM_NAMESPACE": namespace,
        "KNUV_WEBHOOK_ADDRESS": "127.0.0.1:0",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controller", "webhook"), env=environment, start_new_session=True, cwd=ROOT
    )

    async def is_known() -> bool | None:
        for each in configurations:
            path = system.kinds.of(each["apiVersion"], each["kind"]).path("", each["metadata"]["name"])
            found = json.loads(await system.client.raw("GET", path))
            if not found["webhooks"][0]["clientConfig"].get("caBundle"):
                return None
        return True

    try:
        await until(is_known, 90, f"{name} to make its certificate known")
        yield
    finally:
        kill_group(process.pid)
        await process.wait()
