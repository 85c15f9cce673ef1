"""The part of the stack that is Knative Eventing: made when somebody first asks for it.

Namespace, service accounts and ConfigMaps are there from the start, since what is admitted depends on them. The pods
(controller, ingress, filter, dispatcher) come with the first object of eventing, the one that makes Jobs with the first
JobSink: whoever has none pays for none.
`Eventing.watch` listens to the API server's store for that.

Where events wait is the stack's choice: `memory` (nowhere, as Knative's own default), `journal` (a file of the state
directory, synced before 202) or `jetstream` (streams of a NATS of the stack's own, `local_cluster.nats`). Producers
outside of the stack come in by the gateway.
"""

import asyncio
import json
import secrets
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable
from kube.models.core import ConfigMap, Pod, Secret
from local_cluster import nats
from local_cluster.apiserver.certificates import write_kubeconfig, write_private
from local_cluster.apiserver.errors import StatusError
from local_cluster.apiserver.port_forward import Dialer
from local_cluster.apiserver.server import ApiServer
from local_cluster.apiserver.versions import Change
from local_cluster.authorities import authority_variables
from local_cluster.event_doors import Doors, door
from local_cluster.originals import EVENTING_CONFIG_MAPS, EVENTING_NAMESPACE
from local_cluster.revival import create
from local_cluster.system import INGRESS_CLASS, MANAGED, PROGRAM, Components, SystemLayout
from proxies.logs import Logger

__all__ = ["CHANNELS", "Eventing", "base_manifests", "brokers_host", "job_sink_manifests", "pod_manifests"]

JsonObject = dict[str, Any]

CHANNELS: Final = ("journal", "memory", "jetstream", "none")
"""Where events wait; the first is the default, the last leaves eventing out."""

_SINKS: Final = "sinks.knative.dev"
_GROUPS: Final = frozenset(
    ["eventing.knative.dev", "messaging.knative.dev", "flows.knative.dev", "sources.knative.dev", _SINKS]
)
_CHANNEL_TEMPLATE: Final = {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}
_JETSTREAM_TEMPLATE: Final = {"apiVersion": "messaging.knative.dev/v1alpha1", "kind": "NatsJetStreamChannel"}
_ROLLING: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
_PING_GRACE_S: Final = 12
"""Late in a minute the adapter stays for the next one's first tick, 6 s at most, and then 5 s for what is under way."""
_DEBUG_PORT: Final = 8018
_DEBUG_FILE: Final = "eventing-debug.json"
_ACCOUNTS: Final = {
    "eventing-controller": "eventing-controller",
    "broker-ingress": "mt-broker-ingress",
    "broker-filter": "mt-broker-filter",
    "imc-dispatcher": "imc-dispatcher",
    "jetstream-ch-dispatcher": "jetstream-ch-dispatcher",
    "pingsource-mt-adapter": "pingsource-mt-adapter",
    "job-sink": "job-sink",
}
"""Component -> its service account, named as the originals': `eventing-controller` alone may write subscribers."""


