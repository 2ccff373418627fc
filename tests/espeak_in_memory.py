"""The real voice of espeak-ng in the test's own process: `provider = "tests.espeak_in_memory"`.

No child, so no time but the test's; a whole sentence is there at once.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed

from voicemedia.tts import espeak

MISSING = espeak.missing(espeak.Options())


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


def missing(_options: Options) -> str:
    return MISSING


def make(_options: Options, _reactor: Any) -> "EspeakInMemory":
    return EspeakInMemory()


class Parent:
    """Takes what the worker says about one sentence."""

    def __init__(self) -> None:
        self.sound = b""
        self.words: list[tuple[int, int]] = []
        "Where a word stands in the text, and when it begins to sound, in ms."

    def tell(self, _number: int, what: object) -> None:
        if isinstance(what, bytes):
            self.sound += what
        elif isinstance(what, list):
            self.words.append((what[0], what[1]))
        else:
            assert what is None, what

    def receive(self, *, wait_s: float | None = None) -> None:
        return None


LIBRARY: list[Any] = []
"espeak-ng has one state a process: it is made once."


def spoken(text: str, rate_hz: int = 8000) -> Parent:
    """Speak one sentence: its sound, and when its words begin."""
    from voicemedia.tts.espeak_worker import Espeak  # not everywhere: extra offline

    parent: Any = Parent()
    if not LIBRARY:
        LIBRARY.append(Espeak(parent))
    LIBRARY[0]._parent = parent
    LIBRARY[0].speak(1, (text, "en-us", 165, 50, rate_hz))
    said: Parent = parent
    return said


class EspeakInMemory:
    name, trouble = "espeak in memory", ""

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def speak(
        self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]
    ) -> Deferred[None]:
        said = spoken(text, rate_hz)
        for at, ms in said.words:
            word(at, ms)
        put(said.sound)
        return succeed(None)
