"""Hide a hole in the sound: go on with the last pitch period, fading to silence.

After ITU-T G.711 Appendix I: the period is where the last 20 ms are most like what was 5 to 15 ms before; it is
repeated, at full level for 10 ms, then fading to nothing at 60 ms. Unlike there nothing is delayed: what was heard
is heard, so the step into the hole is spread over its first milliseconds, and the way out is a cross-fade.
"""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

REMEMBERED: Final = 4
"Pieces of sound kept; of 20 ms each they are more than the search looks back, 35 ms."
LIKENESS_MS: Final = 20
PERIOD_MIN_MS: Final = 5
PERIOD_MAX_MS: Final = 15
FULL_MS: Final = 10
MUTE_MS: Final = 60
RETURN_MS: Final = 4
"Length of the cross-fade into the sound that comes back."

Block = NDArray[np.float64]


class Concealer:
    """Makes up lost sound of one stream.

    :param full_ms: how long the repeated sound keeps its level.
    :param mute_ms: when it has faded to silence.
    """

    def __init__(self, rate_hz: int, full_ms: int = FULL_MS, mute_ms: int = MUTE_MS) -> None:
        self._rate_hz, self._full_ms, self._mute_ms = rate_hz, full_ms, mute_ms
        self._recent: deque[bytes] = deque(maxlen=REMEMBERED)
        self._period: Block | None = None
        "What is being repeated; None outside of a hole."
        self._step = 0.0
        "How far the repeated sound begins off where the last good sample led."
        self._made = 0
        "Samples made up in this hole."

    def good(self, pcm: bytes) -> bytes:
        """Take sound that came; return what to hear, which is the same object except right after a hole."""
        if self._period is not None:
            pcm = self._return(pcm)
        self._recent.append(pcm)
        return pcm

    def conceal(self, samples: int) -> bytes:
        """Make up this much; called again it continues the same hole."""
        if self._period is None:
            self._begin()
        return _pcm(self._continue(samples))

    def _samples(self, ms: int) -> int:
        return self._rate_hz * ms // 1000

    def _begin(self) -> None:
        """Find the pitch period, and round the seam of its repetition."""
        likeness, longest = self._samples(LIKENESS_MS), self._samples(PERIOD_MAX_MS)
        recent = np.frombuffer(b"".join(self._recent), "<i2").astype(np.float64)
        past = np.concatenate((np.zeros(max(0, likeness + longest + 1 - len(recent))), recent))
        period = self._find_period(past[-likeness - longest :], likeness)
        turn = past[-period:].copy()
        # Over its last quarter the repeated period becomes what came before its first sample.
        quarter = period // 4
        rise = np.arange(1, quarter + 1) / quarter
        turn[-quarter:] += rise * (past[-period - quarter : -period] - turn[-quarter:])
        self._period = turn
        self._step = float(past[-1] - past[-period - 1])
        self._made = 0

    def _find_period(self, past: Block, likeness: int) -> int:
        last = past[-likeness:]
        shortest = self._samples(PERIOD_MIN_MS)
        earlier = past[:-shortest]
        alike = np.correlate(earlier, last, "valid")
        squares = np.concatenate(([0.0], np.cumsum(earlier * earlier)))
        energy = squares[likeness:] - squares[:-likeness]
        best = int(np.argmax(alike / np.sqrt(energy + 1.0)))
        return len(past) - likeness - best

    def _continue(self, samples: int) -> Block:
        assert self._period is not None
        places = np.arange(self._made, self._made + samples)
        self._made += samples
        full, mute, seam = self._samples(self._full_ms), self._samples(self._mute_ms), self._samples(RETURN_MS)
        gain = np.clip((mute - places) / (mute - full), 0.0, 1.0)
        led = self._step * np.clip(1 - places / seam, 0.0, 1.0)
        return np.asarray(gain * (self._period[places % len(self._period)] + led))

    def _return(self, pcm: bytes) -> bytes:
        """Fade from what we made up to what came; the hole is over."""
        head = min(self._samples(RETURN_MS), len(pcm) // 2)
        rise = np.arange(1, head + 1) / (head + 1)
        came = np.frombuffer(pcm[: 2 * head], "<i2")
        mixed = (1 - rise) * self._continue(head) + rise * came
        if head:
            self._period = None
        return _pcm(mixed) + pcm[2 * head :]


def _pcm(sound: Block) -> bytes:
    return np.clip(np.rint(sound), -32768, 32767).astype("<i2").tobytes()
