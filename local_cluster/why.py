"""Why is a Service not ready? From the Service down, the first of its objects that is not, with its own words.

Pure: `findings` walks a `Snapshot`, which `take` reads. An object counts as not ready when its controller has not seen
its newest generation, or says so in a condition; what stands below a ready one is not looked at. The cause is the
deepest finding of the first branch that is not ready, since whoever is above only repeats it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import msgspec

from kube.client import Client
from kube.errors import NotFound
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.core import ContainerStatus, Pod
from kube.models.discovery import SERVICE_NAME_LABEL, EndpointSlice
from kube.models.meta import Condition, ObjectMeta, Resource
from kube.models.networking import Ingress, ServerlessService
from kube.models.serving import Configuration, Revision, Route, Service
from kube.timestamps import parse_time_s

__all__ = ["Finding", "Snapshot", "Warned", "cause", "findings", "lines", "take"]

_R = TypeVar("_R", bound=Resource)
_PODS_MAX: Final = 3
"""Pods of a revision fare alike: so many of those that are not ready are told, one by one."""
_REVISION: Final = "serving.knative.dev/revision"
_ADVICE: Final = {
    "Configuration": "knuv logs controller -n knative-serving",
    "Revision": "knuv logs controller -n knative-serving",
    "Route": "knuv logs controller -n knative-serving",
    "Service": "knuv logs controller -n knative-serving",
    "Deployment": "knuv describe deployment {name}",
    "Pod": "knuv logs {name}; knuv logs {name} -c queue-proxy",
    "PodAutoscaler": "knuv logs autoscaler -n knative-serving",
    "ServerlessService": "knuv logs controller -n knative-serving",
    "Ingress": "knuv logs gateway -n knative-serving",
}
"""What to ask next, by the kind of the cause."""


class _Status(Protocol):
    """What the states of Knative's objects have in common."""

    @property
    def observed_generation(self) -> int: ...
    @property
    def conditions(self) -> list[Condition]: ...


@dataclass(frozen=True, slots=True)
class Warned:
    """The newest Warning event of an object."""

    kind: str
    name: str
    text: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What exists of one Service; None and absent: it does not."""

    service: Service
    configuration: Configuration | None = None
    route: Route | None = None
    revision: Revision | None = None
    """The newest."""
    deployment: Deployment | None = None
    pods: Sequence[Pod] = ()
    autoscaler: PodAutoscaler | None = None
    serverless_service: ServerlessService | None = None
    ingress: Ingress | None = None
    slices: Sequence[EndpointSlice] = ()
    """Of all Services of the namespace."""
    warnings: Sequence[Warned] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one object says of itself."""

    depth: int
    kind: str
    name: str
    is_ready: bool
    said: tuple[str, ...] = field(default=())
    """A line for each thing that is wrong, or one that says how it stands."""
    warning: str = ""


async def take(client: Client, name: str, namespace: str) -> Snapshot:
    """Read the objects of a Service. Raises `ApiError` when there is no such Service."""
    service = await client.get(Service, name, namespace)
    configuration = await _get(client, Configuration, name, namespace)
    newest = configuration.status.latest_created_revision_name if configuration is not None else ""
    revision = await _get(client, Revision, newest, namespace) if newest else None
    selector = f"{_REVISION}={newest}"
    deployments = (await client.list(Deployment, namespace, label_selector=selector)).items if newest else []
    return Snapshot(
        service=service,
        configuration=configuration,
        route=await _get(client, Route, name, namespace),
        revision=revision,
        deployment=next(iter(deployments), None),
        pods=(await client.list(Pod, namespace, label_selector=selector)).items if newest else (),
        autoscaler=await _get(client, PodAutoscaler, newest, namespace) if newest else None,
        serverless_service=await _get(client, ServerlessService, newest, namespace) if newest else None,
        ingress=await _get(client, Ingress, name, namespace),
        slices=(await client.list(EndpointSlice, namespace)).items,
        warnings=await _warnings(client, namespace),
    )


async def _get(client: Client, kind: type[_R], name: str, namespace: str) -> _R | None:
    try:
        return await client.get(kind, name, namespace)
    except NotFound:
        return None


async def _warnings(client: Client, namespace: str) -> list[Warned]:
    """The newest Warning of each object, in no particular order."""
    found: dict[tuple[str, str], Warned] = {}
    params = {"fieldSelector": "type=Warning"}
    body = await client.raw("GET", f"/api/v1/namespaces/{namespace}/events", params=params)
    for event in msgspec.json.decode(body)["items"]:
        about = event.get("involvedObject") or {}
        key = str(about.get("kind", "")), str(about.get("name", ""))
        at = str(event.get("lastTimestamp") or event.get("eventTime") or "")
        if key not in found or found[key].at <= at:
            found[key] = Warned(*key, _joined(event.get("reason") or "", event.get("message") or ""), at)
    return list(found.values())


