"""A package that is not installed, told in one line."""

import sys
from typing import Final, NoReturn

__all__ = ["EXIT_USAGE", "missing"]

EXIT_USAGE: Final = 2
"""Of every command: what cannot work as asked, be it a wrong argument, a taken port, a missing program or a refusal."""


def missing(error: ModuleNotFoundError) -> NoReturn:
    """Say which, and what brings it; end the program."""
    package = (error.name or str(error)).partition(".")[0]
    sys.stderr.write(f"knuv: not installed: {package}; `pip install 'knuv[local]'` brings it\n")
    sys.exit(EXIT_USAGE)
