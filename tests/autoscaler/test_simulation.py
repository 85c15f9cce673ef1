"""`knuv simulate`: loads and settings from files, the fluid of requests and pods, and what the report shows."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from autoscaler.simulation.charts import clock, ticks
from autoscaler.simulation.fleet import Fleet
from autoscaler.simulation.load import Load, LoadError, Phase, read_load
from autoscaler.simulation.model import Run, Setting, simulate
from autoscaler.simulation.report import page
from autoscaler.simulation.settings import SettingError, make_setting, read_config, read_setting
from local_cluster.cli import app

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return to_file


def steady(rps: float, span_s: float, duration_s: float = 0.1) -> Load:
    return Load([Phase(0.0, span_s, rps, rps, duration_s)])


def setting(name: str = "test", *, concurrency: int = 10, pod_start: object = "2s", **annotations: str) -> Setting:
    named = {f"autoscaling.knative.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return make_setting(name, config={}, annotations=named, container_concurrency=concurrency, pod_start=pod_start)


# Loads.


def test_recorded_values_hold_until_the_next_row(write: Write) -> None:
    load = read_load(write("load.csv", "time,rps,duration\n5,0,100ms\n15s,20,2\n1m15s,0,1\n"))
    assert load.span_s == 70.0
    assert [load.at(t).rps for t in (-1, 0, 9.9, 10, 69.9, 70)] == [0, 0, 0, 20, 20, 0]
    assert load.at(10).duration_s == 2.0


def test_concurrency_becomes_requests_a_second_by_their_duration(write: Write) -> None:
    load = read_load(write("load.csv", "time, concurrency\n0, 50\n10, 0\n"), duration_s=0.25)
    assert load.at(0) == (200.0, 0.25)


def test_described_phases_follow_each_other_and_ramp(write: Write) -> None:
    load = read_load(write("load.yaml", "load:\n- {for: 10s, rps: 5}\n- {for: 100, rps: [0, 50], duration: 1s}\n"))
    assert load.span_s == 110.0
    assert [load.at(t).rps for t in (9, 10, 60)] == [5, 0, 25]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "", "got nothing"),
        ("a.csv", "time,rps,concurrency\n0,1,1\n1,1,1", "one of rps and concurrency"),
        ("a.csv", "time,rps\n0,1\n", "two rows"),
        ("a.csv", "time,rps\n0,1\n0,2\n", ":3: expected a time after 0 s"),
        ("a.csv", "time,rps\n0,1\n1,-2\n", ":3: rps"),
        ("a.csv", "time,rps\n0,1\n1,nan\n", ":3: rps"),
        ("a.csv", "time,rps\n0,1\n1\n", ":3: rps"),
        ("a.csv", "time,concurrency,duration\n0,1,0\n1,1,1\n", "more than 0 s"),
        ("a.csv", "time,rps\n0,1\n999999,1\n", "at most a week"),
        ("a.yaml", "load: 5", "list of phases"),
        ("a.yaml", "load: [{for: 1s, rps: 1, what: 2}]", "load[0]: unknown key what"),
        ("a.yaml", "load: [{for: 1s}]", "one of rps and concurrency"),
        ("a.yaml", "load: [{for: 1s, rps: 5s}]", "load[0]: rps: expected a number from 0 on, got '5s'"),
        ("a.yaml", "load: [{for: 1s, rps: true}]", "load[0]: rps: expected a number from 0 on, got True"),
        ("a.yaml", "load: [{for: 0s, rps: 1}]", "more than 0 s"),
        ("a.yaml", "load: [{for: 1s, rps: [1, 2, 3]}]", "two for a ramp"),
        ("a.yaml", "load: [", "a.yaml"),
    ],
)
def test_a_bad_load_is_told_with_its_place(write: Write, name: str, text: str, told: str) -> None:
    with pytest.raises(LoadError) as caught:
        read_load(write(name, text))
    assert told in str(caught.value)


# Settings.


def test_settings_of_a_file(write: Write) -> None:
    path = write(
        "eager.yaml",
        "containerConcurrency: 5\npodStart: [1s, 3s]\nconfig: {stable-window: 30s, enable-scale-to-zero: false}\n"
        "annotations: {autoscaling.knative.dev/max-scale: 7}\n",
    )
    read = read_setting(path)
    assert (read.name, read.container_concurrency, read.pod_start_s) == ("eager", 5, (1.0, 3.0))
    assert (read.revision.decider.stable_window_s, read.revision.max_scale) == (30.0, 7)
    assert not read.revision.enable_scale_to_zero


def test_config_is_a_manifest_or_plain_keys(write: Write) -> None:
    manifest = write("a.yaml", "kind: ConfigMap\ndata: {stable-window: 30s}\n")
    plain = write("b.yaml", "stable-window: 30s\n")
    assert read_config(manifest) == read_config(plain) == {"stable-window": "30s"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wrong: 1", "unknown key wrong"),
        ("[1]", "keys and values"),
        ("podStart: [3s, 1s]", "the shortest and the longest"),
        ("podStart: never", "podStart"),
        ("containerConcurrency: many", "whole number"),
        ("containerConcurrency: -1", "from 0 on"),
        ("config: {stable-window: 1s}", "stable-window"),
        ("annotations: {autoscaling.knative.dev/min-scale: -1}", "min-scale"),
        ("annotations: {autoscaling.knative.dev/window: 1s}", "autoscaling.knative.dev/window"),
    ],
)
def test_a_bad_setting_is_told(write: Write, text: str, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_setting(write("bad.yaml", text))
    assert told in str(caught.value)


# Pods and requests.


@given(
    arrivals=st.lists(st.floats(0, 50), min_size=1, max_size=60),
    scales=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 5)), max_size=6),
    concurrency=st.integers(0, 4),
    duration_s=st.sampled_from([0.01, 0.1, 0.35, 2.0]),
)
def test_no_request_is_lost_or_served_beyond_the_limit(
    arrivals: list[float], scales: list[tuple[int, int]], concurrency: int, duration_s: float
) -> None:
    fleet = Fleet(concurrency=concurrency, step_s=0.1, start_steps=lambda: 3, ready=1)
    begun = 0.0
    for step, arriving in enumerate(arrivals):
        for at, replicas in scales:
            if at == step:
                fleet.scale(replicas, step)
        before = sum(fleet.waits.values())
        inside = fleet.running
        fleet.advance(step, arriving, duration_s)
        begun = sum(fleet.waits.values()) / 1000
        if not fleet.ready(step):
            assert sum(fleet.waits.values()) == before
        elif concurrency:
            assert fleet.running <= max(fleet.ready(step) * concurrency, inside) + 1e-6
        assert fleet.waiting >= 0
    assert math.isclose(fleet.arrived, begun + fleet.waiting, abs_tol=0.001 * 10 * len(arrivals))


def test_those_that_are_not_ready_go_first() -> None:
    fleet = Fleet(concurrency=1, step_s=0.1, start_steps=lambda: 10, ready=2)
    fleet.scale(4, 0)
    fleet.scale(2, 1)
    assert (fleet.replicas, fleet.ready(1)) == (2, 2)


def test_waits_are_counted_from_arrival_in_order() -> None:
    fleet = Fleet(concurrency=1, step_s=0.1, start_steps=lambda: 5, ready=0)
    fleet.advance(0, 1.0, 0.1)
    fleet.scale(1, 0)
    for step in range(1, 8):
        fleet.advance(step, 0.0, 0.1)
    assert dict(fleet.waits) == {5: 1000}
    assert fleet.cold_starts == 1


# The whole.


def at(run: Run, time_s: float) -> object:
    return next(sample for sample in run.samples if sample.time_s == time_s)


def test_a_steady_load_gets_the_pods_that_its_target_asks_for() -> None:
    # 280 requests a second of 100 ms are 28 at once; a pod aims at 7 of 10.
    run = simulate(steady(280, 300), setting())
    assert {sample.desired for sample in run.samples if 200 < sample.time_s < 300} == {4}
    assert not run.samples[250].panicking
    assert run.unserved == 0
    assert run.samples[-1].replicas == 0


def test_the_first_request_wakes_a_revision_and_waits_for_the_pod() -> None:
    run = simulate(Load([Phase(0, 10.05, 0, 0, 0.1), Phase(10.05, 60, 5, 5, 0.1)]), setting(pod_start="3s"))
    assert run.cold_starts == 1
    # The poke is decided at once: the wait is the pod's start and no tick.
    assert run.wait_s(1.0) == pytest.approx(3.0, abs=0.2)


def test_bounds_hold_whatever_the_load() -> None:
    run = simulate(steady(2000, 60), setting(min_scale="2", max_scale="5"))
    assert {sample.replicas for sample in run.samples} == {2, 5}
    assert run.samples[-1].replicas == 2
    assert run.wait_s(1.0) > 60


def test_a_burst_panics_and_turns_to_activators() -> None:
    load = Load([Phase(0, 120, 20, 20, 0.1), Phase(120, 180, 800, 800, 0.1)])
    run = simulate(load, setting(target_burst_capacity="50"))
    assert run.panic_s > 0
    assert any(sample.proxied for sample in run.samples if 120 < sample.time_s < 130)
    assert not run.samples[175].proxied


def test_the_same_seed_gives_the_same_run() -> None:
    one, two, other = (simulate(steady(500, 60), setting(pod_start=["1s", "9s"]), seed=seed) for seed in (1, 1, 2))
    assert one.samples == two.samples
    assert one.samples != other.samples


# What people see.


def test_the_report_is_well_formed_and_complete() -> None:
    runs = [simulate(steady(100, 4000), setting("a <b>")), simulate(steady(100, 4000), setting("c", min_scale="3"))]
    html = page(runs, "Scaling x & y")
    assert "a &lt;b&gt;" in html
    assert "Scaling x &amp; y" in html
    assert not re.search(r"(?:src|href)=", html)
    pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        ElementTree.fromstring(picture)
    for rows in re.findall(r'<script type="application/json">(.*?)</script>', html):
        assert 100 < len(json.loads(rows)) <= 1200


def test_numbers_on_axes_are_round() -> None:
    assert ticks(0, 820) == [0, 200, 400, 600, 800]
    assert ticks(-500, 700) == [-400, -200, 0, 200, 400, 600]
    assert [clock(t) for t in (0, 45, 180, 4801)] == ["0s", "45s", "3m", "1h20m1s"]


def test_the_command_prints_figures_and_writes_the_report(write: Write, tmp_path: Path) -> None:
    load = write("load.csv", "time,rps\n0,50\n60,0\n")
    done = CliRunner().invoke(
        app,
        ["simulate", str(load), "-a", "autoscaling.knative.dev/min-scale=2", "--pod-start", "1s..2s",
         "--out", str(tmp_path / "r.html")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert re.search(r"requests +3,000", done.output)
    assert "<svg" in (tmp_path / "r.html").read_text()


def test_two_settings_stand_side_by_side(write: Write, tmp_path: Path) -> None:
    load = write("load.csv", "time,rps\n0,50\n60,0\n")
    files = [str(write(f"{name}.yaml", "containerConcurrency: 1\n")) for name in ("left", "right")]
    done = CliRunner().invoke(app, ["simulate", str(load), "--compare", *files, "--out", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    assert re.search(r"left +right", done.output)


@pytest.mark.parametrize(
    "arguments", [["none.csv"], ["load.csv", "a.yaml"], ["load.csv", "--compare"], ["load.csv", "-a", "x"]]
)
def test_what_cannot_work_is_one_line_and_exit_code_2(write: Write, arguments: list[str]) -> None:
    folder = write("load.csv", "time,rps\n0,50\n60,0\n").parent
    done = CliRunner().invoke(app, ["simulate", str(folder / arguments[0]), *arguments[1:]])
    assert done.exit_code == 2
    assert done.stderr.startswith("knuv: ")
    assert done.stderr.count("\n") == 1
