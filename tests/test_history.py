"""The history of calls, on both databases: what is written, what is remembered, what is forgotten."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from tests.clouds.minds import Answer
from tests.databases import Server
from tests.in_reactor import in_reactor
from tests.test_agent_diet import Floor
from tests.test_agent_minds import Talk as Chatting
from voicemedia import config
from voicemedia.agent import gemini, openai
from voicemedia.agent.diet import DietAgent
from voicemedia.diary import Turn
from voicemedia.history.forgetting import DAY_MS, erase, forget_old
from voicemedia.history.historian import History, unheard
from voicemedia.history.postgres import Postgres
from voicemedia.history.reading import everything_of
from voicemedia.interfaces import Caller, CallRecord, Goodbye, Said, Served
from voicemedia.past import Day, Food, Past

CHECKOUT = Path(__file__).parent.parent
SERVED = Served("diet", "ears", "voice")
EGGS = Food("breakfast", "egg", 2, preparation="boiled")
TEA = Food("breakfast", "tea", unit="cup", without="sugar", side=True)
RICE = Food("lunch", "rice", vague="some", still_to_ask="amount")
Open = Callable[..., History]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Make a history of the same place each time it is called."""
    dsn = request.getfixturevalue("server").fresh_dsn() if request.param == "postgres" else ""

    def make(**options: Any) -> History:
        chosen = config.History(path=str(tmp_path / "voicemedia.db"), **options)
        made.append(History(chosen, reactor, Postgres(dsn, reactor) if dsn else None))
        return made[-1]

    made: list[History] = []
    yield make
    for history in made:
        # A test that failed leaves threads, which would outlive all tests.
        if not history.writer.stopped:
            pytest_twisted.blockon(history.stop())


class Talk:
    """A conversation that remembers what it is told."""

    def __init__(self, day: Day | None = None) -> None:
        self.past: Past | None = None
        self.day = day
        self.events: list[str] = []

    def recall(self, past: Past) -> None:
        self.past = past
        self.events.append("recall")

    def logged(self) -> Day | None:
        return self.day

    def greet(self, _floor: object) -> Deferred[None]:
        self.events.append("greet")
        return succeed(None)

    def reply(self, said: Said, _floor: object) -> Deferred[None]:
        self.events.append(f"reply {said.text}")
        return succeed(None)

    def heard(self, text: str, *, complete: bool) -> None:
        pass

    def overhear(self, pcm: bytes) -> None:
        pass

    def over(self, why: Goodbye) -> None:
        pass


NO_FLOOR: Any = None


def caller(number: str = "+91 98765 43210", call_id: str = "C1", **parameters: str) -> Caller:
    return Caller(call_id, "smartflo", 8000, "/vendor-stream", number=number, to="1800", parameters=parameters)


def begin(history: History, who: Caller, talk: Talk | None = None) -> tuple[CallRecord, Any]:
    record = history.answered(who, SERVED)
    return record, record.remembering(talk or Talk())


def speak(record: CallRecord, *texts: str) -> None:
    """The caller first, then we, then the caller ..."""
    for number, text in enumerate(texts, 1):
        ours = number % 2 == 0
        turn = Turn("agent" if ours else "caller", number * 10, text, complete=True, number=number)
        if ours:
            turn.heard_text = text
            turn.latency_ms = {"transcript": 5, "agent": 10, "voice": 20, "total": 35}
        record.turn(turn)


async def sessions(history: History) -> list[str]:
    return [str(row[0]) for row in await history.database.read(("SELECT id FROM sessions ORDER BY id", ()))]


async def all_of(history: History) -> dict[str, list[dict[str, Any]]]:
    """Read everything stored of the only session."""
    await history.writer.settled()
    (session,) = await sessions(history)
    return await everything_of(history.database, session)


# --- what is written ---


