"""What a channel template may say: whoever writes one has the controller make an object with the controller's rights.

So it is of a kind that can be a channel, and nobody is in it who has not come by a Subscription: a subscriber's entry
names the account whose tokens the dispatcher asks for.
"""

from typing import Any

from kube.models import messaging

__all__ = ["is_channel_kind", "spec_of"]

JsonObject = dict[str, Any]


def is_channel_kind(api_version: str, kind: str) -> bool:
    """Whether there may be channels of that kind: none of Kubernetes' own, and of Knative's only messaging's."""
    group, slash, _ = api_version.partition("/")
    if not slash or "." not in group or group.endswith("k8s.io"):
        return False
    if group == messaging.GROUP:
        return kind != "Subscription"
    return not group.endswith("knative.dev")


def spec_of(template: JsonObject) -> JsonObject:
    """The spec of a channel that is made."""
    return {name: value for name, value in (template.get("spec") or {}).items() if name != "subscribers"}
