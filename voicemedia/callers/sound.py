"""What a caller says: WAV files of any kind, brought to the form of the line, and where the voice is in them."""

import struct
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicemedia.audio.pcm import alaw2lin, lin2lin, lin2ulaw, ulaw2lin
from voicemedia.errors import ConfigError

RATE_HZ: Final = 8000
SAMPLES_PER_MS: Final = RATE_HZ // 1000
SILENCE: Final = 0xFF
"The mu-law code of zero."

Samples = NDArray[np.float64]

PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
"Format codes of WAV files (RFC 2361)."


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing the caller says."""

    name: str
    "The file it came from."
    ulaw: bytes = field(repr=False)
    "8 kHz, mono."
    voice_start_ms: float
    voice_end_ms: float
    "After the last voiced sample; what follows in the file is silence."
    wide: bytes = field(default=b"", repr=False)
    "The same as s16le at 16 kHz, where a line wants it."

    @property
    def duration_ms(self) -> float:
        return len(self.ulaw) / SAMPLES_PER_MS


def load_utterance(path: Path, *, wide: bool = False) -> Utterance:
    """Read a WAV file as a caller would speak it.

    :param wide: to a line that carries more than a telephone's.
    :raises ConfigError: there is no such file, it is no WAV file we can read, or there is no voice in it.
    """
    rate_hz, whole = read_wav(path)
    samples = resample(whole, rate_hz)
    voice = voiced_ms(samples)
    if voice is None:
        raise ConfigError(f"{path}: nothing but silence; record it louder or name another file")
    wideband = to_pcm(resample(whole, rate_hz, WIDE.rate_hz)) if wide else b""
    return Utterance(path.name, lin2ulaw(to_pcm(samples), 2), *voice, wideband)


def to_pcm(samples: Samples) -> bytes:
    """Make s16le of samples from -1 to 1."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()


def read_wav(path: Path) -> tuple[int, Samples]:
    """Read a WAV file: its rate and its samples, mixed down to one channel, from -1 to 1.

    :raises ConfigError: the message says what is wrong with the file and how to make a good one.
    """
    try:
        riff = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    return read_riff(riff, path)


def read_riff(riff: bytes, path: Path) -> tuple[int, Samples]:
    """Read what stands in a WAV file.

    :param path: named where it is at fault.
    :raises ConfigError: it is.
    """
    if riff[:4] != b"RIFF" or riff[8:12] != b"WAVE":
        raise ConfigError(f"{path} is not a WAV file; convert it with: ffmpeg -i {path} speech.wav")
    chunks = dict(_chunks(riff))
    form = chunks.get(b"fmt ", b"")
    if len(form) < 16 or b"data" not in chunks:
        raise ConfigError(f"{path} is a damaged WAV file: it has no complete format or no sound")
    code, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if code == EXTENSIBLE and len(form) >= 26:
        (code,) = struct.unpack_from("<H", form, 24)
    if not channels or not rate_hz:
        raise ConfigError(f"{path} is a damaged WAV file: {channels} channels at {rate_hz} Hz")
    samples = _decode(path, chunks[b"data"], code, bits)
    whole = len(samples) // channels * channels
    mono: Samples = samples[:whole].reshape(-1, channels).mean(axis=1)
    return rate_hz, mono


