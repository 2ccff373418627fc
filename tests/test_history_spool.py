"""Files that outlive the server."""

import errno
import os
from pathlib import Path

import pytest

from voicemedia.history.spool import FILE_BYTES, Spool, SpoolFull, whole_lines


def opened(folder: Path, max_bytes: int = 1 << 20) -> Spool:
    spool = Spool(folder, max_bytes)
    spool.open()
    return spool


def drain(spool: Spool) -> bytes:
    octets = b""
    while (oldest := spool.oldest()) is not None:
        octets += oldest
        spool.drop()
    return octets


def test_what_was_appended_comes_out_in_order(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for number in range(5):
        spool.append(b"%d\n" % number)
    assert spool.oldest() == b"0\n1\n2\n3\n4\n"
    spool.append(b"5\n")
    assert spool.oldest() == b"0\n1\n2\n3\n4\n"
    spool.drop()
    assert spool.oldest() == b"5\n"
    spool.drop()
    assert spool.oldest() is None
    assert list(tmp_path.glob("1/*.jsonl")) == []


def test_nobody_else_may_look_into_the_folders_it_makes(tmp_path: Path) -> None:
    spool = opened(tmp_path / "var" / "spool")
    try:
        modes = [folder.stat().st_mode & 0o777 for folder in (tmp_path / "var", tmp_path / "var" / "spool")]
        assert modes == [0o700, 0o700]
    finally:
        spool.close()


def test_files_stay_small_enough_for_one_transaction(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    line = b"x" * 1023 + b"\n"
    for _ in range(300):
        spool.append(line)
    assert spool.waiting_bytes == 300 * 1024
    sizes = [path.stat().st_size for path in tmp_path.glob("1/*.jsonl")]
    assert sum(sizes) == 300 * 1024
    assert max(sizes) <= FILE_BYTES + 1024
    assert drain(spool) == line * 300
    assert spool.waiting_bytes == 0


def test_the_next_life_finds_what_this_one_left_and_appends_behind_it(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(b"1\n" * 40_000)
    first.append(b"2\n")
    first.close()
    second = opened(tmp_path)
    assert second.waiting_bytes == 80_002
    second.append(b"3\n")
    assert drain(second) == b"1\n" * 40_000 + b"2\n3\n"


def test_two_servers_share_a_folder_without_sharing_files(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.append(b"1\n")
    other.append(b"2\n")
    assert drain(one) == b"1\n"
    assert drain(other) == b"2\n"


def test_what_a_server_left_that_is_no_more_is_taken_over(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.append(b"1\n")
    other.append(b"2\n")
    one.close()
    other.close()
    assert drain(opened(tmp_path)) == b"1\n2\n"
    assert list(tmp_path.glob("2/*.jsonl")) == []


def test_what_a_living_server_has_is_not_taken_over(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    other.append(b"2\n")
    one.close()
    assert drain(opened(tmp_path)) == b""
    assert drain(other) == b"2\n"


def test_a_full_spool_takes_no_more_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=10)
    spool.append(b"12345\n")
    with pytest.raises(SpoolFull):
        spool.append(b"12345\n")
    assert drain(spool) == b"12345\n"
    spool.append(b"again\n")


def test_a_line_that_was_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(b"whole\n")
    spool.append(b"cut o")
    spool.close()
    assert whole_lines(drain(opened(tmp_path))) == [b"whole"]


def test_a_full_disk_leaves_no_half_line_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path)
    spool.append(b"before\n")

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            spool.append(b"lost\n")
    spool.append(b"after\n")
    assert drain(spool) == b"before\nafter\n"


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="File exists"):
        opened(tmp_path / "file")
