"""One recognition of a session, which may have several, one after the other."""

from typing import Protocol

from voicemedia.errors import ProviderError
from voicemedia.interfaces import Recognition, Recognizer, Transcript
from voicemedia.transcribing.totals import Totals


class Owner(Protocol):
    """The session."""

    totals: Totals

    def understood(self, ear: "Ear", transcript: Transcript) -> None:
        """Take a transcript."""

    def deafened(self, ear: "Ear", error: ProviderError) -> None:
        """Take the failure of a recognition."""


class Ear:
    """One recognition of a session; what comes from one that has been replaced is not listened to."""

    def __init__(self, session: Owner, recognizer: Recognizer, rate_hz: int, begin_ms: int) -> None:
        self._session: Owner | None = session
        self.begin_ms = begin_ms
        "Media time of the session when this recognition began."
        self.finals_due = 0
        self.recognition: Recognition = recognizer.listen(rate_hz, self)

    @property
    def renewing(self) -> bool:
        """Whether its sound waits for a stream of the provider's."""
        return getattr(self.recognition, "renewing", False)

    @property
    def trouble(self) -> str:
        """Why nothing has been heard for some seconds; empty: it has, or it does not say."""
        trouble: str = getattr(self.recognition, "trouble", "")
        return trouble

    def heard(self, transcript: Transcript) -> None:
        """Pass words on (`Hearing`)."""
        if self._session is not None:
            self._session.understood(self, transcript)

    def deaf(self, error: ProviderError) -> None:
        """Pass the failure on (`Hearing`)."""
        if self._session is not None:
            self._session.deafened(self, error)

    def close(self) -> None:
        """Hear no more."""
        self.recognition.close()
        if self._session is not None and (account := getattr(self.recognition, "account", None)) is not None:
            self._session.totals.accounts.append(account)
        self._session = None
