"""The seam between a call and its recording.

A leg that can be recorded has an attribute `tape`, None until somebody records. It tells the tape what the caller
said, and, if it sends each frame in a slot of its own (`paces`), what was played; for other legs the speaker does.
"""

from pathlib import Path
from typing import Any, Final, Protocol

from voicemedia.interfaces import Leg


class Tape(Protocol):
    """What one recording is told. No method blocks or raises."""

    def heard(self, pcm: bytes) -> None:
        """Take the next frame of the caller, at the moment it comes."""

    def played(self, pcm: bytes, at_ms: int | None = None) -> None:
        """Take sound of ours: it sounds from `at_ms` on (None: now), or behind what was taken before."""

    def cut(self) -> None:
        """Take back what was to sound from now on: nobody will hear it."""

    def pause(self) -> None:
        """Record silence from now on."""

    def resume(self) -> None:
        """Record sound again."""

    def end(self) -> None:
        """The leg has gone; may be told twice."""

    @property
    def paused(self) -> bool:
        """Whether silence is recorded."""


class Recorded(Tape, Protocol):
    """The same, for whoever began it."""

    @property
    def path(self) -> Path:
        """The file."""


class Untaped:
    """Nobody records."""

    paused = False

    def heard(self, pcm: bytes) -> None:
        """Forget it."""

    def played(self, pcm: bytes, at_ms: int | None = None) -> None:
        """Forget it."""

    def cut(self) -> None:
        """There is nothing to cut."""

    def pause(self) -> None:
        """Nothing is recorded anyway."""

    def resume(self) -> None:
        """Record nothing, still."""

    def end(self) -> None:
        """There is nothing to end."""


UNTAPED: Final = Untaped()


def put_on_tape(leg: Any, tape: Tape) -> None:
    """Have a leg tell a tape what it hears, if it can be recorded at all."""
    if hasattr(leg, "tape"):
        leg.tape = tape


def tape_of_speaker(leg: Leg, tape: Tape) -> Tape:
    """Return the tape the speaker tells: none where the leg itself knows better what was played."""
    return UNTAPED if getattr(leg, "paces", False) else tape
