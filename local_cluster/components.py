"""What `knuv up --without` and `--replace` say."""

import shlex

import typer

from local_cluster import originals
from local_cluster.system import COMPONENTS, Components

__all__ = ["read_components"]


def read_components(without: list[str], replace: list[str], eventing: str = "none") -> Components:
    """From the command line's texts. Raises `typer.BadParameter`."""
    left_out = [name.strip() for text in without for name in text.split(",") if name.strip()]
    for name in left_out:
        if name not in COMPONENTS:
            raise typer.BadParameter(f"{name!r}: expected {', '.join(COMPONENTS)}", param_hint="--without")
    replaced: dict[str, tuple[str, ...]] = {}
    for text in replace:
        name, equals, command = text.partition("=")
        if name not in originals.REPLACEABLE or not equals:
            expected = f"COMPONENT=COMMAND with one of {', '.join(originals.REPLACEABLE)}"
            raise typer.BadParameter(f"{text!r}: expected {expected}", param_hint="--replace")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r}: {error}", param_hint="--replace") from error
        if not words:
            raise typer.BadParameter(f"{text!r}: the command is empty", param_hint="--replace")
        if name in left_out:
            raise typer.BadParameter(f"{name} is left out by --without, too", param_hint="--replace")
        replaced[name] = tuple(words)
    return Components(frozenset(left_out), replaced, eventing)
