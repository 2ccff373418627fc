"""What the acoustic model listens to, made from sound at 16 or 8 kHz: cepstra, a vector each 10 ms.

The model's own front end is here again (`fe_sigproc.c` and `fe_noise.c` of PocketSphinx 5; a test compares the
two), because two things cannot be done behind it:

* The mean of a caller's speech is taken off. The decoder, fed as a stream, takes off the same constant from everybody.
  What a first second holds is as much its words as its voice and line, so each sound is compared with what the model
  expects of such sounds (`pocketsphinx_model`), and only what is left over counts as voice and line.
* Telephone sound ends at 3.4 kHz, the model at 6.8. What is missing above is estimated from what is there below, again
  by the model's own Gaussians. No sound is made up, only 5 of 25 energies.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicemedia.stt.pocketsphinx_model import FILTERS, speech, to_energies

Block = NDArray[np.float64]

LOWEST_HZ: Final = 130.0
HIGHEST_HZ: Final = 6800.0
PRE_EMPHASIS: Final = 0.97
FRAMES_PER_S: Final = 100
WINDOW_S: Final = 0.025625
FFT: Final = 512
"Points at 16 kHz, half of them at 8: the same 31.25 Hz apart."
ON_THE_LINE: Final = slice(0, 20)
"Filters with enough of a telephone line in them: centers from 203 to 3813 Hz."

HOLD: Final = 100
"Frames looked at before the first is given out: 400 ms of pre-roll and the first 600 ms of speech."
LOOK_BACK: Final = 1000
"Frames of this utterance the mean is taken of."
USUAL: Final = (40.0, 3.0, -1.0)
"The first of the mean cepstra, where nobody has spoken yet (`cmninit`)."
USUAL_SHAPE: Final = 20
"Frames the usual mean's shape counts for."
USUAL_LEVEL: Final = 10
"And its level: lines differ in it more than in shape."
ROUNDS: Final = 4
"Times the first mean is estimated anew, the sounds being known better each time."
REMEMBERED: Final = 300
"Speech frames of the caller's earlier utterances that count, at most: a `yes` alone is no fair sample of a voice."
LOUD: Final = 6.0
"Speech is what comes within this (log energy; 26 dB) of the loudest, unless noise is nearer."


@cache
def mel_bank() -> Block:
    """Return the weights of each FFT bin (rows) in each filter (columns)."""
    step_hz = 16000 / FFT
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (LOWEST_HZ, HIGHEST_HZ))
    corners = 700 * (10 ** (np.linspace(low, high, FILTERS + 2) / 2595) - 1)
    corners = np.floor(corners / step_hz + 0.5) * step_hz
    left, center, right = corners[:-2], corners[1:-1], corners[2:]
    hz = np.arange(FFT // 2 + 1)[:, None] * step_hz
    slopes = np.minimum((hz - left) / (center - left), (right - hz) / (right - center))
    return np.asarray(np.maximum(slopes, 0) * 2 / (right - left))


class Spectra:
    """Sound of one utterance, as energies in mel filters.

    :param rate_hz: 16000, or 8000, where filters above 4 kHz stay empty.
    """

    def __init__(self, rate_hz: int) -> None:
        self._wide = rate_hz == 16000
        self._shift = rate_hz // FRAMES_PER_S
        self._size = int(rate_hz * WINDOW_S)
        self._fft = FFT * rate_hz // 16000
        self._window = np.hamming(self._size)
        bins = np.arange(self._fft // 2 + 1)
        # The sampled sum of half as many samples is half as large; 16 kHz pre-emphasis is done to the spectrum.
        emphasis = np.abs(1 - PRE_EMPHASIS * np.exp(-2j * np.pi * bins / FFT)) ** 2
        self._weights = mel_bank()[: len(bins)] * (1 if self._wide else (4 * emphasis)[:, None])
        self._last = 0.0
        self._samples: Block = np.zeros(0)

    def feed(self, pcm: bytes) -> Block:
        """Take whole samples; return the energies of the frames they complete, one a row."""
        fresh = np.frombuffer(pcm, "<i2").astype(float)
        if self._wide and len(fresh):
            before = np.concatenate(([self._last], fresh[:-1]))
            self._last = fresh[-1]
            fresh = fresh - PRE_EMPHASIS * before
        self._samples = np.concatenate((self._samples, fresh))
        frames = max(0, (len(self._samples) - self._size) // self._shift + 1)
        if not frames:
            return np.zeros((0, FILTERS))
        views = np.lib.stride_tricks.sliding_window_view(self._samples, self._size)[:: self._shift][:frames]
        power = np.abs(np.fft.rfft(views * self._window, self._fft)) ** 2
        self._samples = self._samples[frames * self._shift :]
        return np.asarray(power @ self._weights)


class Quieter:
    """Takes steady noise off energies, as the model's training did (`fe_noise.c`; its constants)."""

    GAIN: Final = 20.0
    REACH: Final = 4

    def __init__(self, filters: int) -> None:
        near = np.abs(np.subtract.outer(np.arange(filters), np.arange(filters))) <= self.REACH
        self._smooth = near / near.sum(axis=1, keepdims=True)
        self._power: Block | None = None

    def feed(self, energies: Block) -> Block:
        """Take frames; return them with less noise."""
        quiet = np.empty_like(energies)
        for number, frame in enumerate(energies):
            quiet[number] = frame * (self._smooth @ self._gain(frame))
        return quiet

    def _gain(self, frame: Block) -> Block:
        if self._power is None:
            self._power, self._noise, self._floor = frame, frame / self.GAIN, frame / self.GAIN
            self._peak = np.zeros(len(frame))
        self._power = 0.7 * self._power + 0.3 * frame
        self._noise = self._below(self._noise, self._power)
        signal = np.maximum(self._power - self._noise, 1.0)
        self._floor = self._below(self._floor, signal)
        self._peak = 0.85 * self._peak
        masked = np.where(signal < 0.85 * self._peak, 0.2 * self._peak, signal)
        self._peak = np.maximum(self._peak, signal)
        clear = np.maximum(masked, self._floor)
        return np.asarray(np.clip(clear / np.maximum(self._power, 1e-9), 1 / self.GAIN, self.GAIN))

    @staticmethod
    def _below(envelope: Block, now: Block) -> Block:
        return np.asarray(np.where(now >= envelope, 0.995 * envelope + 0.005 * now, 0.5 * envelope + 0.5 * now))