@in_reactor
async def test_a_call_is_written_with_its_turns_its_meals_and_its_end(place: Open) -> None:
    history = place()
    await history.start()
    talk = Talk()
    record, _ = begin(history, caller(first_name="Asha"), talk)
    talk.day = Day("2026-11-03", (EGGS, TEA), ("dinner",))
    speak(record, "two boiled eggs and tea", "Got it. Anything else?")
    cut = Turn("agent", 90, "And now something long.", number=3, complete=True, interrupted=True)
    cut.heard_text = "And now"
    record.turn(cut)
    record.ended(Goodbye.CALLER_HUNG_UP, {"frames_in": 250, "frames_out": 100})
    told = await all_of(history)
    (user,), (call,) = told["users"], told["calls"]
    assert (user["number"], user["first_name"]) == ("+91 98765 43210", "Asha")
    assert call["reason"] == "caller_hung_up"
    assert (call["carrier"], call["carrier_call_id"], call["route"]) == ("smartflo", "C1", "/vendor-stream")
    assert (call["agent"], call["recognizer"], call["synthesizer"]) == ("diet", "ears", "voice")
    assert call["turns"] == 3
    assert call["ended_ms"] >= call["started_ms"] > 1_700_000_000_000
    assert [(row["name"], row["total"]) for row in told["call_totals"]] == [("frames_in", 250), ("frames_out", 100)]
    said, ours, interrupted = told["messages"]
    assert (said["who"], said["text"], said["provider"], said["voice"]) == (
        *("user", "two boiled eggs and tea", "ears", ""),
    )
    assert (ours["who"], ours["heard"], ours["provider"], ours["voice"]) == (
        *("ai", "Got it. Anything else?", "diet", "voice"),
    )
    assert [ours[f"{stage}_ms"] for stage in ("transcript", "agent", "voice", "total")] == [5, 10, 20, 35]
    assert (interrupted["heard"], interrupted["unheard"]) == ("And now", "something long.")
    assert interrupted["interrupted"] == interrupted["complete"] == 1
    assert ours["at_ms"] - said["at_ms"] == 10
    eggs, tea = told["foods"]
    assert (eggs["meal"], eggs["food"], eggs["amount"], eggs["preparation"]) == ("breakfast", "egg", 2.0, "boiled")
    assert (tea["unit"], tea["without"], tea["side"], tea["amount"]) == ("cup", "sugar", 1, None)
    assert [(row["meal"], row["complete"]) for row in told["meals"]] == [("breakfast", 0), ("dinner", 1)]
    await history.stop()


@in_reactor
async def test_a_turn_that_goes_on_is_one_row_as_it_stood_last(place: Open) -> None:
    history = place()
    await history.start()
    record, _ = begin(history, caller())
    turn = Turn("agent", 5, "One.", number=1)
    record.turn(turn)
    await history.writer.settled()
    turn.text, turn.heard_text = "One. Two.", "One."
    record.turn(turn)
    (message,) = (await all_of(history))["messages"]
    assert (message["text"], message["heard"], message["complete"]) == ("One. Two.", "One.", 0)
    await history.stop()


@in_reactor
async def test_meals_that_changed_replace_what_was_known_of_the_day(place: Open) -> None:
    history = place()
    await history.start()
    talk = Talk(Day("2026-11-03", (EGGS, RICE)))
    record, _ = begin(history, caller(), talk)
    speak(record, "eggs and rice", "Got it.")
    await history.writer.settled()
    talk.day = Day("2026-11-03", (TEA,))
    speak(record, "no, just tea", "I changed that.")
    assert [row["food"] for row in (await all_of(history))["foods"]] == ["tea"]
    await history.stop()


@in_reactor
async def test_words_and_numbers_are_kept_only_as_configured(place: Open) -> None:
    history = place(store_words=False, store_numbers=False)
    await history.start()
    record, _ = begin(history, caller(first_name="Asha", email="a@b.c"), Talk(Day("2026-11-03", (EGGS,))))
    speak(record, "two eggs", "Got it.")
    told = await all_of(history)
    assert "Asha" not in (everything := str(told))
    for secret in ("98765", "1800", "a@b.c", "egg", "Got it"):
        assert secret not in everything
    assert told["messages"][1]["total_ms"] == 35
    assert told["foods"] == []
    await history.stop()


