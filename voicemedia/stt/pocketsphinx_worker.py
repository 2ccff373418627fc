"""The child process of the recognizer: many callers, a few decoders, one thread.

Callers take turns, 100 ms of sound each, so that a long utterance that is being made up for (a replay after another
child's death, a second hearing by dictation) holds up nobody who speaks now.
"""

import sys
from collections import deque
from typing import Any, Final

import msgspec

from voicemedia.audio.pcm import ratecv
from voicemedia.audio.resample import Resampler
from voicemedia.child import Parent
from voicemedia.stt.pocketsphinx_decoders import DICTATION, Decoders, Ears
from voicemedia.stt.pocketsphinx_wire import (
    BYTES_PER_MS,
    ORDERS,
    RATE_HZ,
    Answer,
    Endpoint,
    Guess,
    Leave,
    Listen,
    News,
    Onset,
    Order,
    Setup,
    Sound,
    Took,
    Trouble,
)

STEP: Final = 100 * BYTES_PER_MS


class Telephone:
    """Doubles the rate of telephone sound by drawing lines between its samples.

    That is bad resampling on purpose. Its mirror images put something above 4 kHz, where the model expects some
    energy; clean resampling leaves nothing there, and the word error rate of flite's `rms` is 72 % in place of 18.
    """

    def __init__(self, from_hz: int) -> None:
        self._from_hz = from_hz
        self._state: Any = None

    def feed(self, pcm: bytes) -> bytes:
        """Take PCM; return PCM at 16 kHz."""
        wide, self._state = ratecv(pcm, 2, 1, self._from_hz, RATE_HZ, self._state)
        return bytes(wide)


class Utterance:
    """One utterance on its way through the decoders."""

    def __init__(self, number: int, grammar: str) -> None:
        self.number = number
        self.grammar = grammar
        self.ended = False
        self._ears: Ears | None = None
        self._pcm = bytearray()
        "All of it when a grammar may turn out not to fit, else what is not yet decoded."
        self._at = 0
        self._took_ms = 0
        self._again = False
        "Dictation listens to it from the start, because it was not of the grammar."
        self._guess = ""
        self._guessed_ms = 0

    def add(self, pcm: bytes) -> None:
        """Take the next sound at 16 kHz."""
        self._pcm += pcm

    def release(self, decoders: Decoders) -> None:
        """Give the decoder back in mid-utterance."""
        if self._ears is not None:
            self._ears.finish(self.number)
            decoders.give_back(self._ears)
            self._ears = None

    def step(self, decoders: Decoders, interim_ms: int) -> list[News]:
        """Decode one piece; return what there is to tell, nothing when there was nothing to do."""
        if self._ears is None:
            self._ears = decoders.take(self.grammar)
        if self._ears is None:
            return []
        piece = bytes(self._pcm[self._at : self._at + STEP])
        if len(piece) == STEP or (piece and self.ended):
            return self._hear(self._ears, piece, interim_ms)
        if self.ended:
            return self._finish(self._ears, decoders)
        return []

    def _hear(self, ears: Ears, piece: bytes, interim_ms: int) -> list[News]:
        ears.hear(piece)
        if self.grammar:
            self._at += len(piece)
        else:
            del self._pcm[: len(piece)]
        if self._again:
            return [Took(self.number, self._took_ms)]
        self._took_ms += len(piece) // BYTES_PER_MS
        news: list[News] = [Took(self.number, self._took_ms)]
        if self._took_ms - self._guessed_ms >= interim_ms:
            self._guessed_ms = self._took_ms
            guess = ears.guess()
            if guess and guess != self._guess:
                self._guess = guess
                news.append(Guess(self.number, guess))
        return news

    def _finish(self, ears: Ears, decoders: Decoders) -> list[News]:
        answer = ears.finish(self.number)
        decoders.give_back(ears)
        self._ears = None
        if answer is not None:
            return [answer]
        if not decoders.dictates:
            return [Answer(self.number, "")]
        self.grammar, self._again, self._at = DICTATION, True, 0
        return [Took(self.number, self._took_ms)]


class Caller:
    """One caller's utterances, heard one after the other."""

    def __init__(self) -> None:
        self.utterances: deque[Utterance] = deque()
        self._grammar = DICTATION
        self._rate_hz = RATE_HZ
        self._wide: Telephone | Resampler | None = None

    def obey(self, order: Order, decoders: Decoders) -> None:
        """Do what the parent wants."""
        match order:
            case Listen(rate_hz, grammar):
                self._rate_hz, self._grammar = rate_hz, decoders.fit(grammar)
            case Onset(number):
                self._wide = widener(self._rate_hz)
                self.utterances.append(Utterance(number, self._grammar))
            case Sound(pcm):
                self.utterances[-1].add(self._wide.feed(pcm) if self._wide is not None else pcm)
            case Endpoint():
                self.utterances[-1].ended = True

    def step(self, decoders: Decoders, interim_ms: int) -> list[News]:
        """Decode a piece of the first utterance."""
        if not self.utterances:
            return []
        news = self.utterances[0].step(decoders, interim_ms)
        if news and isinstance(news[-1], Answer):
            self.utterances.popleft()
        return news

    def release(self, decoders: Decoders) -> None:
        """Give back what it holds."""
        for utterance in self.utterances:
            utterance.release(decoders)


def widener(rate_hz: int) -> Telephone | Resampler | None:
    """Choose how sound of this rate becomes 16 kHz."""
    if rate_hz == RATE_HZ:
        return None
    return Telephone(rate_hz) if rate_hz < RATE_HZ else Resampler(rate_hz, RATE_HZ)


class Worker:
    """All callers of this child."""

    def __init__(self, parent: Parent, setup: Setup) -> None:
        self._parent = parent
        self._interim_ms = setup.interim_ms
        self._decoders = Decoders(setup)
        self._callers: dict[int, Caller] = {}

    def run(self) -> None:
        """Work until the parent is gone."""
        self._parent.ready()
        worked = False
        while True:
            self._obey_all(wait=not worked)
            worked = False
            for job, caller in self._callers.items():
                news = caller.step(self._decoders, self._interim_ms)
                worked = worked or bool(news)
                for each in news:
                    self._parent.tell(job, each)
                self._report(job)

    def _obey_all(self, *, wait: bool) -> None:
        received = self._parent.receive(wait=wait)
        while received is not None:
            job, payload = received
            order = ORDERS.decode(payload)
            if isinstance(order, Leave):
                self._callers.pop(job, Caller()).release(self._decoders)
            else:
                self._callers.setdefault(job, Caller()).obey(order, self._decoders)
                self._report(job)
            received = self._parent.receive(wait=False)

    def _report(self, job: int) -> None:
        for trouble in self._decoders.troubles:
            self._parent.tell(job, Trouble(trouble))
        self._decoders.troubles.clear()


def main() -> None:
    """Run as `python -m voicemedia.stt.pocketsphinx_worker SETUP`."""
    parent = Parent()
    Worker(parent, msgspec.json.decode(sys.argv[1], type=Setup)).run()


if __name__ == "__main__":
    main()
