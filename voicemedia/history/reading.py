"""What is asked of the history: the past of a caller, and what the command shows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, TypeAlias

from voicemedia.history.databases import Database, Row, Statement, Value
from voicemedia.history.people import Identity
from voicemedia.past import Day, Food, Past, PastTurn

DAYS_MS: Final = 48 * 3_600_000
"Meals older than this are of no use to a conversation."
Table: TypeAlias = list[dict[str, Value]]


async def read_past(database: Database, identity: Identity, call: str, now_ms: int, turns: int) -> Past:
    """Read what is known of a caller.

    :param call: key of the call that wants to know; what was said in it already is no past.
    :raises Away: the database is.
    """
    said = await database.read(
        (
            "SELECT m.who, m.at_ms, m.text, m.heard, m.keys, m.interrupted, m.session_id FROM messages m "
            "JOIN sessions s ON s.id = m.session_id WHERE (s.id = ? OR s.user_id = ?) AND m.call_id <> ? "
            "ORDER BY m.at_ms DESC, m.number DESC LIMIT ?",
            (identity.session, identity.user, call, turns),
        )
    )
    eaten = await database.read(
        (
            "SELECT day, meal, food, amount, unit, vague, preparation, without, side, still_to_ask FROM foods "
            "WHERE owner = ? AND at_ms > ? ORDER BY day, at_ms, call_id, place",
            (identity.owner, now_ms - DAYS_MS),
        )
    )
    complete = await database.read(
        (
            "SELECT day, meal, MAX(complete) FROM meals WHERE owner = ? AND at_ms > ? GROUP BY day, meal",
            (identity.owner, now_ms - DAYS_MS),
        )
    )
    return Past(
        tuple(turn for row in reversed(said) if (turn := _turn(row, identity.session)).text),
        _days(eaten, complete),
        continues=any(row[6] == identity.session for row in said),
    )


def _turn(row: Sequence[Any], here: str) -> PastTurn:
    who, at_ms, text, heard, keys, interrupted, session = row
    return PastTurn(who, at_ms, heard if who == "ai" else text or keys, bool(interrupted), session == here)


def _days(eaten: Sequence[Any], complete: Sequence[Any]) -> tuple[Day, ...]:
    foods = {day: tuple(map(_food, rows)) for day, rows in groupby(eaten, key=lambda row: row[0])}
    done: dict[str, list[str]] = {}
    for day, meal, is_complete in complete:
        done.setdefault(day, []).extend([meal] if is_complete else [])
    dates = sorted({*foods, *done})
    return tuple(Day(date, foods.get(date, ()), tuple(sorted(done.get(date, ())))) for date in dates)


def _food(row: Sequence[Any]) -> Food:
    _day, meal, food, amount, unit, vague, preparation, without, side, still_to_ask = row
    return Food(meal, food, amount, unit, vague, preparation, without, bool(side), still_to_ask)


# --- for the command ---

SESSION_COLUMNS: Final = ("id", "name", "user_id", "agent", "first_ms", "last_ms")
USER_COLUMNS: Final = ("id", "number", "email", "first_name", "first_ms", "last_ms")
CALL_COLUMNS: Final = (
    *("id", "session_id", "carrier", "carrier_call_id", "route", "direction", "from_number", "to_number"),
    *("agent", "recognizer", "synthesizer", "recording", "started_ms", "ended_ms", "reason", "turns"),
)
TOTAL_COLUMNS: Final = ("call_id", "name", "total")
MESSAGE_COLUMNS: Final = (
    *("call_id", "number", "session_id", "who", "at_ms", "text", "keys", "heard", "unheard", "interrupted"),
    *("complete", "provider", "voice", "transcript_ms", "agent_ms", "voice_ms", "total_ms"),
)
MEAL_COLUMNS: Final = ("call_id", "session_id", "day", "meal", "complete", "at_ms")
FOOD_COLUMNS: Final = (
    *("call_id", "session_id", "day", "place", "meal", "food", "amount", "unit", "vague", "preparation"),
    *("without", "side", "still_to_ask", "at_ms"),
)
TABLES: Final = {
    "users": (USER_COLUMNS, "id IN (SELECT user_id FROM sessions WHERE id = ?)", "id"),
    "sessions": (SESSION_COLUMNS, "id = ?", "first_ms"),
    "calls": (CALL_COLUMNS, "session_id = ?", "started_ms"),
    "call_totals": (TOTAL_COLUMNS, "call_id IN (SELECT id FROM calls WHERE session_id = ?)", "call_id, name"),
    "messages": (MESSAGE_COLUMNS, "session_id = ?", "at_ms, call_id, number"),
    "meals": (MEAL_COLUMNS, "session_id = ?", "day, meal"),
    "foods": (FOOD_COLUMNS, "session_id = ?", "day, at_ms, call_id, place"),
}
"Table: its columns, which rows belong to a session, and their order."

FIND_SESSIONS: Final = (
    "SELECT s.id FROM sessions s LEFT JOIN users u ON u.id = s.user_id WHERE s.id = ? OR s.name = ? "
    "OR s.id IN (SELECT session_id FROM calls WHERE id = ? OR carrier_call_id = ?) ORDER BY s.first_ms"
)
FIND_OF_USER: Final = (
    "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id "
    "WHERE u.id = ? OR u.id = ? OR u.id = ? OR u.id = ? OR u.email = ? ORDER BY s.first_ms"
)
NEWEST: Final = (
    "SELECT s.id, s.last_ms, s.agent, u.first_name, u.number, "
    "(SELECT COUNT(*) FROM calls c WHERE c.session_id = s.id), "
    "(SELECT COUNT(*) FROM messages m WHERE m.session_id = s.id), "
    "(SELECT COUNT(*) FROM foods f WHERE f.session_id = s.id) "
    "FROM sessions s LEFT JOIN users u ON u.id = s.user_id ORDER BY s.last_ms DESC LIMIT ?"
)


async def rows_of(database: Database, table: str, session: str) -> Table:
    """Read the rows of one table that belong to a session."""
    columns, where, order = TABLES[table]
    sql = f"SELECT {', '.join(columns)} FROM {table} WHERE {where} ORDER BY {order}"
    return [dict(zip(columns, row, strict=True)) for row in await database.read((sql, (session,)))]


async def everything_of(database: Database, session: str) -> dict[str, Table]:
    """Read all that is stored of a session."""
    return {table: await rows_of(database, table, session) for table in TABLES}


async def ids(database: Database, statement: Statement) -> list[str]:
    """Read one column of keys."""
    return [str(row[0]) for row in await database.read(statement)]


def utc(at_ms: Value) -> str:
    """Write a time for people."""
    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(int(at_ms) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def first(rows: Sequence[Row]) -> int:
    """Read a count."""
    return int(rows[0][0] or 0)
