"""HTTPRoutes of an Ingress, and the steps in which one is changed so that no request is lost. Pure.

Theory of operation. A route that gets a backend which it had not is changed in two steps, because a gateway that takes
in a route may not know the backend's endpoints yet. First the old rules stay, and beside them each backend, old and
new, has a rule under `/.well-known/knative/revision/` that probes alone use; when these are answered, the new rules
come, still with the probes' rules beside them; when these are answered, too, the probes' rules go. The version that a
route stamps on probes says where it is: `ep-<hash>`, `tr-<hash>`, `<hash>`.

Source: net-gateway-api `pkg/reconciler/ingress/reconcile_resources.go`, `resources/httproute.go`; spec ingress.md 6.
"""

import copy
import enum
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from controller import keys
from controller.covering import covers
from controller.gateway_api.settings import REQUEST_TIMEOUT, GatewayChoice
from kube.ingress.spec import with_probes
from kube.models.gateway_api import HTTPRoute
from kube.models.meta import ObjectMeta
from kube.models.networking import Ingress, IngressPath, IngressRule, IngressSpec

__all__ = ["InvalidRule", "Stage", "Step", "after", "change_of_parts", "is_as_wanted", "name_of", "plan", "want"]

JsonObject = dict[str, Any]
Rules = list[JsonObject]

_HASH = "K-Network-Hash"
PROBE_PATH = "/.well-known/knative/revision/"


class InvalidRule(ValueError):
    """No HTTPRoute can say it; the text says what, and what was expected."""


class Stage(enum.Enum):
    """Where a route is on its way to what is wanted."""

    ENDPOINTS = "ep-"
    """The former rules, and the backends of both for probes."""
    TRANSITION = "tr-"
    """The wanted rules, and the same."""
    FINAL = ""
    """The wanted rules."""


class Step(NamedTuple):
    """What a route has to be at present, and what proves that it is served."""

    stage: Stage
    version: str
    rules: Rules
    paths: tuple[str, ...]
    """Where its hosts are probed."""


class _Backend(NamedTuple):
    namespace: str
    name: str
    port: int


def name_of(rule: IngressRule, ingress: Ingress) -> str:
    """Of the rule's route: its last host in the order of the alphabet."""
    return max(rule.hosts, default=ingress.name)


def want(ingress: Ingress, rule: IngressRule, choice: GatewayChoice) -> JsonObject:
    """The route of a rule, but for its `rules`."""
    is_local = rule.visibility == "ClusterLocal"
    labels = {
        **ingress.metadata.labels,
        keys.INGRESS: ingress.name,
        keys.VISIBILITY: keys.CLUSTER_LOCAL if is_local else "",
    }
    tag = _tag_of(rule, ingress)
    if tag:
        labels[keys.TAG] = tag
    annotations = keys.without(ingress.metadata.annotations, (keys.LAST_APPLIED, keys.INHERITED))
    inherited = {"labels": sorted(labels), "annotations": sorted(annotations)}
    annotations[keys.INHERITED] = json.dumps(inherited, separators=(",", ":"))
    namespace, name = choice.gateway
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": namespace, "name": name}
    return {
        "apiVersion": HTTPRoute.RESOURCE.api_version,
        "kind": HTTPRoute.RESOURCE.kind,
        "metadata": {
            "name": name_of(rule, ingress),
            "namespace": ingress.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [msgspec.to_builtins(ingress.owner_reference())],
        },
        "spec": {"parentRefs": [parent], "hostnames": list(rule.hosts)},
    }


def change_of_parts(held: ObjectMeta, metadata: JsonObject) -> dict[str, dict[str, str | None]]:
    """A merge patch of labels and annotations; empty when it would change nothing.

    What the Ingress has no more goes, what others have added stays: the route itself says what it has from the Ingress.
    """
    inherited = _inherited(held.annotations.get(keys.INHERITED, ""))
    changes: dict[str, dict[str, str | None]] = {}
    for part, has in (("labels", held.labels), ("annotations", held.annotations)):
        wanted: dict[str, str] = metadata[part]
        change: dict[str, str | None] = {key: text for key, text in wanted.items() if has.get(key) != text}
        change |= {key: None for key in inherited.get(part, ()) if key in has and key not in wanted}
        if change:
            changes[part] = change
    return changes


def _inherited(text: str) -> dict[str, list[str]]:
    """By part, the names in the annotation; nothing where it is not as we write it."""
    try:
        return msgspec.json.decode(text, type=dict[str, list[str]]) if text else {}
    except msgspec.DecodeError:
        return {}


def is_as_wanted(held: JsonObject, spec: JsonObject) -> bool:
    """Whether a route has all that is wanted; what others add stays, but for times that its Gateway may not know."""
    if not covers(held, spec):
        return False
    return ["timeouts" in each for each in held["rules"]] == ["timeouts" in each for each in spec["rules"]]


def plan(held: Sequence[JsonObject] | None, rule: IngressRule, choice: GatewayChoice, hash_: str) -> Step:
    """The step that a route with the rules `held` (None: there is none) is at. Raises `InvalidRule`."""
    if held is None:
        return _final(rule, choice, hash_)
    version, traffic = _version_of(held), [each for each in held if not _is_probe(each)]
    if version == Stage.TRANSITION.value + hash_:
        probed = [each for each in held if _is_probe(each)]
        return _transition(rule, choice, hash_, _backends(probed))
    wanted, former = _backends(_rules(rule, choice, hash_)), _backends(traffic)
    if wanted <= former:
        return _final(rule, choice, hash_)
    version = Stage.ENDPOINTS.value + hash_
    probes = _probes(wanted | former, version)
    return Step(Stage.ENDPOINTS, version, [*_stamped(traffic, version), *probes], _paths(probes))


