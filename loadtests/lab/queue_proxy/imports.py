"""Which modules queue-proxy imports before it listens, what each costs, and why it is there.

`python -X importtime` tells each module's own time, its own imports not counted. Costs are summed by package, medians
over several starts. The report is the table in decision 0006; `--imports --write` renews it.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["DOCUMENT", "Group", "groups", "measure", "ours", "parse", "rewritten", "table"]

_ROOT: Final = Path(__file__).parents[3]
DOCUMENT: Final = _ROOT / "docs" / "decisions" / "0006-postponed-imports.md"
BEGIN: Final = "<!-- imports: begin -->"
END: Final = "<!-- imports: end -->"
_SMALL_MS: Final = 0.5
"""Groups below it share one row."""

REASONS: Final[Mapping[str, str]] = {
    "uvloop": "the loop",
    "asyncio": "uvloop takes its futures, tasks and protocols from it, and it imports all of its modules at once",
    "ssl": "uvloop and asyncio want its classes at import, whether or not TLS is used",
    "inspect": "uvloop, asyncio and dataclasses import it; it brings `ast` and `dis`",
    "logging": "asyncio's logger",
    "typing": "uvloop and ours",
    "collections": "nearly everything; `namedtuple` and the abstract base classes",
    "concurrent": "asyncio's executor, never started here",
    "encodings": "the interpreter itself",
    "enum": "socket, ssl, re and ours",
    "functools": "nearly everything",
    "json": "probes and settings are JSON, log lines too",
    "locale": "subprocess",
    "proxies": "the engine",
    "queue_proxy": "itself",
    "random": "spreads dial attempts",
    "re": "HTTP's grammar; logging, tokenize",
    "selectors": "asyncio and subprocess",
    "signal": "asyncio; our handlers",
    "site": "the interpreter: finds the environment's packages",
    "_distutils_hack": "setuptools, where it is installed; not in an image",
    "socket": "asyncio and ours",
    "string": "logging",
    "struct": "base64, which ssl wants",
    "subprocess": "asyncio and uvloop, for processes that are never started here",
    "textwrap": "traceback and inspect",
    "threading": "logging and the executor",
    "traceback": "asyncio and logging; it brings `linecache` and `tokenize`",
    "weakref": "asyncio, enum and others",
    "dataclasses": "settings and stats are dataclasses",
    "contextlib": "asyncio and others",
}
"""Why a package is there at all. A group that costs more than a little needs its line."""

_PARTS: Final[Mapping[str, str]] = {
    "_ssl": "ssl",
    "base64": "ssl",
    "binascii": "ssl",
    "ast": "inspect",
    "_ast": "inspect",
    "dis": "inspect",
    "opcode": "inspect",
    "_opcode": "inspect",
    "linecache": "traceback",
    "tokenize": "traceback",
    "token": "traceback",
    "_asyncio": "asyncio",
    "_contextvars": "asyncio",
    "contextvars": "asyncio",
    "_socket": "socket",
    "_collections_abc": "collections",
    "_collections": "collections",
    "_json": "json",
    "_random": "random",
    "_sha512": "random",
    "bisect": "random",
    "_bisect": "random",
    "math": "random",
    "_locale": "locale",
    "_signal": "signal",
    "_struct": "struct",
    "_weakref": "weakref",
    "_weakrefset": "weakref",
    "_functools": "functools",
    "_queue": "concurrent",
    "queue": "concurrent",
    "_posixsubprocess": "subprocess",
    "select": "selectors",
    "_string": "string",
    "_typing": "typing",
    "sitecustomize": "site",
    "usercustomize": "site",
}
"""Modules that are there for one other module only count with it."""


@dataclass(frozen=True, slots=True)
class Group:
    """A package with all its modules."""

    name: str
    modules: int
    ms: float


def parse(text: str) -> dict[str, float]:
    """Return each module's own milliseconds from what `-X importtime` wrote; other lines are ignored."""
    modules: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("import time:") and line.count("|") == 2:
            own, _, name = line.removeprefix("import time:").split("|")
            if own.strip().isdecimal():
                modules[name.strip()] = int(own) / 1000
    return modules


def groups(starts: Sequence[Mapping[str, float]]) -> list[Group]:
    """Sum by package, take the median over the starts; the most expensive first."""
    each: list[dict[str, list[float]]] = []
    for start in starts:
        by_group: dict[str, list[float]] = {}
        for module, ms in start.items():
            top = module.partition(".")[0]
            by_group.setdefault(_PARTS.get(top, top), []).append(ms)
        each.append(by_group)
    names = {name for by_group in each for name in by_group}
    found = [
        Group(
            name,
            max(len(by_group.get(name, [])) for by_group in each),
            statistics.median(sum(by_group.get(name, [])) for by_group in each),
        )
        for name in names
    ]
    return sorted(found, key=lambda group: (-group.ms, group.name))


def table(found: list[Group]) -> str:
    """A Markdown table. A big group without a reason shows a question mark."""
    big = [group for group in found if group.ms >= _SMALL_MS]
    small = [group for group in found if group.ms < _SMALL_MS]
    rows = [f"| `{group.name}` | {group.modules} | {group.ms:.1f} | {REASONS.get(group.name, '?')} |" for group in big]
    rows.append(
        f"| others | {sum(group.modules for group in small)} | {sum(group.ms for group in small):.1f} "
        f"| each below {_SMALL_MS} ms |"
    )
    rows.append(f"| **all** | {sum(group.modules for group in found)} | {sum(group.ms for group in found):.1f} | |")
    return "\n".join(["| package | modules | ms | why it is there |", "|---|---:|---:|---|", *rows])


def ours(starts: Sequence[Mapping[str, float]]) -> list[Group]:
    """Our own modules one by one, the most expensive first."""
    names = {name for start in starts for name in start if name.partition(".")[0] in ("proxies", "queue_proxy")}
    found = [Group(name, 1, statistics.median(start.get(name, 0.0) for start in starts)) for name in names]
    return sorted(found, key=lambda group: (-group.ms, group.name))


def rewritten(document: str, inside: str) -> str:
    """Return `document` with what stands between its two marks replaced."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{inside}\n{end}{after}"


def measure(starts: int) -> list[dict[str, float]]:
    """Start queue-proxy so often, without settings, so that it ends when it has imported everything."""
    command = [sys.executable, "-X", "importtime", "-m", "queue_proxy"]
    measured = []
    for _ in range(starts + 1):
        done = subprocess.run(command, cwd=_ROOT, env={"PATH": os.defpath}, check=False, capture_output=True, text=True)
        measured.append(parse(done.stderr))
    return measured[1:]  # the first one may have had to compile
