"""Make speech easier to recognize: cut off rumble, suppress noise, leave out what is no speech.

Each step takes sound in pieces of any even length and gives what is ready. `Suppressor` needs the extra `dsp`.
"""

from collections import deque
from functools import cache
from math import cos, pi, sin, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicemedia.errors import ConfigError
from voicemedia.interfaces import FRAME_MS

Block = NDArray[np.float64]

BLOCK_MS: Final = 10
SUPPRESSOR_HZ: Final = 16_000
"What WebRTC's suppressor takes."


@cache
def _high_pass(rate_hz: int, cutoff_hz: int) -> tuple[Block, Block, Block, tuple[Block, ...]]:
    """Write a Butterworth high-pass of second order as matrices that filter a block at once.

    Its two numbers of state come from the bilinear transform (Bristow-Johnson's cookbook, transposed form II).
    Returned: inputs to outputs, state to outputs, inputs to the state after, and the powers of the state's own step.
    """
    count = rate_hz * BLOCK_MS // 1000
    turn = 2 * pi * cutoff_hz / rate_hz
    alpha = sin(turn) / sqrt(2)
    scale = 1 + alpha
    b0, a1, a2 = (1 + cos(turn)) / 2 / scale, -2 * cos(turn) / scale, (1 - alpha) / scale
    step = np.array([[-a1, 1.0], [-a2, 0.0]])
    entry = np.array([-2 * b0 - a1 * b0, b0 - a2 * b0])
    powers = [np.eye(2)]
    for _ in range(count):
        powers.append(step @ powers[-1])
    response = np.array([b0, *(power[0] @ entry for power in powers[: count - 1])])
    row, column = np.indices((count, count))
    # A sample answers to itself and to those before it.
    through = np.where(row >= column, response[np.abs(row - column)], 0.0)
    onward = np.stack([powers[count - 1 - at] @ entry for at in range(count)], axis=1)
    return through, np.stack([power[0] for power in powers[:count]]), onward, tuple(powers)


class HighPass:
    """Takes away what is lower than a voice: hum, rumble, handling. No delay.

    :param cutoff_hz: where 3 dB are lost; an octave lower 12 dB more.
    """

    def __init__(self, rate_hz: int, cutoff_hz: int = 100) -> None:
        self._through, self._ringing, self._onward, self._powers = _high_pass(rate_hz, cutoff_hz)
        self._count = len(self._through)
        self._state: Block = np.zeros(2)

    def feed(self, pcm: bytes) -> bytes:
        """Take s16le; return as much."""
        samples = np.frombuffer(pcm, "<i2").astype(np.float64)
        blocks = [self._filter(samples[at : at + self._count]) for at in range(0, len(samples), self._count)]
        if not blocks:
            return b""
        return np.clip(np.rint(np.concatenate(blocks)), -32768, 32767).astype("<i2").tobytes()

    def _filter(self, block: Block) -> Block:
        count = len(block)
        filtered: Block = self._through[:count, :count] @ block + self._ringing[:count] @ self._state
        self._state = self._onward[:, self._count - count :] @ block + self._powers[count] @ self._state
        return filtered


class Suppressor:
    """WebRTC's noise suppression and gain control, at 16 kHz; gives blocks of 10 ms.

    :param level: how much noise is suppressed, 0 (not at all) to 4.
    :param gain_dbfs: how far below full scale speech is brought, 1 to 31; 0: its level is left alone.
    :raises ConfigError: `webrtc-noise-gain` is not installed.
    """

    def __init__(self, level: int, gain_dbfs: int = 0) -> None:
        try:
            from webrtc_noise_gain import AudioProcessor
        except ImportError as error:
            raise ConfigError("noise suppression needs webrtc-noise-gain: pip install 'voicemedia[dsp]'") from error
        self._filter = AudioProcessor(gain_dbfs, level).Process10ms
        self._size = SUPPRESSOR_HZ * BLOCK_MS // 1000 * 2
        self._rest = b""

    def feed(self, pcm: bytes) -> bytes:
        """Take s16le; return all whole blocks there are."""
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % self._size
        self._rest = pcm[whole:]
        blocks = (pcm[at : at + self._size] for at in range(0, whole, self._size))
        return b"".join(bytes(self._filter(block).audio) for block in blocks)


class Gate:
    """Lets speech through, with a little of what came before it, and of silence only a sign of life.

    It is open until the first utterance has ended: an owner that never tells of utterances loses nothing.

    :param before_ms: sound before speech was noticed that is let through.
    :param silence_every_ms: so often `SIGN_MS` of silence are let through.
    """

    SIGN_MS: Final = 100

    def __init__(self, before_ms: int = 300, silence_every_ms: int = 5000) -> None:
        self._held: deque[bytes] = deque(maxlen=max(before_ms, self.SIGN_MS) // FRAME_MS)
        self._before = before_ms // FRAME_MS
        self._every = silence_every_ms // FRAME_MS
        self._silent = 0
        "Frames since sound was let through."
        self._shut = False
        self.clock = GateClock()

    def feed(self, frame: bytes) -> list[bytes]:
        """Take a frame of 20 ms; return those that go through now."""
        if not self._shut:
            self.clock.passed(1)
            return [frame]
        if len(self._held) == self._held.maxlen:
            self.clock.dropped(1)
        self._held.append(frame)
        self._silent += 1
        return self._release(self.SIGN_MS // FRAME_MS) if self._silent >= self._every else []

    def speech(self) -> list[bytes]:
        """Open: the caller has begun to speak. Return the frames that belong to that."""
        if not self._shut:
            return []
        self._shut = False
        return self._release(self._before)

    def silence(self) -> None:
        """Close: the utterance is over."""
        self._shut = True
        self._silent = 0

    def _release(self, count: int) -> list[bytes]:
        """Let the last `count` frames held through."""
        frames = list(self._held)[-count:] if count else []
        self.clock.dropped(len(self._held) - len(frames))
        self.clock.passed(len(frames))
        self._held.clear()
        self._silent = 0
        return frames


class GateClock:
    """Tells when sound that went through a gate was said."""

    def __init__(self) -> None:
        self._through = 0
        self._dropped = 0
        self._steps: deque[tuple[int, int]] = deque([(0, 0)], maxlen=256)
        "Frames let through and dropped, whenever frames were dropped between two that went through."

    def passed(self, frames: int) -> None:
        """Take note of frames let through."""
        if frames and self._dropped != self._steps[-1][1]:
            self._steps.append((self._through, self._dropped))
        self._through += frames

    def dropped(self, frames: int) -> None:
        """Take note of frames left out."""
        self._dropped += frames

    def said_ms(self, through_ms: int) -> int:
        """Give the time at which what stands at `through_ms` behind the gate was said."""
        for through, dropped in reversed(self._steps):
            if through * FRAME_MS <= through_ms:
                return through_ms + dropped * FRAME_MS
        return through_ms