def findings(seen: Snapshot, now_s: float) -> list[Finding]:
    """The Service and what stands below it, from the top, as far as it explains the Service's state."""
    return list(_Walk(seen, now_s).service())


def cause(found: Sequence[Finding]) -> Finding | None:
    """The deepest finding of the first branch that is not ready; None when all is well."""
    deepest: Finding | None = None
    for each in found:
        if each.is_ready:
            continue
        if deepest is not None and each.depth <= deepest.depth:
            break
        deepest = each
    return deepest


def lines(found: Sequence[Finding]) -> list[str]:
    """The walk as text: each object with what it says below it, and at the end the cause and what to ask next."""
    told = []
    for each in found:
        indent = "  " * each.depth
        first, *more = each.said or ("ready",)
        told.append(f"{indent}{'ok ' if each.is_ready else 'NOT'} {each.kind} {each.name}: {first}")
        told += [f"{indent}      {text}" for text in more]
        if each.warning:
            told.append(f"{indent}      last warning: {each.warning}")
    culprit = cause(found)
    if culprit is None:
        return told
    told += ["", f"cause: {culprit.kind} {culprit.name}: {(culprit.said or ('not ready',))[0]}"]
    advice = _ADVICE.get(culprit.kind)
    if advice is not None:
        told.append(f"next:  {advice.format(name=culprit.name)}")
    return told


