"""The child process of the recognizer: many callers, a few decoders, one thread.

Callers take turns, 100 ms of sound each, so that a long utterance that is being made up for (a replay after another
child's death, a second hearing by dictation) holds up nobody who speaks now.
"""

import sys
from collections import deque
from typing import Final

import msgspec

from voicemedia.audio.resample import Resampler
from voicemedia.child import Parent
from voicemedia.stt.pocketsphinx_decoders import DICTATION, Decoders, Ears
from voicemedia.stt.pocketsphinx_features import FRAMES_PER_S, Features
from voicemedia.stt.pocketsphinx_model import CEPSTRA
from voicemedia.stt.pocketsphinx_wire import (
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

TELEPHONE_HZ: Final = 8000
MS_PER_FRAME: Final = 1000 // FRAMES_PER_S
FRAME_BYTES: Final = CEPSTRA * 4
STEP: Final = 100 // MS_PER_FRAME * FRAME_BYTES


class Front:
    """Makes features of one caller's sound, whatever its rate."""

    def __init__(self, rate_hz: int) -> None:
        model_hz = RATE_HZ if rate_hz >= RATE_HZ else TELEPHONE_HZ
        self._features = Features(model_hz)
        self._rates = rate_hz, model_hz

    def begin(self) -> None:
        """Begin an utterance."""
        self._features.begin()
        self._resampler = Resampler(*self._rates)

    def feed(self, pcm: bytes) -> bytes:
        """Take sound; return the features that are ready."""
        return self._features.feed(self._resampler.feed(pcm))

    def finish(self) -> bytes:
        """Return the features of the end of an utterance."""
        return self._features.finish()


class Utterance:
    """One utterance on its way through the decoders."""

    def __init__(self, number: int, grammar: str) -> None:
        self.number = number
        self.grammar = grammar
        self.ended = False
        self._ears: Ears | None = None
        self._features = bytearray()
        "All of them when a grammar may turn out not to fit, else what is not yet decoded."
        self._at = 0
        self._took_ms = 0
        self._again = False
        "Dictation listens to it from the start, because it was not of the grammar."
        self._guess = ""
        self._guessed_ms = 0

    def add(self, features: bytes) -> None:
        """Take the features of the next sound."""
        self._features += features

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
        piece = bytes(self._features[self._at : self._at + STEP])
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
            del self._features[: len(piece)]
        if self._again:
            return [Took(self.number, self._took_ms)]
        self._took_ms += len(piece) // FRAME_BYTES * MS_PER_FRAME
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
        self._rate_hz = 0
        self._front = Front(RATE_HZ)

    def obey(self, order: Order, decoders: Decoders) -> None:
        """Do what the parent wants."""
        match order:
            case Listen(rate_hz, grammar):
                if rate_hz != self._rate_hz:
                    self._rate_hz, self._front = rate_hz, Front(rate_hz)
                self._grammar = decoders.fit(grammar)
            case Onset(number):
                self._front.begin()
                self.utterances.append(Utterance(number, self._grammar))
            case Sound(pcm):
                self.utterances[-1].add(self._front.feed(pcm))
            case Endpoint():
                self.utterances[-1].add(self._front.finish())
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
