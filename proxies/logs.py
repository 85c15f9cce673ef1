"""Structured logs: one JSON object per line on stderr, in the field names that Knative's own components use.

The standard `logging` package costs several milliseconds of import and a lock per record; a sidecar that must listen
within 80 ms cannot afford the first and a proxy does not want the second. A line here is one `write` of whole bytes, so
lines of several processes that share a descriptor never mix (POSIX guarantees that for pipes up to PIPE_BUF).

Logs tell transitions, never requests. The message is an event name, the rest are fields.
"""

import json
import os
import time
import traceback
from collections.abc import Callable, Mapping

__all__ = ["LEVELS", "Logger"]

LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50}
"""Severities by zap's names."""


class Logger:
    """Writes events of one component; `bind` returns a logger that adds fields to every line.

    `level` is the least severity written, by its zap name; an unknown or empty name means `info`, as in the original.
    `write` takes one whole line as bytes; the default writes to stderr.
    """

    __slots__ = ("_fields", "_least", "_write", "name")

    def __init__(
        self,
        name: str,
        *,
        level: str = "info",
        fields: Mapping[str, object] | None = None,
        write: Callable[[bytes], object] | None = None,
    ) -> None:
        self.name = name
        self._least = _Least()
        self.level = level
        self._fields = dict(fields or {})
        self._write = write or _write_stderr

    def bind(self, **fields: object) -> "Logger":
        """Return a logger that adds `fields` to every line, and has the same level at any time."""
        bound = Logger(self.name, fields={**self._fields, **fields}, write=self._write)
        bound._least = self._least
        return bound

    @property
    def level(self) -> str:
        """The least severity that is written; may be set at any time, for all that were bound to each other at once."""
        return self._least.level

    @level.setter
    def level(self, level: str) -> None:
        self._least.level = level.lower() if level.lower() in LEVELS else "info"
        self._least.rank = LEVELS[self._least.level]

    def debug(self, event: str, **fields: object) -> None:
        """For the author of the code; off by default."""
        self._log("DEBUG", 10, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """A transition that an operator may want to read later."""
        self._log("INFO", 20, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something was tolerated; it costs someone if it goes on."""
        self._log("WARN", 30, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Someone must act."""
        self._log("ERROR", 40, event, fields)

    def exception(self, event: str, error: BaseException, **fields: object) -> None:
        """An error that is a bug of ours: logged with its traceback."""
        trace = "".join(traceback.format_exception(error))
        self._log("ERROR", 40, event, {**fields, "error": repr(error), "stacktrace": trace})

    def _log(self, severity: str, rank: int, event: str, fields: Mapping[str, object]) -> None:
        if rank < self._least.rank:
            return
        now_s = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s)) + f".{int(now_s % 1 * 1_000_000):06d}Z"
        line: dict[str, object] = {"severity": severity, "timestamp": stamp, "logger": self.name, "message": event}
        line.update(self._fields)
        line.update(fields)
        self._write(json.dumps(line, default=str).encode() + b"\n")


class _Least:
    """The least severity that is written: its name, and its rank."""

    __slots__ = ("level", "rank")

    level: str
    rank: int


def _write_stderr(line: bytes) -> None:
    try:
        os.write(2, line)
    except OSError:
        # Whoever read our stderr is gone; there is nobody left to tell, and the data path must go on.
        return