def _chunks(riff: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk the chunks; a size beyond the end (a stream nobody could seek in) means the rest of the file."""
    at = 12
    while at + 8 <= len(riff):
        name, size = struct.unpack_from("<4sI", riff, at)
        yield name, riff[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _decode(path: Path, sound: bytes, code: int, bits: int) -> Samples:
    whole = sound[: len(sound) // max(1, bits // 8) * max(1, bits // 8)]
    match code, bits:
        case (1, 8):
            return (np.frombuffer(whole, np.uint8).astype(float) - 128) / 128
        case (1, 16):
            return np.frombuffer(whole, "<i2") / 32768
        case (1, 24):
            # The kernel takes three bytes a sample and gives four, the lowest one zero.
            return np.frombuffer(lin2lin(whole, 3, 4), "=i4") / 2**31
        case (1, 32):
            return np.frombuffer(whole, "<i4") / 2**31
        case (3, 32) | (3, 64):
            return np.frombuffer(whole, f"<f{bits // 8}").astype(float)
        case (6, 8):
            return np.frombuffer(alaw2lin(whole, 2), "=i2") / 32768
        case (7, 8):
            return np.frombuffer(ulaw2lin(whole, 2), "=i2") / 32768
    raise ConfigError(f"{path}: WAV format {code} with {bits} bits is not supported; convert it with ffmpeg to PCM")


HALF_WIDTH: Final = 16
"Zero crossings of the resampling kernel on each side."


def resample(samples: Samples, rate_hz: int, to_hz: int = RATE_HZ) -> Samples:
    """Bring a whole recording of any rate to 8 kHz or another rate, with a windowed sinc."""
    if rate_hz == to_hz or not len(samples):
        return samples
    cutoff = min(1.0, to_hz / rate_hz) * 0.94
    reach = int(HALF_WIDTH / cutoff) + 1
    padded = np.pad(samples, reach)
    count = len(samples) * to_hz // rate_hz
    taps = np.arange(1 - reach, reach + 1)
    pieces = []
    for first in range(0, count, to_hz):
        positions = np.arange(first, min(first + to_hz, count)) * (rate_hz / to_hz)
        floors = positions.astype(int)
        distance = taps[None, :] - (positions - floors)[:, None]
        window = np.cos(np.clip(distance / reach, -1, 1) * np.pi / 2) ** 2
        kernel = cutoff * np.sinc(distance * cutoff) * window
        pieces.append((padded[floors[:, None] + taps[None, :] + reach] * kernel).sum(axis=1))
    return np.concatenate(pieces) if pieces else samples[:0]


WINDOW: Final = 40
"Samples in 5 ms: how finely the voice's limits are found."
BELOW_LOUDEST: Final = 10 ** (-32 / 20)
"A window counts as voice down to 32 dB below the loudest one."
FAINTEST: Final = 0.001
"And never below this."


def voiced_ms(samples: Samples) -> tuple[float, float] | None:
    """Find where the voice begins and ends in 8 kHz sound; None when there is none."""
    count = len(samples) // WINDOW
    if not count:
        return None
    loudness = np.sqrt((samples[: count * WINDOW].reshape(count, WINDOW) ** 2).mean(axis=1))
    voiced = np.flatnonzero(loudness > max(FAINTEST, float(loudness.max()) * BELOW_LOUDEST))
    if not len(voiced):
        return None
    window_ms = WINDOW / SAMPLES_PER_MS
    return float(voiced[0]) * window_ms, float(voiced[-1] + 1) * window_ms


AUDIBLE_PEAK: Final = 200
"Of 32767: what is quieter than this (-44 dB) does not count as an answer."


@lru_cache(maxsize=1)
def _audible_codes() -> NDArray[np.bool_]:
    levels = np.frombuffer(ulaw2lin(bytes(range(256)), 2), "=i2").astype(int)
    loud: NDArray[np.bool_] = np.abs(levels) > AUDIBLE_PEAK
    return loud


def audible(ulaw: bytes) -> tuple[int, int] | None:
    """Find the first audible sample and the one after the last; None when all is silence."""
    return _limits(_audible_codes()[np.frombuffer(ulaw, np.uint8)])


def audible_wide(pcm: bytes) -> tuple[int, int] | None:
    """Do the same for s16le."""
    return _limits(np.abs(np.frombuffer(pcm, "<i2").astype(int)) > AUDIBLE_PEAK)


def _limits(loud: NDArray[np.bool_]) -> tuple[int, int] | None:
    places = np.flatnonzero(loud)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else None


@dataclass(frozen=True, slots=True)
class Form:
    """How sound is carried on a line."""

    rate_hz: int
    silence: bytes
    "One sample of it."
    audible: Callable[[bytes], tuple[int, int] | None]
    "Finds the first audible sample and the one after the last."
    to_pcm: Callable[[bytes], bytes]
    "Makes s16le of it."
    said: Callable[[Utterance], bytes]
    "What is said, in this form."

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return len(self.silence)

    @property
    def samples_per_ms(self) -> int:
        return self.rate_hz // 1000


ULAW: Final = Form(RATE_HZ, bytes([SILENCE]), audible, lambda ulaw: ulaw2lin(ulaw, 2), lambda utterance: utterance.ulaw)
"A telephone's."
WIDE: Final = Form(16_000, bytes(2), audible_wide, lambda pcm: pcm, lambda utterance: utterance.wide)
"A browser's."


def write_wav(path: Path, *channels: bytes, form: Form = ULAW) -> None:
    """Write sound, one `bytes` a channel, as a 16-bit WAV file; shorter channels end in silence."""
    pcm = [form.to_pcm(channel) for channel in channels]
    length = max(len(channel) for channel in pcm)
    frames = np.stack([np.frombuffer(channel.ljust(length, b"\0"), "=i2") for channel in pcm], axis=1)
    # Opened here: a writer of `wave` that cannot open its file complains a second time when it is forgotten.
    with path.open("wb") as out, wave.open(out, "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(form.rate_hz)
        file.writeframes(frames.astype("<i2").tobytes())
