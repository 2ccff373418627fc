"""Recognizers that hear marked sound on a fake clock, and go wrong when the script says so."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from tests.clouds.marked import Heard, MarkedEar
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Hearing, Traits, Transcript

ABORTED = ProviderError("Max duration of 5 minutes reached for stream.", blameless=True, code="aborted")
KILLED = ProviderError("Socket closed", code="unavailable")
REFUSED = ProviderError("API key not valid", retryable=False, code="unauthenticated")


def transcript_of(heard: Heard, *, closes: bool) -> Transcript:
    start_ms = heard.words[0].start_ms if heard.words else 0
    return Transcript(heard.text, heard.final, 0.9, start_ms, heard.end_ms, closes=closes)


@dataclass
class Fate:
    """What becomes of one recognition."""

    dies_after_ms: float | None = None
    error: ProviderError | None = None
    "None: it just falls silent."
    dies_after_sound_ms: int | None = None
    "It still says what it has understood."


class ScriptedRecognizer:
    """Hears everything, with a delay, until its fate is fulfilled.

    :param fates: asked for each recognition.
    """

    trouble = ""

    def __init__(
        self,
        clock: Clock,
        *,
        name: str = "scripted",
        traits: Traits | None = None,
        pause_ms: int = 300,
        fates: Callable[[], Fate] = Fate,
        delay_ms: Callable[[], float] = lambda: 50.0,
    ) -> None:
        self.clock, self.name = clock, name
        self.traits = traits or Traits()
        self.pause_ms, self.fates, self.delay_ms = pause_ms, fates, delay_ms
        self.listened: list[ScriptedRecognition] = []

    def start(self) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def listen(self, rate_hz: int, hearing: Hearing) -> "ScriptedRecognition":
        recognition = ScriptedRecognition(self, rate_hz, hearing)
        self.listened.append(recognition)
        return recognition

    @property
    def live(self) -> int:
        return sum(not recognition.closed for recognition in self.listened)


class ScriptedRecognition:
    def __init__(self, owner: ScriptedRecognizer, rate_hz: int, hearing: Hearing) -> None:
        self._owner, self._hearing = owner, hearing
        self._ear = MarkedEar(rate_hz, owner.pause_ms)
        self._answers: list[IDelayedCall] = []
        self._said_at = 0.0
        self.closed = self.dead = self.over = False
        self.backlog_ms = 0
        self.fed_bytes: list[int] = []
        "In each piece."
        self._rate_hz = rate_hz
        self.told: list[str] = []
        self._fate = fate = owner.fates()
        if fate.dies_after_ms is not None:
            self._answers.append(owner.clock.callLater(fate.dies_after_ms / 1000, self._die, fate.error))

    @property
    def fed_ms(self) -> int:
        return sum(self.fed_bytes) * 500 // self._rate_hz

    def _die(self, error: ProviderError | None) -> None:
        for answer in self._answers:
            if answer.active():
                answer.cancel()
        self.dead = True
        if error is not None:
            self._hearing.deaf(error)

    def _say(self, heard: Heard, *, closes: bool = False) -> None:
        # Answers do not overtake one another.
        clock = self._owner.clock
        self._said_at = max(self._said_at, clock.seconds() + self._owner.delay_ms() / 1000)
        wait = self._said_at - clock.seconds()
        self._answers.append(clock.callLater(wait, self._hearing.heard, transcript_of(heard, closes=closes)))

    def feed(self, pcm: bytes) -> None:
        assert not self.closed
        assert not self.over, "one utterance only"
        self.fed_bytes.append(len(pcm))
        if not self.dead:
            for heard in self._ear.feed(pcm):
                self._say(heard)
        lives_ms, clock = self._fate.dies_after_sound_ms, self._owner.clock
        if lives_ms is not None and self.fed_ms >= lives_ms and not self.dead:
            self.dead = True
            clock.callLater(max(0.0, self._said_at - clock.seconds()) + 0.001, self._die, self._fate.error)

    def onset(self) -> None:
        assert not self.closed
        self.told.append(f"onset {self.fed_ms}")

    def endpoint(self) -> None:
        assert not self.closed
        self.told.append(f"endpoint {self.fed_ms}")
        self.over = self._owner.traits.one_utterance
        if not self.dead:
            self._say(self._ear.finish(), closes=True)

    def expect(self, expected: Expected) -> None:
        self.told.append(f"expect {' '.join(expected.phrases)}")

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        for answer in self._answers:
            if answer.active():
                answer.cancel()


@dataclass
class Owner:
    """Writes down what it is told."""

    transcripts: list[Transcript] = field(default_factory=list)
    errors: list[ProviderError] = field(default_factory=list)

    def heard(self, transcript: Transcript) -> None:
        self.transcripts.append(transcript)

    def deaf(self, error: ProviderError) -> None:
        self.errors.append(error)

    @property
    def finals(self) -> list[str]:
        return [transcript.text for transcript in self.transcripts if transcript.final]

    @property
    def text(self) -> str:
        return " ".join(text for text in self.finals if text)


def dying(random: Random, error: ProviderError | None, mean_ms: float) -> Callable[[], Fate]:
    """Let every recognition end after a random time."""
    return lambda: Fate(random.expovariate(1 / mean_ms), error)
