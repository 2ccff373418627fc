"""Why a service cannot serve now: what it last said, for as long as that is news."""

from collections.abc import Callable
from typing import Final

from voicemedia.errors import ProviderError

SHORT_S: Final = 20.0
"How long a failure that may pass is told; after that somebody has to try again to know."
LONG_S: Final = 300.0
"The same for one that only the operator can mend."


class Trouble:
    """The last failure of one service.

    :param seconds: the reactor's clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._text = ""
        self._until_s = 0.0

    @property
    def text(self) -> str:
        """Say it; empty: none is known."""
        return self._text if self._seconds() < self._until_s else ""

    def failed(self, error: ProviderError) -> None:
        """Take note of a failure; what one caller asked for amiss is none of the service's."""
        if not error.blameless:
            self._text = str(error)
            self._until_s = self._seconds() + max(SHORT_S if error.retryable else LONG_S, error.retry_after_s)

    def served(self) -> None:
        """Take note that it works."""
        self._until_s = 0.0
