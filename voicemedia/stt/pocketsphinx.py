"""Recognizer `pocketsphinx`: hears offline, in child processes, by a grammar first and by dictation else.

The decoder holds the interpreter's lock for as long as it decodes, so it lives in children (`pocketsphinx_worker`).
Here every caller keeps the sound of the utterances that have no answer yet: a child that dies costs no word.
"""

import importlib.util
import os
from collections import deque
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voicemedia.children import Children, Program, Reactor, Seat
from voicemedia.errors import ProviderError
from voicemedia.interfaces import FRAME_MS, Expected, Hearing, Recognition, Recognizer, Transcript, Word
from voicemedia.stt.jsgf import JsgfError, words
from voicemedia.stt.pocketsphinx_wire import (
    NEWS,
    Answer,
    Endpoint,
    Guess,
    Leave,
    Listen,
    Onset,
    Setup,
    Sound,
    Took,
    Trouble,
)

PREROLL_MS: Final = 400
"What came before the onset and belongs to it: voice detection is that late."
BATCH_MS: Final = 100
AHEAD_MS: Final = 2000
"Sound a child has been sent and not yet decoded, at most; the rest waits here."
FULL_S: Final = 15
"Speech that waits for each child, beyond which one more caller would not be heard in time."
SHARE_S: Final = 5
"Of one caller counts so much at most: a file that comes at once fills no server."
LANGUAGE: Final = "en-US"

