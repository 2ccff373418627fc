"""A circuit breaker: whether a provider that failed is worth a try. Free of I/O and clocks."""

from collections import deque
from dataclasses import dataclass

from voicemedia.errors import ProviderError


@dataclass(frozen=True, slots=True)
class Trip:
    """When a provider is left alone, and for how long."""

    failures: int = 3
    within_s: float = 30.0
    open_s: float = 20.0
    "Left alone for so long after that many failures; then one stream probes."
    fatal_s: float = 300.0
    "Left alone for so long after an error the operator has to mend."
    alone_s: float = 1.0
    "In place of `open_s`, when there is nobody else to ask."
    probe_s: float = 2.0
    "A probe that nothing has come of for so long no longer keeps others from trying."


class Breaker:
    """Closed: everybody may try. Open: nobody. Half open: one, whose fate decides."""

    def __init__(self, trip: Trip) -> None:
        self._trip = trip
        self._failed_at_ms = deque[float](maxlen=trip.failures)
        self._open_until_ms = 0.0
        self._alone_until_ms = 0.0
        "The same for who has nobody else to ask."
        self._probe_until_ms = 0.0
        self._open = False
        self._probing = False
        self._worked_at_ms: float | None = None
        self.trouble = ""
        "Why it is open; empty while it is closed."

    def allows(self, now_ms: float, *, alone: bool = False) -> bool:
        """Tell whether a stream opened now would be let through.

        :param alone: there is nobody else to ask.
        """
        if not self._open:
            return True
        until_ms = self._alone_until_ms if alone else self._open_until_ms
        return now_ms >= until_ms and not (self._probing and now_ms < self._probe_until_ms)

    def enter(self, now_ms: float) -> None:
        """A stream is opened; while half open it is the probe."""
        self._probing = self._open
        self._probe_until_ms = now_ms + self._trip.probe_s * 1000

    def leave(self) -> None:
        """A stream was closed by us before it could prove anything."""
        self._probing = False

    def worked(self, now_ms: float) -> None:
        """A stream gave a result."""
        self._worked_at_ms = now_ms
        if self._open:
            self._open = self._probing = False
            self.trouble = ""
            self._failed_at_ms.clear()

    def failed(self, error: ProviderError, now_ms: float) -> None:
        """A stream failed; the natural end of one is no failure.

        Nor is an error that asking again does not mend, while others are served: it is about what one caller asks
        for, such as a language, and must not take the provider from everybody.
        """
        if error.blameless or (not error.retryable and self._works(now_ms)):
            return self.leave()
        self._failed_at_ms.append(now_ms)
        trip = self._trip
        often = len(self._failed_at_ms) == trip.failures and now_ms - self._failed_at_ms[0] <= trip.within_s * 1000
        if error.retryable and not error.retry_after_s and not often and not self._probing:
            return
        rest_s = max(trip.open_s if error.retryable else trip.fatal_s, error.retry_after_s)
        self._open, self._probing = True, False
        self._open_until_ms = max(self._open_until_ms, now_ms + rest_s * 1000)
        hopeful = error.retryable and not error.retry_after_s
        self._alone_until_ms = now_ms + trip.alone_s * 1000 if hopeful else self._open_until_ms
        self.trouble = str(error)

    def _works(self, now_ms: float) -> bool:
        worked_at_ms = self._worked_at_ms
        return not self._open and worked_at_ms is not None and now_ms - worked_at_ms <= self._trip.within_s * 1000
