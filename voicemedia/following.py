"""Who follows a conversation in words: the leg that shows it, or nobody."""

from voicemedia.diary import Turn
from voicemedia.interfaces import Follower, Leg, Transcript


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
