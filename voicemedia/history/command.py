"""`voicemedia history list|show|export|erase`: read what is remembered, take it along, or delete it."""

import argparse
import csv
import io
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from voicemedia.config import config_path, decode_config
from voicemedia.errors import ConfigError
from voicemedia.history.choosing import make_database, spool_folder
from voicemedia.history.databases import Away, Database, Refused, version
from voicemedia.history.forgetting import erase
from voicemedia.history.people import reachable, user_key
from voicemedia.history.reading import FIND_OF_USER, FIND_SESSIONS, NEWEST, TABLES, Table, everything_of, ids, utc
from voicemedia.history.recordings import recordings_of, remove
from voicemedia.history.schema import MIGRATIONS
from voicemedia.one_shot import run_once

EXAMPLE: Final = """
A session is named by its key, the name its caller gave it, or the id of one of its calls; a user by number, email,
user id or key:
  voicemedia history show 1f0c
  voicemedia history export --user "+91 98765 43210" --format csv --table foods
  voicemedia history erase --user asha@example.com --yes
Exit status: 0 done, 1 nothing found, 2 the database or the configuration is at fault.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what may follow `voicemedia history`."""
    parser.description = "Read what the server remembers of conversations, meals and calls; export it; erase it."
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    named = "TOML file; else $VOICEMEDIA_CONFIG, ./voicemedia.toml, or the defaults"
    parser.add_argument("--config", metavar="FILE", help=named)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("list", help="the latest sessions")
    verb.add_argument("--limit", type=_count, default=20, metavar="N", help="how many (20)")
    verb = verbs.add_parser("show", help="one session as people read it")
    verb.add_argument("session")
    verb = verbs.add_parser("export", help="everything stored of sessions or users, or of all, as JSON or CSV")
    _add_choice(verb)
    verb.add_argument("--format", choices=["json", "csv"], default="json")
    verb.add_argument("--table", choices=sorted(TABLES), default="messages", help="of CSV (messages)")
    verb.add_argument("--output", type=Path, metavar="FILE", help="write there; else to standard output")
    verb = verbs.add_parser("erase", help="delete sessions, or all of a user")
    _add_choice(verb)
    verb.add_argument("--yes", action="store_true", help="really; without, only say what would be deleted")
    for verb in verbs.choices.values():
        # Behind the verb too, where most people write it.
        verb.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=named)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("a whole number from 1")
    return int(text)