@in_reactor
async def test_text_no_database_takes_is_written_without_the_strange_parts(place: Open) -> None:
    history = place()
    await history.start()
    record, _ = begin(history, caller(number="\ud800+1 555\0 0100", first_name="A\0\udfff"))
    speak(record, "nul\0 and \ud800 half")
    told = await all_of(history)
    assert told["messages"][0]["text"] == "nul and ? half"
    assert told["users"][0]["first_name"] == "A?"
    assert history.writer.refused == 0
    await history.stop()


@in_reactor
async def test_a_call_id_a_carrier_uses_again_is_another_call(place: Open) -> None:
    history = place()
    await history.start()
    for _ in range(2):
        record, _ = begin(history, caller(number=""))
        speak(record, "hello")
    await history.writer.settled()
    assert len(await sessions(history)) == 2
    await history.stop()


# --- what is remembered ---


async def recalled(history: History, who: Caller) -> Past | None:
    talk = Talk()
    record, conversation = begin(history, who, talk)
    await conversation.greet(NO_FLOOR)
    record.ended(Goodbye.CALLER_HUNG_UP, {})
    assert talk.events[-1] == "greet"
    return talk.past


@in_reactor
async def test_a_session_that_comes_back_at_once_knows_its_last_words(place: Open) -> None:
    history = place(resume_wait_ms=5000)
    await history.start()
    record, _ = begin(history, caller("", session_id="abc"), Talk(Day("2026-11-03", (EGGS, RICE), ("dinner",))))
    speak(record, "two eggs", "Got it.")
    past = await recalled(history, caller("", "C2", session_id="abc"))
    assert past is not None
    assert [(turn.who, turn.text) for turn in past.turns] == [("user", "two eggs"), ("ai", "Got it.")]
    assert past.days == (Day("2026-11-03", (EGGS, RICE), ("dinner",)),)
    assert past.continues
    await history.stop()


@in_reactor
async def test_what_is_said_before_the_past_is_known_is_no_past(place: Open) -> None:
    history = place()
    await history.start()
    speak(begin(history, caller("", session_id="abc"))[0], "before")
    await history.writer.settled()
    talk = Talk()
    record, conversation = begin(history, caller("", session_id="abc"), talk)
    speak(record, "typed at once")
    await conversation.greet(NO_FLOOR)
    assert talk.past is not None
    assert [(turn.text, turn.here) for turn in talk.past.turns] == [("before", True)]
    await history.stop()


@in_reactor
async def test_a_number_that_calls_again_is_known_in_any_spelling(place: Open) -> None:
    history = place(resume_wait_ms=5000)
    await history.start()
    record, _ = begin(history, caller("+91 98765 43210"), Talk(Day("2026-11-03", (EGGS,))))
    speak(record, "two eggs", "Got it.")
    past = await recalled(history, caller("919876543210", "C2"))
    assert past is not None
    assert past.days[0].foods == (EGGS,)
    assert not past.continues
    await history.stop()


@pytest.mark.parametrize("number", ["", "anonymous", "sip:anonymous@anonymous.invalid", "**"])
@in_reactor
async def test_who_withholds_the_number_has_no_past(place: Open, number: str) -> None:
    history = place(resume_wait_ms=5000)
    await history.start()
    speak(begin(history, caller(number))[0], "two eggs", "Got it.")
    assert await recalled(history, caller(number)) is None
    await history.stop()


@in_reactor
async def test_sessions_of_one_name_but_different_users_know_nothing_of_each_other(place: Open) -> None:
    history = place(resume_wait_ms=5000)
    await history.start()
    speak(begin(history, caller("", session_id="1", email="a@b.c"))[0], "mine")
    past = await recalled(history, caller("", session_id="1", email="x@y.z"))
    assert past is not None and past.turns == ()
    past = await recalled(history, caller("", session_id="1", email="A@B.C"))
    assert past is not None and [turn.text for turn in past.turns] == ["mine"]
    await history.stop()


