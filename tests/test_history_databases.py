"""SQLite and PostgreSQL behave alike, and what PostgreSQL does when it goes away."""

import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from tests.databases import Server, postgres, sqlite
from tests.in_reactor import in_reactor
from voicemedia.history.databases import Away, Database, Refused, migrate, version
from voicemedia.history.postgres import Postgres
from voicemedia.history.records import Answered, Ended
from voicemedia.history.schema import MIGRATIONS
from voicemedia.history.sqlite import SQLite

Make = Callable[[], Database]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Make the same empty database each time it is called."""
    if request.param == "sqlite":
        return lambda: sqlite(tmp_path)
    dsn = request.getfixturevalue("server").fresh_dsn()
    return lambda: Postgres(dsn, reactor)


def insert(number: int) -> tuple[str, tuple[str | int, ...]]:
    return "INSERT INTO erased (session_id, at_ms) VALUES (?, ?)", (f"S{number}", number)


COUNT = ("SELECT COUNT(*) FROM erased", ())


@in_reactor
async def test_migrations_run_once(make: Make) -> None:
    database = make()
    await database.open()
    assert await migrate(database) == len(MIGRATIONS)
    assert await migrate(database) == 0
    await database.close()
    again = make()
    await again.open()
    assert await migrate(again) == 0
    assert await version(again) == len(MIGRATIONS)
    await again.close()


@in_reactor
async def test_two_servers_may_start_at_once_on_an_empty_database(make: Make) -> None:
    one, other = make(), make()

    async def start(database: Database) -> None:
        for _ in range(20):
            try:
                await database.open()
                await migrate(database)
                return
            except Away:
                continue
        raise AssertionError("it never worked")

    await gatherResults([Deferred.fromCoroutine(start(database)) for database in (one, other)])
    assert await version(one) == await version(other) == len(MIGRATIONS)
    await one.close()
    await other.close()


@in_reactor
async def test_a_database_of_a_newer_program_is_left_alone(make: Make) -> None:
    database = make()
    await database.open()
    await migrate(database)
    await database.write([("INSERT INTO schema_version (version) VALUES (?)", (99,))])
    with pytest.raises(Away, match=r"has schema 99, this program knows \d+; start the newer program"):
        await migrate(database)
    await database.close()


@in_reactor
async def test_a_transaction_is_all_or_nothing(make: Make) -> None:
    database = await ready(make)
    await database.write([insert(1), insert(2)])
    with pytest.raises(Refused):
        await database.write([insert(3), insert(1)])
    assert await database.read(COUNT) == [(2,)]
    await database.write([insert(3)])
    assert await database.read(COUNT) == [(3,)]
    await database.close()


@in_reactor
async def test_the_totals_of_a_call_are_kept_and_those_of_an_unknown_one_are_not(make: Make) -> None:
    database = await ready(make)
    answered = Answered("S", 1, "C")
    for totals in ({"frames_in": 1, "late": 2**40}, {"frames_in": 250}, {}):
        ended = [Ended("S", 2, call, "caller_hung_up", 1, totals) for call in ("C", "nobody's")]
        await database.write([*answered.statements(), *(each for one in ended for each in one.statements())])
    rows = await database.read(("SELECT call_id, name, total FROM call_totals ORDER BY name", ()))
    assert rows == [("C", "frames_in", 250), ("C", "late", 2**40)]
    await database.close()


@in_reactor
async def test_calls_that_overlap_are_carried_out_one_after_the_other(make: Make) -> None:
    database = await ready(make)
    await gatherResults([database.write([insert(number)]) for number in range(20)])
    assert await database.read(COUNT) == [(20,)]
    await database.close()


@pytest.mark.parametrize("text", ["", "it's; DROP TABLE users --", "50 % of ?", "naïve 🥚 ਅੰਡੇ", "line\nline\\n", "%s"])
@in_reactor
async def test_any_text_comes_back_as_it_was(make: Make, text: str) -> None:
    database = await ready(make)
    await database.write([("INSERT INTO erased (session_id, at_ms) VALUES (?, ?)", (text, 2**53))])
    assert await database.read(("SELECT session_id, at_ms FROM erased WHERE session_id = ?", (text,))) == [
        (text, 2**53)
    ]
    await database.close()


@in_reactor
async def test_what_no_database_takes_is_refused_and_the_next_is_taken(make: Make) -> None:
    database = await ready(make)
    for values in (("a", None), ("\ud800", 1), ("b", 2**70)):
        with pytest.raises(Refused):
            await database.write([("INSERT INTO erased (session_id, at_ms) VALUES (?, ?)", values)])
    await database.write([insert(1)])
    assert await database.read(COUNT) == [(1,)]
    await database.close()


@in_reactor
async def test_deleting_a_session_deletes_what_belongs_to_it(make: Make) -> None:
    database = await ready(make)
    await database.write(
        [
            ("INSERT INTO sessions (id, name, agent, first_ms, last_ms) VALUES ('S', '', '', 1, 1)", ()),
            (
                "INSERT INTO messages (call_id, number, session_id, who, at_ms, text, keys, heard, unheard, "
                "interrupted, complete, provider, voice) VALUES ('C', 1, 'S', 'user', 1, '', '', '', '', 0, 1, '', '')",
                (),
            ),
        ]
    )
    await database.write([("DELETE FROM sessions WHERE id = ?", ("S",))])
    assert await database.read(("SELECT COUNT(*) FROM messages", ())) == [(0,)]
    await database.close()


# --- SQLite ---


@in_reactor
async def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    database = await ready(lambda: sqlite(tmp_path))
    for file in (tmp_path / "history").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await database.close()


@in_reactor
async def test_a_file_that_cannot_be_made_is_a_database_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Away, match="File exists"):
        await SQLite(tmp_path / "file" / "x.db", reactor).open()


@in_reactor
async def test_a_file_that_is_no_database_is_away_too(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database" * 1000)
    database = SQLite(tmp_path / "x.db", reactor)
    await database.open()
    with pytest.raises(Away):
        await database.read(COUNT)
    await database.close()


# --- PostgreSQL that goes away ---


@in_reactor
async def test_a_connection_that_was_ended_is_made_anew(server: Server) -> None:
    database = await ready(lambda: postgres(server))
    for number in range(5):
        server.kill_connections()
        # It says so at once, or the next time: the server takes a moment to end a connection.
        with suppress(Away):
            await database.write([insert(number)])
        await database.write([("DELETE FROM erased", ()), insert(number)])
        assert await database.read(COUNT) == [(1,)]
    await database.close()


@in_reactor
async def test_an_idle_connection_is_not_watched(server: Server) -> None:
    """Its socket may be closed by libpq at any time, and a file with the same number confuses epoll."""
    database = await ready(lambda: postgres(server))
    await database.read(COUNT)
    await database.write([insert(1)])
    watched: Any = reactor
    assert not [reader for reader in watched.getReaders() if "txpostgres" in str(type(reader).__mro__)]
    await database.close()


@in_reactor
async def test_a_server_that_stops_and_starts_is_used_again(server: Server) -> None:
    database = await ready(lambda: postgres(server))
    server.stop()
    for _ in range(2):
        with pytest.raises(Away):
            await database.write([insert(1)])
    server.start()
    await database.write([insert(1)])
    assert await database.read(COUNT) == [(1,)]
    await database.close()


@in_reactor
async def test_a_server_that_says_nothing_is_away_after_a_while(server: Server) -> None:
    database = await ready(lambda: postgres(server, patience_s=0.3))
    with server.frozen():
        for _ in range(3):
            # The first in the middle of a transaction, the others as they connect.
            with pytest.raises(Away):
                await database.write([insert(1)])
    for number in range(2, 30):
        await database.write([insert(number)])
    assert await database.read(("SELECT COUNT(*) FROM erased WHERE at_ms > 1", ())) == [(28,)]
    await database.close()


@in_reactor
async def test_closing_fails_what_is_under_way(server: Server) -> None:
    database = await ready(lambda: postgres(server))
    sleeping = database.read(("SELECT pg_sleep(30)", ()))
    await database.close()
    with pytest.raises(Away):
        await sleeping


@pytest.mark.parametrize("dsn", ["host=127.0.0.1 port=1 dbname=x", "host=no.such.host.invalid dbname=x", "not a dsn"])
@in_reactor
async def test_a_server_that_is_not_there_is_away(dsn: str) -> None:
    database = Postgres(dsn, reactor)
    with pytest.raises(Away) as caught:
        await database.open()
    assert "\n" not in str(caught.value)


@in_reactor
async def test_no_error_shows_the_password() -> None:
    database = Postgres("postgresql://me:hunter2@127.0.0.1:1/x", reactor)
    with pytest.raises(Away) as caught:
        await database.open()
    assert "hunter2" not in str(caught.value) + database.name


async def ready(make: Make) -> Database:
    database = make()
    await database.open()
    await migrate(database)
    return database
