"""`python -m loadtests.report`: measure what is not measured yet, then write the pages."""

import argparse
import compileall
import sys
import time
from pathlib import Path
from typing import Final

from loadtests.lab.queue_proxy.machine import describe
from loadtests.report.labs import LABS
from loadtests.report.pages import MarksError, check, write
from loadtests.report.records import Record, RecordError, read
from loadtests.report.records import write as keep
from loadtests.report.running import can_be_kept, measure

__all__ = ["main"]

_ROOT: Final = Path(__file__).parents[2]
_INTERRUPTED: Final = 130


def main(arguments: list[str], root: Path = _ROOT) -> int:
    """Measure and write; 0 when every lab gave figures, 1 when one failed, 2 when no page could be written."""
    options = _parser().parse_args(arguments)
    folder = options.folder or root / "build" / ("report-trial" if options.trial else "report")
    try:
        check(root)
        records = read(folder)
        if not options.pages:
            records |= _measured(records, folder, options)
        written = write(root, {lab.name: records[lab.name] for lab in LABS if lab.name in records})
    except (RecordError, MarksError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\ninterrupted; what was measured is in {folder}, and the next report goes on from there", file=sys.stderr
        )
        return _INTERRUPTED
    print("written: " + ", ".join(str(path.relative_to(root)) for path in written))
    failed = [record.lab for record in records.values() if record.problem or record.failed]
    if failed:
        print(f"figures are missing of: {', '.join(failed)}; see {folder}/*.log", file=sys.stderr)
    return 1 if failed else 0


def _measured(records: dict[str, Record], folder: Path, options: argparse.Namespace) -> dict[str, Record]:
    """The chosen labs, one after the other; each record is kept at once, so that a report can be gone on with."""
    found = {}
    began_s = time.monotonic()
    about = describe()
    _compile(_ROOT)
    chosen = [lab for lab in LABS if not options.only or lab.name in options.only]
    for number, lab in enumerate(chosen, 1):
        before = records.get(lab.name)
        if (
            not options.again
            and not options.only
            and can_be_kept(before, lab, is_short=options.trial, commit=about["commit"])
        ):
            print(f"{number}/{len(chosen)}  {lab.name:16} kept: measured on this commit before")
            continue
        print(f"{number}/{len(chosen)}  {lab.name:16}", end="", flush=True)
        record = measure(lab, folder, is_short=options.trial, about=about)
        keep(folder, record)
        found[lab.name] = record
        print(f" {record.seconds:5.0f} s  {_outcome(record)}", flush=True)
    print(f"{(time.monotonic() - began_s) / 60:.1f} minutes in all")
    return found


def _compile(root: Path) -> None:
    """Give all modules their bytecode, as images have it: without, a start takes half a second."""
    for package in (path.parent for path in root.glob("*/__init__.py")):
        compileall.compile_dir(package, quiet=2)


def _outcome(record: Record) -> str:
    if record.problem:
        return f"FAILED: {record.problem}"
    verdicts = [row.verdict for row in record.rows if row.verdict]
    missed = sum(verdict != "met" for verdict in verdicts)
    parts = [f"{len(verdicts) - missed} budgets met", *([f"{missed} not"] if missed else [])]
    return ", ".join([*parts, *(f"{name} FAILED: {why}" for name, why in record.failed.items())])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.report", description=__doc__)
    names = [lab.name for lab in LABS]
    parser.add_argument("--only", action="append", choices=names, help="measure this lab, whether or not it was")
    parser.add_argument("--again", action="store_true", help="measure also what this commit's records have")
    parser.add_argument("--pages", action="store_true", help="measure nothing, write the pages from the records")
    parser.add_argument("--trial", action="store_true", help="hardly any time for each figure: does everything run?")
    parser.add_argument("--folder", type=Path, help="of the records (build/report, build/report-trial)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
