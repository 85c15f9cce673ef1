"""What a request is, from its head alone: a probe with a fixed answer, the kubelet's question, or one for a revision.

    User-Agent kube-probe/..., or K-Kubelet-Probe     KUBELET_PROBE   how we are; a matter of the moment
    K-Network-Probe                                   Answer          the same for equal heads, also while draining
    otherwise                                         RevisionKey     from the headers, or from the Host

The path plays no role. Nothing here depends on time, so the engine's memo of heads may keep the result.
Source: knative/serving `pkg/activator/handler`; spec activator.md 5 and 6.1; conformance statements 1-14.
"""

from enum import Enum
from html import escape
from typing import Final

from activator.loads import RevisionKey
from proxies import headers
from proxies.messages import Answer, RequestHead

__all__ = ["Classifier", "KubeletProbe", "Plan", "not_found"]


class KubeletProbe(Enum):
    """The only question whose answer changes."""

    ASKED = "asked"


Plan = Answer | KubeletProbe | RevisionKey
"""What a head amounts to."""

_ACTIVATOR_ALIVE: Final = Answer(200, b"activator", content_type=b"text/plain; charset=utf-8")
_HASH_MISSING: Final = Answer.error(400, 'a probe request must contain a non-empty "K-Network-Hash" header')
_HOST_PARTS_MAX: Final = 4


class Classifier:
    """Reads heads in a cluster of this domain."""

    __slots__ = ("_cluster_domain",)

    def __init__(self, cluster_domain: str) -> None:
        self._cluster_domain = cluster_domain.encode()

    def classify(self, head: RequestHead) -> Plan:
        """Return what the request with `head` is; the first match wins."""
        if head.get(headers.USER_AGENT).startswith(headers.KUBELET_AGENT) or head.get(headers.KUBELET_PROBE):
            return KubeletProbe.ASKED
        probe = head.get(headers.PROBE)
        if probe:
            return _probe_answer(probe, head.get(headers.PROBE_HASH))
        return self._revision(head)

    def _revision(self, head: RequestHead) -> RevisionKey:
        by_headers = RevisionKey(head.get(headers.NAMESPACE), head.get(headers.REVISION))
        if by_headers.namespace and by_headers.name:
            return by_headers
        parts = head.host.split(b".", _HOST_PARTS_MAX - 1)
        if len(parts) == _HOST_PARTS_MAX and parts[2] == b"svc" and _without_port(parts[3]) == self._cluster_domain:
            return RevisionKey(parts[1], parts[0])
        return by_headers


def not_found(key: RevisionKey) -> Answer:
    """Return the 404 for a revision that does not exist."""
    name = _quoted(key.name)
    return Answer.error(404, f"Error getting active endpoint: revision.serving.knative.dev {name} not found")


def _probe_answer(probe: bytes, probe_hash: bytes) -> Answer:
    if probe == b"probe":
        return Answer(200, fields=((b"K-Network-Hash", probe_hash),)) if probe_hash else _HASH_MISSING
    if probe == b"activator":
        return _ACTIVATOR_ALIVE
    # As Go's html.EscapeString writes quotes.
    escaped = escape(probe.decode("utf-8", "surrogateescape")).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    return Answer.error(400, f"unexpected probe header value: {_quoted(escaped.encode('utf-8', 'surrogateescape'))}")


def _without_port(host: bytes) -> bytes:
    return host.partition(b":")[0]


def _quoted(value: bytes) -> str:
    """Go's `%q`: double quotes, escapes for these, backslashes and what is not printable."""
    quoted = []
    for char in value.decode("utf-8", "surrogateescape"):
        if char in '"\\':
            quoted.append("\\" + char)
        elif "\udc80" <= char <= "\udcff":
            quoted.append(f"\\x{ord(char) - 0xDC00:02x}")
        elif char == " " or char.isprintable():
            quoted.append(char)
        else:
            quoted.append("\\t" if char == "\t" else f"\\u{ord(char):04x}")
    return '"' + "".join(quoted) + '"'
