"""Sound that says its own words: each word is a level, so that an ear of a few lines hears it without a mistake.

A recognizer that is tested with it shows every piece of sound that was lost, heard twice or heard in part. The
levels are those of mu-law, which a way over mu-law leaves as they are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from voicemedia.audio.g711 import decode_mulaw

FRAME_MS: Final = 20
WORD_FRAMES: Final = 8
GAP_FRAMES: Final = 2
UNDERSTOOD_FRAMES: Final = 6
"A word of which less is left is not understood."

WORDS: Final = tuple("".join(parts) for parts in product("bdgklm", "aeiou", "nrst"))
"120 words: ban, bar, bas ..."
_CODES: Final = tuple(bytes([code]) for code in (*range(0x00, 0x3C), *range(0x80, 0xBC)))
_LEVELS: Final = tuple(decode_mulaw(code) for code in _CODES)
_WORD_AT: Final = dict(zip(_LEVELS, WORDS, strict=True))
_LEVEL_OF: Final = dict(zip(WORDS, _LEVELS, strict=True))


def silence(ms: int, rate_hz: int = 8000) -> bytes:
    """Make s16le silence."""
    return bytes(2 * rate_hz * ms // 1000)


def speak(text: str, rate_hz: int = 8000) -> bytes:
    """Make the s16le sound of some of `WORDS`, 200 ms each, with the gap at the end of each."""
    samples = rate_hz * FRAME_MS // 1000
    return b"".join(
        _LEVEL_OF[word] * (samples * WORD_FRAMES) + bytes(2 * samples * GAP_FRAMES) for word in text.split()
    )


@dataclass(frozen=True)
class HeardWord:
    """One word and its time in the sound."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Heard:
    """What an ear understood."""

    words: tuple[HeardWord, ...]
    final: bool
    end_ms: int
    "Up to where the ear has listened."

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(word.text for word in self.words)


@dataclass
class MarkedEar:
    """Hears marked sound.

    :param pause_ms: silence that ends an utterance; 0: only `finish` does.
    """

    rate_hz: int
    pause_ms: int = 0
    _rest: bytes = b""
    _at_ms: int = 0
    _level: bytes = bytes(2)
    _run: int = 0
    _silence_ms: int = 0
    _words: list[HeardWord] = field(default_factory=list)

    def feed(self, pcm: bytes) -> list[Heard]:
        """Listen to s16le of any length; return what is new."""
        sound = self._rest + pcm
        size = 2 * self.rate_hz * FRAME_MS // 1000
        whole = len(sound) - len(sound) % size
        self._rest = sound[whole:]
        return [heard for at in range(0, whole, size) for heard in self._frame(sound[at : at + size])]

    def finish(self) -> Heard:
        """Give the final for what is left."""
        self._word()
        return self._final()

    def _frame(self, frame: bytes) -> Iterator[Heard]:
        # The middle decides: sound that was cut between two frames still has it.
        level = frame[len(frame) // 4 * 2 :][:2]
        known = len(self._words)
        if level != self._level:
            self._word()
            self._level, self._run = level, 0
        self._run += 1
        self._at_ms += FRAME_MS
        self._silence_ms = self._silence_ms + FRAME_MS if level == bytes(2) else 0
        if len(self._words) > known:
            yield Heard(tuple(self._words), False, self._at_ms)
        if self.pause_ms and self._words and self._silence_ms >= self.pause_ms:
            yield self._final()

    def _word(self) -> None:
        if self._level in _WORD_AT and self._run >= UNDERSTOOD_FRAMES:
            start_ms = self._at_ms - self._run * FRAME_MS
            self._words.append(HeardWord(_WORD_AT[self._level], start_ms, self._at_ms))
        self._run = 0

    def _final(self) -> Heard:
        heard = Heard(tuple(self._words), True, self._at_ms)
        self._words.clear()
        return heard


def frames(pcm: bytes, rate_hz: int = 8000) -> Iterable[bytes]:
    """Cut sound into frames of 20 ms."""
    size = 2 * rate_hz * FRAME_MS // 1000
    return (pcm[at : at + size] for at in range(0, len(pcm), size))