Count = Annotated[int, Meta(ge=1, le=64)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many children, what they hold, and when a grammar is believed."""

    workers: Count = 2
    "Child processes; at most one a core."
    grammar_decoders: Count = 8
    "Callers of one child who can speak at once under a grammar, and grammars kept ready; 10 MiB each."
    dictations: Annotated[int, Meta(ge=0, le=16)] = 1
    "Callers of one child who can dictate at once; 91 MiB each. 0: only what the grammars allow is understood."
    reject_below: float = -1.7
    "By how much a free loop of phones may explain the sound better than a grammar: log likelihood a frame, * 1000."
    interim_ms: Annotated[int, Meta(ge=100)] = 200
    "Between two interim transcripts."
    max_utterance_s: Annotated[int, Meta(ge=5, le=300)] = 60
    "A longer utterance is cut into several finals."
    backlog_s: Annotated[int, Meta(ge=10, le=600)] = 120
    "Sound of one caller that may wait for an answer; what comes beyond it is dropped and counted."
    hang_s: Annotated[float, Meta(gt=0)] = 10.0
    "A child that gives no sign of life for so long is killed and replaced."
    pronunciations: dict[str, str] = {}
    'Word -> phones of cmudict, for words of grammars that are not in the dictionary: `chapati = "CH AH P AA T IY"`.'


def missing(_options: Options) -> str:
    """Say what is not installed: pocketsphinx carries its model in the wheel."""
    if importlib.util.find_spec("pocketsphinx") is None:
        return "pocketsphinx is not installed: pip install 'voicemedia[offline]'"
    return ""


def make(options: Options, reactor: Reactor) -> Recognizer:
    """Make the recognizer; its children are started by `start`."""
    # The seam says `trouble` is an attribute; here it is a property, which to a type checker is less.
    return cast(Recognizer, PocketsphinxRecognizer(options, reactor))


class PocketsphinxRecognizer:
    """Hears many callers with a few children."""

    name = "pocketsphinx"
    languages = (LANGUAGE,)

    def __init__(self, options: Options, reactor: Reactor) -> None:
        self.options = options
        self.frames_dropped = 0
        "Frames nobody will decode, because a caller's backlog was full."
        self.live: dict[PocketsphinxRecognition, None] = {}
        setup = Setup(
            grammar_decoders=options.grammar_decoders,
            dictations=options.dictations,
            interim_ms=options.interim_ms,
            reject_below=options.reject_below,
            pronunciations=options.pronunciations,
        )
        self.children = Children(
            reactor,
            Program(
                module="voicemedia.stt.pocketsphinx_worker",
                arguments=(msgspec.json.encode(setup).decode(),),
                children=min(options.workers, os.cpu_count() or 1),
                jobs_per_child=10_000,
                hang_s=options.hang_s,
            ),
        )

    @property
    def trouble(self) -> str:
        """Why nobody is heard now; empty when somebody is."""
        return self.children.trouble

    @property
    def full(self) -> str:
        """Why one caller more would not be heard in time; empty when he would."""
        children = self.children.program.children
        waiting_s = sum(min(each.waiting_ms / 1000, SHARE_S) for each in self.live)
        return "" if waiting_s <= FULL_S * children else f"{waiting_s:.0f} s of speech wait for {children} decoders"

    def start(self) -> Deferred[None]:
        """Start the children; fires when one has loaded its models."""
        return self.children.start()

    def stop(self) -> Deferred[None]:
        """End the children."""
        return self.children.stop()

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller whose frames come at `rate_hz`."""
        return PocketsphinxRecognition(self, rate_hz, hearing)


class Utterance:
    """One utterance that has no answer yet."""

    def __init__(self, number: int, start_ms: int, grammar: str) -> None:
        self.number = number
        self.start_ms = start_ms
        "Media time of its first sound, the pre-roll's."
        self.grammar = grammar
        self.pcm = bytearray()
        self.ended = False
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what a child knew of it."""
        self.announced = False
        self.sent = 0
        "Bytes sent."
        self.told_end = False
        self.took_ms = 0


class PocketsphinxRecognition:
    """One caller; a job of the pool for as long as the call lasts."""

    log = Logger()

    def __init__(self, recognizer: PocketsphinxRecognizer, rate_hz: int, hearing: Hearing) -> None:
        self._recognizer = recognizer
        self._options = recognizer.options
        self._rate_hz = rate_hz
        self._bytes_per_ms = rate_hz * 2 / 1000
        self._hearing: Hearing | None = hearing
        self._now_ms = 0
        self._preroll = deque[bytes](maxlen=PREROLL_MS // FRAME_MS)
        self._speaking: Utterance | None = None
        self._unanswered = deque[Utterance]()
        self._utterances = 0
        self._grammar = ""
        self._told_grammar: str | None = None
        self._dropped = 0
        self._interim = ""
        recognizer.live[self] = None
        self._seat = recognizer.children.place(self)

    @property
    def renewing(self) -> bool:
        """Whether what was said waits for a child, because the one that heard it has died."""
        return bool(self._unanswered) and not self._seat.taken

    @property
    def decoding(self) -> bool:
        """Whether a child is at work on what was said; one that hangs is found out by the pool."""
        return bool(self._unanswered) and self._seat.taken

    @property
    def waiting_ms(self) -> float:
        """How much of what was said has not been decoded."""
        return sum(len(each.pcm) / self._bytes_per_ms - each.took_ms for each in self._unanswered)

    # --- Recognition ---

    def feed(self, pcm: bytes) -> None:
        """Take 20 ms of sound."""
        self._now_ms += FRAME_MS
        speaking = self._speaking
        if speaking is None:
            self._preroll.append(pcm)
            return
        if len(speaking.pcm) >= self._options.max_utterance_s * 1000 * self._bytes_per_ms:
            speaking = self._cut()
        if self._full():
            return self._drop()
        speaking.pcm += pcm
        if len(speaking.pcm) - speaking.sent >= BATCH_MS * self._bytes_per_ms:
            self._send()

    def onset(self) -> None:
        """Begin an utterance with what was said just before voice detection noticed."""
        if self._speaking is not None or self._hearing is None:
            return
        self._begin_utterance(self._now_ms - len(self._preroll) * FRAME_MS)
        self._unanswered[-1].pcm += b"".join(self._preroll)
        self._preroll.clear()
        self._send()

    def endpoint(self) -> None:
        """Let the decoder decide what the utterance was."""
        if self._hearing is None:
            return
        if self._speaking is None:
            self._begin_utterance(self._now_ms)
        assert self._speaking is not None
        self._speaking.ended = True
        self._speaking = None
        self._send()

    def expect(self, expected: Expected) -> None:
        """Hear by this grammar from the next utterance on; a broken one is logged and not used."""
        grammar = expected.grammar
        try:
            if grammar:
                words(grammar)
        except JsgfError as error:
            self.log.error("a grammar of the agent cannot be used, dictation takes its place: {error}", error=error)
            grammar = ""
        self._grammar = grammar
        if not self._unanswered:
            self._tell_grammar(grammar)

    def close(self) -> None:
        """Forget the caller."""
        if self._hearing is None:
            return
        self._silence()
        self._seat.send(Leave())
        self._seat.leave()

    # --- Job ---

    def begin(self, seat: Seat) -> None:
        """Tell a child everything it must know: all utterances without an answer, from their beginning."""
        self._seat = seat
        if not self._unanswered:
            # It had nothing to do with the death of the child before.
            seat.deaths = 0
        self._told_grammar = None
        for utterance in self._unanswered:
            utterance.begin_again()
        if not self._unanswered:
            self._tell_grammar(self._grammar)
        self._send()

    def told(self, payload: bytes) -> None:
        """Take a child's news."""
        news = NEWS.decode(payload)
        if isinstance(news, Trouble):
            return self.log.warn("{trouble}", trouble=news.text)
        utterance = self._unanswered[0] if self._unanswered else None
        if utterance is None or utterance.number != news.utterance:
            return
        match news:
            case Took(_, took_ms):
                utterance.took_ms = took_ms
                self._send()
            case Guess(_, text):
                self._guessed(utterance, text)
            case Answer():
                self._answered(utterance, news)

    def failed(self, error: ProviderError) -> None:
        """Give the caller up."""
        hearing = self._hearing
        self._silence()
        if hearing is not None:
            hearing.deaf(error)

    # --- inside ---

    def _begin_utterance(self, start_ms: int) -> Utterance:
        self._utterances += 1
        self._speaking = Utterance(self._utterances, start_ms, self._grammar)
        self._unanswered.append(self._speaking)
        return self._speaking

    def _cut(self) -> Utterance:
        assert self._speaking is not None
        self._speaking.ended = True
        self._send()
        return self._begin_utterance(self._now_ms - FRAME_MS)

    def _full(self) -> bool:
        if len(self._unanswered) < 2:
            return False
        waiting = sum(len(utterance.pcm) for utterance in self._unanswered)
        return waiting > self._options.backlog_s * 1000 * self._bytes_per_ms

    def _drop(self) -> None:
        self._recognizer.frames_dropped += 1
        self._dropped += 1
        if self._dropped == 1:
            self.log.warn("{seconds} s wait for an answer, a caller goes unheard", seconds=self._options.backlog_s)

    def _tell_grammar(self, grammar: str) -> None:
        if self._told_grammar != grammar and self._seat.taken:
            self._told_grammar = grammar
            self._seat.send(Listen(self._rate_hz, grammar))

    def _send(self) -> None:
        """Send what the child may have by now, in order."""
        if not self._seat.taken:
            return
        for utterance in self._unanswered:
            if not utterance.announced:
                self._tell_grammar(utterance.grammar)
                self._seat.send(Onset(utterance.number))
                utterance.announced = True
            if not self._send_sound(utterance):
                return
            if not utterance.told_end:
                utterance.told_end = True
                self._seat.send(Endpoint())
        self._tell_grammar(self._grammar)

    def _send_sound(self, utterance: Utterance) -> bool:
        """Send sound as far as the child keeps up; return whether that was all of the utterance."""
        allowed = int((utterance.took_ms + AHEAD_MS) * self._bytes_per_ms) & ~1
        batch = int(BATCH_MS * self._bytes_per_ms) & ~1
        end = min(len(utterance.pcm), allowed)
        while utterance.sent < end and (end - utterance.sent >= batch or utterance.ended):
            piece = bytes(utterance.pcm[utterance.sent : min(end, utterance.sent + batch)])
            utterance.sent += len(piece)
            self._seat.send(Sound(piece))
        return utterance.ended and utterance.sent == len(utterance.pcm)

    def _guessed(self, utterance: Utterance, text: str) -> None:
        # A child that replays an utterance guesses again what the caller's owner knows already.
        if text != self._interim and self._hearing is not None:
            self._interim = text
            end_ms = utterance.start_ms + utterance.took_ms
            self._hearing.heard(Transcript(text, False, 0.0, utterance.start_ms, end_ms, LANGUAGE))

    def _answered(self, utterance: Utterance, answer: Answer) -> None:
        self._unanswered.popleft()
        self._seat.deaths = 0
        self._interim = ""
        self._send()
        start_ms = utterance.start_ms + answer.start_ms
        end_ms = utterance.start_ms + (answer.end_ms or int(len(utterance.pcm) / self._bytes_per_ms))
        if self._hearing is not None:
            words = tuple(
                Word(text, utterance.start_ms + begin_ms, utterance.start_ms + stop_ms, answer.confidence)
                for text, begin_ms, stop_ms in answer.words
            )
            self._hearing.heard(
                Transcript(answer.text, True, answer.confidence, start_ms, end_ms, LANGUAGE, words=words)
            )

    def _silence(self) -> None:
        self._hearing = None
        self._recognizer.live.pop(self, None)
        self._speaking = None
        self._unanswered.clear()
        self._preroll.clear()
