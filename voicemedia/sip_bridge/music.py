"""What callers on hold hear: a WAV file read at the start, or silence."""

import wave
from array import array

import numpy as np

from voicemedia.audio.resample import Resampler
from voicemedia.errors import ConfigError
from voicemedia.sip_bridge.tones_wire import Source, looped

LONGEST_S = 600


class Music:
    """One piece, from its beginning for everybody.

    :param path: a WAV file of 16 bits, mono or more; empty: silence.
    :raises ConfigError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._pcm, self._rate_hz = _read(path) if path else (b"", 8000)
        self._at_rate: dict[int, bytes] = {}

    def play(self, rate_hz: int) -> Source:
        """Begin to play at a rate."""
        if rate_hz not in self._at_rate:
            self._at_rate[rate_hz] = Resampler(self._rate_hz, rate_hz).feed(self._pcm)
        return looped(self._at_rate[rate_hz], rate_hz)


def _read(path: str) -> tuple[bytes, int]:
    try:
        with wave.open(path) as file:
            width, channels, rate_hz = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(min(file.getnframes(), LONGEST_S * rate_hz))
    except (OSError, wave.Error, EOFError) as error:
        raise ConfigError(f"sip.hold_music: {path}: {error}; give a WAV file, or none for silence") from error
    if width != 2:
        raise ConfigError(f"sip.hold_music: {path}: {8 * width} bits; give a WAV file of 16 bits")
    samples = np.frombuffer(raw, "<i2").reshape(-1, channels).mean(axis=1)
    return array("h", samples.astype("<i2").tobytes()).tobytes(), rate_hz
