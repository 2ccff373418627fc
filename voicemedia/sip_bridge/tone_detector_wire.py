"""Keys heard in the sound itself, for trunks that send them no other way (ITU-T Q.23, Q.24)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicemedia.sip_bridge.tones_wire import HIGH_HZ, KEYPAD, LOW_HZ

WINDOW_MS: Final = 20
HOP_MS: Final = 10
SURE: Final = 2
"Windows in a row that make a key: 30 ms of it; Q.24 wants 40 ms to be enough."
LEAST_LEVEL: Final = 100.0
"Root mean square below which nothing is a key: -50 dB."
PURE: Final = 0.6
"Of the power, so much lies in the two tones; speech is spread wider."
TWIST: Final = 8.0
"One tone may be so much stronger than the other, in power: 9 dB."
ALONE: Final = 5.0
"So much stronger, in power, is a tone than the others of its group."


Block = NDArray[np.float64]


class ToneDetector:
    """Listens to one stream.

    :param rate_hz: of its sound.
    """

    def __init__(self, rate_hz: int) -> None:
        self._size = rate_hz * WINDOW_MS // 1000
        self._hop = rate_hz * HOP_MS // 1000
        at = np.arange(self._size)
        turns = np.array(LOW_HZ + HIGH_HZ)[:, None] * at[None, :] / rate_hz
        self._waves = np.exp(-2j * np.pi * turns)
        self._rest = np.zeros(0)
        self._seen, self._times, self._told = "", 0, ""

    def feed(self, pcm: bytes) -> list[str]:
        """Take s16le of any even length; return the keys that were pressed."""
        samples = np.concatenate([self._rest, np.frombuffer(pcm, "<i2")])
        keys = []
        while len(samples) >= self._size:
            if key := self._look(samples[: self._size]):
                keys.append(key)
            samples = samples[self._hop :]
        self._rest = samples
        return keys

    def _look(self, window: Block) -> str:
        """Return a key when it has just become sure."""
        key = self._key(window)
        self._times = self._times + 1 if key == self._seen else 1
        self._seen = key
        if self._times < SURE or key == self._told:
            return ""
        self._told = key
        return key

    def _key(self, window: Block) -> str:
        energy = float(window @ window)
        if energy < LEAST_LEVEL**2 * self._size:
            return ""
        # The power of each tone as a share of all there is; two pure tones have all of it.
        power = np.abs(self._waves @ window) ** 2 * 2 / (self._size * energy)
        low, high = power[:4], power[4:]
        row, column = int(low.argmax()), int(high.argmax())
        one, other = float(low[row]), float(high[column])
        if one + other < PURE or not 1 / TWIST <= one / max(other, 1e-9) <= TWIST:
            return ""
        return KEYPAD[row][column] if _alone(low, row) and _alone(high, column) else ""


def _alone(group: Block, best: int) -> bool:
    return bool(np.delete(group, best).max() * ALONE < group[best])