class Eventing:
    """Eventing in one stack. `watch` before anybody writes; `stop` in any state."""

    def __init__(
        self,
        api: ApiServer,
        client: Client,
        layout: SystemLayout,
        components: Components,
        ca_pem: bytes,
        *,
        keeps_state: bool,
        say: Callable[[str], None],
        log: Logger,
    ) -> None:
        self._api = api
        self._client = client
        self._layout = layout
        self._components = components
        self._ca_pem = ca_pem
        self._keeps_state = keeps_state
        self._say = say
        self._log = log
        self._bringing_up: asyncio.Task[None] | None = None
        self._adding_sinks: asyncio.Task[None] | None = None
        self._doors: Doors | None = None
        self.dialer: Dialer | None = None
        """Connects to a port inside a pod; to be set before anybody asks for one."""

    def watch(self) -> None:
        """Bring the pods up with the first object of eventing, which may be there already."""
        if self._components.eventing == "none":
            return
        if not self._keeps_state:
            # What waits for subscribers that are no more would be found by nobody.
            shutil.rmtree(self._layout.state_dir / "events", ignore_errors=True)
        self._api.store.on_change(self._changed)
        for kind in self._api.registry:
            if kind.group in _GROUPS and kind.is_stored_form and len(self._api.store.collection(kind.key)):
                self._begin(kind.group)

    async def stop(self) -> None:
        """Bring nothing up any more."""
        for task in (self._adding_sinks, self._bringing_up):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if self._doors is not None:
            await self._doors.stop()

    def _changed(self, key: str, change: Change) -> None:
        group = key.partition(".")[2]
        if group in _GROUPS and not change.is_deletion:
            self._begin(group)

    def _begin(self, group: str) -> None:
        loop = asyncio.get_running_loop()
        if self._bringing_up is None:
            self._bringing_up = loop.create_task(self._bring_up(), name="eventing")
        if group == _SINKS and self._adding_sinks is None:
            self._adding_sinks = loop.create_task(self._add_job_sink(self._bringing_up), name="job-sink")

    async def _add_job_sink(self, rest: asyncio.Task[None]) -> None:
        """What makes Jobs of events, when the rest is there, which gives it its identity."""
        await asyncio.wait([rest])
        try:
            for manifest in job_sink_manifests(self._layout):
                await create(self._client, manifest)
        except Exception as error:  # noqa: BLE001 - the stack is of use without it; people are told
            self._log.exception("job_sink_not_started", error)
            self._say(f"what makes Jobs of events does not come up: {error}")

    async def _bring_up(self) -> None:
        try:
            token = await self._write_credentials()
            if self._components.eventing == "jetstream":
                await self._provide_nats()
            for manifest in pod_manifests(self._layout, self._components, token):
                await create(self._client, manifest)
        except Exception as error:  # noqa: BLE001 - the stack is of use without eventing; people are told
            self._log.exception("eventing_not_started", error)
            self._say(f"eventing does not come up: {error}")
            return
        url = f"http://{brokers_host(self._layout)}:{self._layout.http_port}/NAMESPACE/BROKER"
        self._say(f"eventing    {self._components.eventing}; producers outside: {url}")

    async def _provide_nats(self) -> None:
        """Write down where NATS is and how to get in: it may be elsewhere than for a stack before this one."""
        password = nats.prepare(self._layout, keeps_state=self._keeps_state)
        for manifest in nats.base_manifests(self._layout, password):
            await create(self._client, manifest)
            kind = Secret if manifest["kind"] == "Secret" else ConfigMap
            await self._client.patch(kind, manifest["metadata"]["name"], EVENTING_NAMESPACE, {"data": manifest["data"]})
        for manifest in nats.pod_manifests(self._layout):
            await create(self._client, manifest)

    async def _write_credentials(self) -> str:
        """Give each component its identity; the token with which people may ask what became of an event."""
        for component, account in _ACCOUNTS.items():
            token = self._api.issue_token(EVENTING_NAMESPACE, account)
            write_kubeconfig(self._layout.kubeconfig(component), self._api.url, self._ca_pem, token)
        token = secrets.token_urlsafe(32)
        names = [name for name in _DEBUGGED if name != "jetstream" or self._components.eventing == "jetstream"]
        if self._layout.pods_have_networks:
            self._doors = Doors(self._layout.state_dir, self._dial)
            for name in names:
                await self._doors.open(name)
            components = {name: f"unix:{door(name)}" for name in names}
        else:
            components = {name: _debug_address(self._layout, name) for name in names}
        told = {"token": token, "components": components}
        write_private(self._layout.state_dir / _DEBUG_FILE, json.dumps(told).encode())
        return token

    async def _dial(self, component: str) -> socket.socket:
        """Connect to the debug port of a component's pod. Raises `OSError`."""
        app = _DEBUGGED[component]
        try:
            pods = (await self._client.list(Pod, EVENTING_NAMESPACE, label_selector=f"app={app}")).items
            pod = next((each for each in pods if each.status.phase == "Running"), None)
            if pod is None or self.dialer is None:
                raise OSError(f"no pod of {app} runs")
            return await self.dialer(EVENTING_NAMESPACE, pod.name, _DEBUG_PORT)
        except (ApiError, ApiUnreachable, StatusError) as error:
            raise OSError(str(error)) from error


