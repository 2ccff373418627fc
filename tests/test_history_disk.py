"""What becomes of history on a disk that does not do as it is told."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.test_history_write_behind import Desk
from voicemedia.history.cures import with_cure
from voicemedia.history.recordings import remove
from voicemedia.history.records import Answered
from voicemedia.history.write_behind import MAX_PENDING


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "spool")


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []

    @implementer(ILogObserver)
    def watch(event: LogEvent) -> None:
        if event["log_level"].name == "error":
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(watch)
    yield lines
    globalLogPublisher.removeObserver(watch)


@contextmanager
def failing(desk: Desk, what: str, number: int) -> Iterator[None]:
    """Let the spool fail as the system would."""

    def refuse(*_: object) -> NoReturn:
        raise OSError(number, "it is so", "/var/spool/1")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.spool, what, refuse)
        yield


@pytest.mark.looks_at_the_log
def test_a_folder_that_must_not_be_written_is_said_once_with_the_cure(desk: Desk, said: list[str]) -> None:
    with failing(desk, "append", errno.EACCES):
        desk.say("one")
        desk.pass_s(30)
        desk.say("two")
        desk.pass_s(30)
        assert len(said) == 1 and "/var/spool/1" in said[0] and "make it writable" in said[0]
        assert "make it writable" in desk.writer.trouble and desk.writer.lost == 0
    desk.pass_s(3)
    assert desk.database.texts() == ["one", "two"] and not desk.writer.trouble


@pytest.mark.looks_at_the_log
def test_what_memory_cannot_hold_is_lost_and_counted(tmp_path: Path, said: list[str]) -> None:
    desk = Desk(tmp_path, max_bytes=1 << 30)
    for outage in (1, 2):
        with failing(desk, "append", errno.ENOSPC):
            desk.say(*(f"turn {number}" for number in range(MAX_PENDING + 5)))
            desk.pass_s(3)
            assert desk.writer.lost == 5 * outage
            assert sum("lost from now on" in line for line in said) == outage
        desk.pass_s(10)
        assert said[-1] == "history is kept again; 5 records were lost"
    assert sum("make room on the disk" in line for line in said) == 2
    assert len(desk.database.texts()) == 2 * MAX_PENDING


@pytest.mark.parametrize("what", ["oldest", "drop"])
@pytest.mark.looks_at_the_log
def test_a_spool_that_cannot_be_emptied_keeps_what_it_has(what: str, desk: Desk, said: list[str]) -> None:
    with failing(desk, what, errno.EACCES):
        desk.say("one")
        desk.pass_s(60)
        assert len(said) == 1 and "make it writable" in said[0]
        desk.say("two")
        desk.pass_s(60)
        assert len(said) == 1 and desk.writer.read()["spooled_bytes"] > 0
    desk.pass_s(10)
    assert set(desk.database.texts()) == {"one", "two"} and desk.writer.read()["spooled_bytes"] == 0


@pytest.mark.looks_at_the_log
def test_a_recording_that_cannot_be_deleted_holds_up_nothing(desk: Desk, tmp_path: Path, said: list[str]) -> None:
    stubborn, other = tmp_path / "stubborn.wav", tmp_path / "other.wav"
    # A folder is what not even root can delete as a file.
    stubborn.mkdir()
    other.touch()
    desk.database.erased = [("S", 9)]
    for at_ms, path in enumerate((stubborn, other)):
        desk.writer.put(Answered("S", at_ms, f"C{at_ms}", recording=str(path)))
    desk.say(*("unwanted" for _ in range(9)), "wanted")
    desk.pass_s(60)
    assert desk.database.texts() == ["wanted"] and not other.exists()
    assert any("DELETE FROM messages" in sql for written in desk.database.written for sql, _ in written)
    assert len(said) == 1 and "stubborn.wav" in said[0] and "stubborn.wav" in desk.writer.trouble
    # As soon as somebody has mended it, it is gone.
    stubborn.rmdir()
    stubborn.touch()
    desk.say("more")
    desk.pass_s(3)
    assert not stubborn.exists() and not desk.writer.trouble and len(said) == 1


def test_one_file_that_cannot_be_deleted_does_not_save_the_others(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="folder"):
        remove([str(tmp_path / "folder"), str(tmp_path / "file"), str(tmp_path / "gone")])
    assert not (tmp_path / "file").exists()
    assert remove([str(tmp_path / "file")]) == 0


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.EACCES, "make it writable for the user of the server (uid "),
        (errno.EROFS, "give it a place that is not mounted read-only"),
        (errno.ENOSPC, "make room on the disk"),
    ],
)
def test_what_helps_is_said_where_it_is_known(number: int, cure: str) -> None:
    assert with_cure(OSError(number, "it is so", "/x")).startswith(f"[Errno {number}] it is so: '/x'; {cure}")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), OSError("odd"), ValueError("no disk at all")])
def test_what_nobody_can_help_is_said_as_it_is(error: Exception) -> None:
    assert with_cure(error) == str(error)
