"""`voicemedia history`, on a database another process has written."""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.in_reactor import in_reactor
from tests.test_history import EGGS, TEA, Talk, begin, caller, speak
from voicemedia import config
from voicemedia.cli import UNREAD
from voicemedia.diary import Turn
from voicemedia.history.command import add_arguments
from voicemedia.history.historian import History
from voicemedia.interfaces import Goodbye, Served
from voicemedia.past import Day

CHECKOUT = Path(__file__).parent.parent
PROGRAM = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from voicemedia.cli import main; sys.exit(main())"
COMMAND = (sys.executable, "-c", PROGRAM)


def history(folder: Path, *arguments: str, config_text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command beside a database."""
    (folder / "voicemedia.toml").write_text(config_text)
    return subprocess.run(
        [*COMMAND, "history", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


async def remember(folder: Path) -> None:
    """Write two sessions of two users."""
    told = History(config.History(path=str(folder / "var" / "voicemedia.db")), reactor)
    await told.start()
    record, _ = begin(told, caller(first_name="Asha", session_id="abc"), Talk(Day("2026-11-03", (EGGS, TEA))))
    speak(record, "=two eggs", "Got it.")
    record.ended(Goodbye.CALLER_HUNG_UP, {})
    speak(begin(told, caller("", "C2", session_id="xyz", email="Bo@example.com"))[0], "hello")
    await told.stop()


@in_reactor
async def test_erasing_somebody_erases_the_sound_of_the_calls_too(tmp_path: Path) -> None:
    told = History(config.History(path=str(tmp_path / "var" / "voicemedia.db")), reactor)
    await told.start()
    mine, others = tmp_path / "mine.wav", tmp_path / "others.wav"
    for path, who in ((mine, caller(session_id="abc")), (others, caller("", "C2", email="Bo@example.com"))):
        path.write_bytes(b"RIFF")
        told.answered(who, Served("diet", recording=str(path))).ended(Goodbye.CALLER_HUNG_UP, {})
    await told.stop()
    assert f"recorded in {mine}" in history(tmp_path, "show", "abc").stdout
    (told_of,) = json.loads(history(tmp_path, "export", "--user", "919876543210").stdout)["sessions"]
    assert told_of["calls"][0]["recording"] == str(mine)
    assert str(mine) in history(tmp_path, "erase", "--user", "919876543210").stdout
    assert mine.exists()
    assert "Deleted 1 recordings." in history(tmp_path, "erase", "--user", "919876543210", "--yes").stdout
    assert not mine.exists() and others.exists()
    others.unlink()
    assert "Deleted 0 recordings." in history(tmp_path, "erase", "--user", "bo@example.com", "--yes").stdout


@in_reactor
async def test_what_is_remembered_is_listed_shown_exported_and_erased(tmp_path: Path) -> None:
    await remember(tmp_path)
    listed = history(tmp_path, "list")
    assert listed.returncode == 0, listed.stderr
    assert "Asha" in listed.stdout and "xyz@" in listed.stdout

    shown = history(tmp_path, "show", "abc").stdout
    for line in ("> =two eggs", "< Got it.  [35 ms]", ": 2 boiled egg", "caller_hung_up", ": cup tea without sugar"):
        assert line in shown
    other = history(tmp_path, "show", "C2").stdout
    assert other.count("> hello") == 1
    assert re.search(r"^  user \w+ bo@example.com$", other, re.MULTILINE)

    beside = history(tmp_path, "list", config_text='[calls]\ntoken_env = "A_SECRET_OF_THE_SERVER"')
    assert (beside.returncode, beside.stdout) == (0, listed.stdout)

    wrong = history(tmp_path, "list", "--limit", "-1")
    assert wrong.returncode == 2 and "a whole number from 1" in wrong.stderr

    everything = json.loads(history(tmp_path, "export").stdout)
    assert [len(session["messages"]) for session in everything["sessions"]] == [2, 1]
    mine = json.loads(history(tmp_path, "export", "--user", "919876543210").stdout)
    assert [food["food"] for food in mine["sessions"][0]["foods"]] == ["egg", "tea"]
    done = history(tmp_path, "export", "--format", "csv", "--session", "abc", "--output", "out.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["text"] for row in rows] == ["'=two eggs", "Got it."]

    asked = history(tmp_path, "erase", "--user", "bo@example.com")
    assert "Would delete 1 sessions" in asked.stdout
    assert len(json.loads(history(tmp_path, "export").stdout)["sessions"]) == 2
    erased = history(tmp_path, "erase", "--user", "bo@example.com", "--yes").stdout
    assert "Deleted 1 sessions, 1 calls, 1 messages, 0 meals, 0 foods, 1 users." in erased
    assert "Not deleted:" in erased
    (left,) = json.loads(history(tmp_path, "export").stdout)["sessions"]
    assert left["sessions"][0]["name"] == "abc"
    assert history(tmp_path, "erase", "--user", "bo@example.com", "--yes").returncode == 1


@in_reactor
async def test_what_nobody_heard_is_shown_once(tmp_path: Path) -> None:
    told = History(config.History(path=str(tmp_path / "var" / "voicemedia.db")), reactor)
    await told.start()
    record = begin(told, caller(session_id="abc"))[0]
    record.turn(Turn("agent", 10, "Good morning.", complete=True, number=1))
    await told.stop()
    assert "< Good morning.  (not heard)\n" in history(tmp_path, "show", "abc").stdout


@in_reactor
async def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    await remember(tmp_path)
    told = history(tmp_path, "export", "--output", str(tmp_path / "nowhere" / "all.json"))
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("--output: ") and told.stderr.count("\n") == 1


@in_reactor
async def test_erased_words_are_not_left_in_the_file(tmp_path: Path) -> None:
    await remember(tmp_path)
    folder = tmp_path / "var"
    # A server that is running has the file open.
    server = History(config.History(path=str(folder / "voicemedia.db")), reactor)
    await server.start()
    speak(begin(server, caller(""))[0], "hello")
    await server.writer.settled()
    assert any(b"=two eggs" in file.read_bytes() for file in folder.glob("*.db*"))
    assert history(tmp_path, "erase", "--session", "abc", "--yes").returncode == 0
    assert not any(b"=two eggs" in file.read_bytes() for file in folder.rglob("*") if file.is_file())
    await server.stop()


@in_reactor
async def test_a_reader_who_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    await remember(tmp_path)
    reads, writes = os.pipe()
    os.close(reads)
    try:
        command = [*COMMAND, "history", "list"]
        told = subprocess.run(command, cwd=tmp_path, stdout=writes, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writes)
    assert (told.returncode, told.stderr) == (UNREAD, b"")


def test_nothing_remembered_is_said_so(tmp_path: Path) -> None:
    done = history(tmp_path, "list")
    assert (done.returncode, "Nothing is remembered yet" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[history]\ndsn_env = "NO_SUCH_DSN"', "environment variable NO_SUCH_DSN is not set"),
        ("[history]\npath = 1", "history.path: expected str"),
    ],
)
def test_a_faulty_configuration_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    done = history(tmp_path, "list", config_text=text)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_no_history_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database" * 1000)
    done = history(tmp_path, "list", config_text='[history]\npath = "x.db"')
    assert (done.returncode, done.stderr.strip()) == (2, "The history cannot be used: file is not a database")


@pytest.mark.parametrize("line", [["--config", "a.toml", "list"], ["list", "--config", "a.toml"]])
def test_the_configuration_may_be_named_before_and_behind_the_verb(line: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(line).config == "a.toml"
    assert parser.parse_args(["list"]).config is None


@in_reactor
async def test_words_and_keys_of_one_turn_are_both_shown(tmp_path: Path) -> None:
    told = History(config.History(path=str(tmp_path / "var" / "voicemedia.db")), reactor)
    await told.start()
    record = begin(told, caller(session_id="abc"))[0]
    record.turn(Turn("caller", 10, "my number is", keys="12#", complete=True, number=1))
    await told.stop()
    assert "> my number is 12#\n" in history(tmp_path, "show", "abc").stdout
