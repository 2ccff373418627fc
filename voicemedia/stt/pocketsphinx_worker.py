"""The child process of the recognizer: many callers, a few decoders, one thread.

Callers take turns, 100 ms of sound each, so that a long utterance that is being made up for (a replay after another
child's death, a second hearing by dictation) holds up nobody who speaks now. A caller whose sound has stopped in
mid-word gives its decoder to whoever waits for one, and is heard again from the start when its sound goes on.
"""

import sys
import time
from collections import deque
from collections.abc import Callable
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
STALE_S: Final = 1.0
"An utterance without end to which no sound has come for so long may lose its decoder: live sound comes every 100 ms."
LOOK_S: Final = 0.25
"How long the child waits for orders at most while somebody waits for a decoder."


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

    def __init__(self, number: int, grammar: str, now_s: float) -> None:
        self.number = number
        self.grammar = grammar
        self.ended = False
        self.sound_s = now_s
        "When the last sound came."
        self._ears: Ears | None = None
        self._features = bytearray()
        "All of them, for whoever may have to hear it again: dictation, or the next decoder."
        self._at = 0
        self._parked = False
        "Whether its decoder has been taken from it for want of sound."
        self._took_ms = 0
        self._guess = ""
        self._guessed_ms = 0

    def add(self, features: bytes, now_s: float) -> None:
        """Take the features of the next sound."""
        self._features += features
        self.sound_s = now_s
        self._parked = False

    def release(self, decoders: Decoders) -> None:
        """Give the decoder back in mid-utterance; when sound comes again, one will hear it from the start."""
        if self._ears is not None:
            self._ears.finish(self.number)
            decoders.give_back(self._ears)
            self._ears, self._at, self._parked = None, 0, True

    @property
    def has_work(self) -> bool:
        """Whether a decoder could do anything now."""
        return not self._parked and (self.ended or len(self._features) - self._at >= STEP)

    @property
    def waits(self) -> bool:
        """Whether it could be decoded, had it a decoder."""
        return self._ears is None and self.has_work

    def is_stale(self, now_s: float) -> bool:
        """Tell whether it holds a decoder for nothing."""
        return self._ears is not None and not self.has_work and now_s - self.sound_s >= STALE_S

    def step(self, decoders: Decoders, interim_ms: int) -> list[News]:
        """Decode one piece; return what there is to tell, nothing when there was nothing to do."""
        if not self.has_work:
            return []
        if self._ears is None:
            self._ears = decoders.take(self.grammar)
        if self._ears is None:
            return []
        piece = bytes(self._features[self._at : self._at + STEP])
        return self._hear(self._ears, piece, interim_ms) if piece else self._finish(self._ears, decoders)

    def _hear(self, ears: Ears, piece: bytes, interim_ms: int) -> list[News]:
        ears.hear(piece)
        self._at += len(piece)
        # What is heard again has been told before.
        self._took_ms = max(self._took_ms, self._at // FRAME_BYTES * MS_PER_FRAME)
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
        self.grammar, self._at = DICTATION, 0
        return [Took(self.number, self._took_ms)]


class Caller:
    """One caller's utterances, heard one after the other."""

    def __init__(self) -> None:
        self.utterances: deque[Utterance] = deque()
        self._grammar = DICTATION
        self._rate_hz = 0
        self._front = Front(RATE_HZ)

    def obey(self, order: Order, decoders: Decoders, now_s: float) -> None:
        """Do what the parent wants."""
        match order:
            case Listen(rate_hz, grammar):
                if rate_hz != self._rate_hz:
                    self._rate_hz, self._front = rate_hz, Front(rate_hz)
                self._grammar = decoders.fit(grammar)
            case Onset(number):
                self._front.begin()
                self.utterances.append(Utterance(number, self._grammar, now_s))
            case Sound(pcm):
                self.utterances[-1].add(self._front.feed(pcm), now_s)
            case Endpoint():
                self.utterances[-1].add(self._front.finish(), now_s)
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
    """All callers of this child.

    :param clock: in seconds since anything.
    """

    def __init__(self, parent: Parent, setup: Setup, clock: Callable[[], float]) -> None:
        self._parent, self._clock = parent, clock
        self._interim_ms = setup.interim_ms
        self._decoders = Decoders(setup)
        self._callers: dict[int, Caller] = {}

    def run(self) -> None:
        """Work until the parent is gone."""
        self._parent.ready()
        while True:
            worked = False
            for job, caller in self._callers.items():
                news = caller.step(self._decoders, self._interim_ms)
                worked = worked or bool(news)
                for each in news:
                    self._parent.tell(job, each)
                self._report(job)
            self._obey_all(0.0 if worked else self._patience_s())

    def _patience_s(self) -> float | None:
        """Tell how long to wait for orders when there is nothing to decode; None: for ever."""
        now_s = self._clock()
        first = [caller.utterances[0] for caller in self._callers.values() if caller.utterances]
        if not any(utterance.waits for utterance in first):
            return None
        stale = [utterance for utterance in first if utterance.is_stale(now_s)]
        if not stale:
            return LOOK_S
        min(stale, key=lambda utterance: utterance.sound_s).release(self._decoders)
        return 0.0

    def _obey_all(self, wait_s: float | None) -> None:
        received = self._parent.receive(wait_s=wait_s)
        while received is not None:
            job, payload = received
            order = ORDERS.decode(payload)
            if isinstance(order, Leave):
                self._callers.pop(job, Caller()).release(self._decoders)
            else:
                self._callers.setdefault(job, Caller()).obey(order, self._decoders, self._clock())
                self._report(job)
            received = self._parent.receive(wait_s=0.0)

    def _report(self, job: int) -> None:
        for trouble in self._decoders.troubles:
            self._parent.tell(job, Trouble(trouble))
        self._decoders.troubles.clear()


def main() -> None:
    """Run as `python -m voicemedia.stt.pocketsphinx_worker SETUP`."""
    parent = Parent()
    Worker(parent, msgspec.json.decode(sys.argv[1], type=Setup), time.monotonic).run()


if __name__ == "__main__":
    main()