class _Walk:
    """One way down."""

    def __init__(self, seen: Snapshot, now_s: float) -> None:
        self._seen = seen
        self._now_s = now_s
        self._warnings = {(each.kind, each.name): each for each in seen.warnings}

    def service(self) -> Iterator[Finding]:
        service = self._seen.service
        top = self._told(0, service.RESOURCE.kind, service.metadata, service.status)
        yield top
        if top.is_ready:
            return
        yield from self._configuration(1)
        yield from self._route(1)

    def _configuration(self, depth: int) -> Iterator[Finding]:
        configuration = self._seen.configuration
        if configuration is None:
            yield from self._missing(depth, "Configuration", self._seen.service.name, self._seen.service.status)
            return
        own = self._told(depth, "Configuration", configuration.metadata, configuration.status)
        yield own
        newest = configuration.status.latest_created_revision_name
        if own.is_ready or not newest:
            return
        if self._seen.revision is None:
            yield from self._missing(depth + 1, "Revision", newest, configuration.status)
            return
        yield from self._revision(depth + 1, self._seen.revision)

    def _revision(self, depth: int, revision: Revision) -> Iterator[Finding]:
        own = self._told(depth, "Revision", revision.metadata, revision.status)
        yield own
        if own.is_ready:
            return
        yield from self._deployment(depth + 1, revision)
        autoscaler = self._seen.autoscaler
        if autoscaler is None:
            yield from self._missing(depth + 1, "PodAutoscaler", revision.name, revision.status)
            return
        status = autoscaler.status
        wanted = status.desired_scale if status.desired_scale is not None and status.desired_scale >= 0 else "?"
        scales = f"{status.actual_scale or 0} of {wanted} pods"
        above = self._told(depth + 1, "PodAutoscaler", autoscaler.metadata, status, scales)
        yield above
        if not above.is_ready:
            yield from self._serverless_service(depth + 2, revision.name, status)

    def _deployment(self, depth: int, revision: Revision) -> Iterator[Finding]:
        deployment = self._seen.deployment
        if deployment is None:
            yield from self._missing(depth, "Deployment", f"{revision.name}-deployment", revision.status)
            return
        status, wanted = deployment.status, 1 if deployment.spec.replicas is None else deployment.spec.replicas
        is_current = status.observed_generation == deployment.metadata.generation
        bad = [each for each in status.conditions if (each.status == "True") is (each.type == "ReplicaFailure")]
        said = [] if is_current else [_unseen(deployment.metadata, status.observed_generation)]
        if not is_current or status.ready_replicas < wanted:
            said += [self._in_words(each) for each in bad]
        is_ready = not said and status.ready_replicas >= wanted
        said.append(f"{status.ready_replicas} of {wanted} pods are ready")
        yield Finding(depth, "Deployment", deployment.name, is_ready, tuple(said), self._warned(deployment))
        if not is_ready:
            unready = [pod for pod in self._seen.pods if not pod.is_ready()]
            for pod in sorted(unready, key=lambda pod: pod.name)[:_PODS_MAX]:
                yield self._pod(depth + 1, pod)

    def _pod(self, depth: int, pod: Pod) -> Finding:
        bad = [each for each in pod.status.conditions if each.status != "True" and each.type != "Ready"]
        said = [self._in_words(each) for each in bad]
        statuses = [*pod.status.init_container_statuses, *pod.status.container_statuses]
        said = [*(text for status in statuses for text in _container(status)), *said]
        if pod.metadata.deletion_timestamp is not None:
            said.insert(0, f"it is being deleted, since {self._ago(pod.metadata.deletion_timestamp)}")
        return Finding(
            depth, "Pod", pod.name, False, tuple(said or (pod.status.phase or "no status yet",)), self._warned(pod)
        )

    def _serverless_service(self, depth: int, name: str, above: _Status) -> Iterator[Finding]:
        service = self._seen.serverless_service
        if service is None:
            yield from self._missing(depth, "ServerlessService", name, above)
            return
        behind = [
            f"{self._addresses(each)} ready addresses behind {each}"
            for each in (service.status.service_name, service.status.private_service_name)
            if each
        ]
        yield self._told(
            depth, "ServerlessService", service.metadata, service.status, f"mode {service.spec.mode}", *behind
        )

    def _route(self, depth: int) -> Iterator[Finding]:
        route = self._seen.route
        if route is None:
            yield from self._missing(depth, "Route", self._seen.service.name, self._seen.service.status)
            return
        targets = ", ".join(f"{each.percent or 0} % to {each.revision_name}" for each in route.status.traffic)
        own = self._told(depth, "Route", route.metadata, route.status, targets)
        yield own
        if own.is_ready:
            return
        ingress = self._seen.ingress
        if ingress is None:
            yield from self._missing(depth + 1, "Ingress", route.name, route.status)
            return
        backends = sorted(
            {
                split.service_name
                for rule in ingress.spec.rules
                for path in (rule.http.paths if rule.http is not None else ())
                for split in path.splits
            }
        )
        absent = [f"nobody is ready behind {each}: it waits" for each in backends if not self._addresses(each)]
        yield self._told(depth + 1, "Ingress", ingress.metadata, ingress.status, *absent)

    def _addresses(self, service: str) -> int:
        """How many addresses behind a Service take requests."""
        return sum(
            len(endpoint.addresses)
            for each in self._seen.slices
            if each.metadata.labels.get(SERVICE_NAME_LABEL) == service
            for endpoint in each.endpoints
            if endpoint.conditions.ready is not False
        )

    # Words.

    def _told(self, depth: int, kind: str, metadata: ObjectMeta, status: _Status, *facts: str) -> Finding:
        is_current = status.observed_generation == metadata.generation
        ready = next((each for each in status.conditions if each.type == "Ready"), None)
        is_ready = is_current and ready is not None and ready.status == "True"
        facts = tuple(fact for fact in facts if fact)
        if is_ready and ready is not None:
            return Finding(
                depth, kind, metadata.name, True, (f"ready, since {self._ago(ready.last_transition_time)}", *facts)
            )
        said = [] if is_current else [_unseen(metadata, status.observed_generation)]
        bad = [each for each in status.conditions if each.status != "True" and not each.severity]
        said += [self._in_words(each) for each in bad if each is not ready or len(bad) == 1]
        if not status.conditions:
            said.append(f"no conditions yet; it exists since {self._ago(metadata.creation_timestamp)}")
        return Finding(depth, kind, metadata.name, False, (*said, *facts), self._warning(kind, metadata.name))

    def _missing(self, depth: int, kind: str, name: str, above: _Status) -> Iterator[Finding]:
        """An object that is not there; not worth a word where the one above has failed before it could make it."""
        if not any(each.status == "False" and not each.severity for each in above.conditions):
            yield Finding(depth, kind, name, False, ("it does not exist (yet)",), self._warning(kind, name))

    def _in_words(self, condition: Condition) -> str:
        why = _joined(condition.reason, condition.message)
        head = f"{condition.type} is {condition.status}, since {self._ago(condition.last_transition_time)}"
        return f"{head}: {why}" if why else head

    def _ago(self, at: str | None) -> str:
        try:
            return f"{max(0, round(self._now_s - parse_time_s(at or '')))} s"
        except ValueError:
            return "?"

    def _warned(self, about: Resource) -> str:
        return self._warning(about.kind, about.name)

    def _warning(self, kind: str, name: str) -> str:
        known = self._warnings.get((kind, name))
        return f"{known.text} ({self._ago(known.at)} ago)" if known is not None else ""


def _unseen(metadata: ObjectMeta, seen: int) -> str:
    return f"its controller has not seen generation {metadata.generation} yet, but {seen}"


def _joined(*parts: str) -> str:
    """Parts that say something, each on one line."""
    return ": ".join(text for part in parts if (text := " ".join(part.split())))


def _container(status: ContainerStatus) -> Iterator[str]:
    """What is wrong with a container, as its state tells."""
    waiting, ended, before = status.state.waiting, status.state.terminated, status.last_state.terminated
    if before is not None:
        said = _joined(before.message or before.reason)
        yield f"{status.name} ended with {before.exit_code}: {said}; started again {status.restart_count} times so far"
    if waiting is not None:
        yield f"{status.name} waits: {_joined(waiting.reason, waiting.message)}"
    elif ended is not None and ended.exit_code != 0:
        yield f"{status.name} has ended with {ended.exit_code}: {_joined(ended.message or ended.reason)}"
    elif status.state.running is not None and not status.ready:
        yield f"{status.name} runs and is not ready"
