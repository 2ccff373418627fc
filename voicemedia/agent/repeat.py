"""Agent `repeat`: says what it understood. For trying recognizers and voices."""

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from voicemedia.interfaces import Agent, Caller, Conversation, Expected, Floor, Goodbye, Said


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    greeting: str = "Hello. Say something, and I will repeat it."
    "The first sentence; empty: the caller begins."


def missing(_options: Options) -> str:
    """Say what is not installed or configured: nothing ever is."""
    return ""


def make(options: Options, _reactor: IReactorTime) -> Agent:
    """Make the agent."""
    return RepeatAgent(options)


class RepeatAgent:
    """Answers every turn with what was understood."""

    name = "repeat"
    trouble = ""

    def __init__(self, options: Options) -> None:
        self._options = options

    def start(self) -> Deferred[None]:
        """Start nothing."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Stop nothing."""
        return succeed(None)

    def converse(self, _caller: Caller) -> Conversation:
        """Begin to repeat one caller."""
        return Repeat(self._options.greeting)


class Repeat:
    """One caller's words, said back."""

    def __init__(self, greeting: str) -> None:
        self._greeting = greeting

    def greet(self, floor: Floor) -> Deferred[None]:
        """Say what this is; take any words after that."""
        floor.expect(Expected())
        if self._greeting:
            floor.say(self._greeting)
        return succeed(None)

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        """Say the words and the keys of the turn back."""
        for sentence in sentences(said):
            floor.say(sentence)
        return succeed(None)

    def heard(self, text: str, *, complete: bool) -> None:
        """Remember nothing."""

    def overhear(self, pcm: bytes) -> None:
        """Do nothing with single frames."""

    def over(self, why: Goodbye) -> None:
        """Keep nothing."""


KEY_NAMES = {"*": "star", "#": "pound"}


def sentences(said: Said) -> list[str]:
    """Word the answer to one turn: words first, then keys, one by one."""
    answer = []
    if said.text:
        answer.append(f"You said: {said.text.rstrip('.!?')}.")
    if said.keys:
        answer.append(f"You pressed {' '.join(KEY_NAMES.get(key, key) for key in said.keys)}.")
    return answer or ["I did not understand you. Please say it again."]