def _add_choice(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--session", metavar="NAME", action="append", default=[])
    verb.add_argument("--user", metavar="WHO", action="append", default=[])


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    try:
        options = decode_config(args.config or config_path()).history
        if not options.dsn_env and not Path(options.path).exists():
            print(f"Nothing is remembered yet: there is no {options.path}.", file=sys.stderr)
            return 1
        status = _with_database(lambda reactor: make_database(options, reactor), lambda d, now_ms: _do(args, d, now_ms))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    spooled = sum(path.stat().st_size for path in spool_folder(options).glob("*/*.jsonl"))
    if spooled:
        print(f"{spooled} bytes wait in {spool_folder(options)}, and are not shown here.", file=sys.stderr)
    return status


def _with_database(make: Callable[[Any], Database], work: Callable[[Database, int], Awaitable[int]]) -> int:
    async def main(reactor: Any) -> int:
        try:
            database = make(reactor)
        except ConfigError as error:
            print(error, file=sys.stderr)
            return 2
        try:
            await database.open()
            if (found := await version(database)) != len(MIGRATIONS):
                raise Away(f"{database.name} has schema {found}, this program {len(MIGRATIONS)}; start the server once")
            return await work(database, int(reactor.seconds() * 1000))
        except (Away, Refused) as error:
            print(f"The history cannot be used: {error}", file=sys.stderr)
            return 2
        finally:
            await database.close()

    return run_once(main)


async def _do(args: argparse.Namespace, database: Database, now_ms: int) -> int:
    if args.verb == "list":
        return await _list(database, args.limit)
    if args.verb == "show":
        return await _show(database, await _sessions_named(database, args.session))
    sessions = await _chosen(args, database)
    if args.verb == "erase":
        return await _erase(args, database, sessions, now_ms)
    return await _export(args, database, sessions)


# --- who is meant ---


async def _sessions_named(database: Database, name: str) -> list[str]:
    return await ids(database, (FIND_SESSIONS, (name, name, name, name)))


async def _sessions_of(database: Database, who: str) -> list[str]:
    number = user_key("number", reachable(who) or who)
    keys = (who, user_key("user_id", who), user_key("email", who.lower()), number, who.lower())
    return await ids(database, (FIND_OF_USER, keys))


async def _chosen(args: argparse.Namespace, database: Database) -> list[str]:
    """Find the sessions named; all of them when none is, but for erasing."""
    if not args.session and not args.user:
        return [] if args.verb == "erase" else await ids(database, ("SELECT id FROM sessions ORDER BY first_ms", ()))
    found: list[str] = []
    for name in args.session:
        found += await _sessions_named(database, name)
    for who in args.user:
        found += await _sessions_of(database, who)
    return list(dict.fromkeys(found))


# --- list, show ---


async def _list(database: Database, limit: int) -> int:
    rows = await database.read((NEWEST, (limit,)))
    print(f"{'last (UTC)':<20} {'agent':<10} {'who':<20} {'calls':>5} {'turns':>5} {'foods':>5}  session")
    for session, last_ms, agent, first_name, number, calls, messages, foods in rows:
        who = first_name or number or "-"
        print(f"{utc(last_ms):<20} {agent:<10} {who:<20.20} {calls:>5} {messages:>5} {foods:>5}  {session}")
    return 0 if rows else 1


async def _show(database: Database, sessions: Sequence[str]) -> int:
    if not sessions:
        print("There is no such session.", file=sys.stderr)
    for session in sessions:
        told = await everything_of(database, session)
        print(f"Session {session}")
        for user in told["users"]:
            print("  user", *(user[name] for name in ("id", "first_name", "number", "email") if user[name]))
        for call in told["calls"]:
            _show_call(call, told["messages"])
        _show_meals(told["foods"])
    return 0 if sessions else 1


def _show_call(call: dict[str, Any], messages: Table) -> None:
    end = f"{call['reason']} {utc(call['ended_ms'])}" if call["ended_ms"] else "no end was recorded"
    print(f"  call {call['carrier_call_id']} by {call['carrier']} on {call['route']}, {utc(call['started_ms'])}, {end}")
    if call["recording"]:
        print(f"    recorded in {call['recording']}")
    for message in messages:
        if message["call_id"] == call["id"]:
            _show_message(message)


def _show_message(message: dict[str, Any]) -> None:
    if message["who"] == "user":
        print("    >", *filter(None, (message["text"], message["keys"])))
        return
    latency = f"  [{message['total_ms']} ms]" if message["total_ms"] is not None else ""
    unheard = ""
    if message["unheard"]:
        unheard = f"  (not heard: {message['unheard']})" if message["heard"] else "  (not heard)"
    print(f"    < {message['heard'] or message['text']}{unheard}{latency}")


def _show_meals(foods: Table) -> None:
    for food in foods:
        amount = food["vague"] if food["amount"] is None else f"{food['amount']:g}"
        without = f"without {food['without']}" if food["without"] else ""
        words = (amount, food["unit"], food["preparation"], food["food"], without)
        print(f"  {food['day']} {food['meal']}: {' '.join(str(word) for word in words if word)}")


# --- export, erase ---


async def _export(args: argparse.Namespace, database: Database, sessions: Sequence[str]) -> int:
    told = [await everything_of(database, session) for session in sessions]
    rows = [row for session in told for row in session[args.table]]
    text = _as_json(told) if args.format == "json" else _as_csv(args.table, rows)
    if args.output is None:
        sys.stdout.write(text)
    else:
        try:
            args.output.write_text(text, encoding="utf-8")
        except OSError as error:
            print(f"--output: {args.output} cannot be written: {error.strerror}.", file=sys.stderr)
            return 2
    print(f"{len(sessions)} sessions", file=sys.stderr)
    return 0 if sessions else 1


def _as_json(told: list[dict[str, Table]]) -> str:
    return msgspec.json.format(msgspec.json.encode({"sessions": told})).decode() + "\n"


def _as_csv(table: str, rows: Table) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, TABLES[table][0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _harmless(value: Any) -> Any:
    """Keep a spreadsheet from taking a caller's words for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


async def _erase(args: argparse.Namespace, database: Database, sessions: Sequence[str], now_ms: int) -> int:
    if not sessions:
        print("Nobody and nothing of that name is stored; name --session or --user.", file=sys.stderr)
        return 1
    recordings = await recordings_of(database, sessions)
    if not args.yes:
        print(f"Would delete {len(sessions)} sessions with all that belongs to them; say --yes to do it:")
        print(*(f"  {name}" for name in (*sessions, *recordings)), sep="\n")
        return 0
    try:
        # First, for nobody would know of them later.
        removed = remove(recordings)
    except OSError as error:
        print(f"A recording cannot be deleted: {error}; nothing else was.", file=sys.stderr)
        return 2
    counts = await erase(database, sessions, now_ms)
    print("Deleted " + ", ".join(f"{count} {table}" for table, count in counts.items()) + ".")
    if recordings:
        print(f"Deleted {removed} recordings.")
    print(REMAINS)
    return 0


REMAINS: Final = (
    "What a running server had not yet written of them is dropped; a call that is on goes on being written\n"
    "down, though no longer in sound.\n"
    "Not deleted: keys of the erased sessions (30 days, to drop late records), backups and exports you made,\n"
    "what the database had refused (the spool's file `refused`), what providers keep, the server's log (log.personal)\n"
    "and, of PostgreSQL, its write-ahead log until it is recycled."
)
"What `erase` does not reach."
