"""Who follows a conversation in words: the leg that shows it, or nobody."""

from collections.abc import Callable
from typing import Any, cast

from voicemedia.diary import Turn
from voicemedia.interfaces import Conversation, Follower, Leg, Transcript
from voicemedia.past import Past


class Unfollowed:
    """Shows nothing: a telephone."""

    reads = False

    def heard(self, transcript: Transcript) -> None:
        """Show no words."""

    def speaks(self, speaking: bool) -> None:
        """Show nothing."""

    def floor(self, state: str) -> None:
        """Show no state."""

    def answered(self, text: str) -> None:
        """Show no answer."""

    def turn(self, turn: Turn) -> None:
        """Show no turn."""

    def voiceless(self, reason: str) -> None:
        """Explain nothing."""


UNFOLLOWED = Unfollowed()


def follower_of(leg: Leg) -> Follower:
    """Find who is to be told."""
    follower: Follower = getattr(leg, "follower", UNFOLLOWED)
    return follower


def with_past_shown(conversation: Conversation, leg: Leg) -> Conversation:
    """Let a follower that has a method `recalled(past)` know what the conversation is told of earlier ones."""
    show: Callable[[Past], None] | None = getattr(follower_of(leg), "recalled", None)
    if show is None or getattr(conversation, "recall", None) is None:
        return conversation
    return cast(Conversation, _Shown(conversation, show))


class _Shown:
    """A conversation whose past is shown."""

    def __init__(self, conversation: Any, show: Callable[[Past], None]) -> None:
        self._conversation, self._show = conversation, show

    def __repr__(self) -> str:
        return repr(self._conversation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conversation, name)

    def recall(self, past: Past) -> None:
        """Tell both."""
        self._show(past)
        self._conversation.recall(past)
