"""`knuv lab`: benchmarks and comparisons. They are programs of their own; nothing of them is loaded here."""

import subprocess
import sys

import typer

__all__ = ["lab"]

ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def lab(context: typer.Context) -> None:
    """Measure: `knuv lab compare --scenario queue-proxy-http1 --b nginx`; alone it lists what there is."""
    done = subprocess.run([sys.executable, "-m", "loadtests.lab", *context.args], check=False)
    raise typer.Exit(done.returncode)
