"""An Ingress's spec as gateways read it: with defaults, with probes, and which certificates are for whom. Pure.

Source: `knative.dev/networking` `pkg/apis/networking/v1alpha1`, `pkg/ingress`; spec ingress.md 2, 4.2.
"""

import msgspec

from kube.models.networking import IngressHTTP, IngressPath, IngressSpec, IngressTLS

__all__ = ["defaulted", "tls_entries", "with_probes"]


def defaulted(spec: IngressSpec) -> IngressSpec:
    """With defaults: rules are external, a lone split gets everything (spec ingress.md 2). The given one stays."""
    if not any(_lacks_defaults(rule.visibility, rule.http) for rule in spec.rules):
        return spec
    copy = msgspec.json.decode(msgspec.json.encode(spec), type=IngressSpec)
    for rule in copy.rules:
        rule.visibility = rule.visibility or "ExternalIP"
        for path in rule.http.paths if rule.http is not None else ():
            if len(path.splits) == 1 and path.splits[0].percent == 0:
                path.splits[0].percent = 100
    return copy


def with_probes(spec: IngressSpec, version: str) -> IngressSpec:
    """A copy in which a request with `K-Network-Hash: override` is stamped with `version` on its way (4.2)."""
    return msgspec.structs.replace(
        spec,
        rules=[
            msgspec.structs.replace(
                rule, http=IngressHTTP(paths=[_probe_of(p, version) for p in rule.http.paths] + rule.http.paths)
            )
            if rule.http is not None
            else rule
            for rule in spec.rules
        ],
    )


def tls_entries(spec: IngressSpec, visibility: str) -> list[IngressTLS]:
    """Certificates that cover all hosts of some rule of that visibility, once per rule (spec ingress.md 2).

    A rule of that visibility without hosts ends the search with what was found so far.
    """
    found = []
    for rule in spec.rules:
        if rule.visibility != visibility:
            continue
        if not rule.hosts:
            break
        found += [entry for entry in spec.tls if set(rule.hosts) <= set(entry.hosts)]
    return found


def _lacks_defaults(visibility: str, http: IngressHTTP | None) -> bool:
    paths = http.paths if http is not None else ()
    return not visibility or any(len(path.splits) == 1 and path.splits[0].percent == 0 for path in paths)


def _probe_of(path: IngressPath, version: str) -> IngressPath:
    return msgspec.structs.replace(
        path,
        headers={**path.headers, "K-Network-Hash": {"exact": "override"}},
        append_headers={**path.append_headers, "K-Network-Hash": version},
    )
