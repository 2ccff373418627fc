"""docs/agents.md: its example runs, and its picture says what the table says."""

import re
from pathlib import Path
from typing import Any

import pytest

from voicemedia.agent.diet_reading import Intent
from voicemedia.agent.diet_table import KEYS, SCRIPT, State
from voicemedia.interfaces import Caller, Expected, Said
from voicemedia.switching import Unswitched

TEXT = (Path(__file__).parent.parent / "docs" / "agents.md").read_text(encoding="utf-8")
ARROWS = [
    arrow for arrow in re.findall(r"^    (\w+) --> (\w+): (\w+)$", TEXT, re.MULTILINE) if arrow[0] in State.__members__
]


class Floor(Unswitched):
    """Records what is said."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def say(self, text: str, *, interruptible: bool = True) -> None:
        self.events.append(text)

    def play(self, pcm: bytes) -> None:
        raise AssertionError

    def expect(self, expected: Expected) -> None:
        self.events.append(f"expects {', '.join(expected.phrases)}")

    def hang_up(self) -> None:
        self.events.append("hangs up")


def test_the_example_agent_holds_a_conversation() -> None:
    found = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert found
    module: dict[str, Any] = {"__name__": "menu"}
    exec(compile(found[1], "docs/agents.md", "exec"), module)
    options = module["Options"](hours="ten to six")
    assert module["missing"](options) == ""
    talk = module["make"](options, None).converse(Caller("CA1", "smartflo", 8000))
    floor = Floor()
    talk.greet(floor)
    talk.reply(Said("when are you open"), floor)
    talk.reply(Said("Goodbye!"), floor)
    assert floor.events == [
        "Hello. Ask me for the opening hours.",
        "We are open from ten to six.",
        "Goodbye.",
        "hangs up",
    ]


@pytest.mark.parametrize(("state", "following", "intent"), ARROWS)
def test_each_arrow_of_the_picture_is_a_row_of_the_table(state: str, following: str, intent: str) -> None:
    assert SCRIPT[State[state], Intent(intent)][0].name == following


def test_the_picture_shows_every_state_and_the_table_of_keys_every_key() -> None:
    assert {name for arrow in ARROWS for name in arrow[:2]} >= set(State.__members__) - {"OVER"}
    assert all(f"| {key} |" in TEXT for key in KEYS)