class Features:
    """One caller's cepstra, utterance by utterance, without the mean of voice and line.

    :param rate_hz: 8000 or 16000.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._heard = slice(0, FILTERS) if rate_hz == 16000 else ON_THE_LINE
        self._speech = speech(self._heard.start, self._heard.stop)
        self._filters = self._heard.stop - self._heard.start
        usual = to_energies()[self._heard, : len(USUAL)] @ np.array(USUAL)
        self._usual_level = usual.mean()
        self._usual_shape = usual - self._usual_level
        self._none: Block = np.zeros((0, self._filters))
        self._sum, self._count = self._none.sum(axis=0), 0.0
        "Of the speech frames of earlier utterances: what the model had not expected, and how many."
        self._utterance = self._beyond = self._none
        self.begin()

    def begin(self) -> None:
        """Begin an utterance; what was learned from those before it stays."""
        beyond = self._beyond[_loud(self._utterance)]
        self._sum, self._count = self._sum + beyond.sum(axis=0), self._count + len(beyond)
        if self._count > REMEMBERED:
            self._sum, self._count = self._sum * (REMEMBERED / self._count), REMEMBERED
        self._spectra, self._quieter = Spectra(self._rate_hz), Quieter(self._filters)
        self._held = self._utterance = self._beyond = self._none
        "Log energies not yet given out; given out; of those the part that the model had not expected."

    def feed(self, pcm: bytes) -> bytes:
        """Take whole samples; return cepstra that are ready, 13 little-endian floats each."""
        energies = self._spectra.feed(pcm)[:, self._heard]
        self._held = np.concatenate((self._held, np.log(self._quieter.feed(energies) + 1e-4)))
        return self.finish() if len(self._utterance) or len(self._held) >= HOLD else b""

    def finish(self) -> bytes:
        """Return the cepstra still held, at the end of an utterance."""
        held, self._held = self._held, self._none
        if not len(held):
            return b""
        if not len(self._utterance):
            self._mean = self._first_mean(held[_loud(held)])
        clear = held - self._mean
        expected = self._speech.expect(clear)
        beyond = held - self._speech.heard(expected)
        self._utterance = np.concatenate((self._utterance, held))[-LOOK_BACK:]
        self._beyond = np.concatenate((self._beyond, beyond))[-LOOK_BACK:]
        self._mean = self._weigh(self._beyond[_loud(self._utterance)])
        return self._speech.complete(clear, expected).astype("<f4").tobytes()

    def _first_mean(self, spoken: Block) -> Block:
        """Estimate voice and line of the beginning of an utterance."""
        mean = self._weigh(self._none if self._count else spoken)
        for _ in range(ROUNDS):
            mean = self._weigh(spoken - self._speech.heard(self._speech.expect(spoken - mean)))
        return mean

    def _weigh(self, beyond: Block) -> Block:
        """Return the mean of these frames, of those remembered, and of what is usual."""
        count = self._count + len(beyond)
        total = self._sum + beyond.sum(axis=0)
        level = total.mean()
        shape = (total - level + USUAL_SHAPE * self._usual_shape) / (count + USUAL_SHAPE)
        return np.asarray(shape + (level + USUAL_LEVEL * self._usual_level) / (count + USUAL_LEVEL))


def _loud(frames: Block) -> NDArray[np.bool_]:
    """Say which frames are speech."""
    if not len(frames):
        return np.zeros(0, bool)
    loudness = frames.mean(axis=1)
    quiet, loud = np.percentile(loudness, (10, 95))
    return np.asarray(loudness >= max(loud - LOUD, (quiet + loud) / 2))
