"""The end of a call: what the caller was saying is heard to its end, written down, and given to the agent.

Nobody hears the answer; but whoever says what they have eaten and hangs up has said it all the same.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.call import Call
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Goodbye
from voicemedia.switching import Unswitched

UNASKED: Final = (Goodbye.AGENT_HUNG_UP, Goodbye.TRANSFERRED, Goodbye.REPLACED, Goodbye.FAILED)
"Ends after which the agent is asked no more: it ended the call itself, cannot answer, or is talked to elsewhere."


class Nowhere(Unswitched):
    """The floor of an answer that nobody hears."""

    def say(self, text: str, *, interruptible: bool = True) -> None:
        """Say nothing."""

    def play(self, pcm: bytes) -> None:
        """Play nothing."""

    def expect(self, expected: Expected) -> None:
        """Expect nothing."""

    def hang_up(self) -> None:
        """The caller has."""


class LastWords:
    """One call whose leg has gone.

    :param done: told once, when nothing more is to come of it.
    """

    log = Logger()

    def __init__(self, call: Call, why: Goodbye, now_ms: int, done: Callable[[Goodbye], None]) -> None:
        self._call, self._why, self._done = call, why, done
        self._lasted_ms = now_ms - call.answered_ms
        self._answer: Deferred[None] | None = None
        self._answer_due_ms = 0
        self._over = False

    def tick(self, now_ms: int) -> None:
        """Let 20 ms pass: the final transcript may come, or be overdue; so may the agent's answer."""
        call = self._call
        if self._answer is not None:
            if now_ms >= self._answer_due_ms:
                self._answer.cancel()
            return
        call.utterance.complete(now_ms, call.recognition)
        if call.utterance.under_way or self._over:
            return
        fresh, said = call.utterance.fresh, call.utterance.take()
        if fresh:
            call.write_down(said)
        if (said.text or said.keys) and self._why not in UNASKED:
            self._answer_due_ms = now_ms + call.setting.limits.provider_s * 1000
            self._answer = maybeDeferred(call.mind.reply, said, Nowhere())
            self._answer.addErrback(self._failed).addCallback(self._answered)
        else:
            self.end()

    def sweep(self, now_ms: int) -> None:
        """Let a second pass; nothing is due by the second."""

    def end(self) -> None:
        """Forget the caller."""
        if self._over:
            return
        self._over = True
        if self._answer is not None:
            self._answer.cancel()
        call = self._call
        if call.recognition is not None:
            call.recognition.close()
        call.mind.over(self._why)
        call.setting.metrics.call_ended(self._why.value)
        self.log.info(
            "call {call} ended: {why} after {duration_s} s, {turns} turns",
            call=call.caller.call_id,
            why=self._why.value,
            duration_s=round(self._lasted_ms / 1000, 1),
            **call.diary.totals(),
            totals=dict(call.leg.totals()),
        )
        self._done(self._why)

    def _failed(self, failure: Failure) -> None:
        call, error = self._call, failure.value
        if isinstance(error, CancelledError):
            return
        call.setting.metrics.provider_failed("agent")
        if isinstance(error, ProviderError):
            self.log.warn("call {call}: agent failed: {error}", call=call.caller.call_id, error=str(error))
        else:
            self.log.failure("call {call}: agent failed", failure, call=call.caller.call_id)

    def _answered(self, _result: None) -> None:
        self._call.mind.heard("", complete=False)
        self.end()
