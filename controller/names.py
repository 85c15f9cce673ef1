"""Kubernetes' rules for names, with the texts by which it explains them.

Each function returns what is wrong with a text; empty when nothing is. Source: Kubernetes
`k8s.io/apimachinery/pkg/util/validation`.
"""

import re

__all__ = ["dns_1035_label", "dns_1035_prefix", "is_dns_1123_label", "is_dns_1123_subdomain", "qualified_name"]

_LABEL_MAX = 63
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z", re.ASCII)
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z", re.ASCII)
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z", re.ASCII)
_TOO_LONG = f"must be no more than {_LABEL_MAX} characters"
_DNS_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_RULE = (
    "a qualified name must consist of alphanumeric characters, '-', '_' or '.', with an optional DNS subdomain prefix "
    "and '/'"
)
_NAME_PART_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def dns_1035_label(text: str) -> list[str]:
    """Names of Services and tags."""
    found = [_TOO_LONG] if len(text) > _LABEL_MAX else []
    return found if _DNS_1035.match(text) else [*found, _DNS_1035_RULE]


def dns_1035_prefix(text: str) -> list[str]:
    """What such names may begin with: a dash at the end is fine, since more follows."""
    return dns_1035_label(text[:-1] + "a" if len(text) > 1 and text.endswith("-") else text)


def is_dns_1123_label(text: str) -> bool:
    """Names of volumes and containers."""
    return len(text) <= _LABEL_MAX and _DNS_1123.match(text) is not None


def is_dns_1123_subdomain(text: str) -> bool:
    """Names of service accounts."""
    return 0 < len(text) <= 253 and all(_DNS_1123.match(label) for label in text.split("."))


def qualified_name(text: str) -> list[str]:
    """Names with an optional `prefix/`, as in label keys."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        return [_QUALIFIED_RULE]
    found = []
    if slash and not is_dns_1123_subdomain(prefix):
        found.append("prefix part must be a DNS subdomain" if prefix else "prefix part must be non-empty")
    if not name:
        return [*found, "name part must be non-empty", _NAME_PART_RULE]
    if len(name) > _LABEL_MAX:
        found.append(f"name part {_TOO_LONG}")
    return found if _NAME_PART.match(name) else [*found, _NAME_PART_RULE]
