"""A recognizer that understands the time: each guess is the moment it was made, so that its reader knows its age."""

import time
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed

from voicemedia.interfaces import Expected, Hearing, Transcript

FRAMES: int = 5
"Between two guesses."


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


def missing(_options: Options) -> str:
    """It needs nothing."""
    return ""


def make(_options: Options, _reactor: Any) -> "Clockwatcher":
    """Make it."""
    return Clockwatcher()


class Clockwatcher:
    """The recognizer."""

    name = "clockwatcher"
    trouble = ""

    def start(self) -> Deferred[None]:
        """Need nothing."""
        return succeed(None)

    stop = start

    def listen(self, rate_hz: int, hearing: Hearing) -> "Watching":
        """Begin to watch the clock."""
        return Watching(hearing)


class Watching:
    """One recognition."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing: Hearing | None = hearing
        self._frames = 0

    def feed(self, pcm: bytes) -> None:
        """Tell the time now and then."""
        self._frames += 1
        if self._frames % FRAMES == 0:
            self._say(final=False)

    def onset(self) -> None:
        """Take no note."""

    def endpoint(self) -> None:
        """Tell the time."""
        self._say(final=True)

    def expect(self, expected: Expected) -> None:
        """Expect nothing."""

    def close(self) -> None:
        """Be silent."""
        self._hearing = None

    def _say(self, *, final: bool) -> None:
        if self._hearing is not None:
            self._hearing.heard(Transcript(str(time.monotonic_ns()), final=final, confidence=1.0))
