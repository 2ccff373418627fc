"""Stretches of a caller's sound, the streams of providers that work on them, and how patient we are with those."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from voicemedia.audio.ring import Ring
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Traits, Transcript, Word

TELEPHONE_HZ: Final = 8000
MARGIN_MS: Final = 400
"What comes before an onset and belongs to the speech: voice detection is that late."


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a provider is waited for."""

    final_ms: int = 3000
    "For the final after an endpoint."
    stall_ms: int = 10_000
    "For any result while the caller speaks, of a provider that gives interim ones."
    give_up_ms: int = 15_000
    "For any provider to be there at all, and for failures in a row to end."
    hold_ms: int = 1000
    "Sound a provider may have taken and not sent; beyond it we keep the rest."
    backlog_ms: int = 5000
    "Speech that may wait for a slow provider; beyond it the next one is tried."
    ring_ms: int = 120_000
    "Sound kept while no final comes; the oldest is lost, and counted, beyond it."
    retry_ms: int = 100
    "Wait after a second failure in a row; it doubles up to 2 s."
    failures: int = 8
    "In a row, after which the recognition may be given up."
    tries: int = 6
    "Streams that may fail over the same sound, having begun to; then the last guess at it becomes final."


@dataclass(slots=True)
class Tally:
    """What happened to one caller's recognition."""

    finals: int = 0
    interims: int = 0
    renewals: int = 0
    "Streams replaced because of their age."
    recoveries: int = 0
    "Streams replaced because they failed."
    replayed_ms: int = 0
    dropped_ms: int = 0
    "Silence left out to catch up."
    lost_ms: int = 0
    "Sound that a stream failed to answer for, and that was too old to be replayed."
    final_ms: list[float] = field(default_factory=list)
    "From each endpoint to its final."

    def add(self, other: "Tally") -> None:
        """Add what happened to another, but for its times."""
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def read(self) -> dict[str, int]:
        """Return what was renewed, recovered, replayed, left out and lost."""
        return {name: getattr(self, name) for name in COUNTED}


COUNTED: Final = ("renewals", "recoveries", "replayed_ms", "dropped_ms", "lost_ms")


NOTHING: Final = Transcript("", final=False)


class Stretch:
    """The caller's sound between two endpoints, and what is understood of it so far.

    :param start: its first sample.
    :param rate_hz: at 8000 Hz it is a telephone's sound, mu-law or little better, and kept so.
    """

    __slots__ = (
        "closed_ms",
        "closing",
        "finals",
        "forgotten",
        "guess",
        "onset",
        "parts",
        "ring",
        "stream",
        "tries",
    )

    def __init__(self, start: int, rate_hz: int) -> None:
        self.ring = Ring(start, compressed=rate_hz == TELEPHONE_HZ)
        "What no final covers yet."
        self.onset: int | None = None
        "The sample at which voice detection first noticed speech."
        self.closed_ms: float | None = None
        "When its end was told, and a final promised; None: it is still growing."
        self.forgotten = 0
        "Samples that left the ring because it was full, and that only its stream has heard."
        self.guess = NOTHING
        "The last interim transcript of what no final covers."
        self.tries = 0
        "Streams that have failed over it since the last final."
        self.finals: list[Transcript] = []
        "Finals that wait for an earlier stretch."
        self.parts: list[Transcript] = []
        "Finals the provider gave by itself after the end."
        self.closing: Transcript | None = None
        "The one final after its end: the stretch is done."
        self.stream: Stream | None = None


def joined(parts: list[Transcript], closing: Transcript) -> Transcript:
    """Make one final of what was given by itself after the end, and the closing one."""
    said = [*(part for part in parts if part.text), *([closing] if closing.text else [])]
    if len(said) < 2:
        return replace(said[0], closes=True, billed_s=closing.billed_s) if said else closing
    return replace(
        closing,
        text=" ".join(part.text for part in said),
        confidence=sum(part.confidence for part in said) / len(said),
        start_ms=said[0].start_ms,
        end_ms=said[-1].end_ms,
        language=said[-1].language,
        words=tuple(word for part in said for word in part.words),
    )


