"""Whether losses come in bursts or here and there (RFC 3611, section 4.7.2)."""

from dataclasses import dataclass
from typing import Final

from voicemedia.interfaces import FRAME_MS

GAP_MINIMUM: Final = 16
"Frames in a row that must have come to part two losses; the RFC's recommendation."


@dataclass(frozen=True, slots=True)
class Figures:
    """How a stream has got through."""

    burst_density: float = 0.0
    "Share of the frames that were lost, within bursts."
    gap_density: float = 0.0
    "And between them."
    burst_ms: int = 0
    "The mean length of a burst."
    gap_ms: int = 0
    "And of what is between them."


class Bursts:
    """Counts the lost frames of one stream; those that come cost nothing."""

    __slots__ = ("_bursts", "_first", "_in_bursts", "_last", "_length", "_lost", "_run")

    def __init__(self) -> None:
        self._first = self._last = -GAP_MINIMUM
        "Of the losses that are not parted by a gap."
        self._run = 0
        self._bursts = self._length = self._in_bursts = self._lost = 0
        "Bursts that are over, their frames, those of them that were lost; all other losses."

    def lost(self, number: int) -> None:
        """Count a frame by its number in the stream, from 1 on; they come in order."""
        if number - self._last > GAP_MINIMUM:
            self._close()
            self._first = number
        self._last = number
        self._run += 1

    def _close(self) -> None:
        if self._run > 1:
            self._bursts += 1
            self._length += self._last - self._first + 1
            self._in_bursts += self._run
        else:
            self._lost += self._run
        self._run = 0

    def figures(self, frames: int) -> Figures:
        """Return how a stream of so many frames, lost ones included, has got through so far."""
        # A burst that may go on counts as far as it has come.
        counted = Bursts()
        for name in Bursts.__slots__:
            setattr(counted, name, getattr(self, name))
        counted._close()
        between = frames - counted._length
        return Figures(
            counted._in_bursts / counted._length if counted._length else 0.0,
            counted._lost / between if between > 0 else 0.0,
            counted._length * FRAME_MS // counted._bursts if counted._bursts else 0,
            between * FRAME_MS // (counted._bursts + 1),
        )
