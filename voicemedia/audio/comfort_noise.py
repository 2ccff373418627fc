"""The noise a peer describes instead of sending its silence (RFC 3389)."""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

ORDER_MAX: Final = 10
"More coefficients say nothing that can be heard; whoever sends them gets the first."
REACH: Final = 160
"Samples a spectrum rings on."
LOUDEST: Final = 30
"dB below full scale: no background noise is louder, whatever is said of it."

Block = NDArray[np.float64]


@cache
def _white() -> Block:
    """Make a second of white noise of power 1, the same on every machine."""
    return np.random.Generator(np.random.PCG64(3389)).standard_normal(8_191)


class ComfortNoise:
    """Noise of the level and spectrum that was last described.

    :ivar described: the payload that described it.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self.described = b""
        self._noise = b""
        self._at = 0

    def describe(self, payload: bytes) -> None:
        """Take a payload: the level in dB below full scale, then reflection coefficients; empty: nothing changes."""
        if not payload or payload == self.described:
            return
        self.described = payload
        sound = _white()
        if len(payload) > 1:
            ring = _ring(payload[1 : 1 + ORDER_MAX])
            sound = np.convolve(np.concatenate((sound, sound[: len(ring) - 1])), ring, "valid")
        level = 32767 * 10 ** (-max(payload[0] & 0x7F, LOUDEST) / 20)
        sound = sound * (level / float(np.sqrt(np.mean(sound * sound))))
        self._noise = np.clip(np.rint(sound), -32768, 32767).astype("<i2").tobytes()

    def make(self, samples: int) -> bytes:
        """Make the next of it; before any description, silence."""
        if not self._noise:
            return bytes(2 * samples)
        start, size = self._at, 2 * samples
        self._at = (start + size) % len(self._noise)
        turns = (start + size) // len(self._noise) + 1
        return (self._noise * turns)[start : start + size]


def _ring(quantized: bytes) -> Block:
    """Return the impulse response of the all-pole filter with these reflection coefficients (section 3)."""
    # 258 * (n - 127) / 32768; 0xFF would be beyond 1, which no stable filter has.
    reflections = [min(max(258 * (number - 127) / 32768, -0.99), 0.99) for number in quantized]
    poles = np.ones(1)
    for reflection in reflections:
        longer = np.append(poles, 0.0)
        poles = longer + reflection * longer[::-1]
    ring = np.zeros(REACH)
    ring[0] = 1.0
    for place in range(1, REACH):
        reach = min(place, len(poles) - 1)
        ring[place] = -float(np.dot(poles[1 : reach + 1], ring[place - 1 :: -1][:reach]))
    return ring
