"""Condition sets (spec control-plane.md 2.1)."""

from kube.conditions import Conditions, ConditionSet

REVISION = ConditionSet(("ResourcesAvailable", "ContainerHealthy"))


def fresh() -> Conditions:
    conditions = REVISION.manage([], 1000.0)
    conditions.initialise()
    return conditions


def test_everything_starts_unknown() -> None:
    assert [(c.type, c.status) for c in fresh().listed()] == [
        ("ContainerHealthy", "Unknown"),
        ("Ready", "Unknown"),
        ("ResourcesAvailable", "Unknown"),
    ]


def test_ready_follows_when_all_dependents_are_true() -> None:
    conditions = fresh()
    conditions.mark_true("ResourcesAvailable")
    assert conditions.status("Ready") == "Unknown"
    conditions.mark_true("ContainerHealthy")
    assert conditions.status("Ready") == "True"


def test_false_explains_ready_before_unknown_and_the_newest_false_wins() -> None:
    conditions = fresh()
    conditions.mark_false("ResourcesAvailable", "Old", "old")
    later = REVISION.manage(conditions.listed(), 2000.0)
    later.mark_false("ContainerHealthy", "New", "new")
    ready = later.get("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "New")
    latest = REVISION.manage(later.listed(), 3000.0)
    latest.mark_true("ContainerHealthy")
    ready = latest.get("Ready")
    assert ready is not None
    assert (ready.status, ready.reason, ready.message) == ("False", "Old", "old")


def test_unknown_does_not_hide_a_false_dependent() -> None:
    conditions = fresh()
    conditions.mark_false("ResourcesAvailable", "Broken", "it is")
    conditions.mark_unknown("ContainerHealthy", "Deploying", "")
    assert conditions.status("Ready") == "False"


def test_an_informational_condition_has_severity_info_and_leaves_ready_alone() -> None:
    conditions = fresh()
    conditions.mark_false("Active", "NoTraffic", "none")
    active = conditions.get("Active")
    assert active is not None
    assert active.severity == "Info"
    assert conditions.status("Ready") == "Unknown"


def test_the_transition_time_moves_only_with_a_change() -> None:
    conditions = fresh()
    conditions.mark_unknown("ResourcesAvailable", "Deploying", "")
    same = REVISION.manage(conditions.listed(), 5000.0)
    same.mark_unknown("ResourcesAvailable", "Deploying", "")
    condition = same.get("ResourcesAvailable")
    assert condition is not None
    assert condition.last_transition_time == "1970-01-01T00:16:40Z"


def test_a_new_dependent_of_something_ready_starts_true() -> None:
    conditions = fresh()
    conditions.mark_true("ResourcesAvailable")
    conditions.mark_true("ContainerHealthy")
    wider = ConditionSet((*REVISION.dependents, "Fresh")).manage(conditions.listed(), 1.0)
    wider.initialise()
    assert wider.status("Fresh") == "True"
