"""`loadtests/lab/autoscaler` still runs; figures come from real runs only."""

import json
from pathlib import Path

import pytest

from loadtests.lab.autoscaler import main
from loadtests.lab.autoscaler.fleet import Group
from loadtests.lab.autoscaler.world import running_world
from loadtests.reporting import Figure, as_json, quantile, table


@pytest.mark.parametrize("scenario", ["tick", "decisions", "stats", "scraped"])
def test_every_scenario_gives_its_figures(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json", "--only", scenario]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]
    assert {figure["scenario"] for figure in told["figures"]} == {scenario}
    assert all(figure["value"] >= 0 for figure in told["figures"])


async def test_the_autoscaler_finds_nothing_to_write_about_the_revisions(tmp_path: Path) -> None:
    groups = [
        Group(name="scraped", revisions=2, pods=2),
        Group(name="pushed", revisions=2, is_scraped=False),
        Group(name="zero", revisions=2, pods=0, is_scraped=False),
    ]
    async with running_world(tmp_path, groups, [groups[1].names()]) as world:
        # Its bucket's Service and EndpointSlice: one each.
        assert world.writes == 2
        async with world.activator() as activator:
            assert 0 < await world.reaction_s(activator, "zero-00001") < 5
            # The patch is admitted before it is answered, and logged after that.
            await world.until_logged("scale_applied")
        assert world.log_events("scale_applied") == 1


def test_a_figure_is_judged_by_its_median() -> None:
    figure = Figure("tick", "cores", "core", (0.7, 0.4, 0.5), 0.5, digits=2)
    assert figure.is_met
    assert not Figure("tick", "cores", "core", (0.7, 0.6, 0.5), 0.5).is_met
    assert Figure("tick", "cores", "core", (0.7,)).is_met
    line = table([figure]).splitlines()[1]
    assert line.split() == ["tick", "cores", "0.50", "0.40", "0.70", "0.5", "core", "met"]
    (told,) = as_json([figure])
    assert (told["value"], told["budget"], told["met"]) == (0.5, 0.5, True)


@pytest.mark.parametrize(("share", "value"), [(0.5, 51), (0.95, 96), (0.0, 1), (1.0, 100)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    assert quantile(list(range(100, 0, -1)), share) == value
