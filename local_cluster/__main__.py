"""The command `knuv`, also as `python -m local_cluster`: what it needs must be installed, or it says so in one line."""

import sys
from functools import cache
from typing import TYPE_CHECKING

from local_cluster.missing import missing

if TYPE_CHECKING:
    import typer

__all__ = ["main", "whole"]


def main() -> None:
    """Entry point of `knuv`."""
    try:
        if sys.argv[1:2] == ["up"]:
            _up(sys.argv[2:])
        else:
            _any(sys.argv[1:])
    except ModuleNotFoundError as error:
        missing(error)


def _up(arguments: list[str]) -> None:
    """Without the other commands, which would have to be imported first."""
    import typer

    from local_cluster.cli_up import up

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(up)
    app(arguments, prog_name="knuv up")


def _any(arguments: list[str]) -> None:
    whole()(arguments, prog_name="knuv")


@cache
def whole() -> "typer.Typer":
    """All commands."""
    from local_cluster.cli import app
    from local_cluster.cli_down import down
    from local_cluster.cli_events import events
    from local_cluster.cli_why import why

    app.command()(why)
    app.command()(down)
    app.add_typer(events)
    return app


if __name__ == "__main__":
    main()
