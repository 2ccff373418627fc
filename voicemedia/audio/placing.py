"""Where the frames of a caller lie on our time line, to the sample.

Frames come gapless on the caller's media clock, whenever the network lets them. Placed where the fastest of them came,
all lie where they would have come through an idle network. Three things break that line:

- The clocks of caller and server drift apart: single samples are left out, or said twice, where it is heard least.
- A carrier sends nothing while its caller is silent: what comes later than the line allows begins a new one, unless
  it catches up with the old one within a second, for then it was only held up.
- A page sends a recording when it is over: it was spoken before it came, so it ends where it came.

All positions are in samples.
"""

from math import inf
from typing import Final

import numpy as np

from voicemedia.audio.skew import Skew

SETTLE_S: Final = 1.0
"How long the first frames, and those after a gap, are looked at before they are placed."
LATE_S: Final = 0.25
"A frame later than this may be the first after a gap."
EVERY_S: Final = 0.25
"At most one sample is corrected in this time: 500 ppm at 8 kHz."

Placed = tuple[int, bytes]
"Position of the first sample; s16le."


class Placing:
    """The frames of one caller.

    :param rate_hz: of the sound, and of the positions.
    :ivar end: position behind the last sample placed.
    :ivar corrected: samples said twice, less those left out.
    """

    __slots__ = (
        "_correct_from",
        "_every",
        "_late",
        "_least",
        "_media",
        "_offset",
        "_settle",
        "_since",
        "_skew",
        "_waiting",
        "_waiting_media",
        "corrected",
        "end",
    )

    def __init__(self, rate_hz: int) -> None:
        self._settle, self._late, self._every = (seconds * rate_hz for seconds in (SETTLE_S, LATE_S, EVERY_S))
        self._skew = Skew(rate_hz)
        self._media = 0
        "Samples that have come."
        self._offset: int | None = None
        "Position less media time, of what is placed now."
        self._waiting: list[bytes] = []
        self._waiting_media, self._since, self._least = 0, 0.0, inf
        self._correct_from = 0
        self.end = self.corrected = 0

    def put(self, frame: bytes, now: float) -> list[Placed]:
        """Take the next frame, which comes now; return what can be placed."""
        if self._waiting and now - self._since >= self._settle:
            return self.flush() + self.put(frame, now)
        late = now - self._media
        offset = self._offset
        if offset is not None and not self._waiting and late - offset <= self._late:
            return [self._place(frame, now, late, offset)]
        if not self._waiting:
            self._waiting_media, self._since, self._least = self._media, now, inf
        self._waiting.append(frame)
        self._media += len(frame) // 2
        self._least = min(self._least, late)
        if offset is not None and late - offset <= self._late:
            return self._join(offset)
        return []

    def due(self, now: float) -> list[Placed]:
        """Place what has been looked at for long enough."""
        return self.flush() if self._waiting and now - self._since >= self._settle else []

    def flush(self) -> list[Placed]:
        """Place what waits: behind a gap, as far back as the fastest of its frames says and there is room."""
        if not self._waiting:
            return []
        self._skew.restart()
        return self._join(max(round(self._least), self.end - self._waiting_media))

    def _join(self, offset: int) -> list[Placed]:
        pcm = b"".join(self._waiting)
        self._waiting = []
        self._offset = offset
        position = self._waiting_media + offset
        self.end = position + len(pcm) // 2
        return [(position, pcm)]

    def _place(self, frame: bytes, now: float, late: float, offset: int) -> Placed:
        skew = self._skew
        skew.add(now, late)
        position = self._media + offset
        self._media += len(frame) // 2
        if skew.error is not None and self._media >= self._correct_from:
            frame = self._correct(frame, skew.at(now) - offset, max(1.0, skew.error))
        self.end = position + len(frame) // 2
        return position, frame

    def _correct(self, frame: bytes, off: float, heeded: float) -> bytes:
        """Bring what comes after this frame a sample nearer to where it belongs, if it is off."""
        if abs(off) < heeded or abs(off) > self._late:
            return frame
        self._correct_from = self._media + int(self._every)
        change = 1 if off > 0 else -1
        assert self._offset is not None
        self._offset += change
        self.corrected += change
        return stretch(frame) if change > 0 else shrink(frame)


def _smoothest(frame: bytes) -> int:
    """Find the sample that differs least from the one before it."""
    samples = np.frombuffer(frame, "<i2").astype(np.int32)
    return int(np.argmin(np.abs(np.diff(samples)))) + 1


def shrink(frame: bytes) -> bytes:
    """Leave out a sample where it is heard least."""
    at = 2 * _smoothest(frame)
    return frame[:at] + frame[at + 2 :]


def stretch(frame: bytes) -> bytes:
    """Say a sample twice where it is heard least."""
    at = 2 * _smoothest(frame)
    return frame[:at] + frame[at - 2 : at] + frame[at:]
