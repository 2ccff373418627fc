"""Sounds of the telephone itself: it rings, a key, music while one waits. Frames of 20 ms, at the rate asked for."""

import math
from array import array
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from typing import Final

from voicemedia.audio.frames import Framer, silence
from voicemedia.interfaces import FRAME_MS

Source = Callable[[], bytes]
"Gives the next frame, for ever."

RING_HZ: Final = 425
RING_ON_MS: Final = 1000
RING_OFF_MS: Final = 4000
RING_LEVEL: Final = 0.08
KEY_LEVEL: Final = 0.25
KEY_PAUSE_MS: Final = 100
LOW_HZ: Final = (697, 770, 852, 941)
HIGH_HZ: Final = (1209, 1336, 1477, 1633)
KEYPAD: Final = ("123A", "456B", "789C", "*0#D")


def ringing(rate_hz: int) -> Source:
    """Return the tone of a telephone that rings far away (ITU-T E.182; the European cadence)."""
    tone = _tone((RING_HZ,), RING_ON_MS, RING_LEVEL, rate_hz)
    return looped(tone + bytes(2 * rate_hz * RING_OFF_MS // 1000), rate_hz)


def looped(pcm: bytes, rate_hz: int) -> Source:
    """Return a sound that begins anew when it is over; silence when there is none."""
    framer = Framer(rate_hz)
    frames = [*framer.feed(pcm), *filter(None, [framer.flush()])] or [silence(rate_hz)]
    endless: Iterator[bytes] = cycle(frames)
    return lambda: next(endless)


@cache
def key_tone(key: str, duration_ms: int, rate_hz: int) -> bytes:
    """Return the two tones of a key and the pause after it, in whole frames (ITU-T Q.23).

    :raises StopIteration: never for one of `0123456789*#ABCD`.
    """
    row, column = next((row, keys.index(key)) for row, keys in enumerate(KEYPAD) if key in keys)
    whole_ms = -(-duration_ms // FRAME_MS) * FRAME_MS
    tone = _tone((LOW_HZ[row], HIGH_HZ[column]), whole_ms, KEY_LEVEL, rate_hz)
    return tone + bytes(2 * rate_hz * KEY_PAUSE_MS // 1000)


def _tone(pitches_hz: tuple[int, ...], duration_ms: int, level: float, rate_hz: int) -> bytes:
    steps = [2 * math.pi * pitch / rate_hz for pitch in pitches_hz]
    volume = 32767 * level
    samples = (volume * sum(math.sin(step * at) for step in steps) for at in range(rate_hz * duration_ms // 1000))
    return array("h", (round(sample) for sample in samples)).tobytes()
