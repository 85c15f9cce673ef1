"""Gradual rollouts (statements 89, 91 to 94); sums and steps also in the golden set `rollout`."""

from dataclasses import replace

import pytest

from controller.rollout import (
    ConfigurationRollout,
    RevisionShare,
    Rollout,
    StepParams,
    advance,
    plan,
)

S = 10**9


def entry(percent: int, *shares: tuple[str, int], params: StepParams = StepParams()) -> ConfigurationRollout:  # noqa: B008
    return ConfigurationRollout("web", "", percent, tuple(RevisionShare(*share) for share in shares), params)


def shares(rollout: Rollout) -> list[tuple[str, int]]:
    return [(share.revision, share.percent) for share in rollout.configurations[0].revisions]


def test_89_the_first_revision_ever_takes_everything() -> None:
    wanted = Rollout((entry(100, ("A", 100)),))
    assert advance(wanted, None, 5 * S) == wanted
    assert advance(wanted, Rollout(), 5 * S) == wanted


@pytest.mark.parametrize(
    ("duration_s", "step_min_s", "percent", "step_size", "step_s"),
    [
        (120, 1, 100, 1, 119 / 99),
        (120, 3, 100, 3, 3),
        (120, 3, 75, 2, 3),
        (120, 3, 50, 1, 3),
        (120, 200, 13, 12, 1),
        (60, 5, 100, 9, 5),
        (60, 60, 100, 99, 1),
        (300, 10, 100, 3, 10),
    ],
)
def test_91_steps_are_planned(duration_s: int, step_min_s: int, percent: int, step_size: int, step_s: float) -> None:
    params = plan(percent, duration_s, 7 * S, (7 + step_min_s) * S)
    assert params.step_size == step_size
    assert params.step_ns / S == pytest.approx(step_s, rel=1e-6)


def test_92_a_step_drains_from_the_second_newest_backwards() -> None:
    params = StepParams(1, 10 * S, S, 30)
    stored = Rollout((entry(100, ("A", 70), ("B", 29), ("C", 1), params=params),))
    wanted = Rollout((entry(100, ("C", 100)),))
    assert shares(advance(wanted, stored, 9 * S)) == [("A", 70), ("B", 29), ("C", 1)]
    assert shares(advance(wanted, stored, 10 * S)) == [("A", 69), ("C", 31)]


def test_93_a_smaller_percent_is_taken_from_the_oldest() -> None:
    stored = Rollout((entry(60, ("A", 40), ("B", 20)),))
    assert shares(advance(Rollout((entry(15, ("B", 15)),)), stored, 0)) == [("B", 15)]
    assert shares(advance(Rollout((entry(15, ("C", 15)),)), stored, 0)) == [("B", 14), ("C", 1)]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"configurations":[{"percent":101}]}', '{"configurations":3}'])
def test_94_a_corrupt_annotation_is_ignored(text: str) -> None:
    assert Rollout.from_json(text) is None


def test_94_shares_that_do_not_add_up_are_ignored() -> None:
    good = entry(100, ("A", 99), ("B", 1), params=StepParams(1, 2, 3, 4))
    assert Rollout.from_json(Rollout((good,)).to_json()) == Rollout((good,))
    for bad in (
        replace(good, percent=99),
        replace(good, params=replace(good.params, step_size=101)),
        replace(good, params=replace(good.params, step_size=-1)),
    ):
        assert Rollout.from_json(Rollout((bad,)).to_json()) is None
