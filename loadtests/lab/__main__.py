"""`python -m loadtests.lab NAME ARGUMENTS...`: run one benchmark. Only its own module is imported."""

import ast
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

from loadtests import lab

_USAGE = "usage: python -m loadtests.lab NAME [ARGUMENTS...]; NAME --help tells more\n"


def names() -> list[str]:
    """The benchmarks' names: those of the modules, with dashes."""
    modules = (module.name for module in pkgutil.iter_modules(lab.__path__) if not module.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in modules)


def summary(name: str) -> str:
    """The first line of the benchmark's docstring, read without importing it."""
    spec = importlib.util.find_spec(_module(name))
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    return text.partition("\n")[0]


def main(arguments: list[str]) -> int:
    """Run the benchmark that the first argument names, with the others; its exit code, or 2 for a name unknown."""
    name = arguments[0] if arguments else ""
    if name in names():
        code: int = importlib.import_module(_module(name)).main(arguments[1:])
        return code
    is_help = name in ("-h", "--help")
    out = sys.stdout if is_help else sys.stderr
    if name and not is_help:
        out.write(f"loadtests.lab: there is no benchmark {name!r}\n")
    out.write(_USAGE)
    for each in names():
        out.write(f"  {each:20}{summary(each)}\n")
    return 0 if is_help else 2


def _module(name: str) -> str:
    return f"{lab.__name__}.{name.replace('-', '_')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
