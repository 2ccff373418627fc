"""Both sides of a call on one time line: the caller left, us right, to the sample.

The time line is the caller's media clock, on which every frame of theirs has its place whenever it came. What we play
is placed where that clock stood when it was heard: the sound of one stretch without a gap, and every stretch anew, so
that clocks that drift apart do not matter. What was taken back before it was heard is not there. Nothing is kept but
what has not been settled: a second or two.
"""

from collections import deque
from typing import Final

import numpy as np

WAIT_MS: Final = 2_000
"The caller's sound may come so late; then its time is taken for silence."
SPURT_MS: Final = 60
"Sound of ours that begins so soon after the last goes on with it."
BURST_MS: Final = 60
"What comes so far ahead of its time, after a silence, is the sound of that silence."
PAYMENT_MS: Final = 1_000
"It comes within this."
WINDOW_MS: Final = 10_000


class StereoTrack:
    """One call.

    :param now_ms: when it began.
    """

    def __init__(self, rate_hz: int, now_ms: int) -> None:
        self._rate_hz, self._origin_ms = rate_hz, now_ms
        self.settled = 0
        "Samples a side that have been given out."
        self._left = bytearray()
        self._left_end = 0
        self._right: deque[tuple[int, bytes]] = deque()
        self._right_end = 0
        self._ahead: deque[tuple[int, int]] = deque()
        "(when, samples the caller's clock is ahead of ours), falling: the first is the most of the window."
        self._owed, self._owed_until_ms = 0, 0
        "Silence put in for sound that may still come, and until when, once something has come; 0: nothing has."
        self._hidden: list[list[int]] = []
        "Start and end of what is not to be heard; of the last, the end may be missing."

    def _samples(self, ms: int) -> int:
        return ms * self._rate_hz // 1000

    def _place(self, now_ms: int) -> int:
        """Say where the caller's clock stands now."""
        return self._samples(now_ms - self._origin_ms) + (self._ahead[0][1] if self._ahead else 0)

    # --- what happens ---

    def heard(self, pcm: bytes, now_ms: int) -> None:
        """Take the caller's next sound."""
        if not self._ahead:
            begins = self._place(now_ms) - len(pcm) // 2
            self._silent(max(0, begins - self._left_end))
        elif self._owed:
            pcm = self._pay(pcm, now_ms)
        self._left += pcm
        self._left_end += len(pcm) // 2
        if self._owed:
            # A burst says nothing about clocks.
            return
        ahead = self._left_end - self._samples(now_ms - self._origin_ms)
        while self._ahead and self._ahead[-1][1] <= ahead:
            self._ahead.pop()
        self._ahead.append((now_ms, ahead))
        while now_ms - self._ahead[0][0] > WINDOW_MS:
            self._ahead.popleft()

    def _pay(self, pcm: bytes, now_ms: int) -> bytes:
        """Leave out what silence has been put in for already."""
        samples = len(pcm) // 2
        early = self._left_end + samples - self._place(now_ms) - self._samples(BURST_MS)
        self._owed_until_ms = self._owed_until_ms or now_ms + PAYMENT_MS
        if early <= 0:
            if now_ms > self._owed_until_ms:
                # Nothing came of that time: its sender's clock stood still.
                self._owed = 0
            return pcm
        left_out = min(samples, self._owed, early)
        self._owed -= left_out
        return pcm[2 * left_out :]

    def _silent(self, samples: int) -> None:
        self._left += bytes(2 * samples)
        self._left_end += samples

    def played(self, pcm: bytes, now_ms: int) -> None:
        """Take sound of ours, which is heard now, or right behind what was played before."""
        place = max(self._place(now_ms), self.settled)
        start = place if place - self._right_end > self._samples(SPURT_MS) else max(self._right_end, self.settled)
        self._right.append((start, pcm))
        self._right_end = start + len(pcm) // 2

    def cleared(self, now_ms: int) -> None:
        """What has not been heard was taken back."""
        place = max(self._place(now_ms), self.settled)
        while self._right and self._right[-1][0] >= place:
            self._right.pop()
        if self._right:
            start, pcm = self._right.pop()
            self._right.append((start, pcm[: 2 * (place - start)]))
        self._right_end = min(self._right_end, place)

    def hide(self, hidden: bool, now_ms: int) -> None:
        """Leave both sides out from now on, or no more."""
        open_already = bool(self._hidden) and len(self._hidden[-1]) == 1
        if hidden and not open_already:
            self._hidden.append([self._place(now_ms)])
        elif open_already and not hidden:
            self._hidden[-1].append(self._place(now_ms))

    # --- what is settled ---

    def settle(self, now_ms: int) -> bytes:
        """Return both sides, interleaved, as far as nothing about them can change any more."""
        place = self._place(now_ms)
        missing = place - self._samples(WAIT_MS) - self._left_end
        if missing > 0:
            self._silent(missing)
            self._owed, self._owed_until_ms = self._owed + missing, 0
        return self._give(min(self._left_end, place))

    def finish(self, now_ms: int) -> bytes:
        """The call is over: return the rest."""
        self.cleared(now_ms)
        end = max(self._left_end, self._right_end)
        self._silent(max(0, end - self._left_end))
        return self._give(end)

    def _give(self, end: int) -> bytes:
        count = end - self.settled
        if count <= 0:
            return b""
        both = np.zeros((count, 2), "<i2")
        both[:, 0] = np.frombuffer(self._left[: 2 * count], "<i2")
        while self._right and self._right[0][0] < end:
            start, pcm = self._right.popleft()
            at, fits = start - self.settled, min(len(pcm) // 2, end - start)
            both[at : at + fits, 1] = np.frombuffer(pcm[: 2 * fits], "<i2")
            if 2 * fits < len(pcm):
                self._right.appendleft((end, pcm[2 * fits :]))
        for first, last in ((each[0], each[-1] if len(each) > 1 else end) for each in self._hidden):
            both[max(0, first - self.settled) : max(0, last - self.settled)] = 0
        self._hidden = [each for each in self._hidden if len(each) == 1 or each[1] > end]
        del self._left[: 2 * count]
        self.settled = end
        return both.tobytes()