@in_reactor
async def test_a_call_that_knows_the_day_takes_it_over_and_one_that_does_not_adds_to_it(place: Open) -> None:
    history = place(resume_wait_ms=5000)
    await history.start()
    record, _ = begin(history, caller(), Talk(Day("2026-11-03", (EGGS,))))
    speak(record, "eggs", "Got it.")
    # One that never learnt of the eggs.
    record, _ = begin(history, caller(call_id="C2"), Talk(Day("2026-11-03", (TEA,))))
    speak(record, "tea", "Got it.")
    # One that did, and is told the tea was wrong.
    talk = Talk()
    record, conversation = begin(history, caller(call_id="C3"), talk)
    await conversation.greet(NO_FLOOR)
    assert talk.past is not None
    assert set(talk.past.days[0].foods) == {EGGS, TEA}
    talk.day = Day("2026-11-03", (EGGS, RICE))
    speak(record, "rice, no tea", "I changed that.")
    past = await recalled(history, caller(call_id="C4"))
    assert past is not None
    assert past.days[0].foods == (EGGS, RICE)
    await history.stop()


@in_reactor
async def test_a_greeting_goes_without_a_past_that_takes_too_long(server: Server, tmp_path: Path) -> None:
    options = config.History(path=str(tmp_path / "voicemedia.db"), resume_wait_ms=50)
    history = History(options, reactor, Postgres(server.fresh_dsn(), reactor))
    await history.start()
    speak(begin(history, caller())[0], "two eggs", "Got it.")
    await history.writer.settled()
    with server.frozen():
        talk = Talk()
        _, conversation = begin(history, caller(), talk)
        # The database does not answer before the end of this block.
        await conversation.greet(NO_FLOOR)
        assert talk.events == ["greet"]
        await conversation.reply(Said("hello"), NO_FLOOR)
        assert talk.events == ["greet", "reply hello"]
    await history.stop()


@in_reactor
async def test_a_caller_who_is_faster_than_the_past_cancels_the_greeting_only(place: Open) -> None:
    history = place(resume_wait_ms=5000)
    await history.start()
    speak(begin(history, caller())[0], "two eggs", "Got it.")
    talk = Talk()
    _, conversation = begin(history, caller(), talk)
    greeting = conversation.greet(NO_FLOOR)
    greeting.cancel()
    greeting.addErrback(lambda _: None)
    await conversation.reply(Said("hello"), NO_FLOOR)
    assert talk.events == ["recall", "reply hello"]
    await history.stop()


async def diet_call(history: History, agent: DietAgent, call_id: str, *turns: str) -> str:
    """Call the diet agent, and return what it said first."""
    who = caller(call_id=call_id, first_name="Asha")
    record, conversation = begin(history, who, agent.converse(who))  # type: ignore[arg-type]
    greeting = Floor()
    await conversation.greet(greeting)
    for turn in turns:
        await conversation.reply(Said(turn), Floor())
        speak(record, turn, "Got it.")
    record.ended(Goodbye.CALLER_HUNG_UP, {})
    return greeting.words()


@in_reactor
async def test_the_diet_agent_goes_on_where_the_last_call_stopped(place: Open) -> None:
    history = place(resume_wait_ms=5000)
    await history.start()
    agent = DietAgent(None, reactor)
    assert "This is your food diary." in await diet_call(
        history, agent, "C1", "for breakfast two boiled eggs", "that is all", "for lunch a bowl of rice"
    )
    again = await diet_call(history, agent, "C2", "and a banana")
    assert again.startswith("Welcome back, Asha. For lunch I have a bowl of rice.")
    third = await diet_call(history, agent, "C3")
    assert third.startswith("Welcome back, Asha. For lunch I have a bowl of rice and a banana.")
    rows = await history.database.read(("SELECT meal, food, amount FROM foods ORDER BY meal, place", ()))
    assert rows == [("breakfast", "egg", 2.0), ("lunch", "rice", 1.0), ("lunch", "banana", 1.0)]
    await history.stop()


# --- what is forgotten ---


