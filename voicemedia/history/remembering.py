"""A conversation that is told what was before, if that is known in time."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from voicemedia.interfaces import Conversation, Floor, Goodbye, Said
from voicemedia.past import Past


class Remembering:
    """Asks for the past as the call begins; the first thing said waits for it.

    :param ask: fires with what is known, or None: too late, or nothing. Never fails.
    :param recall: given the past, once, before anything is said.
    """

    def __init__(
        self, conversation: Conversation, recall: Callable[[Past], None], ask: Callable[[], Deferred[Past | None]]
    ) -> None:
        self._conversation, self._recall = conversation, recall
        self.heard, self.overhear = conversation.heard, conversation.overhear
        self._past: Past | None = None
        self._waiting: list[Deferred[None]] | None = []
        "Who waits for the past; None: it has come."
        ask().addCallback(self._known)

    def _known(self, past: Past | None) -> None:
        self._past = past
        waiting, self._waiting = self._waiting or [], None
        for deferred in waiting:
            deferred.callback(None)

    def greet(self, floor: Floor) -> Deferred[None]:
        """Open the conversation."""
        return self._then(self._conversation.greet, floor)

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        """Answer one turn."""
        return self._then(self._conversation.reply, said, floor)

    def over(self, why: Goodbye) -> None:
        """The call has ended."""
        self._conversation.over(why)

    def _then(self, answer: Callable[..., Deferred[None]], *args: Any) -> Deferred[None]:
        if self._waiting is None:
            self._tell()
            return answer(*args)
        # Cancelling (the caller was faster) cancels the wait, not the question.
        known: Deferred[None] = Deferred(self._waits_no_more)
        self._waiting.append(known)
        return known.addCallback(lambda _: self._then(answer, *args))

    def _waits_no_more(self, deferred: Deferred[None]) -> None:
        if self._waiting is not None and deferred in self._waiting:
            self._waiting.remove(deferred)

    def _tell(self) -> None:
        past, self._past = self._past, None
        if past is not None:
            self._recall(past)
