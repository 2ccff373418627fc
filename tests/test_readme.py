"""The README is true: its call is made, and says what the README says."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.test_start import CHECKOUT
from tests.test_whole import MISSING, Server, report

README = (CHECKOUT / "README.md").read_text()
CONSOLE = README.split("```console\n")[1].split("```")[0].splitlines()

BREAKFAST_TIME = f"time_zone=UTC{8 - datetime.now(UTC).hour:+03d}:00"
"Where it is eight in the morning: what is asked depends on the hour."

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "installed")


def test_the_call_of_the_readme_says_what_it_shows(tmp_path: Path) -> None:
    program, command, carrier, *files = shlex.split(CONSOLE[0].removeprefix("$ "))
    assert (program, command, carrier) == (".venv/bin/voicemedia", "call", "smartflo")
    shown = [line.split("  ") for line in CONSOLE if re.match(r" \d:\d\d", line)]
    with Server(tmp_path) as server:
        told = report(server.calls(*files, "--param", BREAKFAST_TIME, "--record", str(tmp_path / "heard.wav")))
    answers = told["turns"][1:]
    assert [turn["understood"] for turn in answers] == [line[2].strip() for line in shown if line[1] == "caller"]
    # The wording is the call's own.
    said = [line[2] for line in shown if line[1] == "agent"][1:]
    words = [set(re.findall(r"\w+", text)) - {"breakfast"} for text in said]
    for turn, expected in zip(answers, words, strict=True):
        assert len(expected & set(re.findall(r"\w+", turn["answer"]))) > len(expected) * 0.6


def test_the_readme_is_one_screen_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 50
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (CHECKOUT / target).exists(), target


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    for target in re.findall(r"make (run|test|bench)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
