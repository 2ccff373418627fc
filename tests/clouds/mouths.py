"""What the stand-ins of speech services speak with: tones as long as their text, or a real synthesizer."""
# mypy: disallow-untyped-calls=False

import math
import struct
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

MS_PER_CHARACTER = 60


@dataclass(frozen=True)
class Voiced:
    """A sentence as sound, s16le."""

    pcm: bytes
    begins_ms: list[int]
    "When each character begins to sound."


class Mouth(Protocol):
    """Speaks one sentence."""

    def speak(self, text: str, rate_hz: int) -> Deferred[Voiced]:
        """Give its sound."""


class ToneMouth:
    """A tone of 440 Hz, 60 ms a character: silence where the text has a space."""

    def speak(self, text: str, rate_hz: int) -> Deferred[Voiced]:
        each = rate_hz * MS_PER_CHARACTER // 1000
        tone = [round(8000 * math.sin(2 * math.pi * 440 * number / rate_hz)) for number in range(each)]
        pieces = [struct.pack(f"<{each}h", *tone), bytes(2 * each)]
        return succeed(
            Voiced(
                b"".join(pieces[char.isspace()] for char in text),
                [number * MS_PER_CHARACTER for number in range(len(text))],
            )
        )


class EspeakMouth:
    """Speaks for real, with the offline synthesizer."""

    def __init__(self, reactor: Any) -> None:
        from voicemedia.tts import espeak

        self._voice = espeak.make(espeak.Options(), reactor)
        self._started = self._voice.start()

    def speak(self, text: str, rate_hz: int) -> Deferred[Voiced]:
        sound = bytearray()
        words: list[tuple[int, int]] = [(0, 0)]
        spoken = self._voice.speak(text, rate_hz, sound.extend, lambda at, ms: words.append((at, ms)))

        def tell(_done: None) -> Voiced:
            begins = [max((ms for at, ms in words if at <= place), default=0) for place in range(len(text))]
            return Voiced(bytes(sound), begins)

        return spoken.addCallback(tell)


def mouth_named(name: str, reactor: Any) -> Mouth:
    """Choose a mouth for the command line: `real` or `tones`."""
    return EspeakMouth(reactor) if name == "real" else ToneMouth()
