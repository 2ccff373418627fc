"""One answer on its way to the caller: sentences in, sound into the playout, and an account of what was heard.

A `Reply` is the `Floor` the agent speaks to. Taken away (`cut`), it is unable to speak: what the agent or a slow
synthesizer still delivers goes nowhere. Sentences are synthesized in order, a few seconds ahead of what sounds.
"""

import re
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from voicemedia.audio.playout import Playout
from voicemedia.between import speak_between
from voicemedia.errors import Unable
from voicemedia.interfaces import FRAME_MS, Expected, Surroundings, Synthesizer
from voicemedia.switching import UNSWITCHED, Switching

CHARACTERS_PER_S: Final = 15
"How fast speech goes, for a sentence that was cut before its sound was complete."
PAUSE_MS: Final = 160
"Silence between two sentences; synthesizers leave none at the end of theirs."
AHEAD_MS: Final = 3_000
"Sound beyond which the next sentence is not yet synthesized: what a barge-in would throw away."

LONGEST_MOVE_MS: Final = 90_000
"How long a transfer may take: the other end lets a telephone ring meanwhile."


class Sentence:
    """One sentence and the place of its sound in the playout, in frames."""

    __slots__ = ("begins_ms", "end", "interruptible", "start", "text")

    def __init__(self, text: str, *, interruptible: bool) -> None:
        self.text = text
        self.interruptible = interruptible
        self.start: int | None = None
        self.end: int | None = None
        "None: its sound is not complete."
        self.begins_ms: dict[int, int] = {}
        "When the word at a character begins to sound, where the synthesizer tells."

    def word(self, at: int, ms: int) -> None:
        """Take note of the beginning of a word."""
        self.begins_ms[at] = ms

    def heard(self, position: int) -> str:
        """Return the words that had sounded when the caller had heard up to `position`."""
        if self.start is None or position <= self.start:
            return ""
        if self.end is not None and position >= self.end:
            return self.text
        heard_ms = (position - self.start) * FRAME_MS
        # A word counts when most of it has sounded.
        ends = [end for end, begins_ms, ends_ms in self._words() if begins_ms + 0.6 * (ends_ms - begins_ms) <= heard_ms]
        return self.text[: max(ends, default=0)].rstrip()

    def _words(self) -> Iterator[tuple[int, float, float]]:
        """Yield for each word where it ends in the text, and when it begins and ends to sound, told or guessed."""
        length_ms = len(self.text) * 1000 / CHARACTERS_PER_S
        if self.end is not None and self.start is not None:
            length_ms = (self.end - self.start) * FRAME_MS
        starts = sorted(at for at in self.begins_ms if at < len(self.text))
        if not starts:
            starts = [match.start() for match in re.finditer(r"\S+", self.text)]
        per_character = length_ms / len(self.text)
        times = [self.begins_ms.get(at, at * per_character) for at in starts]
        ends_ms = [*times[1:], max(length_ms, times[-1])]
        yield from zip([*starts[1:], len(self.text)], times, ends_ms, strict=True)


class _Move:
    """What the agent wants done with the caller, and the agent's Deferred for it."""

    __slots__ = ("act", "asked", "until_ms", "work")

    def __init__(self) -> None:
        self.until_ms: float = inf
        self.work: Deferred[None] | None = None
        self.act: Callable[[], Deferred[None]] | None = None
        self.asked: Deferred[None] | None = None


