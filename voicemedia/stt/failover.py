"""Recognizers in the order of preference, each behind its circuit breaker."""

from collections import Counter
from collections.abc import Callable, Sequence

from twisted.logger import Logger

from voicemedia.account import Account
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Hearing, Recognition, Recognizer, Traits
from voicemedia.web.breaker import Breaker, Trip


class Place:
    """One recognizer, whether it is worth a try, and what it has done. All routes that name it share the place."""

    def __init__(self, recognizer: Recognizer, trip: Trip | None = None, *, name: str = "") -> None:
        self.recognizer = recognizer
        self.name = name or recognizer.name
        "Its name in logs and statistics."
        self.breaker = Breaker(trip or Trip())
        self.traits: Traits = getattr(recognizer, "traits", Traits())
        self.languages: tuple[str, ...] = getattr(recognizer, "languages", ())
        "Those it says it hears."
        self.streams = 0
        "Streams opened."
        self.failures: Counter[str] = Counter()
        "By code of the error."
        self.seconds = 0.0
        "Sound it was paid for, in streams that have ended."

    @property
    def usd(self) -> float:
        """What that cost."""
        return self.cost(self.seconds)

    def cost(self, seconds: float) -> float:
        """Tell the price of some sound, in US dollars."""
        return seconds / 3600 * self.traits.usd_per_hour

    @property
    def trouble(self) -> str:
        """Why it is not used; empty when it is."""
        return self.breaker.trouble or self.recognizer.trouble

    def read(self) -> dict[str, object]:
        """Return all counts."""
        return {
            "streams": self.streams,
            "failures": dict(self.failures),
            "seconds": round(self.seconds, 3),
            "cost_usd": round(self.usd, 6),
            "breaker": self.breaker.trouble or "closed",
        }


class Lineup:
    """The recognizers of a route.

    :param clock: the reactor's `seconds`.
    :param account: charged with what all its callers cost together.
    :param bare: listen with what is behind a `prepared` recognizer; whoever asks has prepared the sound.
    """

    log = Logger()

    def __init__(
        self, places: Sequence[Place], clock: Callable[[], float], account: Account | None = None, *, bare: bool = False
    ) -> None:
        self.places = tuple(places)
        self.account = account or Account()
        self._bare = bare
        self._clock = clock

    @property
    def trouble(self) -> str:
        """Why nobody can be heard at this moment; empty when somebody can."""
        troubles = [place.trouble for place in self.places]
        return "" if not all(troubles) else "; ".join(troubles)

    def candidates(self) -> list[Place]:
        """List who is worth a try now, the best first.

        A recognizer in trouble by its own account comes last: it may be about to recover.
        """
        now_ms = self._clock() * 1000
        allowed = [place for place in self.places if place.breaker.allows(now_ms)]
        if not allowed:
            # Callers wait, and nobody else serves them: the moment one is back must not be missed.
            allowed = [place for place in self.places if place.breaker.allows(now_ms, alone=True)]
        return sorted(allowed, key=lambda place: bool(place.recognizer.trouble))

    def listen(self, place: Place, rate_hz: int, hearing: Hearing) -> Recognition:
        """Open a stream.

        :raises ProviderError: the recognizer does not take this caller now.
        """
        place.streams += 1
        place.breaker.enter(self._clock() * 1000)
        recognizer: Recognizer = (
            getattr(place.recognizer, "behind", place.recognizer) if self._bare else place.recognizer
        )
        return recognizer.listen(rate_hz, hearing)

    def failed(self, place: Place, error: ProviderError) -> None:
        """Take note that a stream failed, and tell the operator what only he can mend."""
        place.breaker.failed(error, self._clock() * 1000)
        if error.blameless:
            return
        place.failures[error.code] += 1
        if error.retryable:
            self.log.warn("{provider} failed ({code}): {reason}", provider=place.name, code=error.code, reason=error)
        else:
            self.log.error("{provider} will not work until you mend this: {reason}", provider=place.name, reason=error)
