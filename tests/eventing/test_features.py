"""`eventing/features.py`: the flags, their defaults, and what is said of wrong ones."""

import pytest

from eventing.features import AuthorizationMode, Features, TransportEncryption


def test_defaults_are_the_originals() -> None:
    assert Features.read({}) == Features()
    assert Features.read({"_example": "x", "unknown": "y", "authentication-oidc": ""}) == Features()


def test_values_compare_without_regard_to_case() -> None:
    features = Features.read(
        {
            "transport-encryption": "Strict",
            "authentication-oidc": "ENABLED",
            "default-authorization-mode": "Deny-All",
            "eventtype-auto-create": "Enabled",
            "delivery-timeout": "Disabled",
            "delivery-retryafter": "allowed",
            "cross-namespace-event-links": "enabled",
            "oidc-discovery-base-url": "https://issuer.example/path/",
        }
    )
    assert features == Features(
        transport_encryption=TransportEncryption.STRICT,
        is_oidc_on=True,
        authorization_mode=AuthorizationMode.DENY_ALL,
        has_event_type_auto_create=True,
        has_delivery_timeout=False,
        has_cross_namespace_links=True,
        discovery_base_url="https://issuer.example/path",
    )


def test_everything_that_is_wrong_is_said_together() -> None:
    with pytest.raises(ValueError, match="transport-encryption='on': expected disabled or permissive or strict") as bad:
        Features.read({"transport-encryption": "on", "authentication-oidc": "1", "oidc-discovery-base-url": "issuer"})
    assert "authentication-oidc='1'" in str(bad.value)
    assert "oidc-discovery-base-url='issuer'" in str(bad.value)
