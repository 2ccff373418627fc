"""What of a caller's sound a recognizer of whole windows is asked about, and what its answers mean.

Between `onset` and `endpoint` runs an utterance. Its window grows by `step_ms` from one question to the next; when
it is longer than `keep_ms`, sound whose words are settled is dropped but for an overlap. The last question about
an utterance is asked after its endpoint, and its answer is the one final transcript the endpoint promised.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from voicemedia.errors import ProviderError
from voicemedia.interfaces import Transcript
from voicemedia.stt.agreement import Agreement
from voicemedia.stt.preroll import Preroll
from voicemedia.stt.words import HeardWord, text_of, transcript_of

SHORTEST_MS = 100
"Servers refuse shorter sound."
MOST_WAITING_MS = 120_000
"Sound of one caller that may wait for its answer."
CONTEXT_WORDS = 30
"Settled words told to the recognizer as what came before."


@dataclass(frozen=True, slots=True)
class Sizes:
    """How windows grow."""

    step_ms: int = 1000
    overlap_ms: int = 200
    keep_ms: int = 5000
    "A longer window is cut where its words are settled."
    longest_ms: int = 15_000
    "A longer window is believed as it is."


@dataclass(frozen=True, slots=True)
class Window:
    """One question."""

    pcm: bytes = field(repr=False)
    start_ms: int
    end_ms: int
    last: bool
    "The utterance is over."
    context: str = field(default="", repr=False)
    "What was said before."


@dataclass(slots=True)
class _Utterance:
    start_ms: int
    "Media time of the first sample kept."
    pcm: bytearray
    asked_to_ms: int
    ended: bool = False
    words: Agreement = field(default_factory=Agreement)
    told: str = ""
    "The last interim text."


class Windows:
    """The utterances of one caller, heard or still to be asked about.

    :param rate_hz: of the frames fed.
    """

    def __init__(self, rate_hz: int, sizes: Sizes) -> None:
        self._sizes = sizes
        self._bytes_per_ms = rate_hz * 2 // 1000
        self._taken = 0
        "Bytes, since the start."
        self._preroll = Preroll(rate_hz)
        self.sent_ms = 0
        "Sound asked about, overlaps and repetitions included: what a service bills."
        self._speaking: _Utterance | None = None
        self._utterances: deque[_Utterance] = deque()
        self._context: deque[str] = deque(maxlen=CONTEXT_WORDS)

    @property
    def backlog_ms(self) -> int:
        """Sound of utterances that has no answer yet."""
        return self._taken // self._bytes_per_ms - self._utterances[0].start_ms if self._utterances else 0

    @property
    def urgent(self) -> bool:
        """Whether an utterance is over and its final is awaited."""
        return bool(self._utterances) and self._utterances[0].ended

    def feed(self, pcm: bytes) -> None:
        """Take a frame.

        :raises ProviderError: answers are so late that too much sound waits.
        """
        self._taken += len(pcm)
        if self._speaking is None:
            self._preroll.keep(pcm)
            return
        self._speaking.pcm += pcm
        if self.backlog_ms > MOST_WAITING_MS:
            raise ProviderError(f"no answer for {MOST_WAITING_MS // 1000} s of sound", code="too_slow")

    def onset(self) -> None:
        """An utterance began, a little before now."""
        if self._speaking is None:
            self._speaking = self._begin(self._preroll.onset())

    def endpoint(self) -> None:
        """The utterance is over; one without an onset is empty, unless its owner never tells of any."""
        if self._speaking is None:
            self._speaking = self._begin(self._preroll.endpoint())
        self._speaking.ended = True
        self._speaking = None

    def _begin(self, before: bytearray) -> _Utterance:
        start_ms = (self._taken - len(before)) // self._bytes_per_ms
        utterance = _Utterance(start_ms, before, start_ms)
        self._utterances.append(utterance)
        return utterance

    def empties(self) -> list[Transcript]:
        """Return the finals of utterances too short to ask about that are next in line."""
        finals = []
        while self.urgent and len(self._utterances[0].pcm) < SHORTEST_MS * self._bytes_per_ms:
            utterance = self._utterances.popleft()
            finals.append(transcript_of(utterance.words.guess, final=True, at_ms=utterance.start_ms))
        return finals

    def ask(self) -> Window | None:
        """Give the next question, the newest sound there is; None: nothing is worth asking yet."""
        if not self._utterances:
            return None
        utterance = self._utterances[0]
        end_ms = utterance.start_ms + len(utterance.pcm) // self._bytes_per_ms
        if not utterance.ended and end_ms - utterance.asked_to_ms < self._sizes.step_ms:
            return None
        utterance.asked_to_ms = end_ms
        self.sent_ms += end_ms - utterance.start_ms
        return Window(bytes(utterance.pcm), utterance.start_ms, end_ms, utterance.ended, " ".join(self._context))

    def answered(self, window: Window, words: Sequence[HeardWord]) -> list[Transcript]:
        """Take the words heard in a window, their times on the media clock; return what to tell."""
        utterance = self._utterances[0]
        if window.last:
            rest = utterance.words.finish(words)
            self._utterances.popleft()
            return [self._final(rest, window)]
        settled = utterance.words.hear(words)
        told = [self._final(settled, window)] if settled else []
        if not self._move_on(utterance, window):
            settled = utterance.words.finish(words)
            told += [self._final(settled, window)] if settled else []
            self._cut(utterance, window.end_ms)
        guess = utterance.words.guess
        if told or text_of(guess) != utterance.told:
            utterance.told = text_of(guess)
            told += [transcript_of(guess, final=False)] if guess else []
        return told

    def _final(self, words: list[HeardWord], window: Window) -> Transcript:
        self._context.extend(word.text for word in words)
        heard = transcript_of(words, final=True, at_ms=window.end_ms)
        return replace(heard, closes=window.last, billed_s=self.sent_ms / 1000)

    def _move_on(self, utterance: _Utterance, window: Window) -> bool:
        """Drop settled sound from a long window; False: it is too long and nothing in it can be dropped."""
        length_ms = window.end_ms - window.start_ms
        if length_ms <= min(self._sizes.keep_ms, self._sizes.longest_ms):
            return True
        settled_ms = utterance.words.cut_ms()
        if settled_ms is not None and settled_ms - self._sizes.overlap_ms > utterance.start_ms:
            self._cut(utterance, min(settled_ms, window.end_ms))
            return True
        return length_ms < self._sizes.longest_ms

    def _cut(self, utterance: _Utterance, settled_ms: int) -> None:
        start_ms = max(utterance.start_ms, settled_ms - self._sizes.overlap_ms)
        del utterance.pcm[: (start_ms - utterance.start_ms) * self._bytes_per_ms]
        utterance.start_ms = start_ms
        utterance.words.cut(settled_ms)
