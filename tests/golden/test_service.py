"""Replays `service`: defaults and validation of a Service that is created."""

import copy
from typing import Any

from controller import defaulting
from controller.field_errors import render
from controller.settings import Settings
from controller.validation import check_service
from tests.golden.replay import Golden, same


def test_service(golden: Golden) -> None:
    with golden("service") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    settings = Settings.from_maps(
        {
            "config-defaults": case.get("config_defaults", {}),
            "config-autoscaler": case.get("config_autoscaler", {}),
            "config-deployment": {"queue-sidecar-image": "queue"},
        }
    )
    service = defaulting.service(copy.deepcopy(case["service"]), None, settings, "")
    errors = [error for error in check_service(service, None, settings) if not error.is_warning]
    same(render(errors), case["expect"].get("error", ""), "error")
    if case["expect"]["valid"]:
        same(service["spec"], case["expect"]["defaulted_spec"], "spec")
