"""Which requests are probes: by their headers, whatever their method and path.

Source: knative.dev/pkg `network/handlers`; spec eventing-broker.md 3.1; conformance statements 91 to 93.
"""

from enum import Enum
from typing import Final

from proxies import headers
from proxies.fields import KNATIVE, PROBE_AGENT
from proxies.messages import Answer, RequestHead

__all__ = ["DRAINING", "Probe", "probe_of"]

DRAINING: Final = Answer.error(503, "shutting down")
_HASH_MISSING: Final = Answer.error(400, 'a probe request must contain a non-empty "K-Network-Hash" header')
_MARKS: Final = KNATIVE | PROBE_AGENT


class Probe(Enum):
    """The question whose answer changes."""

    KUBELET = "kubelet"


def probe_of(head: RequestHead) -> Probe | Answer | None:
    """Return what a probe asks, or its answer where that is always the same; None: the request is no probe."""
    if not head.marks & _MARKS:
        return None
    if head.get(headers.USER_AGENT).startswith(headers.KUBELET_AGENT):
        return Probe.KUBELET
    if head.get(headers.PROBE) == b"probe":
        probe_hash = head.get(headers.PROBE_HASH)
        return Answer(200, fields=((b"K-Network-Hash", probe_hash),)) if probe_hash else _HASH_MISSING
    return None
