"""Providers for conversations whose every word the test chooses: `stt = "tests.scripted_talk"`, `tts` likewise.

Both are found by their dotted names, and by what they are asked for (`listen` or `speak`).
"""

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed

from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Hearing, Transcript

WORD_MS = 200
LOUD = b"\x10\x27\xf0\xd8"
"A wave of 10000."


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fails: bool = False
    "The voice breaks at every sentence."
    holds: bool = False
    "The voice never says anything, nor that it will not."


def missing(_options: Options) -> str:
    return ""


def make(options: Options, _reactor: Any) -> "Scripted":
    return Scripted(options)


class Scripted:
    """Understands how long was spoken, and gives each word 200 ms."""

    name = "scripted"
    trouble = ""

    def __init__(self, options: Options) -> None:
        self._options = options

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def listen(self, rate_hz: int, hearing: Hearing) -> "Ear":
        return Ear(hearing)

    def speak(
        self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]
    ) -> Deferred[None]:
        if self._options.holds:
            return Deferred()
        if self._options.fails:
            return fail(ProviderError("no voice today"))
        put(sound_of(text, rate_hz))
        return succeed(None)


def sound_of(text: str, rate_hz: int = 16_000) -> bytes:
    """What the voice makes of a text."""
    return LOUD * (rate_hz * WORD_MS // 1000 * len(text.split()) // 2)


class Ear:
    """Counts the loud frames between onset and endpoint, and those before the onset."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._loud = 0
        self._told = 0

    def feed(self, pcm: bytes) -> None:
        self._loud += max(pcm) > 0
        if self._loud and self._loud % 25 == 0 and self._loud != self._told:
            self._told = self._loud
            self._hearing.heard(Transcript(f"{self._loud} frames", final=False))

    def onset(self) -> None:
        pass

    def endpoint(self) -> None:
        text = f"{self._loud} frames" if self._loud else ""
        self._loud = 0
        self._hearing.heard(Transcript(text, final=True, confidence=0.9))

    def expect(self, expected: Expected) -> None:
        pass

    def close(self) -> None:
        pass
