"""The carrier's playback buffer: what it is sent it plays to the caller in real time, no faster.

Nothing ticks in here: every sound is given its place on the time line when it comes. Places are counted in samples
since the call began (8 a millisecond).
"""

from collections import deque

from voicemedia.callers.sound import SAMPLES_PER_MS, SILENCE, audible


class Playback:
    """Plays one call's sound; knows the marks between the sounds and what was audible."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, bytes]] = []
        self._marks: deque[tuple[int, str]] = deque()
        self._end = 0
        self._last_audible = 0

    @property
    def end_ms(self) -> float:
        """When the last queued sound will have been played."""
        return self._end / SAMPLES_PER_MS

    @property
    def last_audible_ms(self) -> float:
        """When the last audible sound was, or will be, over."""
        return self._last_audible / SAMPLES_PER_MS

    def play(self, ulaw: bytes, now_ms: float) -> float | None:
        """Queue sound; return when its first audible sample will be heard, None when it is all silence."""
        start = max(self._end, int(now_ms * SAMPLES_PER_MS))
        self._pieces.append((start, ulaw))
        self._end = start + len(ulaw)
        loud = audible(ulaw)
        if loud is None:
            return None
        self._last_audible = start + loud[1]
        return (start + loud[0]) / SAMPLES_PER_MS

    def mark(self, name: str, now_ms: float) -> None:
        """Queue a mark behind the sound queued so far; `due` returns it when that has been played."""
        self._marks.append((max(self._end, int(now_ms * SAMPLES_PER_MS)), name))

    def due(self, now_ms: float) -> list[str]:
        """Return the marks whose sound has been played by now."""
        now = now_ms * SAMPLES_PER_MS
        names = []
        while self._marks and self._marks[0][0] <= now:
            names.append(self._marks.popleft()[1])
        return names

    def clear(self, now_ms: float) -> list[str]:
        """Throw away what has not been played; return all pending marks, as the carrier does at once."""
        now = int(now_ms * SAMPLES_PER_MS)
        self._pieces = [(start, ulaw[: now - start]) for start, ulaw in self._pieces if start < now]
        self._end = min(self._end, now)
        self._last_audible = min(self._last_audible, now)
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def heard(self, now_ms: float) -> bytes:
        """Return all the caller heard up to now, with the silence in between: mu-law, 8 kHz."""
        heard = bytearray([SILENCE]) * int(now_ms * SAMPLES_PER_MS)
        for start, ulaw in self._pieces:
            audible_part = ulaw[: max(0, len(heard) - start)]
            heard[start : start + len(audible_part)] = audible_part
        return bytes(heard)
