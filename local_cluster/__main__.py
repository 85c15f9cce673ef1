"""The command `knuv`, also as `python -m local_cluster`: what it needs must be installed, or it says so in one line."""

import sys
from typing import NoReturn

__all__ = ["main"]

_EXIT_USAGE = 2


def main() -> None:
    """Entry point of `knuv`."""
    try:
        from local_cluster.cli import app
        from local_cluster.cli_events import events
        from local_cluster.cli_why import why
    except ModuleNotFoundError as error:
        _missing(error)
    app.command()(why)
    app.add_typer(events)
    try:
        app()
    except ModuleNotFoundError as error:  # `up` imports more than the other commands
        _missing(error)


def _missing(error: ModuleNotFoundError) -> NoReturn:
    package = (error.name or str(error)).partition(".")[0]
    sys.stderr.write(f"knuv: not installed: {package}; `pip install 'knuv[local]'` brings it\n")
    sys.exit(_EXIT_USAGE)


if __name__ == "__main__":
    main()
