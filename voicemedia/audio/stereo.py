"""The two sides of a call on one time line: the caller left, we right, from the moment the call was answered.

The time line is our clock. The caller is placed by `Placing`; we sound when the playout, or the sender, says. What
comes out are pieces that may overlap silence but never sound, in an order of their own: whoever writes them down needs
a file that can be written anywhere, and then nothing is kept here but what came since the last `take`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from voicemedia.audio.placing import Placing

LEFT: Final = 0
RIGHT: Final = 1
PAUSES: Final = 1000
"Pauses remembered, for sound that is late; beyond them the earliest become one."


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound, or silence, of one side."""

    side: int
    position: int
    "Where it begins, in samples since the call was answered."
    samples: int
    pcm: bytes | None
    "s16le mono; None: silence."


class Stereo:
    """One call. Times are seconds since it was answered.

    :param rate_hz: of both sides.
    :ivar waiting: samples of both sides that wait to be taken.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._placing = Placing(rate_hz)
        self._runs: tuple[_Run, _Run] = _Run(LEFT), _Run(RIGHT)
        self._pieces: list[Piece] = []
        self._played_to = 0
        self._pauses: list[tuple[int, int | None]] = []
        self.waiting = 0

    # --- what is said ---

    def heard(self, pcm: bytes, now_s: float) -> None:
        """Take the next frame of the caller."""
        for position, placed in self._placing.put(pcm, now_s * self.rate_hz):
            self._put(LEFT, position, placed)

    def played(self, pcm: bytes, at_s: float) -> None:
        """Take sound of ours that sounds from `at_s` on, or behind what sounds then."""
        position = max(round(at_s * self.rate_hz), self._played_to)
        self._played_to = position + len(pcm) // 2
        self._put(RIGHT, position, pcm)

    def cut(self, at_s: float) -> None:
        """Take back what of ours was to sound from then on."""
        position = max(0, round(at_s * self.rate_hz))
        if position < self._played_to:
            self._silence(RIGHT, position, self._played_to)
            self._played_to = position

    # --- pauses ---

    @property
    def paused(self) -> bool:
        """Whether it is silence that is recorded."""
        return bool(self._pauses) and self._pauses[-1][1] is None

    def pause(self, now_s: float) -> None:
        """Keep nothing that is said from now on."""
        if not self.paused:
            now = round(now_s * self.rate_hz)
            self._silence(RIGHT, now, self._played_to)
            self._silence(LEFT, now, self._placing.end)
            self._pauses.append((now, None))
            if len(self._pauses) > PAUSES:
                (start, _), (_, end) = self._pauses[:2]
                self._pauses[:2] = [(start, end)]

    def resume(self, now_s: float) -> None:
        """Keep what is said from now on."""
        if self.paused:
            self._pauses[-1] = self._pauses[-1][0], round(now_s * self.rate_hz)

    # --- what comes of it ---

    def take(self, now_s: float) -> list[Piece]:
        """Return what has come since the last time."""
        for position, pcm in self._placing.due(now_s * self.rate_hz):
            self._put(LEFT, position, pcm)
        self._end_run(LEFT)
        self._end_run(RIGHT)
        pieces, self._pieces = self._pieces, []
        self.waiting = 0
        return pieces

    def finish(self, now_s: float) -> tuple[list[Piece], int]:
        """The call is over: return what is left, and how long all is, in samples."""
        for position, pcm in self._placing.flush():
            self._put(LEFT, position, pcm)
        now = round(now_s * self.rate_hz)
        # What we had sent in advance nobody heard any more; what the caller had said in advance we did.
        return self.take(now_s), max(now, self._placing.end)

    def _put(self, side: int, position: int, pcm: bytes) -> None:
        if self._pauses:
            for start, end in self._said(position, position + len(pcm) // 2):
                self._append(side, start, pcm[2 * (start - position) : 2 * (end - position)])
        else:
            self._append(side, position, pcm)

    def _said(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what of a stretch lies outside all pauses."""
        for paused, resumed in self._pauses:
            if paused > start:
                if paused >= end:
                    break
                yield start, paused
            if resumed is None:
                return
            start = max(start, resumed)
        if start < end:
            yield start, end

    def _append(self, side: int, position: int, pcm: bytes) -> None:
        run = self._runs[side]
        if run.end != position:
            self._end_run(side)
            run.position = position
        run.frames.append(pcm)
        run.end = position + len(pcm) // 2
        self.waiting += len(pcm) // 2

    def _end_run(self, side: int) -> None:
        run = self._runs[side]
        if run.frames:
            self._pieces.append(Piece(side, run.position, run.end - run.position, b"".join(run.frames)))
            run.frames = []
        run.end = -1

    def _silence(self, side: int, start: int, end: int) -> None:
        if end > start:
            self._end_run(side)
            self._pieces.append(Piece(side, start, end - start, None))


class _Run:
    """Frames that lie one behind the other."""

    __slots__ = ("end", "frames", "position", "side")

    def __init__(self, side: int) -> None:
        self.side = side
        self.position, self.end = 0, -1
        self.frames: list[bytes] = []
