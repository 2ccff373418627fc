"""The carrier's playback buffer: what it is sent it plays to the caller in real time, no faster.

Nothing ticks in here: every sound is given its place on the time line when it comes. Places are counted in samples
since the call began (8 a millisecond on a telephone).
"""

from collections import deque

from voicemedia.callers.sound import ULAW, Form


class Playback:
    """Plays one call's sound; knows the marks between the sounds and what was audible."""

    def __init__(self, form: Form = ULAW) -> None:
        self.form = form
        self._pieces: list[tuple[int, bytes]] = []
        self._marks: deque[tuple[int, str]] = deque()
        self._end = 0
        self._last_audible = 0

    @property
    def end_ms(self) -> float:
        """When the last queued sound will have been played."""
        return self._end / self.form.samples_per_ms

    @property
    def last_audible_ms(self) -> float:
        """When the last audible sound was, or will be, over."""
        return self._last_audible / self.form.samples_per_ms

    def play(self, sound: bytes, now_ms: float) -> float | None:
        """Queue sound; return when its first audible sample will be heard, None when it is all silence."""
        start = max(self._end, int(now_ms * self.form.samples_per_ms))
        self._pieces.append((start, sound))
        self._end = start + len(sound) // self.form.width
        loud = self.form.audible(sound)
        if loud is None:
            return None
        self._last_audible = start + loud[1]
        return (start + loud[0]) / self.form.samples_per_ms

    def mark(self, name: str, now_ms: float) -> None:
        """Queue a mark behind the sound queued so far; `due` returns it when that has been played."""
        self._marks.append((max(self._end, int(now_ms * self.form.samples_per_ms)), name))

    def due(self, now_ms: float) -> list[str]:
        """Return the marks whose sound has been played by now."""
        now = now_ms * self.form.samples_per_ms
        names = []
        while self._marks and self._marks[0][0] <= now:
            names.append(self._marks.popleft()[1])
        return names

    def clear(self, now_ms: float) -> list[str]:
        """Throw away what has not been played; return all pending marks, as the carrier does at once."""
        now, width = int(now_ms * self.form.samples_per_ms), self.form.width
        self._pieces = [(start, sound[: (now - start) * width]) for start, sound in self._pieces if start < now]
        self._end = min(self._end, now)
        self._last_audible = min(self._last_audible, now)
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def heard(self, now_ms: float) -> bytes:
        """Return all the caller heard up to now, with the silence in between."""
        heard = bytearray(self.form.silence) * int(now_ms * self.form.samples_per_ms)
        for start, sound in self._pieces:
            at = start * self.form.width
            audible_part = sound[: max(0, len(heard) - at)]
            heard[at : at + len(audible_part)] = audible_part
        return bytes(heard)
