"""One call: joins the leg, the ears, the mind and the voice. No format, no arithmetic, no provider's word in here.

What happens is told to `turns`; its orders are done in `_obey`. The caller's side is `utterance`, ours `speaker`.
"""

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from voicemedia.audio.rhythm import Rhythm
from voicemedia.audio.voice import Endpointer, Speech
from voicemedia.diary import Diary, Turn
from voicemedia.errors import ProviderError
from voicemedia.following import follower_of
from voicemedia.interfaces import Conversation, Expected, Goodbye, Leg, Said, Transcript
from voicemedia.setting import Setting as Setting
from voicemedia.speaker import Speaker
from voicemedia.turns import Event, Order, State, Turns
from voicemedia.utterance import Utterance

FAREWELL_MS: Final = 6_000
"How long a goodbye of ours may take to be heard."
STALL_MS: Final = 200
"Sound that is overdue for this long beyond the hangover is silence."
MAX_FAILURES: Final = 3
"Apologies in one turn before the call is given up."


class Call:
    """One conversation, from answer to `gone`; what is left to do then is `last_words`.

    :param left: told that the leg has gone.
    """

    log = Logger()

    def __init__(
        self, leg: Leg, mind: Conversation, endpointer: Endpointer, setting: Setting, left: Callable[[Goodbye], None]
    ) -> None:
        self.leg, self.caller, self.diary = leg, leg.caller, Diary()
        self._follower = follower_of(leg)
        self.diary.readers.append(self._follower.turn)
        self.mind, self.setting, self._endpointer, self._left = mind, setting, endpointer, left
        self._clock, self._overhear = setting.clock, mind.overhear
        self._turns, self._expected, self._rhythm = Turns(), Expected(), Rhythm()
        self.utterance = Utterance(setting.turns.transcript_wait_ms, setting.turns.key_wait_ms)
        self._patience_ms = setting.limits.provider_s * 1000
        self._stall_ms = setting.voice.hangover_ms + STALL_MS
        self._farewell: Goodbye | None = None
        self._failures = 0
        self.answered_ms = self._farewell_ms = self._clock()
        self._speaker = Speaker(
            leg,
            mind,
            setting.synthesizer,
            self.diary,
            metrics=setting.metrics,
            clock=setting.clock,
            tell=self._on,
            expect=self._expect,
            hang_up=lambda: leg.hang_up(self._farewell or Goodbye.AGENT_HUNG_UP),
            tape=setting.tape,
        )
        ears = setting.recognizer
        self.recognition = ears.listen(self.caller.rate_hz, self) if ears else None

    def __repr__(self) -> str:
        return f"{self.leg!r} -> {self.setting.path}"

    def begin(self) -> None:
        """Say hello; the leg already listens."""
        self.log.info(
            "call {call} answered on {route}: {path}",
            call=self.caller.call_id,
            route=self.caller.route,
            path=repr(self),
            pii_from=self.caller.number,
            pii_to=self.caller.to,
        )
        self._speaker.give_floor(self.mind.greet, interruptible=self.setting.turns.barge_in)

    # --- what the leg tells (Listener) ---

    def hear(self, pcm: bytes, concealed: bool) -> None:
        """Take the next 20 ms of the caller."""
        speech = self._endpointer.hear(pcm)
        if self.recognition is not None:
            self.recognition.feed(pcm)
        self._overhear(pcm)
        if not concealed:
            self._rhythm.heard(self._clock())
        if speech is not None:
            self._voice(speech)

    def digit(self, key: str) -> None:
        """Take a key: it interrupts, and is (part of) a turn."""
        self._on(Event.KEY_PRESSED)
        self.utterance.digit(key, self._expected.keys, self._clock())
        self._offer_turn(self._clock())

    def said(self, text: str) -> None:
        """Take a typed turn: it interrupts as a key does."""
        self._on(Event.KEY_PRESSED)
        self.utterance.typed(text, self._clock())
        self._offer_turn(self._clock())

    def marked(self, number: int) -> None:
        """A sentence has been played, or cleared."""
        self._speaker.marked(number)

    def gone(self, why: Goodbye) -> None:
        """The leg has ended: nothing more can be heard or said."""
        self.setting.tape.end()
        self._on(Event.CALL_ENDED)
        self._speaker.over()
        if self.utterance.speaking:
            self._stopped(self._clock())
        self._left(why)

    # --- what the recognizer tells (Hearing) ---

    def heard(self, transcript: Transcript) -> None:
        """Take an interim or final transcript; a late one finds the table in its last state."""
        self._follower.heard(transcript)
        self.utterance.heard(transcript, self._clock())
        self._offer_turn(self._clock())

    def deaf(self, error: ProviderError) -> None:
        """The recognition died: listen anew, and ask for the words again if some were lost."""
        self.log.warn("call {call}: the recognizer failed: {error}", call=self.caller.call_id, error=str(error))
        self.setting.metrics.provider_failed("stt")
        lost, ears = self.utterance.under_way, self.setting.recognizer
        self.recognition = ears.listen(self.caller.rate_hz, self) if ears and error.retryable else None
        if lost:
            self.utterance.forget()
            self._on(Event.FAILED)

    # --- time ---

    def tick(self, now_ms: int) -> None:
        """Let 20 ms pass: sound to send, in this very tick, late packets, turns that have become complete."""
        self._speaker.tick(now_ms, self._patience_ms)
        self.leg.tick(now_ms)
        if self.utterance.speaking and self._rhythm.overdue_ms(now_ms) > self._stall_ms:
            # The carrier sends nothing while its caller is silent.
            speech = self._endpointer.stop_now()
            if speech is not None:
                self._voice(speech)
        self._offer_turn(now_ms)

    def sweep(self, now_ms: int) -> None:
        """Let a second pass: limits of the whole call."""
        limits = self.setting.limits
        if self._farewell is not None:
            if now_ms >= self._farewell_ms:
                self.leg.hang_up(self._farewell)
        elif now_ms - self.leg.last_message_ms >= limits.idle_s * 1000:
            self.leg.hang_up(Goodbye.IDLE)
        elif now_ms - self.answered_ms >= limits.max_call_s * 1000:
            self.end(Goodbye.TOO_LONG)

    def end(self, why: Goodbye) -> None:
        """Say goodbye in our own words, then hang up."""
        if self._farewell is not None:
            return
        self._farewell, self._farewell_ms = why, self._clock() + FAREWELL_MS
        self._obey((Order.CANCEL_REPLY, Order.FALL_SILENT))
        self._on(Event.ANNOUNCEMENT_BEGAN)  # before it sounds, so that nothing takes its place meanwhile
        self._speaker.announce(self.setting.turns.goodbye, interruptible=False, hang_up=True)

    # --- whose turn it is ---

    def _voice(self, speech: Speech) -> None:
        now_ms = self._clock()
        self._follower.speaks(speech is Speech.STARTED)
        if speech is Speech.STOPPED:
            self._stopped(now_ms)
            return
        self.utterance.onset(now_ms, interrupting=self._turns.state in (State.THINKING, State.SPEAKING))
        if self.recognition is not None:
            self.recognition.onset()
        self._on(Event.CALLER_STARTED)

    def _stopped(self, now_ms: int) -> None:
        ears = self.recognition
        self.utterance.endpoint(now_ms, understood_by_somebody=ears is not None)
        if ears is not None:
            ears.endpoint()
        elif self.setting.recognizer is not None:
            self._on(Event.FAILED)  # it is deaf for good: apologies, and after some of them the end
        self._offer_turn(now_ms)

    def _offer_turn(self, now_ms: int) -> None:
        if self.utterance.complete(now_ms, self.recognition):
            self._on(Event.CALLER_FINISHED)

    def _on(self, event: Event) -> None:
        before = self._turns.state
        orders = self._turns.on(event)
        if self._turns.state is not before:
            self._follower.floor(self._turns.state.name.lower())
        self._obey(orders)

    def _obey(self, orders: tuple[Order, ...]) -> None:
        for order in orders:
            match order:
                case Order.CANCEL_REPLY:
                    # The apology comes behind what sounds already, and asks for the words again itself.
                    sorry = Order.APOLOGIZE in orders
                    if self._speaker.cut(all_sent=sorry) and not sorry:
                        self.utterance.give_back()
                case Order.FALL_SILENT:
                    self._speaker.fall_silent()
                case Order.ASK:
                    self._ask()
                case Order.APOLOGIZE:
                    self._apologize()

    def _ask(self) -> None:
        """Give the caller's words and keys to the agent."""
        self._failures = 0
        said = self.utterance.take()
        self.write_down(said)
        if self._farewell is None:
            self._speaker.give_floor(
                lambda floor: self.mind.reply(said, floor),
                endpoint_ms=self.utterance.endpoint_ms,
                interruptible=self.setting.turns.barge_in,
            )

    def write_down(self, said: Said) -> None:
        """Put a turn of the caller into diary and log."""
        at_ms = self._clock() - self.answered_ms
        turn = self.diary.write(Turn("caller", at_ms, said.text, keys=said.keys, complete=True))
        fields = {"turn": turn.number, "pii_said": said.text, "pii_keys": said.keys}
        self.log.info("call {call}: turn {turn} was the caller's", call=self.caller.call_id, **fields)

    def _apologize(self) -> None:
        """Say that something went wrong; too often in a row, give the call up."""
        self._failures += 1
        if self._failures > MAX_FAILURES or self._farewell is not None:
            self.leg.hang_up(self._farewell or Goodbye.FAILED)
        else:
            self._speaker.announce(self.setting.turns.apology, interruptible=self.setting.turns.barge_in)

    def _expect(self, expected: Expected) -> None:
        self._expected = expected
        if self.recognition is not None:
            self.recognition.expect(expected)
