"""The caller's part in the conversation: what to say next, and when the other side has finished.

Without I/O and without a clock of its own: it is told what is heard and what time it is.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import Final

from voicemedia.callers.sound import ULAW, Form, Utterance

NO_GREETING_MS: Final = 5000
"Who has not begun to greet by then will not."
KEY_EVERY_MS: Final = 250
"How fast the caller presses keys."
STILL_TALKING_MS: Final = 400
"An agent audible this shortly before the caller finished was talking already: there is no latency to measure."


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys the caller presses, one after the other."""

    keys: str


@dataclass(frozen=True, slots=True)
class Typed:
    """Words the caller types, where there is something to type on."""

    text: str


Line = Utterance | Keys | Typed


@dataclass(frozen=True, slots=True)
class Manners:
    """How the caller waits."""

    wait_greeting_ms: float | None = None
    "Speak first after this, greeting or not; None: when the greeting has ended."
    answer_timeout_ms: float = 20_000
    "Go on after this, counted from the end of speech, even when the answer has not come or not ended."
    quiet_ms: float = 1000
    "An answer followed by so much quiet has ended."
    barge_in_after_ms: float | None = None
    "Do not wait for the end of an answer: interrupt it so long after its first sound."


@dataclass(slots=True)
class Turn:
    """One exchange: what the caller said, and the answer. Times are milliseconds since the call began."""

    line: Line | None
    "None: the greeting."
    began_ms: float
    speech_start_ms: float
    speech_end_ms: float
    "When the caller's last voiced sample (or last key) was spoken."
    answer_start_ms: float | None = None
    "When the first audible sample of the answer was heard."
    answer_end_ms: float | None = None
    clear_ms: float | None = None
    "When the server first said `clear` after the caller had begun to speak: the caller had interrupted it."
    talked_over: bool = False
    "The agent was talking when the caller finished."

    @property
    def answered(self) -> bool:
        return self.answer_start_ms is not None

    @property
    def latency_ms(self) -> float | None:
        """From the end of the caller's speech to the first sound of the answer."""
        if self.answer_start_ms is None or self.talked_over or self.line is None:
            return None
        return self.answer_start_ms - self.speech_end_ms

    @property
    def barge_in_ms(self) -> float | None:
        """From the first sound of the caller to the server's `clear`."""
        return None if self.clear_ms is None else self.clear_ms - self.speech_start_ms


class Mouth:
    """What leaves the caller's telephone: an utterance while there is one, silence otherwise."""

    def __init__(self, form: Form = ULAW, packet_ms: int = 1) -> None:
        self._form = form
        self._packet_ms = packet_ms
        self._said: list[tuple[int, bytes]] = []
        "Where in `spoken` it begins, in bytes, and what is said."
        self.begun = 0
        "How many utterances have begun to leave."
        self.spoken = bytearray()
        "All that has left the telephone."

    def say(self, utterance: Utterance, at_ms: float) -> float:
        """Speak from the first packet on that begins then or later; return when that is."""
        begin_ms = ceil(at_ms / self._packet_ms) * self._packet_ms
        at = begin_ms * self._form.samples_per_ms * self._form.width
        self._said.append((at, self._form.said(utterance)))
        return begin_ms

    def take(self, samples: int) -> bytes:
        """Take the next piece of the time line."""
        start = len(self.spoken)
        end = start + samples * self._form.width
        piece = bytearray(self._form.silence) * samples
        for said_at, sound in self._said:
            # A later utterance cuts off what is left of the one before.
            first = max(said_at, start)
            last = min(said_at + len(sound), end)
            if first < last:
                self.begun += first == said_at
                piece[first - start : last - start] = sound[first - said_at : last - said_at]
        self._said = [(said_at, sound) for said_at, sound in self._said if said_at + len(sound) > end]
        self.spoken += piece
        return bytes(piece)


class Stage(Enum):
    GREETING = "greeting"
    SPEAKING = "speaking"
    WAITING = "waiting"
    ANSWERED = "answered"
    DONE = "done"