class Reply:
    """The floor given for one answer.

    :param synthesizer: None: sentences are counted as said, nothing sounds.
    :param clock: the call's time in ms.
    :param send: lets the call send what the playout has ready by now.
    :param failed: told when a sentence cannot be synthesized.
    """

    def __init__(  # noqa: PLR0913 - a reply meets all of the call's neighbors on the way out
        self,
        synthesizer: Synthesizer | None,
        rate_hz: int,
        playout: Playout,
        clock: Callable[[], int],
        *,
        send: Callable[[int], None],
        expect: Callable[[Expected], None],
        failed: Callable[[Failure, "Reply"], None],
        interruptible: bool = True,
        switching: Switching = UNSWITCHED,
    ) -> None:
        self._switching, self._move = switching, _Move()
        self._synthesizer, self._rate_hz, self._playout, self._clock = synthesizer, rate_hz, playout, clock
        self._send, self._expect, self._failed = send, expect, failed
        self._interruptible = interruptible
        self.alive = True
        self.sentences: list[Sentence] = []
        self.answer: Deferred[None] | None = None
        "The agent's work; None once it is done."
        self.asked_ms = clock()
        self.first_sentence_ms: int | None = None
        self.first_sound_ms: int | None = None
        self.wants_hang_up = False
        self.sound_played = self.sound_began = False
        "Whether the agent has played sound of its own; whether that is news."
        self._progress_ms = self.asked_ms
        self._next = self._told = 0
        self._speaking: Deferred[None] | None = None
        self._reported = self.was_delivered = False
        # What may leave early is made early.
        self._ahead_frames = max(AHEAD_MS, playout.lead_ms) // FRAME_MS

    # --- what the agent may do (Floor) ---

    def say(self, text: str, *, interruptible: bool = True) -> None:
        """Say one sentence after those already said."""
        text = " ".join(text.split())
        if not self.alive or not text:
            return
        self._progress_ms = now_ms = self._clock()
        self.first_sentence_ms = now_ms if self.first_sentence_ms is None else self.first_sentence_ms
        self.sentences.append(Sentence(text, interruptible=interruptible and self._interruptible))
        self._reported = self.was_delivered = False
        self.advance()

    def play(self, pcm: bytes) -> None:
        """Play sound at the leg's rate as part of an uninterruptible passage."""
        if self.alive:
            if not self.sound_played or self._reported:
                self.sound_played = self.sound_began = True
                self._reported = False
            self._put(pcm)

    def expect(self, expected: Expected) -> None:
        """Tell the recognizer what the caller may say next."""
        if self.alive:
            self._expect(expected)

    def hang_up(self) -> None:
        """End the call once everything said has been heard."""
        if self.alive:
            self.wants_hang_up = True

    def transfer(self, target: str) -> Deferred[None]:
        """Connect the caller with somebody else, once everything said has been heard; fails with `Unable`."""
        return self._ask_to_move(lambda: self._switching.transfer(target))

    def hold(self) -> Deferred[None]:
        """Let the caller wait, once everything said has been heard; fails with `Unable`."""
        return self._ask_to_move(self._switching.hold)

    def resume(self) -> Deferred[None]:
        """Talk to a caller again who waits; fails with `Unable`."""
        return self._ask_to_move(self._switching.resume)

    def press(self, keys: str) -> None:
        """Press keys towards the caller's end.

        :raises Unable: it takes none, or there is no such key.
        """
        if self.alive:
            self._switching.press(keys)

    def _ask_to_move(self, act: Callable[[], Deferred[None]]) -> Deferred[None]:
        if not self.alive:
            return fail(Unable("the caller has taken the floor"))
        if self._move.asked is not None:
            return fail(Unable("the caller is being moved already"))
        self._move.act, self._move.asked = act, Deferred()
        return self._move.asked

    # --- what the speaker asks ---

    def began(self, now_ms: int) -> Sentence | None:
        """Return the next sentence whose first sound has gone out; each comes once."""
        if self._told >= len(self.sentences):
            return None
        sentence = self.sentences[self._told]
        if sentence.start is None:
            return None
        # Behind another one, a sentence begins when it is heard, not when it is sent.
        position = self._playout.heard_frames(now_ms) if self._told else self._playout.sent_frames
        if position <= sentence.start and sentence.end != sentence.start:
            return None
        self._told += 1
        return sentence

    def ended(self, now_ms: int) -> bool:
        """Whether everything was said and heard; true once, until more comes."""
        if self._reported or self._working() or not self._playout.played(now_ms):
            return False
        self._reported = True
        return True

    def delivered(self) -> bool:
        """Whether everything was said and its sound has left; true once, until more comes."""
        if self.was_delivered or self._working() or self._playout.queued:
            return False
        self.was_delivered = True
        return True

    def stuck(self, now_ms: int, patience_ms: int) -> bool:
        """Whether somebody who owes us something has been silent for too long."""
        # A sentence that waits until less sound lies ahead waits for us, not for somebody; a telephone may ring long.
        return self._owed() and self._move.asked is None and now_ms - self._progress_ms >= patience_ms

    def move(self, now_ms: int) -> bool:
        """Hand the caller over as the agent asked, when nothing is left to be heard before; whether it begins now."""
        move, act = self._move, self._move.act
        if now_ms >= move.until_ms and move.work is not None:
            work, move.until_ms = move.work, inf
            self._moved(Failure(Unable("nobody answered in time")), move.asked)  # type: ignore[no-untyped-call]
            work.cancel()
        if act is None or self._speaking is not None or self._next < len(self.sentences):
            return False
        if not self.alive or not self._playout.played(now_ms):
            return False
        move.act, move.until_ms = None, now_ms + LONGEST_MOVE_MS
        move.work = maybeDeferred(act)
        move.work.addBoth(self._moved, move.asked)
        return move.asked is not None

    def _moved(self, result: Failure | None, asked: Deferred[None] | None) -> None:
        self._progress_ms = self._clock()
        if asked is self._move.asked:
            self._move.asked = None
        if asked is not None and not asked.called:
            # A floor that was taken away meanwhile asks nobody how it went.
            asked.callback(result)

    def heard(self, position: int) -> str:
        """Return the words heard when the caller has heard up to `position`."""
        return " ".join(words for sentence in self.sentences if (words := sentence.heard(position)))

    @property
    def text(self) -> str:
        """All that was meant to be said."""
        return " ".join(sentence.text for sentence in self.sentences)

    def lose_voice(self) -> None:
        """Say the rest without sound: the caller can read."""
        self._synthesizer = None
        speaking, self._speaking = self._speaking, None
        if speaking is not None:
            speaking.cancel()
        if self._next:
            self._complete(None, self.sentences[self._next - 1])

    def cut(self) -> bool:
        """Take the floor away; return whether the agent had not yet finished its answer."""
        self.alive = False
        work = [self.answer, self._speaking]
        self.answer = self._speaking = None
        for deferred in work:
            if deferred is not None:
                deferred.cancel()
        return work[0] is not None

    # --- synthesis, one sentence ahead ---

    def advance(self) -> None:
        """Synthesize the next sentence, unless one is at work or enough sound already waits."""
        if not self.alive or self._speaking is not None or self._next >= len(self.sentences):
            return
        if self._playout.put_frames - self._playout.heard_frames(self._clock()) > self._ahead_frames:
            return
        sentence = self.sentences[self._next]
        if self._next and self._synthesizer is not None:
            self._playout.put(bytes(self._rate_hz * PAUSE_MS // 1000 * 2), self._clock())
        self._next += 1
        sentence.start = self._playout.put_frames
        self._progress_ms = self._clock()
        if self._synthesizer is None:
            self._complete(None, sentence)
            return
        self._speaking = work = self._synthesize(self._synthesizer, sentence)
        work.addCallbacks(self._complete, self._give_up, callbackArgs=(sentence,), errbackArgs=(sentence,))

    def _synthesize(self, synthesizer: Synthesizer, sentence: Sentence) -> Deferred[None]:
        order = (sentence.text, self._rate_hz, self._put, sentence.word)
        before = " ".join(earlier.text for earlier in self.sentences[: self._next - 1])
        following = self.sentences[self._next] if self._next < len(self.sentences) else None
        return speak_between(synthesizer, order, Surroundings(before, following.text if following else ""))

    def _working(self) -> bool:
        return self._owed() or self._next < len(self.sentences)

    def _owed(self) -> bool:
        return self.answer is not None or self._speaking is not None

    def _put(self, pcm: bytes) -> None:
        if not self.alive:
            return
        self._progress_ms = now_ms = self._clock()
        self._playout.put(pcm, now_ms)
        self._send(now_ms)
        if self.first_sound_ms is None:
            self.first_sound_ms = now_ms

    def _complete(self, _done: None, sentence: Sentence) -> None:
        self._speaking = None
        if not self.alive:
            return
        self._playout.mark()
        sentence.end = self._playout.put_frames
        self._send(self._clock())
        self.advance()

    def _give_up(self, failure: Failure, sentence: Sentence) -> None:
        self._speaking = None
        if self.alive and not isinstance(failure.value, CancelledError):
            sentence.end = self._playout.put_frames
            self._failed(failure, self)
