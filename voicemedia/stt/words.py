"""Words with times and doubts: what a recognizer of whole windows answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf

from voicemedia.interfaces import Transcript, Word


@dataclass(frozen=True, slots=True)
class HeardWord:
    """One word of an answer."""

    text: str
    start_ms: int
    end_ms: int
    "Media time; interpolated when the server gives none."
    logprob: float = -inf
    "Mean log probability of its tokens, at most 0; when the server gives none: as if impossible."
    no_speech: float = 0.0
    "Probability that there was no speech at all."
    exact: bool = True
    "The end is the server's own and not interpolated: sound may be cut here."
    language: str = ""
    glued: bool = False
    "No space belongs before it, as between Chinese words."
    weight: float = 0.0
    "What it counts among others when doubts are averaged; 0: its duration."

    @property
    def key(self) -> str:
        """What makes two words the same: letters and digits, in one case."""
        return "".join(letter for letter in self.text.casefold() if letter.isalnum()) or self.text

    @property
    def middle_ms(self) -> float:
        """The instant by which it is told whether a stretch of sound holds the word."""
        return (self.start_ms + self.end_ms) / 2

    @property
    def told(self) -> Word:
        """What the owner of the recognition is told of it."""
        return Word(self.text, self.start_ms, self.end_ms, confidence_of([self]))


def text_of(words: Iterable[HeardWord]) -> str:
    """Join words as written."""
    return "".join(word.text if word.glued else f" {word.text}" for word in words).strip()


def confidence_of(words: Sequence[HeardWord]) -> float:
    """Tell how sure the server is of these words, 0 to 1: weighted by duration, less the chance of no speech."""
    if not words:
        return 0.0
    weights = [word.weight or max(1, word.end_ms - word.start_ms) for word in words]
    total = sum(weights)
    logprob = sum(word.logprob * weight for word, weight in zip(words, weights, strict=True)) / total
    no_speech = sum(word.no_speech * weight for word, weight in zip(words, weights, strict=True)) / total
    return min(1.0, max(0.0, exp(min(0.0, logprob)) * (1 - no_speech)))


def transcript_of(words: Sequence[HeardWord], *, final: bool, at_ms: int = 0) -> Transcript:
    """Make a transcript of words; `at_ms` is where an empty one stands."""
    if not words:
        return Transcript("", final=final, start_ms=at_ms, end_ms=at_ms)
    return Transcript(
        text_of(words),
        final=final,
        confidence=confidence_of(words),
        start_ms=words[0].start_ms,
        end_ms=words[-1].end_ms,
        language=words[-1].language,
        words=tuple(word.told for word in words) if all(word.exact for word in words) else (),
    )
