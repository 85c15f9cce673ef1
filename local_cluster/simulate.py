"""`knuv simulate`: what the autoscaler would do with a load, as a table and a report. Needs no stack."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from autoscaler.simulation.load import DURATION_S, LoadError, read_load, seconds
from autoscaler.simulation.model import Run, Setting, simulate
from autoscaler.simulation.report import figures, page
from autoscaler.simulation.settings import POD_START, SettingError, make_setting, read_config, read_setting

__all__ = ["simulate_command"]

_EXIT_USAGE = 2
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def simulate_command(
    trace: Annotated[
        Path, typer.Argument(help="The load: CSV (time, rps or concurrency, duration) or YAML (phases under load).")
    ],
    settings: Annotated[
        list[Path] | None,
        typer.Argument(help="With --compare: files with name, config, annotations, containerConcurrency, podStart."),
    ] = None,
    *,
    config: Annotated[
        Path | None, typer.Option("--config", help="config-autoscaler: its manifest, or its keys as YAML.")
    ] = None,
    annotations: Annotated[
        list[str] | None, typer.Option("--annotations", "-a", metavar="KEY=VALUE", help="Of the revision; repeatable.")
    ] = None,
    container_concurrency: Annotated[
        int, typer.Option(min=0, help="Requests inside one pod at once; 0: any number.")
    ] = 0,
    pod_start: Annotated[
        str, typer.Option(metavar="TIME[..TIME]", help="How long a pod takes to be ready.")
    ] = POD_START,
    request_duration: Annotated[
        str, typer.Option(metavar="TIME", help="How long a request takes where the load says nothing.")
    ] = f"{DURATION_S}s",
    compare: Annotated[
        bool, typer.Option("--compare", help="Put the settings of the given files side by side.")
    ] = False,
    report: Annotated[Path, typer.Option("--out", "-o", help="Where the report goes.")] = Path("report.html"),
    seed: Annotated[int, typer.Option(help="Chooses the pods' starting times within their range.")] = 1,
) -> None:
    """Run the autoscaler over a load without a cluster, and draw what it does."""
    try:
        load = read_load(trace, duration_s=seconds(request_duration))
        if compare != bool(settings):
            raise SettingError("expected settings files together with --compare, and only with it")
        if settings:
            chosen = [read_setting(path) for path in settings]
        else:
            chosen = [_from_options(config, annotations or [], container_concurrency, pod_start)]
        _refuse_same_names(chosen)
    except (LoadError, SettingError, ValueError) as error:
        err.print(f"knuv: {error}", markup=False)
        raise typer.Exit(_EXIT_USAGE) from None
    runs = [simulate(load, setting, seed=seed) for setting in chosen]
    try:
        report.write_text(page(runs, f"Scaling {trace.name}"))
    except OSError as error:
        err.print(f"knuv: {error}", markup=False)
        raise typer.Exit(_EXIT_USAGE) from None
    out.print(_table(runs))
    out.print(f"report: {report}")


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