@pytest.mark.parametrize("kind", ["gemini", "openai"])
@in_reactor
async def test_foods_a_model_writes_down_are_rows_of_the_callers_day(
    place: Open, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "k")
    history = place()
    await history.start()
    dal: Answer = {"name": "log_food", "arguments": {"meal": "lunch", "food": "dal", "amount": 2, "unit": "bowl"}}
    async with Chatting(gemini if kind == "gemini" else openai, dal, "Noted.", tools=("log_food",)) as chatting:
        # The day of Kiritimati has begun before anybody else's.
        who = caller(time_zone="Pacific/Kiritimati")
        record, _ = begin(history, who, chat := chatting.agent.converse(who))
        await chat.reply(Said("two bowls of dal"), Floor())
        speak(record, "two bowls of dal", "Noted.")
        record.ended(Goodbye.CALLER_HUNG_UP, {})
        told = await all_of(history)
    today = datetime.fromtimestamp(history.now_ms() / 1000, ZoneInfo("Pacific/Kiritimati")).date().isoformat()
    (food,), (meal,) = told["foods"], told["meals"]
    assert (food["day"], food["meal"], food["food"], food["amount"], food["unit"]) == (today, "lunch", "dal", 2, "bowl")
    assert (meal["day"], meal["meal"], meal["complete"]) == (today, "lunch", 0)
    await history.stop()


@in_reactor
async def test_erasing_a_session_leaves_nothing_of_it_and_says_how_much_it_was(place: Open) -> None:
    history = place()
    await history.start()
    record, _ = begin(history, caller(session_id="abc"), Talk(Day("2026-11-03", (EGGS, TEA))))
    speak(record, "two eggs", "Got it.")
    record.ended(Goodbye.CALLER_HUNG_UP, {"frames_in": 1})
    speak(begin(history, caller("+1 555 0100"))[0], "another")
    await history.writer.settled()
    (session,) = [key for key in await sessions(history) if key.startswith("abc@")]
    counts = await erase(history.database, [session], history.now_ms())
    assert counts == {"sessions": 1, "calls": 1, "messages": 2, "meals": 1, "foods": 2, "users": 1}
    assert all(rows == [] for rows in (await everything_of(history.database, session)).values())
    assert len(await sessions(history)) == 1
    assert await history.database.read(("SELECT COUNT(*) FROM call_totals", ())) == [(0,)]
    await history.stop()


@in_reactor
async def test_what_was_erased_does_not_come_back_out_of_the_spool(place: Open) -> None:
    history = place()
    await history.start()
    record, _ = begin(history, caller("", session_id="abc"))
    speak(record, "erase me")
    await history.writer.settled()
    now_ms = history.now_ms() + 60_000
    speak(record, "erase me", "erased too")
    await erase(history.database, ["abc"], now_ms)
    await history.writer.settled()
    assert await history.database.read(("SELECT COUNT(*) FROM messages", ())) == [(0,)]
    await history.stop()


@in_reactor
async def test_what_is_written_in_the_moment_of_erasing_is_erased_too(place: Open) -> None:
    history = place()
    await history.start()
    record, _ = begin(history, caller("", session_id="abc"), Talk(Day("2026-11-03", (EGGS,))))
    speak(record, "erase me", "Erased too.")
    await history.writer.settled()
    write = history.database.write

    async def erase_first(statements: Any) -> None:
        if any("erase me as well" in values for _, values in statements):
            await erase(history.database, ["abc"], history.now_ms() + 60_000)
        await write(statements)

    setattr(history.database, "write", erase_first)  # noqa: B010 - mypy lets nobody assign a method
    speak(record, "erase me as well")
    record.ended(Goodbye.CALLER_HUNG_UP, {"frames_in": 1})
    await history.writer.settled()
    for table in ("messages", "meals", "foods", "calls", "call_totals", "sessions", "users"):
        assert await history.database.read((f"SELECT COUNT(*) FROM {table}", ())) == [(0,)], table
    await history.stop()


