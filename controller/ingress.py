"""The Ingress of a Route: hosts to Revisions with shares, for the gateway.

Pure. Source: knative/serving `pkg/reconciler/route/resources/ingress.go`; spec control-plane.md 7.5, ingress.md 2.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from controller import keys
from controller.certificates import Provisioned
from controller.domains import Hosts
from controller.rollout import Rollout
from controller.settings import Settings
from controller.traffic import Target
from kube.models.networking import Http01Challenge, Ingress
from kube.models.serving import Route
from kube.names import child_name

__all__ = ["HttpOptionError", "build", "drift_patch", "http_option", "name_of", "with_challenges"]

JsonObject = dict[str, Any]

PUBLIC: Final = "ExternalIP"
LOCAL: Final = "ClusterLocal"
TAG_HEADER: Final = "Knative-Serving-Tag"
DEFAULT_ROUTE_HEADER: Final = "Knative-Serving-Default-Route"
_PORTS: Mapping[str, int] = {"http1": 80, "h2c": 81}
_HTTP_OPTIONS: Mapping[str, str] = {"enabled": "Enabled", "redirected": "Redirected", "disabled": ""}


class HttpOptionError(ValueError):
    """The Route's HTTP option annotation holds neither `enabled` nor `redirected`."""


def name_of(route: Route) -> str:
    """The Ingress's name."""
    return child_name(route.metadata.name, "")


def build(
    route: Route,
    groups: Mapping[str, Sequence[Target]],
    hosts: Mapping[str, Hosts],
    rollout: Rollout,
    settings: Settings,
    provided: Provisioned | None = None,
) -> JsonObject:
    """The object as it is created. `groups`: tag -> Revisions; `rollout` shares their percent among Revisions.

    Raises `HttpOptionError`.
    """
    annotations = {
        keys.INGRESS_CLASS[0]: settings.network.ingress_class,
        **keys.without(
            route.metadata.annotations,
            (keys.LAST_APPLIED, keys.CERTIFICATE_CLASS[1], keys.INGRESS_CLASS[1], keys.TAG_TO_HOST),
        ),
        # Last: the state of a rollout is ours, whatever a Route carries under that name.
        keys.ROLLOUT: rollout.to_json(),
    }
    # The dashed spelling is the user's other way to choose; the gateway reads only the dotted one.
    chosen_class = keys.first_present(route.metadata.annotations, keys.INGRESS_CLASS)
    if chosen_class is not None:
        annotations[keys.INGRESS_CLASS[0]] = chosen_class
    tagged = {tag: sorted((*hosts[tag].local, *hosts[tag].public)) for tag in sorted(groups) if tag}
    if tagged:
        annotations[keys.TAG_TO_HOST] = json.dumps(tagged, separators=(",", ":"))
    return {
        "apiVersion": Ingress.RESOURCE.api_version,
        "kind": "Ingress",
        "metadata": {
            "name": name_of(route),
            "namespace": route.metadata.namespace,
            "labels": {
                **route.metadata.labels,
                keys.ROUTE: route.metadata.name,
                keys.ROUTE_NAMESPACE: route.metadata.namespace,
            },
            "annotations": annotations,
            "ownerReferences": [msgspec.to_builtins(route.owner_reference())],
        },
        "spec": {
            **({"tls": provided.tls} if provided is not None and provided.tls else {}),
            "httpOption": http_option(route.metadata.annotations, settings),
            "rules": with_challenges(
                _rules(route, groups, hosts, rollout, settings), provided.challenges if provided is not None else ()
            ),
        },
    }


def drift_patch(existing: Ingress, wanted: JsonObject) -> list[JsonObject] | None:
    """JSON patch operations that make `existing` as `wanted`, or None when it is."""
    meta = wanted["metadata"]
    spec = msgspec.convert(wanted["spec"], type(existing.spec))
    operations = [
        {"op": "add", "path": path, "value": value}
        for path, value, differs in (
            ("/spec", wanted["spec"], existing.spec != spec),
            ("/metadata/labels", meta["labels"], existing.metadata.labels != meta["labels"]),
            ("/metadata/annotations", meta["annotations"], existing.metadata.annotations != meta["annotations"]),
        )
        if differs
    ]
    return operations or None


