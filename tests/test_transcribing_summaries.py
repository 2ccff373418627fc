import json
from pathlib import Path

import pytest

from voicemedia.transcribing.summaries import Summaries, file_name


def summary(session_id: str) -> dict[str, dict[str, str]]:
    return {"session": {"session_id": session_id}, "results": {"full_transcript": "zwei Eier, schön"}}


def test_a_summary_is_kept_in_a_folder_that_is_made_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    Summaries(str(folder)).keep(summary("walk-1"))
    assert json.loads((folder / "walk-1.json").read_text(encoding="utf-8")) == summary("walk-1")


def test_no_name_of_a_session_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "summaries"
    names = ("../../evil", "/etc/passwd", "..", "a/b", "a:b", "a b", "ü ☎", "x" * 256)
    for name in names:
        Summaries(str(folder)).keep(summary(name))
    assert {each.name for each in tmp_path.iterdir()} == {"summaries"}
    assert sum(each.is_file() for each in folder.iterdir()) == len(names)


def test_names_that_look_alike_are_told_apart() -> None:
    assert len({file_name("a:b"), file_name("a/b"), file_name("a_b")}) == 3


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Summaries("").keep(summary("walk"))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_ends_no_session(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Summaries(str(tmp_path / "file")).keep(summary("walk"))
