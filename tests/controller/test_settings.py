"""ConfigMaps of the control plane; `test_admission` has those that are refused."""

import pytest

from controller.settings import InvalidConfig, Settings
from tests.controller.objects import settings


def test_aliases_of_settings_yield_to_the_dashed_key() -> None:
    given = settings(network={"ingress-class": "new", "ingress.class": "old", "rolloutDuration": "5"})
    assert (given.network.ingress_class, given.network.rollout_duration_s) == ("new", 5)


def test_every_map_has_defaults_but_the_queue_image() -> None:
    with pytest.raises(InvalidConfig, match="queue sidecar image"):
        Settings.from_maps({})
    given = settings()
    assert given.deployment.registries_skipping_tag_resolving == {"kind.local", "ko.local", "dev.local"}
    assert given.network.http_protocol == "enabled"
    assert given.gc.non_active_min == 20
