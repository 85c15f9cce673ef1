"""Replays `rollout`: the steps by which a share moves to the newest Revision."""

from typing import Any

from controller import rollout
from controller.rollout import ConfigurationRollout, RevisionShare, Rollout, StepParams
from tests.golden.replay import Golden, same

TIME_TOLERANCE_NS = 256


def test_rollout(golden: Golden) -> None:
    with golden("rollout") as vectors:
        vectors.each("cases", check_case)
        vectors.each("step_params", check_step_params)
        vectors.each("validate", check_validate)


def check_case(case: dict[str, Any]) -> None:
    stored = state(case["initial"])
    wanted = stored
    for step in case["steps"]:
        now_ns = case["start_unix_ns"] + step["now_ms"] * 10**6
        if stored is not None and not stored.is_valid:
            stored = None
        if stored is not None and step["observe_ready"]:
            before = stored
            stored = rollout.observe_ready(stored, now_ns, step["duration_s"])
            same_rows(rows(stored), step.get("observed", rows(before)), "observed")
        wanted = state(step["current"]) if "current" in step else wanted
        assert wanted is not None
        stored = rollout.advance(wanted, stored, now_ns)
        same_rows(rows(stored), step["result"], f"result at {step['now_ms']} ms")
        if "result_annotation" in step:
            assert Rollout.from_json(step["result_annotation"]) == stored
            assert Rollout.from_json(stored.to_json()) == stored
        due_ns = stored.next_step_ns()
        same(
            None if due_ns is None else due_ns - now_ns,
            step["next_step_in_ns"],
            "next step",
            absolute=TIME_TOLERANCE_NS,
        )
        same(stored.is_done, step["done"], "done")


def check_step_params(row: list[Any]) -> None:
    percent, duration_s, start_ns, ready_after_ms, size, step_ns, next_ns = row
    got = rollout.plan(percent, duration_s, start_ns, start_ns + ready_after_ms * 10**6)
    same([got.step_size, got.step_ns, got.next_step_ns], [size, step_ns, next_ns], "step")


def check_validate(case: dict[str, Any]) -> None:
    found = state(case["rollout"])
    assert found is not None
    same(found.is_valid, case["valid"], "valid")


def same_rows(got: list[Any], want: list[Any], what: str) -> None:
    same(got, want, what)


def state(entries: list[Any] | None) -> Rollout | None:
    if entries is None:
        return None
    return Rollout(
        tuple(
            ConfigurationRollout(
                name,
                tag,
                percent,
                tuple(RevisionShare(*share) for share in shares or []),
                StepParams(*params) if params else StepParams(),
            )
            for name, tag, percent, shares, params in entries
        )
    )


def rows(state: Rollout) -> list[Any]:
    return [
        [
            entry.configuration,
            entry.tag,
            entry.percent,
            [[share.revision, share.percent] for share in entry.revisions],
            None
            if entry.params == StepParams()
            else [entry.params.start_ns, entry.params.next_step_ns, entry.params.step_ns, entry.params.step_size],
        ]
        for entry in state.configurations
    ]
