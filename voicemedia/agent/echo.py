"""Agent `echo`: plays the caller's own sound back, through the whole media path. For measuring."""

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from voicemedia.interfaces import Agent, Caller, Conversation, Floor, Goodbye, Said


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It has nothing to set."""


def missing(_options: Options) -> str:
    """Say what is not installed or configured: nothing ever is."""
    return ""


def make(_options: Options, _reactor: IReactorTime) -> Agent:
    """Make the agent."""
    return EchoAgent()


class EchoAgent:
    """Answers every frame with itself."""

    name = "echo"
    trouble = ""

    def start(self) -> Deferred[None]:
        """Start nothing."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Stop nothing."""
        return succeed(None)

    def converse(self, _caller: Caller) -> Conversation:
        """Begin to echo one caller."""
        return Echo()


def _drop(_pcm: bytes) -> None:
    """Take a frame while nobody gave us the floor."""


class Echo:
    """One caller's echo: `overhear` runs for every frame of the call, so it is one call and no decision."""

    def __init__(self) -> None:
        self._play: Callable[[bytes], None] = _drop

    def greet(self, floor: Floor) -> Deferred[None]:
        """Take the floor and say nothing."""
        self._play = floor.play
        return succeed(None)

    def reply(self, _said: Said, floor: Floor) -> Deferred[None]:
        """Go on with the floor given last: the one before may have been taken away."""
        self._play = floor.play
        return succeed(None)

    def heard(self, text: str, *, complete: bool) -> None:
        """Remember nothing."""

    def overhear(self, pcm: bytes) -> None:
        """Play the frame back."""
        self._play(pcm)

    def over(self, _why: Goodbye) -> None:
        """Let go of the floor; late frames come to nothing."""
        self._play = _drop