def _rules(
    route: Route,
    groups: Mapping[str, Sequence[Target]],
    hosts: Mapping[str, Hosts],
    rollout: Rollout,
    settings: Settings,
) -> list[JsonObject]:
    by_header = settings.features.enabled("tag-header-based-routing")
    rules = []
    for tag in sorted(groups):
        splits = _splits(route, tag, groups[tag], rollout, settings)
        path: JsonObject = {"splits": splits}
        paths = [path]
        if by_header and tag:
            path["appendHeaders"] = {TAG_HEADER: tag}
        elif by_header and len(groups) > 1:
            path["appendHeaders"] = {DEFAULT_ROUTE_HEADER: "true"}
            paths = [
                {
                    "headers": {TAG_HEADER: {"exact": other}},
                    "splits": _splits(route, other, groups[other], rollout, settings),
                }
                for other in sorted(groups)
                if other
            ] + paths
        faces = [(LOCAL, hosts[tag].local), *((PUBLIC, (host,)) for host in hosts[tag].public)]
        rules += [
            {"hosts": list(names), "visibility": visibility, "http": {"paths": paths}} for visibility, names in faces
        ]
    return rules


def _splits(
    route: Route, tag: str, targets: Sequence[Target], rollout: Rollout, settings: Settings
) -> list[JsonObject]:
    shares = {entry.configuration: entry.revisions for entry in rollout.configurations if entry.tag == tag}
    splits = []
    for target in targets:
        rolled = shares.get(target.configuration) if target.latest else None
        for revision, percent in (
            [(share.revision, share.percent) for share in rolled] if rolled else [(target.revision, target.percent)]
        ):
            if percent:
                splits.append(_split(route, revision, percent, target.protocol, settings))
    return splits


def _split(route: Route, revision: str, percent: int, protocol: str, settings: Settings) -> JsonObject:
    namespace = route.metadata.namespace
    return {
        "serviceNamespace": namespace,
        "serviceName": revision,
        "servicePort": 443 if settings.network.system_internal_tls else _PORTS[protocol],
        "percent": percent,
        "appendHeaders": {"Knative-Serving-Revision": revision, "Knative-Serving-Namespace": namespace},
    }


def with_challenges(
    rules: list[JsonObject], challenges: Sequence[Http01Challenge], *, keep_others: bool = False
) -> list[JsonObject]:
    """`rules` in which an authority's questions reach whoever answers them.

    They go before the paths of the rule that has their host alone; without such a rule they are dropped, or get one of
    their own with `keep_others`.
    """
    by_host: dict[str, list[JsonObject]] = {}
    for challenge in challenges:
        url = urlsplit(challenge.url)
        by_host.setdefault(url.hostname or "", []).append(
            {
                "path": url.path,
                "splits": [
                    {
                        "serviceNamespace": challenge.service_namespace,
                        "serviceName": challenge.service_name,
                        "servicePort": challenge.service_port,
                        "percent": 100,
                    }
                ],
            }
        )
    found = []
    for rule in rules:
        asked = by_host.pop(rule["hosts"][0], []) if rule["visibility"] == PUBLIC and len(rule["hosts"]) == 1 else []
        found.append({**rule, "http": {"paths": [*asked, *rule["http"]["paths"]]}})
    if keep_others:
        found += [
            {"hosts": [host], "visibility": PUBLIC, "http": {"paths": paths}} for host, paths in sorted(by_host.items())
        ]
    return found


def http_option(annotations: Mapping[str, str], settings: Settings) -> str:
    """What happens to plain HTTP, by annotation or for the whole cluster. Raises `HttpOptionError`."""
    annotated = keys.first_present(annotations, keys.HTTP_OPTION)
    if annotated is None:
        return _HTTP_OPTIONS[settings.network.http_protocol]
    if annotated.lower() not in ("enabled", "redirected"):
        raise HttpOptionError(f"incorrect HTTPOption annotation: {annotated}")
    return _HTTP_OPTIONS[annotated.lower()]
