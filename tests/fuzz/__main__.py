"""`python -m tests.fuzz [--seconds 60] [--only NAME]`: look for inputs that break a target's promise, with atheris.

Each target runs in a process of its own, so many seconds long, from its committed corpus. A broken promise ends it:
the input is printed as a line for the corpus, and the exit code is 1. `--keep` adds to the corpora what reached code
that nothing in them had reached. Other arguments go to libFuzzer, as `-seed=1 -runs=500` for the same inputs each time.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import corpus

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]
_DICTIONARY = Path(__file__).with_name("http.dict")
_LENGTH_MAX = 2048
_KEPT_LENGTH_MAX = 400
"""Longer inputs are not kept: a corpus is read by people, too."""
_NAMES = (
    *("request", "response", "chunks", "edits", "forwarded", "readiness", "event", "client", "app"),
    *("block", "table", "connection"),
)


def main(arguments: Sequence[str]) -> int:
    """Fuzz, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: %(default)s)")
    parser.add_argument("--only", choices=_NAMES, action="append", help="a target; may be repeated")
    parser.add_argument("--keep", action="store_true", help="add what reached other code to the corpora")
    parser.add_argument("--inside", metavar="NAME", help=argparse.SUPPRESS)
    options, libfuzzer_arguments = parser.parse_known_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        print(f"fuzzing skipped: there is no atheris for {sys.platform}, Python {sys.version.split()[0]}")
        return 0
    if options.inside:
        _fuzz_here(options.inside, libfuzzer_arguments)
    broken = [
        name
        for name in options.only or _NAMES
        if not _fuzz(name, options.seconds, libfuzzer_arguments, keep=options.keep)
    ]
    for name in broken:
        print(f"{name}: promise broken")
    return 1 if broken else 0


def _fuzz(name: str, seconds: int, libfuzzer_arguments: Sequence[str], *, keep: bool) -> bool:
    """Fuzz one target in another process; return whether its promise held."""
    with tempfile.TemporaryDirectory(prefix="knuv-fuzz-") as directory:
        folder = Path(directory)
        seeds, found, crash = folder / "seeds", folder / "found", folder / "crash"
        seeds.mkdir()
        found.mkdir()
        for number, data in enumerate(corpus.read(name)):
            (seeds / str(number)).write_bytes(data)
        command = [
            *(sys.executable, "-m", "tests.fuzz", "--inside", name),
            *(f"-max_total_time={seconds}", f"-max_len={_LENGTH_MAX}", "-timeout=10", "-print_final_stats=1"),
            *(*libfuzzer_arguments, f"-dict={_DICTIONARY}", f"-exact_artifact_path={crash}", str(found), str(seeds)),
        ]
        result = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, errors="replace", check=False)
        log = result.stderr.splitlines()
        runs = next((line.split()[-1] for line in log if line.startswith("stat::number_of_executed_units")), "0")
        print(f"{name}: {runs} inputs in {seconds} s, exit code {result.returncode}", flush=True)
        if result.returncode != 0:
            print("\n".join([*result.stdout.splitlines()[-40:], *log[-20:]]))
            if crash.exists():
                print(f"tests/fuzz/corpus/{name}.txt wants this line:\n{crash.read_bytes()!r}")
        elif keep:
            news = sorted((path.read_bytes() for path in found.iterdir()), key=len)
            kept = corpus.read(name)
            corpus.write(name, [*kept, *(data for data in news if len(data) <= _KEPT_LENGTH_MAX and data not in kept)])
        return result.returncode == 0


def _fuzz_here(name: str, libfuzzer_arguments: Sequence[str]) -> None:
    """Fuzz one target in this process; does not return."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore] # there is no wheel of it for every platform

    with atheris.instrument_imports(include=["eventing", "proxies", "queue_proxy"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *libfuzzer_arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
