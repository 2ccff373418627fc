"""What is written: one struct a line of the spool, and the SQL each becomes. Pure.

Every statement bears repetition: a file of the spool may be written twice, if it is not known whether it was.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from voicemedia.history.databases import Statement
from voicemedia.past import Food

_TOUCH_SESSION: Final = (
    "INSERT INTO sessions (id, user_id, name, agent, first_ms, last_ms) VALUES (?, NULL, '', '', ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET last_ms = excluded.last_ms"
)


class Record(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """One line."""

    session: str
    "The session's key in the database."
    at_ms: int
    "When it happened, since 1970."


class Answered(Record, frozen=True):
    """A call was answered."""

    call: str
    name: str = ""
    "The session's name, as the caller gave it."
    user: str = ""
    "Key of the user; empty: nobody knows."
    number: str = ""
    email: str = ""
    first_name: str = ""
    carrier: str = ""
    carrier_call_id: str = ""
    route: str = ""
    direction: str = ""
    to: str = ""
    agent: str = ""
    recognizer: str = ""
    synthesizer: str = ""
    recording: str = ""
    "File of its sound; empty: it is not recorded."

    def statements(self) -> Iterator[Statement]:
        """Make user, session and call."""
        if self.user:
            keep = ", ".join(
                f"{column} = CASE WHEN excluded.{column} = '' THEN users.{column} ELSE excluded.{column} END"
                for column in ("number", "email", "first_name")
            )
            yield (
                "INSERT INTO users (id, number, email, first_name, first_ms, last_ms) VALUES (?, ?, ?, ?, ?, ?) "
                f"ON CONFLICT (id) DO UPDATE SET {keep}, last_ms = excluded.last_ms",
                (self.user, self.number, self.email, self.first_name, self.at_ms, self.at_ms),
            )
        yield (
            "INSERT INTO sessions (id, user_id, name, agent, first_ms, last_ms) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET agent = excluded.agent, last_ms = excluded.last_ms",
            (self.session, self.user or None, self.name, self.agent, self.at_ms, self.at_ms),
        )
        yield (
            "INSERT INTO calls (id, session_id, carrier, carrier_call_id, route, direction, from_number, to_number, "
            "agent, recognizer, synthesizer, recording, started_ms, ended_ms, reason, turns) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, '', 0) ON CONFLICT (id) DO NOTHING",
            (
                *(self.call, self.session, self.carrier, self.carrier_call_id, self.route, self.direction),
                *(self.number, self.to, self.agent, self.recognizer, self.synthesizer, self.recording, self.at_ms),
            ),
        )


class Said(Record, frozen=True):
    """A turn, as it stands; a later record of the same number replaces it."""

    call: str
    number: int
    who: str
    "`user` or `ai`."
    text: str = ""
    keys: str = ""
    heard: str = ""
    unheard: str = ""
    interrupted: bool = False
    complete: bool = False
    provider: str = ""
    voice: str = ""
    latency_ms: Mapping[str, int] = {}

    def statements(self) -> Iterator[Statement]:
        """Make or replace the message."""
        yield _TOUCH_SESSION, (self.session, self.at_ms, self.at_ms)
        columns = ("text", "keys", "heard", "unheard", "interrupted", "complete")
        latencies = ("transcript_ms", "agent_ms", "voice_ms", "total_ms")
        changed = ", ".join(f"{column} = excluded.{column}" for column in (*columns, *latencies))
        yield (
            f"INSERT INTO messages (call_id, number, session_id, who, at_ms, {', '.join(columns)}, "
            f"provider, voice, {', '.join(latencies)}) VALUES ({', '.join('?' * 17)}) "
            f"ON CONFLICT (call_id, number) DO UPDATE SET {changed}",
            (
                *(self.call, self.number, self.session, self.who, self.at_ms, self.text, self.keys, self.heard),
                *(self.unheard, int(self.interrupted), int(self.complete), self.provider, self.voice),
                *(self.latency_ms.get(column.removesuffix("_ms")) for column in latencies),
            ),
        )


class Ate(Record, frozen=True):
    """What an agent knows of one day; replaces what it knew earlier in the call."""

    call: str
    owner: str
    "Whose day it is: the user's key, or the session's where nobody knows the user."
    day: str
    foods: tuple[Food, ...] = ()
    complete: tuple[str, ...] = ()
    recalled: bool = False
    "It contains what earlier calls of the owner left of the day, and replaces theirs."

    def statements(self) -> Iterator[Statement]:
        """Replace the rows of the day."""
        yield _TOUCH_SESSION, (self.session, self.at_ms, self.at_ms)
        for table in ("foods", "meals"):
            yield f"DELETE FROM {table} WHERE call_id = ? AND day = ?", (self.call, self.day)
            if self.recalled:
                yield f"DELETE FROM {table} WHERE owner = ? AND day = ?", (self.owner, self.day)
        for meal in dict.fromkeys([*(food.meal for food in self.foods), *self.complete]):
            yield (
                "INSERT INTO meals (call_id, session_id, owner, day, meal, complete, at_ms) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self.call, self.session, self.owner, self.day, meal, int(meal in self.complete), self.at_ms),
            )
        for place, food in enumerate(self.foods):
            yield (
                "INSERT INTO foods (call_id, session_id, owner, day, place, meal, food, amount, unit, vague, "
                f"preparation, without, side, still_to_ask, at_ms) VALUES ({', '.join('?' * 15)})",
                (
                    *(self.call, self.session, self.owner, self.day, place, food.meal, food.food, food.amount),
                    *(
                        food.unit,
                        food.vague,
                        food.preparation,
                        food.without,
                        int(food.side),
                        food.still_to_ask,
                        self.at_ms,
                    ),
                ),
            )


class Ended(Record, frozen=True):
    """A call has ended."""

    call: str
    reason: str
    turns: int = 0
    totals: Mapping[str, int] = {}

    def statements(self) -> Iterator[Statement]:
        """Complete the call."""
        yield (
            "UPDATE calls SET ended_ms = ?, reason = ?, turns = ? WHERE id = ?",
            (self.at_ms, self.reason, self.turns, self.call),
        )
        if self.totals:
            # In one statement: 24 us against 61 for the eighteen of a SIP call.
            values = [value for pair in self.totals.items() for value in pair]
            yield _insert_totals(len(self.totals)), (*values, self.call)


@lru_cache(maxsize=64)
def _insert_totals(count: int) -> str:
    """Write the statement that adds so many totals to a call, if it is still there."""
    told = " UNION ALL ".join(["SELECT CAST(? AS TEXT) AS name, CAST(? AS BIGINT) AS total"] * count)
    return (
        "INSERT INTO call_totals (call_id, name, total) "
        f"SELECT calls.id, told.name, told.total FROM calls CROSS JOIN ({told}) AS told WHERE calls.id = ? "
        "ON CONFLICT (call_id, name) DO UPDATE SET total = excluded.total"
    )


AnyRecord = Answered | Said | Ate | Ended
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(AnyRecord)


def to_line(record: AnyRecord) -> bytes:
    """Write a record as a line of the spool, with its end."""
    return _ENCODER.encode(record) + b"\n"


def from_line(line: bytes) -> AnyRecord:
    """Read a line of the spool.

    :raises msgspec.MsgspecError: it is none.
    """
    record: AnyRecord = _DECODER.decode(line)
    return record


def clean(text: str) -> str:
    """Take out what a database does not take: NUL, and halves of characters."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "")
