"""The one schema, as the steps that lead to it. A step that was released is never changed: add another.

Only types and words that mean the same to SQLite and PostgreSQL. Times are milliseconds since 1970 in UTC (`_ms`);
whatever belongs to a session goes when the session goes.
"""

from typing import Final

MIGRATIONS: Final = (
    (
        """CREATE TABLE users (
            id TEXT PRIMARY KEY,
            number TEXT NOT NULL,
            email TEXT NOT NULL,
            first_name TEXT NOT NULL,
            first_ms BIGINT NOT NULL,
            last_ms BIGINT NOT NULL
        )""",
        """CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            agent TEXT NOT NULL,
            first_ms BIGINT NOT NULL,
            last_ms BIGINT NOT NULL
        )""",
        "CREATE INDEX sessions_user ON sessions (user_id)",
        "CREATE INDEX sessions_last ON sessions (last_ms)",
        """CREATE TABLE calls (
            id TEXT PRIMARY KEY,
            session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            carrier TEXT NOT NULL,
            carrier_call_id TEXT NOT NULL,
            route TEXT NOT NULL,
            direction TEXT NOT NULL,
            from_number TEXT NOT NULL,
            to_number TEXT NOT NULL,
            agent TEXT NOT NULL,
            recognizer TEXT NOT NULL,
            synthesizer TEXT NOT NULL,
            started_ms BIGINT NOT NULL,
            ended_ms BIGINT,
            reason TEXT NOT NULL,
            turns INTEGER NOT NULL
        )""",
        "CREATE INDEX calls_session ON calls (session_id)",
        "CREATE INDEX calls_started ON calls (started_ms)",
        """CREATE TABLE call_totals (
            call_id TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            total BIGINT NOT NULL,
            PRIMARY KEY (call_id, name)
        )""",
        """CREATE TABLE messages (
            call_id TEXT NOT NULL,
            number INTEGER NOT NULL,
            session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            who TEXT NOT NULL CHECK (who IN ('user', 'ai')),
            at_ms BIGINT NOT NULL,
            text TEXT NOT NULL,
            keys TEXT NOT NULL,
            heard TEXT NOT NULL,
            unheard TEXT NOT NULL,
            interrupted INTEGER NOT NULL,
            complete INTEGER NOT NULL,
            provider TEXT NOT NULL,
            voice TEXT NOT NULL,
            transcript_ms INTEGER,
            agent_ms INTEGER,
            voice_ms INTEGER,
            total_ms INTEGER,
            PRIMARY KEY (call_id, number)
        )""",
        "CREATE INDEX messages_session ON messages (session_id, at_ms)",
        "CREATE INDEX messages_at ON messages (at_ms)",
        """CREATE TABLE meals (
            call_id TEXT NOT NULL,
            session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            owner TEXT NOT NULL,
            day TEXT NOT NULL,
            meal TEXT NOT NULL,
            complete INTEGER NOT NULL,
            at_ms BIGINT NOT NULL,
            PRIMARY KEY (call_id, day, meal)
        )""",
        "CREATE INDEX meals_owner ON meals (owner, day)",
        """CREATE TABLE foods (
            call_id TEXT NOT NULL,
            session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            owner TEXT NOT NULL,
            day TEXT NOT NULL,
            place INTEGER NOT NULL,
            meal TEXT NOT NULL,
            food TEXT NOT NULL,
            amount DOUBLE PRECISION,
            unit TEXT NOT NULL,
            vague TEXT NOT NULL,
            preparation TEXT NOT NULL,
            without TEXT NOT NULL,
            side INTEGER NOT NULL,
            still_to_ask TEXT NOT NULL,
            at_ms BIGINT NOT NULL,
            PRIMARY KEY (call_id, day, place)
        )""",
        "CREATE INDEX foods_owner ON foods (owner, day)",
        """CREATE TABLE erased (
            session_id TEXT PRIMARY KEY,
            at_ms BIGINT NOT NULL
        )""",
    ),
    ("ALTER TABLE calls ADD COLUMN recording TEXT NOT NULL DEFAULT ''",),
)
"Step n (from 1) leads to version n."
