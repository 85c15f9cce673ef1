"""A component that stands in the original's place runs under the original's account: what that may do must be enough.

What `full/` gives a component is what it asks for (tests/system/test_rbac.py compares them); here each such right must
be one of the original's roles or of the drop-in's own.
"""

import pytest

from tests.deploy.manifests import rendered_objects
from tests.deploy.rights import Right, rights_of

READ = ("get", "list", "watch")
KNATIVE = "eventing.knative.dev"


def original(account: str, namespace: str) -> set[Right]:
    """What Knative's own manifests allow, as `config/core/200-roles` and `config/brokers/.../roles` have it."""
    everywhere: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {
        "activator": [
            ("", "services", READ),
            ("", "endpoints", READ),
            ("serving.knative.dev", "revisions", READ),
        ],
        "mt-broker-ingress": [
            (KNATIVE, "brokers", READ),
            (KNATIVE, "eventpolicies", READ),
            (KNATIVE, "eventtypes", ("create", *READ)),
            ("", "configmaps", READ),
        ],
        "mt-broker-filter": [
            (KNATIVE, "brokers", READ),
            (KNATIVE, "triggers", READ),
            (KNATIVE, "eventpolicies", READ),
            (KNATIVE, "eventtypes", ("create", *READ)),
            ("messaging.knative.dev", "subscriptions", READ),
            ("", "configmaps", READ),
            ("", "serviceaccounts/token", ("create",)),
        ],
    }
    in_system = {
        "activator": [("", "configmaps", READ), ("", "secrets", READ)],
        "mt-broker-ingress": [("", "secrets", READ)],
        "mt-broker-filter": [("", "secrets", READ)],
    }
    named = Right("mt-broker-ingress", "", "serviceaccounts/token", "create", namespace, "mt-broker-ingress-oidc")
    return {named} | {
        Right(account, group, resource, verb, where)
        for rights, where in ((everywhere[account], ""), (in_system[account], namespace))
        for group, resource, verbs in rights
        for verb in verbs
    }


def is_part(right: Right, of: set[Right]) -> bool:
    return any(
        right.what == each.what and each.namespace in ("", right.namespace) and each.name in ("", right.name)
        for each in of
    )


@pytest.mark.parametrize(
    ("overlay", "account", "namespace"),
    [
        ("activator", "activator", "knative-serving"),
        ("broker", "mt-broker-ingress", "knative-eventing"),
        ("broker", "mt-broker-filter", "knative-eventing"),
    ],
)
def test_the_originals_account_may_do_what_the_component_asks(overlay: str, account: str, namespace: str) -> None:
    asked = [right for right in rights_of(rendered_objects("full")) if right.account == account]
    assert len(asked) > 5
    allowed = original(account, namespace) | set(rights_of(rendered_objects(f"drop-in/{overlay}")))
    assert [right for right in asked if not is_part(right, allowed)] == []


def test_a_drop_in_brings_no_right_that_the_original_has() -> None:
    brought = [right for right in rights_of(rendered_objects("drop-in/activator")) if right.account == "activator"]
    assert brought
    assert [right for right in brought if is_part(right, original("activator", "knative-serving"))] == []
