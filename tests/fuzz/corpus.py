"""The inputs that are kept: one file per target, one Python bytes literal per line, `#` before remarks."""

import ast
from pathlib import Path

__all__ = ["read", "write"]

_FOLDER = Path(__file__).parent / "corpus"


def read(target: str) -> list[bytes]:
    """Return the inputs of a target."""
    lines = (_FOLDER / f"{target}.txt").read_text(encoding="ascii").splitlines()
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def write(target: str, inputs: list[bytes]) -> None:
    """Replace the inputs of a target; the remarks at the beginning of the file stay."""
    path = _FOLDER / f"{target}.txt"
    remarks = [line for line in path.read_text(encoding="ascii").splitlines() if line.startswith("#")]
    path.write_text("\n".join([*remarks, *map(repr, inputs), ""]), encoding="ascii")
