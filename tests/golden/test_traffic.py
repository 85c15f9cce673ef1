"""Replays `traffic`: from a Route's traffic block to shares per Revision and tag."""

from dataclasses import dataclass
from typing import Any

from controller import rollout, traffic
from kube.models.serving import TrafficTarget
from tests.golden.replay import Golden, same


@dataclass(frozen=True)
class Revision:
    name: str
    configuration: str
    service: str
    ready: bool | None
    protocol: str = "http1"


@dataclass(frozen=True)
class Configuration:
    name: str
    latest_ready: str
    is_failed: bool


def test_traffic(golden: Golden) -> None:
    with golden("traffic") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    readiness = {"True": True, "False": False, "Unknown": None}
    revisions = {
        entry["name"]: Revision(entry["name"], entry["configuration"], entry["service"], readiness[entry["ready"]])
        for entry in case["revisions"]
    }
    configurations = {
        entry["name"]: Configuration(entry["name"], entry["latest_ready_revision"], entry["failed"])
        for entry in case["configurations"]
    }
    targets = [
        TrafficTarget(
            tag=entry.get("tag", ""),
            revision_name=entry.get("revision", ""),
            configuration_name=entry.get("configuration", ""),
            latest_revision=entry["latest"],
            percent=entry["percent"],
        )
        for entry in case["traffic"]
    ]
    service = "hello" if case["route_owned_by_service"] else ""
    got = traffic.build(targets, service, configurations.get, revisions.get)
    expect = case["expect"]
    same(got.problem.error if got.problem else None, expect["error"], "error")
    same({tag: [row(target) for target in group] for tag, group in got.groups.items()}, expect["targets"], "targets")
    same([row(target) for target in got.flattened], expect["flattened"], "flattened")
    same([f"{kind}/{name}" for kind, name in got.missing], expect["missing"], "missing")
    if "rollout" in expect:
        state = rollout.current(got.groups)
        rows = [
            [entry.configuration, entry.tag, entry.percent, [[r.revision, r.percent] for r in entry.revisions], None]
            for entry in state.configurations
        ]
        same(rows, expect["rollout"], "rollout")


def row(target: traffic.Target) -> list[object]:
    return [target.revision, target.configuration, target.percent, target.latest, target.tag]