def after(step: Step, rule: IngressRule, choice: GatewayChoice, hash_: str) -> Step:
    """The step after one that is proved to be served."""
    if step.stage is Stage.ENDPOINTS:
        return _transition(rule, choice, hash_, _backends(each for each in step.rules if _is_probe(each)))
    return _final(rule, choice, hash_)


def _final(rule: IngressRule, choice: GatewayChoice, hash_: str) -> Step:
    return Step(Stage.FINAL, hash_, _rules(rule, choice, hash_), ("/healthz",))


def _transition(rule: IngressRule, choice: GatewayChoice, hash_: str, probed: set[_Backend]) -> Step:
    version = Stage.TRANSITION.value + hash_
    rules = _rules(rule, choice, version)
    probes = _probes(probed | _backends(rules), version)
    return Step(Stage.TRANSITION, version, [*rules, *probes], ("/healthz", *_paths(probes)))


def _rules(rule: IngressRule, choice: GatewayChoice, version: str) -> Rules:
    """A rule for each path, those that probes use first."""
    [probed] = with_probes(IngressSpec(rules=[rule]), version).rules
    has_timeout = REQUEST_TIMEOUT in choice.features
    return [_rule(path, has_timeout=has_timeout) for path in (probed.http.paths if probed.http is not None else ())]


def _rule(path: IngressPath, *, has_timeout: bool) -> JsonObject:
    match: JsonObject = {"path": {"type": "PathPrefix", "value": path.path or "/"}}
    if path.headers:
        match["headers"] = [_header_match(name, value.get("exact", "")) for name, value in sorted(path.headers.items())]
    rule: JsonObject = {"matches": [match]}
    filters = _setting(path.append_headers)
    if path.rewrite_host:
        filters.append({"type": "URLRewrite", "urlRewrite": {"hostname": path.rewrite_host}})
    if filters:
        rule["filters"] = filters
    references = []
    for split in path.splits:
        backend = _Backend(split.service_namespace, split.service_name, _port(split.service_port))
        reference = _reference(backend, split.percent)
        if split.append_headers:
            reference["filters"] = _setting(split.append_headers)
        references.append(reference)
    rule["backendRefs"] = references
    if has_timeout:
        rule["timeouts"] = {"request": "0s"}
    return rule


def _header_match(name: str, value: str) -> JsonObject:
    # Without a value the header has to be there, whatever it says.
    return (
        {"type": "Exact", "name": name, "value": value}
        if value
        else {"type": "RegularExpression", "name": name, "value": ".*"}
    )


def _setting(headers: dict[str, str]) -> list[JsonObject]:
    if not headers:
        return []
    return [
        {
            "type": "RequestHeaderModifier",
            "requestHeaderModifier": {"set": [{"name": name, "value": headers[name]} for name in sorted(headers)]},
        }
    ]


def _reference(backend: _Backend, weight: int) -> JsonObject:
    return {
        "group": "",
        "kind": "Service",
        "namespace": backend.namespace,
        "name": backend.name,
        "port": backend.port,
        "weight": weight,
    }


def _port(port: int | str) -> int:
    try:
        return int(port)
    except ValueError as error:
        raise InvalidRule(f"servicePort: expected a number for an HTTPRoute, got {port!r}") from error


def _probes(backends: set[_Backend], version: str) -> Rules:
    """One rule for each Service, for probes alone."""
    by_service = {(backend.namespace, backend.name): backend for backend in sorted(backends, reverse=True)}
    return [
        {
            "matches": [
                {
                    "path": {"type": "PathPrefix", "value": f"{PROBE_PATH}{namespace}/{name}"},
                    "headers": [_header_match(_HASH, "override")],
                }
            ],
            "filters": _setting({_HASH: version}),
            "backendRefs": [_reference(backend, 100)],
        }
        for (namespace, name), backend in sorted(by_service.items())
    ]


def _paths(probes: Rules) -> tuple[str, ...]:
    return tuple(_path(each) for each in probes)


def _path(rule: JsonObject) -> str:
    return str(((rule.get("matches") or [{}])[0].get("path") or {}).get("value", ""))


def _is_probe(rule: JsonObject) -> bool:
    return _path(rule).startswith(PROBE_PATH)


def _backends(rules: Iterable[JsonObject]) -> set[_Backend]:
    return {
        _Backend(reference.get("namespace") or "", reference.get("name") or "", reference.get("port") or 0)
        for rule in rules
        for reference in rule.get("backendRefs") or ()
    }


def _hashes(rules: Iterable[JsonObject]) -> Iterable[JsonObject]:
    """The entries that stamp a version on probes."""
    for rule in rules:
        for filter_ in rule.get("filters") or ():
            for entry in (filter_.get("requestHeaderModifier") or {}).get("set") or ():
                if entry.get("name") == _HASH:
                    yield entry


def _version_of(rules: Iterable[JsonObject]) -> str:
    return next((str(entry.get("value", "")) for entry in _hashes(rules)), "")


def _stamped(rules: Rules, version: str) -> Rules:
    copied = copy.deepcopy(rules)
    for entry in _hashes(copied):
        entry["value"] = version
    return copied


def _tag_of(rule: IngressRule, ingress: Ingress) -> str:
    try:
        tags = json.loads(ingress.metadata.annotations.get(keys.TAG_TO_HOST, "{}"))
    except json.JSONDecodeError:
        return ""  # a label that is missing routes as well
    if not isinstance(tags, dict):
        return ""
    return next(
        (tag for tag, hosts in tags.items() if isinstance(hosts, list) and not set(rule.hosts).isdisjoint(hosts)), ""
    )