@dataclass
class Stream:
    """One recognition of a provider, and how its time lies on ours."""

    number: int
    rate_hz: int
    opened_ms: float
    base: int
    "Our sample that is its first."
    traits: Traits = field(default_factory=Traits)
    stretches: deque[Stretch] = field(default_factory=deque)
    "What it works on, oldest first."
    sent: int = 0
    "The sample of ours that it gets next."
    held: bool = False
    "Whether it is too slow to be sent more at the moment."
    told_onset: bool = False
    "Whether it knows that the caller speaks, in its last stretch."
    heard_ms: float = 0.0
    "When it last gave a transcript, or was opened."
    billed_s: float = 0.0
    fed: int = 0
    "Samples it got."
    _skips: list[tuple[int, int]] = field(default_factory=list)
    "(its sample, how many of ours were left out before it)"

    def skip_to(self, sample: int) -> int:
        """Leave out our sound up to `sample`; return how many samples that is."""
        skipped = sample - self.sent
        if skipped > 0:
            self._skips.append((self.fed, skipped))
            self.sent = sample
        return max(0, skipped)

    def sample_at(self, its_ms: float, *, end: bool = False) -> int:
        """Tell the sample of ours at a time of its; where something was left out, an `end` lies before it."""
        its = round(its_ms * self.rate_hz / 1000)
        skipped = sum(many for at, many in self._skips if at < its or (at == its and not end))
        return self.base + its + skipped

    def on_our_clock(self, transcript: Transcript) -> Transcript:
        """Give a transcript the times of the caller's sound; one without times ends where the stream is."""
        end = self.sample_at(transcript.end_ms, end=True) if transcript.end_ms else self.sent
        return replace(
            transcript,
            start_ms=self._ms(self.sample_at(transcript.start_ms)),
            end_ms=self._ms(min(end, self.sent)),
            words=tuple(
                Word(
                    word.text,
                    self._ms(self.sample_at(word.start_ms)),
                    self._ms(self.sample_at(word.end_ms, end=True)),
                    word.confidence,
                )
                for word in transcript.words
            ),
        )

    def _ms(self, sample: int) -> int:
        return sample * 1000 // self.rate_hz


class Streams(Protocol):
    """What the machine orders; nothing of it blocks, or calls back before it returns."""

    def open(self, number: int) -> Traits | None:
        """Open a stream at the best provider there is; None: none is to be had at this moment.

        :raises ProviderError: nor will there ever be one.
        """

    def better(self, number: int) -> bool:
        """Tell whether a new stream would go to a better provider."""

    def feed(self, number: int, pcm: bytes) -> None:
        """Send some sound."""

    def onset(self, number: int) -> None:
        """Tell that the caller has begun to speak."""

    def endpoint(self, number: int) -> None:
        """Ask for the final."""

    def backlog_ms(self, number: int) -> int:
        """Tell how much sound it has taken and not sent."""

    def drop(self, stream: Stream, why: ProviderError | None) -> None:
        """Close a stream; nothing it says counts from now on."""

    def say(self, transcript: Transcript) -> None:
        """Tell the owner."""

    def give_up(self, why: ProviderError) -> None:
        """Tell the owner that nothing more will come."""


class Speech:
    """Where in the caller's sound there was speech, if somebody says so.

    :param rate_hz: samples a second.
    """

    def __init__(self, rate_hz: int) -> None:
        self._margin = rate_hz * MARGIN_MS // 1000
        self._spans: deque[list[int]] = deque(maxlen=64)
        self.known = False
        "Whether voice detection takes part at all."
        self.on = False

    def begin(self, sample: int) -> None:
        """Speech began, a margin ago."""
        self.known = True
        if not self.on:
            self._spans.append([sample - self._margin, -1])
        self.on = True

    def end(self, sample: int) -> None:
        """Speech ended."""
        if self.on:
            self._spans[-1][1] = sample
        self.on = False

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """List the parts of a range that are speech, or may be."""
        if not self.known:
            return [(start, end)]
        parts = []
        for first, last in self._spans:
            part = max(first, start), end if last < 0 else min(last, end)
            if part[0] < part[1]:
                parts.append(part)
                start = part[1]
        return parts
