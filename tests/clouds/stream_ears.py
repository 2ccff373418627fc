"""What a stand-in for a cloud hears with: marked sound, a script, or pocketsphinx for real."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.clouds.marked import Heard, HeardWord, MarkedEar
from voicemedia.audio.resample import Resampler


class Ear(Protocol):
    """Listens to one stream of s16le."""

    def feed(self, pcm: bytes) -> list[Heard]:
        """Listen; return what is new."""

    def finish(self) -> Heard:
        """Give the final for what is left."""


MakeEar = Callable[[int], Ear]
"Makes an ear for a rate."


def marked_ear(pause_ms: int = 500) -> MakeEar:
    """Hear marked sound."""
    return lambda rate_hz: MarkedEar(rate_hz, pause_ms)


@dataclass
class ScriptedEar:
    """Hears the words of a script one after the other, however the sound is: `0.5 hello 0.9 world 1.5 .`

    A number is the second at which the next word ends; `.` ends the utterance.
    """

    rate_hz: int
    script: list[tuple[int, str]]
    _fed: int = 0
    _words: tuple[HeardWord, ...] = ()

    def feed(self, pcm: bytes) -> list[Heard]:
        self._fed += len(pcm) // 2
        heard = []
        while self.script and self.script[0][0] <= self._fed * 1000 // self.rate_hz:
            at_ms, word = self.script.pop(0)
            if word == ".":
                heard.append(Heard(self._words, True, at_ms))
                self._words = ()
            else:
                self._words = (*self._words, HeardWord(word, max(0, at_ms - 200), at_ms))
                heard.append(Heard(self._words, False, at_ms))
        return heard

    def finish(self) -> Heard:
        final = Heard(self._words, True, self._fed * 1000 // self.rate_hz)
        self._words = ()
        return final


def scripted_ear(script: str) -> MakeEar:
    """Hear what a script says."""
    parts = script.split()
    steps = [(round(float(at) * 1000), word) for at, word in zip(parts[::2], parts[1::2], strict=True)]
    return lambda rate_hz: ScriptedEar(rate_hz, list(steps))


class SphinxEar:
    """Hears English with pocketsphinx; a pause of half a second ends an utterance."""

    PAUSE_MS = 500

    def __init__(self, rate_hz: int, decoder: Any, endpointer: Any) -> None:
        self._resample = Resampler(rate_hz, 16000) if rate_hz != 16000 else None
        self._decoder, self._endpointer = decoder, endpointer
        self._rest = b""
        self._began = False
        self._guess = ""
        self._at_ms = 0

    def feed(self, pcm: bytes) -> list[Heard]:
        self._rest += self._resample.feed(pcm) if self._resample else pcm
        size, heard = self._endpointer.frame_bytes, []
        while len(self._rest) >= size:
            frame, self._rest = self._rest[:size], self._rest[size:]
            heard += self._frame(frame)
        return heard

    def finish(self) -> Heard:
        if not self._began:
            return Heard((), True, self._at_ms)
        return self._final()

    def _frame(self, frame: bytes) -> list[Heard]:
        self._at_ms += len(frame) // 32
        speech = self._endpointer.process(frame)
        if speech is None:
            return []
        if not self._began:
            self._decoder.start_utt()
            self._began = True
        self._decoder.process_raw(speech)
        if not self._endpointer.in_speech:
            return [self._final()]
        guess = self._text()
        if guess == self._guess:
            return []
        self._guess = guess
        return [Heard(_untimed(guess, self._at_ms), False, self._at_ms)]

    def _final(self) -> Heard:
        self._decoder.end_utt()
        self._began = False
        self._guess = ""
        return Heard(_untimed(self._text(), self._at_ms), True, self._at_ms)

    def _text(self) -> str:
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""


def _untimed(text: str, at_ms: int) -> tuple[HeardWord, ...]:
    return tuple(HeardWord(word, 0, at_ms) for word in text.split())


def sphinx_ear() -> MakeEar:
    """Hear for real; each stream has a decoder of its own, 91 MiB."""
    from pocketsphinx import Decoder, Endpointer

    def make(rate_hz: int) -> Ear:
        decoder = Decoder(samprate=16000, loglevel="FATAL")
        return SphinxEar(rate_hz, decoder, Endpointer(sample_rate=16000))

    return make
