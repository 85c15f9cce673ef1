"""The work of `knuv simulate`: settings read, runs made, figures shown."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from autoscaler.simulation.load import LoadError, read_load, seconds
from autoscaler.simulation.model import Run, Setting, simulate
from autoscaler.simulation.report import figures, page
from autoscaler.simulation.settings import POD_START, SettingError, make_setting, read_config, read_setting

__all__ = ["SimulationError", "simulated"]


class SimulationError(Exception):
    """The load, a setting or the report's file is not as it must be; the text says what."""


def simulated(
    trace: Path,
    settings: Sequence[Path],
    report: Path,
    *,
    request_duration: str,
    compare: bool,
    config: Path | None,
    annotations: Sequence[str],
    container_concurrency: int,
    pod_start: str | None,
    seed: int,
) -> Table:
    """Run the autoscaler over a load, write the report; the figures. Raises `SimulationError`."""
    try:
        load = read_load(trace, duration_s=seconds(request_duration))
        if compare != bool(settings):
            raise SettingError("expected settings files together with --compare, and only with it")
        if settings:
            chosen = [read_setting(path) for path in settings]
        else:
            chosen = [_from_options(config, annotations, container_concurrency, pod_start or POD_START)]
        _refuse_same_names(chosen)
    except (LoadError, SettingError, ValueError) as error:
        raise SimulationError(str(error)) from error
    runs = [simulate(load, setting, seed=seed) for setting in chosen]
    try:
        report.write_text(page(runs, f"Scaling {trace.name}"))
    except OSError as error:
        raise SimulationError(str(error)) from error
    return _table(runs)


def _from_options(config: Path | None, given: Sequence[str], container_concurrency: int, pod_start: str) -> Setting:
    annotations: dict[str, str] = {}
    for each in given:
        key, separator, value = each.partition("=")
        if not separator:
            raise SettingError(f"--annotations: expected KEY=VALUE, got {each}")
        annotations[key] = value
    shortest, separator, longest = pod_start.partition("..")
    return make_setting(
        "simulated",
        config=read_config(config) if config else {},
        annotations=annotations,
        container_concurrency=container_concurrency,
        pod_start=[shortest, longest] if separator else pod_start,
    )


def _refuse_same_names(chosen: Sequence[Setting]) -> None:
    names = [setting.name for setting in chosen]
    for name in names:
        if names.count(name) > 1:
            raise SettingError(f"--compare: expected settings with different names, got {name} twice")


def _table(runs: Sequence[Run]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=len(runs) > 1)
    table.add_column("")
    for run in runs:
        table.add_column(run.setting.name, justify="right")
    for figure in figures(runs):
        table.add_row(figure.name, *figure.texts)
    return table
