"""Agent `repeat`: words and keys are said back."""

import msgspec
import pytest
from twisted.internet.task import Clock

from voicemedia.agent import repeat
from voicemedia.interfaces import Caller, Conversation, Expected, Said
from voicemedia.switching import Unswitched


class Floor(Unswitched):
    """Records what is said and expected."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.expected: list[Expected] = []

    def say(self, text: str, *, interruptible: bool = True) -> None:
        assert interruptible
        self.said.append(text)

    def play(self, pcm: bytes) -> None:
        raise AssertionError

    def expect(self, expected: Expected) -> None:
        self.expected.append(expected)

    def hang_up(self) -> None:
        raise AssertionError


def conversation(greeting: str = "Hello.") -> Conversation:
    agent = repeat.make(repeat.Options(greeting=greeting), Clock())
    return agent.converse(Caller("CA1", "smartflo", 8000))


def test_it_greets_and_expects_any_words() -> None:
    floor = Floor()
    assert conversation().greet(floor).called
    assert (floor.said, floor.expected) == (["Hello."], [Expected()])


def test_an_empty_greeting_leaves_the_caller_to_begin() -> None:
    floor = Floor()
    conversation("").greet(floor)
    assert floor.said == []


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (Said("two eggs"), ["You said: two eggs."]),
        (Said("Is that all?"), ["You said: Is that all."]),
        (Said(keys="12#*"), ["You pressed 1 2 pound star."]),
        (Said("one", keys="1"), ["You said: one.", "You pressed 1."]),
        (Said(), ["I did not understand you. Please say it again."]),
    ],
    ids=str,
)
def test_a_turn_is_said_back(said: Said, answer: list[str]) -> None:
    floor = Floor()
    assert conversation().reply(said, floor).called
    assert floor.said == answer


def test_unknown_options_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"greting": "Hi"}, repeat.Options)