class Script:
    """Leads the caller through the lines; gives each finished turn back once."""

    def __init__(self, lines: list[Line], manners: Manners, form: Form = ULAW, packet_ms: int = 1) -> None:
        self._lines = deque(lines)
        self._manners = manners
        self._quiet_from_ms = 0.0
        "When the last audible sound so far is over."
        self._talks_since_ms: float | None = None
        "When the agent began to talk into what the caller is saying."
        self._keys: deque[tuple[float, str]] = deque()
        self._typed: deque[tuple[float, str]] = deque()
        self._interrupts = False
        "The agent was talking when the caller began."
        self.mouth = Mouth(form, packet_ms)
        self.stage = Stage.GREETING
        self.turn = Turn(None, 0.0, 0.0, 0.0)

    @property
    def unsaid(self) -> list[Line]:
        return list(self._lines)

    def hear(self, first_ms: float | None, quiet_from_ms: float, now_ms: float) -> None:
        """Take note of sound that has just come.

        :param first_ms: when its first audible sample is heard; None when it is all silence.
        :param quiet_from_ms: when all that is audible so far is over.
        """
        if first_ms is not None:
            if self.stage is Stage.SPEAKING and self._talks_since_ms is None:
                self._talks_since_ms = first_ms
            if self.stage in (Stage.GREETING, Stage.WAITING) and self.turn.answer_start_ms is None:
                self.turn.answer_start_ms = first_ms
                self.turn.talked_over = self._still_talking()
            if self.stage is Stage.WAITING:
                self.stage = Stage.ANSWERED
        self._quiet_from_ms = quiet_from_ms

    def _still_talking(self) -> bool:
        """Say whether sound that has just come goes on with something older than the caller's last word."""
        if self.turn.line is None or self.turn.clear_ms is not None:
            return False
        return self._quiet_from_ms > max(0.0, self.turn.speech_end_ms - STILL_TALKING_MS)

    def cleared(self, quiet_from_ms: float, now_ms: float) -> None:
        """Take note that the server has taken back what was not yet played."""
        self._quiet_from_ms = quiet_from_ms
        if self.turn.line is not None and self.turn.clear_ms is None and now_ms >= self.turn.speech_start_ms:
            self.turn.clear_ms = now_ms

    def keys_due(self, now_ms: float) -> list[str]:
        """Return the keys pressed by now."""
        return _due(self._keys, now_ms)

    def typed_due(self, now_ms: float) -> list[str]:
        """Return what was typed by now."""
        return _due(self._typed, now_ms)

    def due(self, now_ms: float) -> Turn | None:
        """Let time pass; return the turn that has just ended, if one has, and begin the next."""
        if self.stage is Stage.SPEAKING and now_ms >= self.turn.speech_end_ms:
            self._finish_speaking()
        if self.stage is Stage.DONE or not self._over(now_ms):
            return None
        ended = self.turn
        if ended.answered:
            ended.answer_end_ms = min(self._quiet_from_ms, now_ms)
        self._next_line(now_ms)
        return ended

    def _finish_speaking(self) -> None:
        """Wait for the answer, unless the agent has been answering all the while, as an echo does."""
        began_ms = self._talks_since_ms
        if began_ms is not None and not self._interrupts and self._still_talking():
            self.turn.answer_start_ms = began_ms
            self.turn.talked_over = True
            self.stage = Stage.ANSWERED
        else:
            self.stage = Stage.WAITING

    def give_up(self, now_ms: float) -> Turn | None:
        """End the turn under way, because the call has ended; return it unless it is over already."""
        if self.stage is Stage.DONE:
            return None
        self.stage = Stage.DONE
        if self.turn.answered:
            self.turn.answer_end_ms = min(self._quiet_from_ms, now_ms)
        return self.turn

    def _over(self, now_ms: float) -> bool:
        quiet = now_ms - self._quiet_from_ms >= self._manners.quiet_ms
        match self.stage:
            case Stage.GREETING:
                return self._greeted(now_ms, quiet)
            case Stage.WAITING:
                return now_ms - self.turn.speech_end_ms >= self._manners.answer_timeout_ms
            case Stage.ANSWERED:
                return quiet or self._patience_ends_ms <= now_ms
        return False

    def _greeted(self, now_ms: float, quiet: bool) -> bool:
        wait_ms = self._manners.wait_greeting_ms
        if wait_ms is not None and now_ms >= wait_ms:
            return True
        if self.turn.answered:
            return quiet or now_ms >= NO_GREETING_MS + self._manners.answer_timeout_ms
        return wait_ms is None and now_ms >= NO_GREETING_MS

    @property
    def _patience_ends_ms(self) -> float:
        ends_ms = self.turn.speech_end_ms + self._manners.answer_timeout_ms
        if self._lines and self._manners.barge_in_after_ms is not None and self.turn.answer_start_ms is not None:
            ends_ms = min(ends_ms, self.turn.answer_start_ms + self._manners.barge_in_after_ms)
        return ends_ms

    def _next_line(self, now_ms: float) -> None:
        if not self._lines:
            self.stage = Stage.DONE
            return
        line = self._lines.popleft()
        self._interrupts = self._quiet_from_ms > now_ms
        self._talks_since_ms = None
        self.stage = Stage.SPEAKING
        if isinstance(line, Typed):
            typed_ms = now_ms + KEY_EVERY_MS
            self._typed.append((typed_ms, line.text))
            self.turn = Turn(line, now_ms, typed_ms, typed_ms)
        elif isinstance(line, Keys):
            # Not at once: the server is being asked what it said before, and would tell of the first key already.
            times_ms = [now_ms + KEY_EVERY_MS * number for number in range(1, len(line.keys) + 1)]
            self._keys.extend(zip(times_ms, line.keys, strict=True))
            self.turn = Turn(line, now_ms, times_ms[0], times_ms[-1])
        else:
            began_ms = self.mouth.say(line, now_ms)
            self.turn = Turn(line, now_ms, began_ms + line.voice_start_ms, began_ms + line.voice_end_ms)


def _due(waiting: deque[tuple[float, str]], now_ms: float) -> list[str]:
    due = []
    while waiting and waiting[0][0] <= now_ms:
        due.append(waiting.popleft()[1])
    return due
