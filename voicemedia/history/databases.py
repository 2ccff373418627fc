"""What both databases promise, and the migrations every start runs through."""

from collections.abc import Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from voicemedia.errors import VoicemediaError
from voicemedia.history.schema import MIGRATIONS

Value = str | int | float | None
Statement = tuple[str, tuple[Value, ...]]
"SQL with `?` for each value: what SQLite and PostgreSQL both understand, and nothing else."
Row = tuple[Value, ...]

VERSION_TABLE: Final = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)"


class Away(VoicemediaError):
    """The database cannot be reached or used now; the same statements may work later."""


class Refused(VoicemediaError):
    """The database understood, and does not take these values."""


class Database(Protocol):
    """One database; calls may overlap, and are carried out one after the other."""

    name: str

    def open(self) -> Deferred[None]:
        """Connect; may be called again after `Away`.

        :raises Away: there is nobody.
        """

    def write(self, statements: Sequence[Statement]) -> Deferred[None]:
        """Carry out all statements in one transaction, or none.

        :raises Away: it is not known whether they were carried out; they must bear repetition.
        :raises Refused: none was carried out.
        """

    def read(self, statement: Statement) -> Deferred[list[Row]]:
        """Carry out one query.

        :raises Away: there is nobody, or not any more.
        :raises Refused: there is no such table.
        """

    def close(self) -> Deferred[None]:
        """Disconnect; what is under way fails with `Away`."""


async def migrate(database: Database) -> int:
    """Bring the schema up to this program's version; return how many migrations that took.

    Two servers may start at once: whoever comes second fails at the row of the version, as `Away`, and looks again.

    :raises Away: the database cannot be used, or belongs to a newer program.
    """
    try:
        return await _migrate(database)
    except Refused as error:
        raise Away(f"{database.name}: its schema cannot be made: {error}") from error


async def _migrate(database: Database) -> int:
    await database.write([(VERSION_TABLE, ())])
    done = await version(database)
    if done > len(MIGRATIONS):
        raise Away(
            f"{database.name} has schema {done}, this program knows {len(MIGRATIONS)}; "
            "start the newer program, or give another database"
        )
    for number, migration in enumerate(MIGRATIONS[done:], done + 1):
        stamp: Statement = ("INSERT INTO schema_version (version) VALUES (?)", (number,))
        await database.write([stamp, *((sql, ()) for sql in migration)])
    return len(MIGRATIONS) - done


async def version(database: Database) -> int:
    """Read which migrations have run."""
    ((newest,),) = await database.read(("SELECT MAX(version) FROM schema_version", ()))
    return int(newest or 0)
