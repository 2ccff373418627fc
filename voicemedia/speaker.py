"""Our side of a call: one reply at a time has the floor; its sound is paced to the leg and accounted for.

The speaker tells the call what happened (`Event`); the table of turns decides what comes of it.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.audio.frames import frame_bytes
from voicemedia.audio.playout import Playout
from voicemedia.diary import Diary, Turn
from voicemedia.errors import ProviderError
from voicemedia.following import follower_of
from voicemedia.interfaces import Conversation, Expected, Floor, Leg, Synthesizer
from voicemedia.metrics import Metrics
from voicemedia.reply import Reply
from voicemedia.switching import switching_of
from voicemedia.taping import UNTAPED, Tape, tape_of_speaker
from voicemedia.turns import Event
from voicemedia.untold import untold

UNASKED: Final = "call {call}: turn {turn} was ours, {state}"
ANSWERED: Final = UNASKED + ", first sound {latency_ms[total]} ms after the endpoint"


class Speaker:
    """The playout of one call and who fills it."""

    log = Logger()

    def __init__(  # noqa: PLR0913 - it stands between the leg, the voice, the mind and the call
        self,
        leg: Leg,
        conversation: Conversation,
        synthesizer: Synthesizer | None,
        diary: Diary,
        *,
        metrics: Metrics,
        clock: Callable[[], int],
        tell: Callable[[Event], None],
        expect: Callable[[Expected], None],
        hang_up: Callable[[], None],
        tape: Tape = UNTAPED,
    ) -> None:
        self._leg, self._conversation, self._synthesizer, self._diary = leg, conversation, synthesizer, diary
        self._metrics, self._clock, self._tell, self._expect, self._hang_up = metrics, clock, tell, expect, hang_up
        self._began_ms, self._follower = clock(), follower_of(leg)
        self._tape = tape_of_speaker(leg, tape)
        self._playout = Playout(frame_bytes(leg.caller.rate_hz), leg.lead_ms)
        self._reply: Reply | None = None
        self._turn: Turn | None = None
        self._endpoint_ms: int | None = None

    def give_floor(
        self,
        work: Callable[[Floor], Deferred[None]],
        *,
        endpoint_ms: int | None = None,
        interruptible: bool = True,
    ) -> None:
        """Let `work` speak; whoever spoke before has been `cut`.

        :param endpoint_ms: when the caller's turn ended, for the latency; None: we speak unasked.
        """
        self._endpoint_ms, self._turn = endpoint_ms, None
        self._reply = reply = Reply(
            self._synthesizer,
            self._leg.caller.rate_hz,
            self._playout,
            self._clock,
            send=self._send,
            expect=self._expect,
            failed=self._voice_failed,
            interruptible=interruptible,
            switching=switching_of(self._leg),
        )
        reply.answer = answer = maybeDeferred(work, reply)
        answer.addCallbacks(self._answered, self._answer_failed, callbackArgs=(reply,), errbackArgs=(reply,))

    def announce(self, text: str, *, interruptible: bool, hang_up: bool = False) -> None:
        """Say a sentence of the house's own, without the agent."""

        def work(floor: Floor) -> Deferred[None]:
            floor.say(text)
            if hang_up:
                floor.hang_up()
            return succeed(None)

        self.give_floor(work, interruptible=interruptible)

    def cut(self, *, all_sent: bool = False) -> bool:
        """Take the floor away, tell the agent what was heard; return whether it had not finished its answer.

        :param all_sent: what was synthesized so far will sound all the same.
        """
        reply, self._reply = self._reply, None
        if reply is None:
            return False
        position = self._playout.put_frames if all_sent else self._playout.heard_frames(self._clock())
        unanswered = reply.cut()
        if all_sent and not reply.was_delivered:
            self._follower.answered(reply.heard(position))
        self._account(reply, reply.heard(position), complete=False)
        return unanswered

    def fall_silent(self) -> None:
        """Take back what was sent and not yet played."""
        now_ms = self._clock()
        if not self._playout.played(now_ms):
            self._playout.clear(now_ms)
            self._tape.cut()
            self._leg.clear()

    def marked(self, number: int) -> None:
        """A sentence has been played, or cleared; the playout knows which."""
        self._playout.marked(number, self._clock())

    def over(self) -> None:
        """The call is over: tell it nothing more."""
        self._tell = self._expect = self._hang_up = untold

    def tick(self, now_ms: int, patience_ms: int) -> None:
        """Let 20 ms pass: send what is due, say what has begun, ended, or takes too long."""
        self._send(now_ms)
        reply = self._reply
        if reply is None:
            return
        reply.advance()
        if reply.move(now_ms):
            self._tell(Event.ANNOUNCEMENT_BEGAN)  # what the caller says while it rings takes nothing back
        while (sentence := reply.began(now_ms)) is not None:
            self._begun(reply, interruptible=sentence.interruptible)
        if reply.sound_began:
            reply.sound_began = False
            self._begun(reply, interruptible=False)
        if reply.delivered():
            self._follower.answered(reply.text)
        if reply.ended(now_ms):
            self._finish(reply)
        elif reply.stuck(now_ms, patience_ms):
            self._stuck(reply, patience_ms)

    def _stuck(self, reply: Reply, patience_ms: int) -> None:
        self._metrics.provider_failed("agent" if reply.answer is not None else "tts")
        self.log.warn(
            "call {call}: no answer within {patience_ms} ms", call=self._leg.caller.call_id, patience_ms=patience_ms
        )
        if reply.answer is None and self._follower.reads:
            self._go_on_in_writing(reply, "it is silent")
        else:
            self._tell(Event.FAILED)

    def _go_on_in_writing(self, reply: Reply, reason: str) -> None:
        self._follower.voiceless(reason)
        reply.lose_voice()

    def _send(self, now_ms: int) -> None:
        for item in self._playout.due(now_ms):
            if isinstance(item, int):
                self._leg.mark(item)
            else:
                self._leg.play(item)
                self._tape.played(item)

    def _begun(self, reply: Reply, *, interruptible: bool) -> None:
        now_ms = self._clock()
        if self._turn is None:
            self._turn = turn = Turn("agent", now_ms - self._began_ms, reply.text)
            self._time(reply, turn)
            self._diary.write(turn)
        else:
            self._turn.text = reply.text
            self._turn.heard_text = reply.heard(self._playout.heard_frames(now_ms))
            self._diary.tell(self._turn)
        self._tell(Event.SPEECH_BEGAN if interruptible else Event.ANNOUNCEMENT_BEGAN)

    def _time(self, reply: Reply, turn: Turn) -> None:
        """Write down where the time between the caller's last word and our first sound went."""
        if self._endpoint_ms is None or reply.first_sound_ms is None:
            return
        sentence_ms = reply.asked_ms if reply.first_sentence_ms is None else reply.first_sentence_ms
        turn.latency_ms = {
            "transcript": reply.asked_ms - self._endpoint_ms,
            "agent": sentence_ms - reply.asked_ms,
            "voice": reply.first_sound_ms - sentence_ms,
            "total": reply.first_sound_ms - self._endpoint_ms,
        }
        for stage, took_ms in turn.latency_ms.items():
            self._metrics.reply(stage, took_ms)

    def _finish(self, reply: Reply) -> None:
        if not reply.sound_played:
            self._reply = None
        self._account(reply, reply.text, complete=True)
        self._tell(Event.SPEECH_ENDED)
        if reply.wants_hang_up:
            self._hang_up()

    def _account(self, reply: Reply, heard: str, *, complete: bool) -> None:
        """Let agent, diary and log know how much of a reply was heard."""
        self._conversation.heard(heard, complete=complete)
        if not reply.sentences:
            return
        turn = self._turn or self._diary.write(Turn("agent", self._clock() - self._began_ms))
        turn.text, turn.heard_text, turn.interrupted, turn.complete = reply.text, heard, not complete, True
        self._diary.tell(turn)
        self._metrics.turns += 1
        self.log.info(
            ANSWERED if turn.latency_ms else UNASKED,
            call=self._leg.caller.call_id,
            turn=turn.number,
            state="heard to its end" if complete else "interrupted",
            latency_ms=dict(turn.latency_ms),
            pii_said=reply.text,
            pii_heard=heard,
        )

    def _answered(self, _done: None, reply: Reply) -> None:
        reply.answer = None

    def _answer_failed(self, failure: Failure, reply: Reply) -> None:
        reply.answer = None
        if not reply.alive and isinstance(failure.value, CancelledError):
            return
        self._failed("agent", failure, reply)

    def _voice_failed(self, failure: Failure, reply: Reply) -> None:
        if self._follower.reads and reply.alive:
            self._count_failure("tts", failure)
            self._go_on_in_writing(reply, failure.getErrorMessage())
        else:
            self._failed("tts", failure, reply)

    def _failed(self, who: str, failure: Failure, reply: Reply) -> None:
        """The agent or the synthesizer failed, at a reply that may already have lost the floor."""
        self._count_failure(who, failure)
        if reply.alive:
            self._tell(Event.FAILED)

    def _count_failure(self, who: str, failure: Failure) -> None:
        call = self._leg.caller.call_id
        self._metrics.provider_failed(who)
        if isinstance(failure.value, ProviderError):
            self.log.warn("call {call}: {provider} failed: {error}", call=call, provider=who, error=str(failure.value))
        else:
            self.log.failure("call {call}: {provider} failed", failure, call=call, provider=who)
