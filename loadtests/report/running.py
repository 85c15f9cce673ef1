"""One lab as a process of its own, and its record. A lab that fails leaves a record that says so."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from loadtests.report.labs import Lab
from loadtests.report.records import Record, checked

__all__ = ["can_be_kept", "measure"]

_WITHIN_S: Final = 600.0
"""A lab that takes longer has got stuck."""
_END_S: Final = 20.0


def can_be_kept(record: Record | None, lab: Lab, *, is_short: bool, commit: str) -> bool:
    """Whether a record is what would be measured: whole, of this commit, with the same arguments."""
    return (
        record is not None
        and not record.problem
        and not record.failed
        and record.is_short == is_short
        and record.arguments == _arguments(lab, is_short=is_short)
        and _commit(record.commit) == _commit(commit)
    )


def measure(lab: Lab, folder: Path, *, is_short: bool, about: Mapping[str, str], within_s: float = _WITHIN_S) -> Record:
    """Run the lab; what it says on the way goes to `folder/<lab>.log`. `about`: what `describe` says of the machine."""
    arguments = _arguments(lab, is_short=is_short)
    began_s = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{lab.name}.log"
    command = [sys.executable, "-m", "loadtests.lab", lab.name, *arguments, "--json"]
    with log.open("wb") as said:
        output, code = _output(command, said.fileno(), within_s)
    found, problem = _found(output, code, within_s)
    if problem:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        problem = ": ".join([problem, *last])
    record = Record(
        lab=lab.name,
        arguments=arguments,
        is_short=is_short,
        date=about["date"],
        commit=about["commit"],
        machine=about["machine"],
        versions=found.get("versions", about["versions"]),
        limits=found.get("limits", about["limits"]),
        seconds=round(time.monotonic() - began_s, 1),
        exit_code=code,
        problem=problem,
        found=found,
    )
    return checked(record)


def _arguments(lab: Lab, *, is_short: bool) -> tuple[str, ...]:
    return lab.trial if is_short else lab.arguments


def _commit(text: str) -> str:
    """Without the mark of a changed tree: the report itself changes pages."""
    return text.removesuffix("-dirty")


def _output(command: list[str], errors: int, within_s: float) -> tuple[str, int]:
    """What a command prints, and its exit code; one that takes too long is ended with all that it started."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, text=True)
    try:
        output, _ = process.communicate(timeout=within_s)
    except BaseException as interruption:
        _end(process)
        if not isinstance(interruption, subprocess.TimeoutExpired):
            raise
        return "", -signal.SIGTERM
    return output, process.returncode


def _end(process: subprocess.Popen[str]) -> None:
    """Ask a lab to clear up, which all do on Ctrl-C, and then do without."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _found(output: str, code: int, within_s: float) -> tuple[dict[str, Any], str]:
    """The object that a lab printed, and what is wrong if there is none. It is there also when something failed."""
    if code == -signal.SIGTERM:
        return {}, f"not done within {within_s:g} s"
    try:
        found = json.loads(output)
    except ValueError:
        return {}, f"ended with {code}"
    return found, ""
