"""An agent and a recognizer that raise where the configuration says so: `provider = "tests.faulty_provider"`."""

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed

from voicemedia.interfaces import Caller, Expected, Floor, Goodbye, Hearing, Said, Transcript


class Bug(Exception):
    """What a provider raises that was not meant to."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fails: str = ""
    "Name of the method that raises; `silence`: none does, but answers never come."


def missing(_options: Options) -> str:
    return ""


def make(options: Options, _reactor: Any) -> "Faulty":
    return Faulty(options.fails)


class Faulty:
    """Agent and recognizer, conversation and recognition in one."""

    name = "faulty"
    trouble = ""
    hearing: Hearing

    def __init__(self, fails: str) -> None:
        self.fails = fails

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def _perhaps(self, method: str) -> None:
        if method == self.fails:
            raise Bug(method)
        return None

    # --- agent ---

    def converse(self, caller: Caller) -> "Faulty":
        self._perhaps("converse")
        return Faulty(self.fails)

    def greet(self, floor: Floor) -> Deferred[None]:
        self._perhaps("greet")
        floor.expect(Expected())
        floor.say("hello")
        return succeed(None)

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        self._perhaps("reply")
        if self.fails == "silence":
            return Deferred()
        floor.say(said.text or said.keys)
        return succeed(None)

    def heard(self, text: str, *, complete: bool) -> None:
        self._perhaps("heard")

    def overhear(self, pcm: bytes) -> None:
        self._perhaps("overhear")

    def over(self, why: Goodbye) -> None:
        self._perhaps("over")

    # --- recognizer ---

    def listen(self, rate_hz: int, hearing: Hearing) -> "Faulty":
        self._perhaps("listen")
        recognition = Faulty(self.fails)
        recognition.hearing = hearing
        return recognition

    def feed(self, pcm: bytes) -> None:
        self._perhaps("feed")

    def onset(self) -> None:
        self._perhaps("onset")

    def endpoint(self) -> None:
        self._perhaps("endpoint")
        self.hearing.heard(Transcript("eggs", final=True))

    def expect(self, expected: Expected) -> None:
        self._perhaps("expect")

    def close(self) -> None:
        self._perhaps("close")
