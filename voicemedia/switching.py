"""What can be done with a caller besides talking: handing over to somebody else, hold, keys.

Some legs can (SIP), most cannot. An agent asks its floor, which asks the leg: `transfer`, `hold`, `resume`, `press`.
"""

from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred, fail

from voicemedia.errors import Unable

if TYPE_CHECKING:
    from voicemedia.interfaces import Leg


class Switching(Protocol):
    """What a leg's attribute `switching` does. Every Deferred may fail with `Unable`; a canceled one undoes nothing."""

    def transfer(self, target: str) -> Deferred[None]:
        """Connect the caller with somebody else; fires when that has come about: the leg then has gone, or goes.

        :param target: a number or an address, as the leg's carrier writes them.
        """

    def hold(self) -> Deferred[None]:
        """Let the caller wait, with music if there is any; neither side hears the other."""

    def resume(self) -> Deferred[None]:
        """Go on talking."""

    def press(self, keys: str) -> None:
        """Press keys towards the caller's end.

        :raises Unable: it takes none, or there is no such key.
        """


class Unswitched:
    """A leg that can only talk."""

    def transfer(self, target: str) -> Deferred[None]:
        """Fail."""
        return fail(Unable("this line cannot transfer calls"))

    def hold(self) -> Deferred[None]:
        """Fail."""
        return fail(Unable("this line cannot be put on hold"))

    resume = hold

    def press(self, keys: str) -> None:
        """Fail."""
        raise Unable("this line takes no keys")


UNSWITCHED: Final = Unswitched()


def switching_of(leg: "Leg") -> Switching:
    """Find what can be done with a leg's caller."""
    switching: Switching = getattr(leg, "switching", None) or UNSWITCHED
    return switching
