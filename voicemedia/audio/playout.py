"""What the caller will hear next, paced on the media clock.

Frame n of a talkspurt is to sound at `origin + 20 n` ms and may leave `lead_ms` before that, however late a tick
comes: a late tick sends more frames, it never stretches speech. A talkspurt ends when the peer has played all it
was sent; the next frame begins a new one, so pauses are not made up for.

Positions are counted in frames since the call began. What was heard is the clock's estimate, bounded below by the
marks that came back and corrected by how late marks come (the peer's own buffer and the way there and back).
"""

from collections import deque
from typing import Final

from voicemedia.interfaces import FRAME_MS

MAX_LAG_MS: Final = 1_000
"A mark later than this says something of the peer's marks, not of its playout."
MARK_GRACE_MS: Final = 1_000
"How long after its time a mark is waited for before the sound before it is taken as played."


class Playout:
    """The one queue of the way out.

    :param frame_bytes: length of a 20 ms frame.
    :param lead_ms: how far ahead of its time a frame may leave.
    """

    __slots__ = (
        "_frame_bytes",
        "_lag_ms",
        "_lead_ms",
        "_marks",
        "_next_mark",
        "_origin_ms",
        "_queue",
        "_rest",
        "_spurt_start",
        "cleared",
        "floor_heard",
        "put_frames",
        "sent_frames",
    )

    def __init__(self, frame_bytes: int, lead_ms: int) -> None:
        self._frame_bytes = frame_bytes
        self._lead_ms = lead_ms
        self._queue: deque[bytes | int] = deque()
        self._rest = b""
        self._origin_ms = 0
        self._spurt_start = 0
        self._next_mark = 1
        self._marks: deque[tuple[int, int]] = deque()
        self._lag_ms = 0
        self.put_frames = 0
        "Frames ever put in; those taken back by `clear` leave the count again."
        self.sent_frames = 0
        "Frames that left, likewise."
        self.floor_heard = 0
        "Position that a mark has proved heard."
        self.cleared = 0
        "The last mark number that came back, or will, because of `clear`."

    @property
    def lead_ms(self) -> int:
        """How far ahead of its time a frame may leave."""
        return self._lead_ms

    @property
    def queued(self) -> bool:
        """Whether something has not yet left."""
        return bool(self._queue or self._rest)

    def put(self, pcm: bytes, now_ms: int) -> None:
        """Append sound of any even length."""
        if not self._queue and now_ms > self._end_ms():
            self._origin_ms = now_ms
            self._spurt_start = self.sent_frames
        if len(pcm) == self._frame_bytes and not self._rest:
            self._queue.append(pcm)
            self.put_frames += 1
            return
        pcm, size = self._rest + pcm, self._frame_bytes
        whole = len(pcm) - len(pcm) % size
        self._queue.extend(pcm[at : at + size] for at in range(0, whole, size))
        self.put_frames += whole // size
        self._rest = pcm[whole:]

    def mark(self) -> int:
        """End a sentence: pad its last frame, append a mark, and return its number."""
        if self._rest:
            self._queue.append(self._rest.ljust(self._frame_bytes, b"\0"))
            self.put_frames += 1
            self._rest = b""
        number = self._next_mark
        self._next_mark += 1
        self._queue.append(number)
        return number

    def due(self, now_ms: int) -> list[bytes | int]:
        """Return what is to leave now: sound (frames joined) and mark numbers, in order."""
        queue = self._queue
        if not queue:
            return []
        may_leave = self._spurt_start + (now_ms + self._lead_ms - self._origin_ms) // FRAME_MS + 1
        out: list[bytes | int] = []
        frames: list[bytes] = []
        while queue:
            item = queue[0]
            if isinstance(item, int):
                if frames:
                    out.append(frames[0] if len(frames) == 1 else b"".join(frames))
                    frames = []
                out.append(item)
                self._marks.append((item, self.sent_frames))
            elif self.sent_frames < may_leave:
                frames.append(item)
                self.sent_frames += 1
            else:
                break
            queue.popleft()
        if frames:
            out.append(frames[0] if len(frames) == 1 else b"".join(frames))
        return out

    def marked(self, number: int, now_ms: int) -> bool:
        """Take a mark that came back; return whether everything before it was heard.

        False: it came because of our `clear`, or was never asked for.
        """
        if number <= self.cleared:
            return False
        while self._marks and self._marks[0][0] <= number:
            reached, position = self._marks.popleft()
            self.floor_heard = position
            if reached == number:
                if position > self._spurt_start:
                    late = now_ms - self._origin_ms - (position - self._spurt_start) * FRAME_MS
                    self._lag_ms = min(max(late, 0), MAX_LAG_MS)
                return True
        return False

    def heard_frames(self, now_ms: int) -> int:
        """Return the position that the caller has heard up to by now."""
        played = self._spurt_start + (now_ms - self._origin_ms - self._lag_ms) // FRAME_MS
        return max(self.floor_heard, min(self.sent_frames, played))

    def clear(self, now_ms: int) -> int:
        """Drop what is queued and what the peer has not played; return the position heard up to."""
        heard = self.heard_frames(now_ms)
        self._queue.clear()
        self._marks.clear()
        self._rest = b""
        self.cleared = self._next_mark - 1
        self.put_frames = self.sent_frames = self._spurt_start = self.floor_heard = heard
        self._origin_ms = now_ms - self._lag_ms
        return heard

    def played(self, now_ms: int) -> bool:
        """Whether nothing is queued and, by the clock and the marks, nothing left to sound at the peer."""
        if self._queue or self._rest:
            return False
        return now_ms >= self._end_ms() + (MARK_GRACE_MS if self._marks else self._lag_ms)

    def _end_ms(self) -> int:
        """When the last frame sent has sounded, by our clock."""
        return self._origin_ms + (self.sent_frames - self._spurt_start) * FRAME_MS