_DEBUGGED: Final = {
    "ingress": "broker-ingress",
    "filter": "broker-filter",
    "dispatcher": "imc-dispatcher",
    "jetstream": "jetstream-ch-dispatcher",
}
"""Whose debug port people ask: its name for them, and the label of its pod."""


def brokers_host(layout: SystemLayout) -> str:
    """The name under which the gateway leads to the Brokers' ingress."""
    return f"broker-ingress.{EVENTING_NAMESPACE}.{layout.domain}"


def base_manifests(components: Components) -> list[JsonObject]:
    """What admission and people need from the start: service accounts and ConfigMaps, with the originals' defaults."""
    if components.eventing == "none":
        return []
    template = _JETSTREAM_TEMPLATE if components.eventing == "jetstream" else _CHANNEL_TEMPLATE
    delivery = {"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"}
    broker = {
        "brokerClass": "MTChannelBasedBroker",
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "config-br-default-channel",
        "namespace": EVENTING_NAMESPACE,
        "delivery": delivery,
    }
    data: dict[str, dict[str, str]] = {
        **{name: {} for name in EVENTING_CONFIG_MAPS},
        "config-br-default-channel": {"channel-template-spec": json.dumps(template)},
        "config-br-defaults": {"default-br-config": json.dumps({"clusterDefault": broker})},
        "config-leader-election": {},
        "config-ping-defaults": {},
        "default-ch-webhook": {"default-ch-config": json.dumps({"clusterDefault": template})},
    }
    accounts = [_object("v1", "ServiceAccount", name) for name in sorted(set(_ACCOUNTS.values()))]
    return [*accounts, *(_object("v1", "ConfigMap", name) | {"data": text} for name, text in data.items())]


def pod_manifests(layout: SystemLayout, components: Components, token: str) -> list[JsonObject]:
    """Services, Deployments, and the way in from outside. What `--replace` names is made with the stack, not here."""
    dispatcher_env = {
        "KNUV_CHANNELS": "memory" if components.eventing == "jetstream" else components.eventing,
        "MAX_IDLE_CONNS": "1000",
        "MAX_IDLE_CONNS_PER_HOST": "1000",
        "KNUV_EARLY_FILTERS": "1",
    }
    folder = layout.state_dir / "events" if components.eventing == "journal" else None
    if folder is not None:
        dispatcher_env["KNUV_JOURNAL_DIR"] = str(folder)
    drain = {"KNUV_DRAIN_SECONDS": "1"}
    found = [
        *_outside(layout),
        _deployment(layout, "eventing-controller", ["controller"], {"KNUV_CONTROLLERS": "eventing"}),
        _service("imc-dispatcher"),
        _deployment(
            layout,
            "imc-dispatcher",
            ["broker", "dispatcher"],
            dispatcher_env | drain | _debugging(layout, "dispatcher", token),
            readiness="/",
            folder=folder,
        ),
        *(_jetstream_dispatcher(layout, drain, token) if components.eventing == "jetstream" else ()),
        _deployment(layout, "pingsource-mt-adapter", ["sources", "ping"], {}, replicas=0, grace_s=_PING_GRACE_S),
    ]
    for role in ("ingress", "filter"):
        name = f"broker-{role}"
        if name not in components.replaced:
            env = drain | _debugging(layout, role, token)
            found += [_service(name), _deployment(layout, name, ["broker", role], env, readiness="/healthz")]
    return found


def job_sink_manifests(layout: SystemLayout) -> list[JsonObject]:
    """Service and Deployment of the process behind all JobSinks."""
    name, env = "job-sink", {"KNUV_DRAIN_SECONDS": "1"}
    return [_service(name), _deployment(layout, name, ["broker", name], env, readiness="/healthz")]


