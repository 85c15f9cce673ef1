"""The version of an Ingress, as the originals compute it: SHA-256 over Go's JSON of the defaulted spec.

Gateways stamp it on probes, so that an answer proves which version answered (spec ingress.md 4.1). The text must be
Go's to the byte: struct fields in their order, empty optional ones left out, map keys sorted, `<`, `>`, `&` escaped.
"""

import hashlib
import json
from typing import Any

from kube.models.networking import IngressPath, IngressSpec

__all__ = ["spec_json", "version_hash"]


def version_hash(spec: IngressSpec, namespace: str, name: str) -> str:
    """Hex SHA-256 of the *defaulted* spec, the namespace and the name."""
    return hashlib.sha256(f"{spec_json(spec)}{namespace}{name}".encode()).hexdigest()


def spec_json(spec: IngressSpec) -> str:
    """Go's compact JSON of a spec."""
    data = _present(
        tls=[_present(hosts=t.hosts, secretName=t.secret_name, secretNamespace=t.secret_namespace) for t in spec.tls],
        rules=[
            _present(
                hosts=rule.hosts,
                visibility=rule.visibility,
                http={"paths": [_path(path) for path in rule.http.paths]} if rule.http is not None else None,
            )
            for rule in spec.rules
        ],
        httpOption=spec.http_option,
    )
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _path(path: IngressPath) -> dict[str, Any]:
    splits = [
        {
            "serviceNamespace": split.service_namespace,
            "serviceName": split.service_name,
            "servicePort": split.service_port,
            **_present(percent=split.percent, appendHeaders=_sorted(split.append_headers)),
        }
        for split in path.splits
    ]
    return {
        **_present(path=path.path, rewriteHost=path.rewrite_host, headers=_matches(path.headers)),
        "splits": splits,
        **_present(appendHeaders=_sorted(path.append_headers)),
    }


def _matches(headers: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    # `exact` is not optional in the original: a header that must only be present has an empty one.
    return {name: {"exact": match.get("exact", "")} for name, match in sorted(headers.items())}


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _sorted(headers: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(headers.items()))
