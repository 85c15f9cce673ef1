"""What Envoy would refuse: found here, so that one Ingress cannot keep all others from being served.

All routes of a face are one resource, which Envoy takes or refuses whole. So whatever it refuses in a route, a virtual
host or a header has to be known before. Source: Envoy `source/common/router/config_impl.cc`,
`header_parser.cc`; api validation rules of `envoy.config.route.v3`.
"""

import re

from kube.models.networking import IngressPath, IngressSpec

__all__ = ["InvalidIngress", "check"]

_HOST = re.compile(
    r"(?=.{1,253}\Z)(?:\*|[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*)\Z"
)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]{0,8192}\Z")
_PATH = re.compile(r"/[!-~]{0,4095}\Z")
_NOT_TO_BE_SET = frozenset(("host", "content-length", "transfer-encoding", "connection"))


class InvalidIngress(ValueError):
    """No gateway can serve it; the text names the place and what was expected there."""


def check(spec: IngressSpec) -> None:
    """Raise `InvalidIngress` for the first thing that Envoy would refuse in a defaulted spec."""
    for index, rule in enumerate(spec.rules):
        where = f"spec.rules[{index}]"
        for host in rule.hosts:
            if not _HOST.match(host):
                raise InvalidIngress(f"{where}.hosts: expected a host name, got {host[:300]!r}")
        for number, path in enumerate(rule.http.paths if rule.http is not None else ()):
            _check_path(path, f"{where}.http.paths[{number}]")


def _check_path(path: IngressPath, where: str) -> None:
    if path.path and not _PATH.match(path.path):
        raise InvalidIngress(f"{where}.path: expected a path that begins with /, got {path.path[:300]!r}")
    if path.rewrite_host and not _HOST.match(path.rewrite_host):
        raise InvalidIngress(f"{where}.rewriteHost: expected a host name, got {path.rewrite_host[:300]!r}")
    for name, match in path.headers.items():
        _check_header(name, match.get("exact", ""), f"{where}.headers")
    _check_set(path.append_headers, f"{where}.appendHeaders")
    for split in path.splits:
        _check_set(split.append_headers, f"{where}.splits.appendHeaders")
        if not 0 <= split.percent <= 100:
            raise InvalidIngress(f"{where}.splits: expected 0 to 100 percent, got {split.percent}")
    if sum(split.percent for split in path.splits) != 100:
        total = sum(split.percent for split in path.splits)
        raise InvalidIngress(f"{where}.splits: traffic split percentage must total to 100, but was {total}")


def _check_set(headers: dict[str, str], where: str) -> None:
    for name, value in headers.items():
        _check_header(name, value, where)
        if name.lower() in _NOT_TO_BE_SET:
            raise InvalidIngress(f"{where}: {name} is the gateway's to set")


def _check_header(name: str, value: str, where: str) -> None:
    if not _HEADER.match(name):
        raise InvalidIngress(f"{where}: expected the name of a header, got {name[:300]!r}")
    if not _VALUE.match(value):
        raise InvalidIngress(f"{where}: expected text without control characters for {name}, got {value[:300]!r}")