def _jetstream_dispatcher(layout: SystemLayout, drain: dict[str, str], token: str) -> list[JsonObject]:
    name = "jetstream-ch-dispatcher"
    env = {"KNUV_CHANNELS": "jetstream"} | drain | _debugging(layout, "jetstream", token)
    return [_service(name), _deployment(layout, name, ["broker", "dispatcher"], env, readiness="/")]


def _debugging(layout: SystemLayout, role: str, token: str) -> dict[str, str]:
    """Where a process shows what became of events: in a network of its own inside the pod, and a door leads there."""
    address = f"127.0.0.1:{_DEBUG_PORT}" if layout.pods_have_networks else _debug_address(layout, role)
    return {"KNUV_DEBUG_ADDRESS": address, "KNUV_DEBUG_TOKEN": token}


def _debug_address(layout: SystemLayout, role: str) -> str:
    return f"{layout.address(8 + list(_DEBUGGED).index(role))}:{_DEBUG_PORT}"


def _outside(layout: SystemLayout) -> list[JsonObject]:
    """The gateway's way to the ingress, as a Route has it, for producers that are not in the stack."""
    split = {
        "serviceNamespace": EVENTING_NAMESPACE,
        "serviceName": "broker-ingress",
        "servicePort": 80,
        "percent": 100,
    }
    rule = {"hosts": [brokers_host(layout)], "visibility": "ExternalIP", "http": {"paths": [{"splits": [split]}]}}
    ingress = _object("networking.internal.knative.dev/v1alpha1", "Ingress", "broker-ingress")
    ingress["metadata"]["annotations"] = {"networking.knative.dev/ingress.class": INGRESS_CLASS}
    return [ingress | {"spec": {"httpOption": "Enabled", "rules": [rule]}}]


def _deployment(
    layout: SystemLayout,
    name: str,
    arguments: list[str],
    env: dict[str, str],
    *,
    readiness: str = "",
    replicas: int = 1,
    folder: Path | None = None,
    grace_s: int = 5,
) -> JsonObject:
    fixed = {
        "SYSTEM_NAMESPACE": EVENTING_NAMESPACE,
        "CONTAINER_NAME": name,
        "CLUSTER_DOMAIN": "cluster.local",
        "KNUV_SERVICE_RESOLUTION": "dns" if layout.pods_have_networks else "endpoints",
        **({} if layout.pods_have_networks else {"KUBECONFIG": str(layout.kubeconfig(name))}),
        **authority_variables(),
        **env,
    }
    fields = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    if name == "broker-filter":
        fields["NAMESPACE"] = "metadata.namespace"
    container: JsonObject = {
        "name": name,
        "image": f"dev.local/knuv/{name}",
        "command": [*PROGRAM, *arguments],
        "env": [
            *({"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()),
            *({"name": key, "value": value} for key, value in fixed.items()),
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if readiness:
        probe = {"httpGet": {"port": 8080, "path": readiness}, "periodSeconds": 1, "failureThreshold": 3}
        container["readinessProbe"] = probe
    labels = {"app": name}
    pod = {
        "containers": [container],
        "serviceAccountName": _ACCOUNTS[name],
        # Where pods share the machine's network, nothing else makes a container of its own of them necessary.
        "automountServiceAccountToken": layout.pods_have_networks,
        "terminationGracePeriodSeconds": grace_s,
    }
    if folder is not None and layout.pods_have_networks:
        # Containers see nothing of the state directory but what is mounted.
        container["volumeMounts"] = [{"name": "events", "mountPath": str(folder)}]
        pod["volumes"] = [{"name": "events", "hostPath": {"path": str(folder), "type": "DirectoryOrCreate"}}]
    return _object("apps/v1", "Deployment", name, labels | MANAGED) | {
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            # A journal is one process's: the next one starts when the last has ended.
            "strategy": _ROLLING if folder is None else {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
    }


def _service(name: str) -> JsonObject:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return _object("v1", "Service", name, {"app": name}) | {"spec": {"selector": {"app": name}, "ports": ports}}


def _object(api_version: str, kind: str, name: str, labels: dict[str, str] | None = None) -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": EVENTING_NAMESPACE}
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
