"""What is deleted: on somebody's request, or because it is old."""

from collections.abc import Sequence
from typing import Final

from voicemedia.history.databases import Database, Statement
from voicemedia.history.reading import first, ids

COUNTED: Final = ("calls", "messages", "meals", "foods")
DAY_MS: Final = 24 * 3_600_000
TOMBSTONE_MS: Final = 30 * DAY_MS
"How long it is remembered that a session was erased: records older than that do not come out of a spool any more."
_NO_LONGER: Final = "id NOT IN (SELECT user_id FROM sessions WHERE user_id IS NOT NULL)"


async def erase(database: Database, sessions: Sequence[str], now_ms: int) -> dict[str, int]:
    """Delete sessions with all that belongs to them, and users who have none left; return how many rows of what.

    What a running server still has to write of them is dropped when it comes; what is said from now on is not.

    :raises Away: nothing was deleted.
    """
    counts = {"sessions": len(sessions), **dict.fromkeys(COUNTED, 0)}
    statements: list[Statement] = []
    for session in sessions:
        for table in COUNTED:
            rows = await database.read((f"SELECT COUNT(*) FROM {table} WHERE session_id = ?", (session,)))
            counts[table] += first(rows)
        statements += [
            (
                "INSERT INTO erased (session_id, at_ms) VALUES (?, ?) "
                "ON CONFLICT (session_id) DO UPDATE SET at_ms = excluded.at_ms",
                (session, now_ms),
            ),
            ("DELETE FROM sessions WHERE id = ?", (session,)),
        ]
    counts["users"] = first(await database.read(("SELECT COUNT(*) FROM users", ())))
    await database.write([*statements, (f"DELETE FROM users WHERE {_NO_LONGER}", ())])
    counts["users"] -= first(await database.read(("SELECT COUNT(*) FROM users", ())))
    return counts


def forgotten(session: str, until_ms: int) -> list[Statement]:
    """Delete what came of an erased session after all; what was said after `until_ms` stays."""
    return [
        *(
            (f"DELETE FROM {table} WHERE session_id = ? AND {column} <= ?", (session, until_ms))
            for table, column in (
                ("messages", "at_ms"),
                ("meals", "at_ms"),
                ("foods", "at_ms"),
                ("calls", "started_ms"),
            )
        ),
        ("DELETE FROM sessions WHERE id = ? AND last_ms <= ?", (session, until_ms)),
        (f"DELETE FROM users WHERE {_NO_LONGER}", ()),
    ]


async def forget_old(database: Database, now_ms: int, keep_days: int) -> list[str]:
    """Delete what is older than `keep_days` (0: nothing), of sessions that go on too.

    Return the files of recordings nobody knows of any more.

    :raises Away: nothing, or not all, was deleted.
    """
    recordings: list[str] = []
    statements: list[Statement] = [("DELETE FROM erased WHERE at_ms < ?", (now_ms - TOMBSTONE_MS,))]
    if keep_days:
        before_ms = now_ms - keep_days * DAY_MS
        old = "SELECT recording FROM calls WHERE recording != '' AND started_ms < ?"
        recordings = await ids(database, (old + " AND ended_ms IS NOT NULL", (before_ms,)))
        recordings += await ids(database, (old + " AND ended_ms IS NULL", (before_ms - DAY_MS,)))
        statements += [
            ("DELETE FROM messages WHERE at_ms < ?", (before_ms,)),
            ("DELETE FROM foods WHERE at_ms < ?", (before_ms,)),
            ("DELETE FROM meals WHERE at_ms < ?", (before_ms,)),
            ("DELETE FROM calls WHERE started_ms < ? AND ended_ms IS NOT NULL", (before_ms,)),
            # A call that was cut off by a crash has no end.
            ("DELETE FROM calls WHERE started_ms < ?", (before_ms - DAY_MS,)),
            ("DELETE FROM sessions WHERE last_ms < ?", (before_ms,)),
            (f"DELETE FROM users WHERE {_NO_LONGER}", ()),
        ]
    await database.write(statements)
    return recordings
