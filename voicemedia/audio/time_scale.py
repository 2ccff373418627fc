"""Make sound a pitch period longer or shorter, so that nobody hears it (WSOLA).

A voice repeats itself from one pitch period to the next: one period can be left out or said twice, cross-faded over its
whole length. Where nothing is alike, nothing is done, unless it is too soft to be heard.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

LAG_MIN_MS: Final = 5
LAG_MAX_MS: Final = 15
LIKENESS_MS: Final = 15
NEEDED_MS: Final = LAG_MAX_MS + LIKENESS_MS
"Sound there must be to work on."
ALIKE: Final = 0.85
QUIET: Final = 120.0
"Root mean square of sound in which any seam goes unheard, about -49 dB."

Block = NDArray[np.float64]


@cache
def _rise(length: int) -> Block:
    return np.arange(1, length + 1) / (length + 1)


def find_lag(sound: Block, rate_hz: int, most_ms: float, alike: float = ALIKE) -> int:
    """Return by how many samples the beginning of a sound is most like itself; 0 when it is not enough.

    :param most_ms: a longer lag is of no use.
    """
    shortest, width = rate_hz * LAG_MIN_MS // 1000, rate_hz * LIKENESS_MS // 1000
    longest = int(rate_hz * min(most_ms, LAG_MAX_MS) / 1000)
    if longest < shortest:
        return 0
    head = sound[:width]
    energy = float(np.dot(head, head))
    if energy < QUIET * QUIET * width:
        return longest
    later = sound[shortest : longest + width]
    squares = np.concatenate(([0.0], np.cumsum(later * later)))
    energies = squares[width:] - squares[:-width]
    likeness = np.correlate(later, head, "valid") / np.sqrt(energies * energy + 1.0)
    best = int(np.argmax(likeness))
    return best + shortest if likeness[best] >= alike else 0


def shorten(sound: Block, lag: int) -> Block:
    """Leave out one period of `lag` samples at the beginning."""
    rise = _rise(lag)
    seam = sound[:lag] * (1 - rise) + sound[lag : 2 * lag] * rise
    return np.concatenate((seam, sound[2 * lag :]))


def lengthen(past: Block, sound: Block, lag: int) -> Block:
    """Say the last period of `lag` samples of what was heard once more, before the sound that follows."""
    rise = _rise(lag)
    seam = sound[:lag] * (1 - rise) + past[-lag:] * rise
    return np.concatenate((seam, sound))