@in_reactor
async def test_what_is_older_than_the_days_kept_is_deleted_and_the_rest_is_not(place: Open) -> None:
    history = place()
    await history.start()
    speak(begin(history, caller("", session_id="abc"), Talk(Day("2026-11-03", (EGGS,))))[0], "old", "Old.")
    await history.writer.settled()
    later_ms = history.now_ms() + 30 * DAY_MS
    await forget_old(history.database, later_ms, keep_days=31)
    await forget_old(history.database, later_ms + 365 * DAY_MS, keep_days=0)
    assert len((await everything_of(history.database, "abc"))["messages"]) == 2
    await forget_old(history.database, later_ms, keep_days=29)
    for table in ("messages", "foods", "meals", "sessions", "users"):
        assert await history.database.read((f"SELECT COUNT(*) FROM {table}", ())) == [(0,)], table
    await history.stop()


@in_reactor
async def test_the_sound_of_a_call_that_was_erased_before_it_was_written_down_goes_too(
    place: Open, tmp_path: Path
) -> None:
    history = place()
    await history.start()
    speak(begin(history, caller("", session_id="abc"))[0], "hello")
    await history.writer.settled()
    path = tmp_path / "late.wav"
    path.write_bytes(b"RIFF")
    history.answered(caller("", "C2", session_id="abc"), Served("diet", recording=str(path)))
    await erase(history.database, ["abc"], history.now_ms() + 60_000)
    await history.writer.settled()
    assert not path.exists()
    await history.stop()


@in_reactor
async def test_the_sound_of_old_calls_is_deleted_with_them(place: Open, tmp_path: Path) -> None:
    history = place()
    await history.start()
    path = tmp_path / "old.wav"
    history.answered(caller(""), Served("diet", recording=str(path))).ended(Goodbye.CALLER_HUNG_UP, {})
    await history.writer.settled()
    later_ms = history.now_ms() + 30 * DAY_MS
    assert await forget_old(history.database, later_ms, keep_days=31) == []
    assert await forget_old(history.database, later_ms, keep_days=29) == [str(path)]
    await history.stop()


# --- what a crash leaves ---

TALKER = """
import sys
from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from voicemedia import config
from voicemedia.diary import Turn
from voicemedia.history.historian import History
from voicemedia.interfaces import Caller, Served

history = History(config.History(path=sys.argv[1]), reactor)
record = None
number = 0

def say():
    global number, record
    record = record or history.answered(Caller("C", "test", 8000, parameters={"session_id": "abc"}), Served("a"))
    number += 1
    record.turn(Turn("caller", number, f"turn {number}", number=number, complete=True))
    print(number, flush=True)

reactor.callWhenRunning(lambda: history.start().addCallback(lambda _: LoopingCall(say).start(0.01)))
reactor.run()
"""


@in_reactor
async def test_a_server_that_is_killed_loses_at_most_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "voicemedia.db"
    child = subprocess.Popen([sys.executable, "-c", TALKER, str(path)], stdout=subprocess.PIPE, cwd=CHECKOUT, bufsize=0)
    assert child.stdout is not None
    said: list[float] = []
    while len(said) < 200:
        assert child.stdout.readline()
        said.append(time.monotonic())
    os.kill(child.pid, signal.SIGKILL)
    killed = time.monotonic()
    child.stdout.close()
    child.wait()
    history = History(config.History(path=str(path)), reactor)
    await history.start()
    # The first record of this life comes behind all of the last one's.
    speak(begin(history, caller(""))[0], "hello")
    await history.writer.settled()
    numbers = await history.database.read(("SELECT number FROM messages WHERE session_id = 'abc' ORDER BY number", ()))
    safe = sum(1 for at in said if at < killed - 1)
    assert [row[0] for row in numbers] == list(range(1, len(numbers) + 1))
    assert len(numbers) >= safe > 50
    await history.stop()


def test_what_was_not_heard_is_what_is_left() -> None:
    assert unheard("One. Two.", "One.") == "Two."
    assert unheard("One.", "") == "One."
    assert unheard("One.", "One.") == ""
    assert unheard("One.", "Another") == "One."
