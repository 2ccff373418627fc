"""The README is true: its call is made, and says what the README says."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import pytest

from tests.test_start import CHECKOUT
from tests.test_whole import MISSING, Server, report
from voicemedia.agent.diet_script import DietScript

README = (CHECKOUT / "README.md").read_text()
CONSOLE = README.split("```console\n")[1].split("```")[0].splitlines()

BREAKFAST_TIME = f"time_zone=UTC{8 - datetime.now(UTC).hour:+03d}:00"
"Where it is eight in the morning: what is asked depends on the hour."

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "installed")


def test_the_call_of_the_readme_says_what_it_shows(tmp_path: Path) -> None:
    program, command, carrier, *files = shlex.split(CONSOLE[0].removeprefix("$ "))
    assert (program, command, carrier) == (".venv/bin/voicemedia", "call", "smartflo")
    shown = [line.split("  ") for line in CONSOLE if re.match(r" \d:\d\d", line)]
    understood = [line[2].strip() for line in shown if line[1] == "caller"]
    # The call's own name chooses among the wordings.
    name = re.findall(r"call (\w+)$", "\n".join(CONSOLE), re.MULTILINE)
    assert [line[2].strip() for line in shown if line[1] == "agent"] == answers(name[0], understood)
    with Server(tmp_path) as server:
        told = report(server.calls(*files, "--param", BREAKFAST_TIME, "--record", str(tmp_path / "heard.wav")))
    assert [turn["understood"] for turn in told["turns"][1:]] == understood
    assert [turn["answer"] for turn in told["turns"]] == answers(told["call_id"], understood)


def answers(call_id: str, said: list[str]) -> list[str]:
    """Tell what the food diary answers in a call of the morning."""
    script = DietScript(8, seed=crc32(call_id.encode()))
    replies = [script.greet(), *(script.reply(text) for text in said)]
    return [" ".join(reply.sentences) for reply in replies]


def test_the_readme_is_one_screen_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 50
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (CHECKOUT / target).exists(), target


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    for target in re.findall(r"make (run|test|bench)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
