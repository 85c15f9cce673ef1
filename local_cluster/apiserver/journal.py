"""The state on disk: every commit is in SQLite before anybody is told of it, so that a killed server loses nothing.

One table holds the current objects, one row the newest version that a deletion took (an object carries its own). Writes
go to the write-ahead log in the committing step and survive the end of the process at once; they survive the end of the
machine after the next checkpoint, which a thread makes. What cannot be written is refused and has not happened.
Conformance: api-clients statement 16.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from local_cluster.apiserver.errors import internal_error
from proxies.logs import Logger

__all__ = ["Journal", "JournalError"]

FORMAT = 1
CHECKPOINT_S = 5.0
_SCHEMA = """
CREATE TABLE objects (key TEXT, namespace TEXT, name TEXT, version INTEGER, data BLOB, UNIQUE (key, namespace, name));
CREATE TABLE deletions (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER);
INSERT INTO deletions VALUES (1, 0);
"""


class JournalError(Exception):
    """The file cannot be used; the text says why and what to do."""


class Journal:
    """One file, used by one server at a time. Raises `JournalError` when it is in use, or is none of ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logger = Logger("apiserver")
        self._has_news = False
        self._task: asyncio.Task[None] | None = None
        self._lock = _locked(path)
        try:
            self._database = _opened(path)
        except BaseException:
            self._lock.close()
            raise

    def start(self) -> None:
        """Begin to make checkpoints."""
        self._task = asyncio.create_task(self._checkpoints(), name="journal checkpoints")

    async def stop(self) -> None:
        """Write everything into the file and close it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._database.close()
        self._lock.close()

    # -- for the store --------------------------------------------------------------------------------------

    def version(self) -> int:
        """The newest version that was ever committed; 0 for a fresh file."""
        [(newest,)] = self._database.execute(
            "SELECT MAX((SELECT version FROM deletions), (SELECT COALESCE(MAX(version), 0) FROM objects))"
        )
        return int(newest)

    def objects(self, key: str | None = None) -> Iterator[tuple[str, int, bytes]]:
        """Collection, version and JSON of the objects of one collection, or of all."""
        chosen = "SELECT key, version, data FROM objects"
        if key is not None:
            yield from self._database.execute(f"{chosen} WHERE key = ?", (key,))
        else:
            yield from self._database.execute(chosen)

    def put(self, key: str, namespace: str, name: str, version: int, data: bytes) -> None:
        """Keep the current state of an object. Raises 500."""
        self._write("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", (key, namespace, name, version, data))

    def remove(self, key: str, namespace: str, name: str, version: int) -> None:
        """Forget an object whose deletion is `version`. Raises 500."""
        # The version first: a file that has only the one knows too much, not too little.
        self._write("UPDATE deletions SET version = ?", (version,))
        self._write("DELETE FROM objects WHERE key = ? AND namespace = ? AND name = ?", (key, namespace, name))

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self._has_news = True
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            self._logger.error("journal_failed", path=str(self._path), error=str(error))
            raise internal_error(f"the state cannot be written to {self._path}: {error}") from error

    # -- in the background ----------------------------------------------------------------------------------

    async def _checkpoints(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_S)
            if self._has_news:
                self._has_news = False
                try:
                    await asyncio.to_thread(_checkpoint, self._path)
                except sqlite3.Error as error:
                    self._has_news = True
                    self._logger.error("checkpoint_failed", path=str(self._path), error=str(error))


def _locked(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}; name another directory") from error
    lock = os.fdopen(descriptor, "r+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise JournalError(f"{path}: in use by another server; stop it or name another directory") from error
    return lock


def _opened(path: Path) -> sqlite3.Connection:
    # The file holds secrets: nobody else may read it, from its first byte on; SQLite gives its log the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    # Nobody else writes; were somebody to, all requests would wait for him.
    database = sqlite3.connect(path, isolation_level=None, timeout=0.1)
    try:
        [(found,)] = database.execute("PRAGMA user_version")
        [(tables,)] = database.execute("SELECT COUNT(*) FROM sqlite_master")
        if found != FORMAT and (found or tables):
            raise JournalError(f"{path}: format {found}, expected {FORMAT}; name another directory, or delete the file")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        if not tables:
            database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
    except sqlite3.DatabaseError as error:
        database.close()
        raise JournalError(f"{path}: {error}; name another directory, or delete the file") from error
    except BaseException:
        database.close()
        raise
    return database


def _checkpoint(path: Path) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        database.close()
