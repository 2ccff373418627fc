"""Between a call and the agent and recognizer it asks: what they raise ends this one call, and nothing else.

Without it an exception would end in whatever ran at that moment: a socket, the clock of all calls, the child
process of a recognizer that serves other calls too.
"""

# Three functions a call are made here: their annotations need not be made as well.
from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec

from twisted.internet.defer import Deferred

from voicemedia.account import Account
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Conversation, Expected, Hearing, Recognition, Recognizer, Transcript

P = ParamSpec("P")
Lose = Callable[[], None]
"Called while the exception is being handled."


def guarded(method: Callable[P, None], lose: Lose) -> Callable[P, None]:
    """Make a method that loses the call where the given one would raise."""

    def safe(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:  # the code of agents and providers, strangers' among them: anything
            lose()

    return safe


class GuardedConversation:
    """A conversation that does not raise; what `greet` and `reply` raise is an answer that failed, as it was."""

    def __init__(self, conversation: Conversation, lose: Lose) -> None:
        self._conversation = conversation
        self.greet, self.reply = conversation.greet, conversation.reply
        self.heard = guarded(conversation.heard, lose)
        self.overhear = guarded(conversation.overhear, lose)
        self.over = guarded(conversation.over, lose)


class GuardedRecognizer:
    """A recognizer for one call, which does not raise.

    :param accounts: gets those of the call's recognitions that keep one.
    """

    def __init__(self, recognizer: Recognizer, lose: Lose, accounts: list[Account]) -> None:
        self._recognizer, self._lose, self._accounts = recognizer, lose, accounts
        self.name = recognizer.name

    @property
    def trouble(self) -> str:
        """Why it cannot serve."""
        return self._recognizer.trouble

    def start(self) -> Deferred[None]:
        """Start it; the service does."""
        return self._recognizer.start()

    def stop(self) -> Deferred[None]:
        """Stop it; the service does."""
        return self._recognizer.stop()

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen; deaf from the start if that fails."""
        try:
            recognition = self._recognizer.listen(rate_hz, _GuardedHearing(hearing, self._lose))
            if (account := getattr(recognition, "account", None)) is not None:
                self._accounts.append(account)
            return _GuardedRecognition(recognition, self._lose)
        except Exception:  # as in `guarded`
            self._lose()
            return _Deaf()


class _GuardedRecognition:
    def __init__(self, recognition: Recognition, lose: Lose) -> None:
        self._recognition = recognition
        self.feed: Final = guarded(recognition.feed, lose)
        self.onset: Final = guarded(recognition.onset, lose)
        self.endpoint: Final = guarded(recognition.endpoint, lose)
        self.expect: Final = guarded(recognition.expect, lose)
        self.close: Final = guarded(recognition.close, lose)

    @property
    def renewing(self) -> bool:
        """Whether sound waits for a stream or a child."""
        return bool(getattr(self._recognition, "renewing", False))

    @property
    def decoding(self) -> bool:
        """Whether what was said is being decoded."""
        return bool(getattr(self._recognition, "decoding", False))


class _GuardedHearing:
    """The other way round: a bug of the call does not reach the recognizer."""

    def __init__(self, hearing: Hearing, lose: Lose) -> None:
        self._heard, self._deaf = guarded(hearing.heard, lose), guarded(hearing.deaf, lose)

    def heard(self, transcript: Transcript) -> None:
        self._heard(transcript)

    def deaf(self, error: ProviderError) -> None:
        self._deaf(error)


class _Deaf:
    """Hears nothing."""

    def feed(self, pcm: bytes) -> None:
        """Drop it."""

    def onset(self) -> None:
        """Do nothing."""

    endpoint = close = onset

    def expect(self, expected: Expected) -> None:
        """Expect nothing."""
