"""`knuv simulate`: what the autoscaler would do with a load, as a table and a report. Needs no stack."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from autoscaler.simulation.load import DURATION_S

__all__ = ["simulate_command"]

_EXIT_USAGE = 2
out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


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
        str | None,
        typer.Option(
            metavar="TIME[..TIME]", help="How long a pod takes to be ready; else as long as in settings files."
        ),
    ] = None,
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
    from local_cluster.simulation import SimulationError, simulated  # no other command needs the autoscaler

    try:
        figures = simulated(
            trace,
            settings or [],
            report,
            request_duration=request_duration,
            compare=compare,
            config=config,
            annotations=annotations or [],
            container_concurrency=container_concurrency,
            pod_start=pod_start,
            seed=seed,
        )
    except SimulationError as error:
        err.print(f"knuv: {error}", markup=False)
        raise typer.Exit(_EXIT_USAGE) from None
    out.print(figures)
    out.print(f"report: {report}")
