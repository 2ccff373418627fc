"""Change the sample rate of a stream: a polyphase FIR filter, the same bytes out for any split of the input.

The filter passes to 0.85 of the lower Nyquist frequency and stops from 1.15 of it on: between 8 kHz and a higher
rate, 3.4 kHz is kept, and what would alias to below 3.4 kHz is gone. What lies between folds onto 3.4 to 4 kHz,
where telephone sound has nothing. The wide transition is what keeps the delay at 1.8 ms of an 8 kHz stream.

Outputs come in cycles of `up` for `down` inputs (2 for 1 from 8 to 16 kHz), each cycle one row of a matrix product.
Coefficients and samples are whole numbers, so their sums are exact in any order, and so the same on any machine.
"""

from functools import cache
from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

HALF: Final = 14.4
"Half the length of the filter in samples of the lower rate: 1.8 ms at 8 kHz."
KAISER_BETA: Final = 6.6
"Stops 68 dB at that length."
SCALE: Final = 1 << 20
"A coefficient of 1; |sample| * taps * this stays far below 2 ** 53."

Block = NDArray[np.float64]


@cache
def _bank(up: int, down: int) -> tuple[Block, int]:
    """Design the filter; return the matrix of one cycle and the inputs needed before an instant."""
    # The filter runs at `up` times the rate of the inputs, which is this many times the lower rate.
    steps = max(up, down)
    half = int(HALF * steps)
    reach = -(-half // up)
    instants = np.arange(up) * down
    # Row: input relative to the first in reach of the cycle; column: output of the cycle.
    inputs = np.arange(-reach, (up - 1) * down // up + reach + 1) * up
    offsets = instants[None, :] - inputs[:, None]
    inside = np.abs(offsets) <= half
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (offsets / (half + 1)) ** 2, 0, None))) * inside
    taps = np.sinc(offsets / steps) * window
    taps = np.rint(taps / taps.sum(axis=0) * SCALE)
    # Every phase passes a constant exactly: what rounding left goes to the largest coefficient.
    taps[np.argmax(taps, axis=0), np.arange(up)] += SCALE - taps.sum(axis=0)
    return taps, reach


class Resampler:
    """One stream from one rate to another.

    :param from_hz: any rate, but two that share no large divisor make long cycles (10 ms for 44.1 and 8 kHz).
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        divisor = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // divisor, from_hz // divisor
        self._from_hz = from_hz
        self._same = from_hz == to_hz
        self._rest = b""
        "Half a sample."
        if not self._same:
            self._taps, self._reach = _bank(self._up, self._down)
            self._width = len(self._taps)
        self._start_over()

    def _start_over(self) -> None:
        self._rest = b""
        self._taken = self._given = 0
        if not self._same:
            self._history: Block = np.zeros(self._reach)

    @property
    def delay_ms(self) -> float:
        """Sound that must have come after an instant before that instant is given out, at most."""
        return 0.0 if self._same else (self._width - self._reach) * 1000 / self._from_hz

    def feed(self, pcm: bytes) -> bytes:
        """Take s16le of any length, half samples too; return what is ready at the other rate."""
        if self._rest:
            pcm = self._rest + pcm
            self._rest = b""
        if len(pcm) & 1:
            self._rest = pcm[-1:]
            pcm = pcm[:-1]
        if self._same or not pcm:
            return pcm
        self._taken += len(pcm) // 2
        out = self._convert(np.concatenate((self._history, np.frombuffer(pcm, "<i2"))))
        self._given += len(out) // 2
        return out

    def flush(self) -> bytes:
        """The stream is over: return its end, so that all sound has kept its length, and start over."""
        if self._same:
            self._start_over()
            return b""
        missing = -(-self._taken * self._up // self._down) - self._given
        out = self._convert(np.concatenate((self._history, np.zeros(self._width + self._down))))
        self._start_over()
        return out[: 2 * missing]

    def _convert(self, samples: Block) -> bytes:
        """Filter whole cycles; keep what the next one needs."""
        down = self._down
        cycles = (len(samples) - self._width) // down + 1
        if cycles <= 0:
            self._history = samples
            return b""
        rows = np.lib.stride_tricks.sliding_window_view(samples, self._width)[: cycles * down : down]
        self._history = samples[cycles * down :]
        mixed: Block = np.ascontiguousarray(rows) @ self._taps
        return np.clip(np.rint(mixed / SCALE), -32768, 32767).astype("<i2").tobytes()
