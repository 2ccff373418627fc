"""Records on their way: in order, once, whatever the database does; with a clock of the test's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.databases import Inline
from tests.fake_database import FakeDatabase
from voicemedia.history.databases import Away
from voicemedia.history.records import Said
from voicemedia.history.spool import Spool
from voicemedia.history.write_behind import MAX_PENDING, WriteBehind


class Desk:
    """A write-behind with everything it needs."""

    def __init__(self, folder: Path, database: FakeDatabase | None = None, max_bytes: int = 1 << 20) -> None:
        self.folder, self.clock = folder, Clock()
        self.database = database or FakeDatabase()
        self.spool = Spool(folder, max_bytes)
        self.writer = WriteBehind(self.database, self.spool, self.clock, Inline())
        self.started = self.writer.start()
        self._number = 0

    def say(self, *texts: str) -> None:
        for text in texts:
            self._number += 1
            self.writer.put(Said("S", self._number, "C", self._number, "user", text=text))

    def pass_s(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds / 0.05))

    def stop(self) -> None:
        stopped = Deferred.fromCoroutine(self.writer.stop(5))
        self.pass_s(6)
        assert stopped.called
        assert self.clock.getDelayedCalls() == []

    def crash(self) -> "Desk":
        """Die without a word, and start again."""
        self.spool.close()
        return Desk(self.folder, self.database)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def desk_of(tmp_path: Path) -> Callable[..., Desk]:
    return lambda **options: Desk(tmp_path, **options)


def test_what_is_said_is_in_the_database_soon(desk: Desk) -> None:
    desk.say("one", "two")
    assert desk.database.texts() == []
    desk.pass_s(0.2)
    assert desk.database.texts() == ["one", "two"]
    assert desk.writer.waiting_bytes == 0
    assert desk.writer.read() == {
        "written": 2,
        "lost": 0,
        "refused": 0,
        "pending": 0,
        "spooled_bytes": 0,
        "spool_limit_bytes": 1 << 20,
    }


def test_many_records_are_written_together_once_the_last_writing_is_a_second_ago(desk: Desk) -> None:
    for number in range(20):
        desk.say(f"turn {number}")
        desk.pass_s(0.1)
    rounds = [statements for statements in desk.database.written if len(statements) > 1]
    assert len(rounds) == 2
    desk.pass_s(1.2)
    assert desk.database.texts() == [f"turn {number}" for number in range(20)]


def test_whoever_waits_for_a_record_does_not_wait_for_the_rest_of_the_writer(desk: Desk) -> None:
    desk.say("one")
    desk.pass_s(0.3)
    desk.say("two")
    desk.pass_s(0.3)
    assert desk.database.texts() == ["one"]
    desk.say("three")
    assert desk.writer.settled().called
    assert desk.database.texts() == ["one", "two", "three"]


def test_nothing_is_done_while_nothing_is_said(desk: Desk) -> None:
    desk.say("one")
    desk.pass_s(1)
    assert desk.clock.getDelayedCalls() == []


def test_an_outage_keeps_everything_in_order_and_doubles_nothing(desk: Desk) -> None:
    desk.say("before")
    desk.pass_s(1)
    desk.database.away = "down"
    said = [f"turn {number}" for number in range(120)]
    for text in said:
        desk.say(text)
        desk.pass_s(0.5)
    assert desk.writer.trouble == "down"
    assert desk.writer.waiting_bytes > 0
    desk.database.away = ""
    desk.say("after")
    desk.pass_s(6)
    assert desk.database.texts() == ["before", *said, "after"]
    assert desk.writer.trouble == ""
    assert desk.writer.waiting_bytes == 0


def test_a_database_that_is_away_is_tried_less_and_less_often(desk: Desk) -> None:
    desk.database.away = "down"
    desk.say("one")
    desk.pass_s(60)
    assert 10 <= desk.database.opened <= 20


def test_a_crash_loses_only_what_was_said_in_the_last_moment(desk: Desk) -> None:
    desk.database.away = "down"
    for number in range(10):
        desk.say(f"turn {number}")
        desk.pass_s(0.25)
    desk.say("the last word")
    again = desk.crash()
    again.database.away = ""
    again.pass_s(6)
    assert again.database.texts() == [f"turn {number}" for number in range(10)]


def test_what_may_have_been_committed_is_written_again_as_the_same_rows(desk: Desk) -> None:
    desk.database.hold = True
    desk.say("one")
    desk.pass_s(0.5)
    desk.database.release(committed=True, heard=False)
    desk.pass_s(1)
    first, second = [statements for statements in desk.database.written if len(statements) > 1][-2:]
    assert first == second


def test_what_comes_while_the_database_is_busy_waits_in_the_spool(desk: Desk) -> None:
    desk.database.hold = True
    desk.say("one")
    desk.pass_s(0.5)
    desk.say("two")
    desk.pass_s(5)
    assert desk.database.texts() == []
    desk.database.release()
    desk.pass_s(0.1)
    assert desk.database.texts() == ["one", "two"]


@pytest.mark.looks_at_the_log
def test_a_record_no_database_takes_stops_no_other(desk: Desk) -> None:
    desk.database.poison = "poison"
    desk.say("one", "poison", "three")
    desk.pass_s(1)
    assert desk.database.texts() == ["one", "three"]
    assert desk.writer.refused == 1
    assert b"poison" in (desk.folder / "1" / "refused").read_bytes()
    assert desk.writer.waiting_bytes == 0


def test_a_file_of_nonsense_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "000000000001.jsonl").write_bytes(b'{"type":"Said"}\n\xff\xfe\n{"type":"Nobody"}\ncut o')
    desk = Desk(tmp_path)
    desk.say("one")
    desk.pass_s(1)
    assert desk.database.texts() == ["one"]
    assert desk.writer.refused == 3


def test_records_of_an_erased_session_are_dropped_and_later_ones_are_not(desk: Desk) -> None:
    desk.database.erased = [("S", 2)]
    desk.say("one", "two", "three")
    desk.pass_s(1)
    assert desk.database.texts() == ["three"]


def test_a_full_spool_keeps_the_newest_in_memory_and_loses_what_is_beyond(desk_of: Callable[..., Desk]) -> None:
    desk = desk_of(max_bytes=300)
    desk.database.away = "down"
    desk.say("in the spool")
    desk.pass_s(1)
    desk.say(*(f"turn {number}" for number in range(MAX_PENDING + 5)))
    desk.pass_s(3)
    assert "MiB wait already" in desk.writer.trouble
    assert desk.writer.lost == 5
    read = desk.writer.read()
    assert (read["lost"], read["pending"], read["written"]) == (5, MAX_PENDING, 0)
    desk.database.away = ""
    desk.spool.max_bytes = 1 << 30
    desk.pass_s(10)
    assert desk.database.texts()[:2] == ["in the spool", "turn 0"]
    assert len(desk.database.texts()) == MAX_PENDING + 1


def test_settled_waits_for_what_was_said_and_hurries(desk: Desk) -> None:
    desk.database.hold = True
    desk.say("one")
    settled = desk.writer.settled()
    assert desk.database.texts() == []
    desk.database.release()
    assert settled.called
    assert desk.database.texts() == ["one"]
    assert desk.writer.settled().called


def test_settled_does_not_wait_for_a_database_that_is_away(desk: Desk) -> None:
    desk.database.away = "down"
    desk.say("one")
    errors: list[Any] = []
    desk.writer.settled().addErrback(errors.append)
    desk.writer.settled().addErrback(errors.append)
    assert [error.check(Away) for error in errors] == [Away, Away]


def test_a_stop_writes_what_was_just_said(desk: Desk) -> None:
    desk.say("one")
    desk.stop()
    assert desk.database.texts() == ["one"]


def test_a_stop_without_a_database_leaves_it_to_the_next_start(desk: Desk) -> None:
    desk.database.away = "down"
    desk.say("one")
    desk.pass_s(3)
    desk.say("two")
    desk.stop()
    again = desk.crash()
    again.database.away = ""
    again.pass_s(6)
    assert again.database.texts() == ["one", "two"]


def test_a_stop_does_not_wait_for_a_database_that_says_nothing(desk: Desk) -> None:
    desk.database.hold = True
    desk.say("one")
    desk.pass_s(1)
    desk.stop()
    desk.database.hold = False
    again = desk.crash()
    again.pass_s(1)
    assert again.database.texts() == ["one"]
