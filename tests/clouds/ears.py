"""What the stand-ins of speech services hear with: a time line, a script, or a real recognizer."""

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

FRAME_MS = 20


@dataclass(frozen=True)
class Heard:
    """A word and where it stands in the sound given, in seconds."""

    text: str
    start_s: float
    end_s: float


class Ear(Protocol):
    """Hears one piece of s16le."""

    def hear(self, pcm: bytes, rate_hz: int) -> list[Heard]:
        """Give its words."""


def stamped(frame_count: int, rate_hz: int, first: int = 0) -> list[bytes]:
    """Make frames whose samples tell their own number (from 1), for a `TimelineEar`."""
    return [struct.pack("<h", number + 1) * (rate_hz // 50) for number in range(first, first + frame_count)]


class TimelineEar:
    """Hears of stamped sound exactly the words that were said in that stretch of time.

    A word of which a part is missing is heard mutilated, and one of which most is missing not at all: as with
    real recognizers, only whole words can be trusted.
    """

    def __init__(self, words: Iterable[tuple[str, float, float]]) -> None:
        self._words = list(words)

    def hear(self, pcm: bytes, rate_hz: int) -> list[Heard]:
        if not pcm:
            return []
        samples = memoryview(pcm).cast("h")
        first = samples[0]
        leading = next((at for at, sample in enumerate(samples) if sample != first), len(samples))
        from_s = first * FRAME_MS / 1000 - min(leading, rate_hz // 50) / rate_hz
        to_s = from_s + len(samples) / rate_hz
        heard = []
        for text, start_s, end_s in self._words:
            part = (min(end_s, to_s) - max(start_s, from_s)) / (end_s - start_s)
            if part <= 0.5:
                continue
            told = text if part > 0.999 else text[: max(1, int(len(text) * part))] + "-"
            heard.append(Heard(told, max(0.0, start_s - from_s), min(end_s, to_s) - from_s))
        return heard


class ScriptEar:
    """Hears one line after another, whatever the sound; the last one again and again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = deque(lines)

    def hear(self, pcm: bytes, rate_hz: int) -> list[Heard]:
        line = self._lines[0] if len(self._lines) == 1 else self._lines.popleft()
        texts = line.split()
        each_s = len(pcm) / 2 / rate_hz / max(1, len(texts))
        return [Heard(text, number * each_s, (number + 1) * each_s) for number, text in enumerate(texts)]


class SphinxEar:
    """Hears for real, with the offline recognizer's full language model (0.2 s per second of sound, blocking)."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder: Any = Decoder(samprate=16000, loglevel="FATAL")

    def hear(self, pcm: bytes, rate_hz: int) -> list[Heard]:
        from voicemedia.audio.resample import Resampler

        resampler = Resampler(rate_hz, 16000)
        decoder = self._decoder
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(resampler.feed(pcm) + resampler.flush(), full_utt=True)
        decoder.end_utt()
        # Fillers are written in brackets, pronunciation variants as `the(2)`.
        segments = [seg for seg in decoder.seg() or () if seg.word[0] not in "<[("]
        return [Heard(seg.word.split("(")[0], seg.start_frame / 100, (seg.end_frame + 1) / 100) for seg in segments]


def ear_named(name: str, lines: Iterable[str]) -> Ear:
    """Choose an ear for the command line: `real`, or the lines of a script."""
    return SphinxEar() if name == "real" else ScriptEar(lines)
