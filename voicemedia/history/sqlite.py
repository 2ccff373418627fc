"""SQLite in one file, through adbapi: one connection, used by one thread at a time."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from voicemedia.history.cures import with_cure
from voicemedia.history.databases import Away, Refused, Row, Statement

BUSY_S: Final = 5
"How long another process (`voicemedia history`) may hold the file."
ONLY_OURS: Final = 0o600


class SQLite:
    """The file at `path`, made when it is missing, readable by its owner only."""

    def __init__(self, path: Path, reactor: Any) -> None:
        self.name = str(path)
        self._path, self._reactor = path, reactor
        self._pool: ConnectionPool | None = None

    def open(self) -> Deferred[None]:
        """Make the file and its folder where they are missing."""
        if self._pool is not None:
            return succeed(None)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, ONLY_OURS))
        except OSError as error:
            return fail(Away(with_cure(error)))
        self._pool = ConnectionPool(
            "sqlite3",
            str(self._path),
            timeout=BUSY_S,
            check_same_thread=False,
            isolation_level=None,
            cp_min=1,
            cp_max=1,
            cp_openfun=_prepare,
            cp_noisy=False,
            cp_reactor=self._reactor,
        )
        return succeed(None)

    def write(self, statements: Sequence[Statement]) -> Deferred[None]:
        """Carry out all statements in one transaction."""

        def work(cursor: sqlite3.Cursor) -> None:
            cursor.execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                cursor.execute(sql, values)

        return self._do(work)

    def read(self, statement: Statement) -> Deferred[list[Row]]:
        """Carry out one query."""
        return self._do(lambda cursor: cursor.execute(*statement).fetchall())

    def _do(self, work: Callable[[sqlite3.Cursor], Any]) -> Deferred[Any]:
        if self._pool is None:
            return fail(Away(f"{self._path} is not open"))
        done: Deferred[Any] = self._pool.runInteraction(work)
        return done.addErrback(_blame)

    def close(self) -> Deferred[None]:
        """Close the file; waits for what is under way."""
        pool, self._pool = self._pool, None
        if pool is None:
            return succeed(None)
        # What was erased would live on in the WAL while another process has the file open.
        done: Deferred[Any] = pool.runQuery("PRAGMA wal_checkpoint(TRUNCATE)")
        return done.addErrback(_blame).addBoth(lambda _: pool.close())


def _prepare(connection: sqlite3.Connection) -> None:
    # WAL lets `voicemedia history` read while we write; FULL, because what is committed leaves the spool.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _blame(failure: Failure) -> Failure:
    error = failure.value
    if isinstance(
        error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, OverflowError, ValueError)
    ):
        return Failure(Refused(str(error)))
    if isinstance(error, sqlite3.Error):
        return Failure(Away(str(error)))
    return failure
