"""Several voices as one: when one fails, in mid-sentence too, the next says the rest."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from voicemedia.between import ALONE, speak_between
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Surroundings, Synthesizer
from voicemedia.tts.unsaid import Saying
from voicemedia.web.breaker import Breaker, Trip

PATIENCE_S: Final = 8.0
"A voice that gives no sound for so long has failed."


@dataclass(eq=False, slots=True)
class Mouth:
    """One voice, and whether it is worth a try."""

    voice: Synthesizer
    name: str
    breaker: Breaker = field(default_factory=lambda: Breaker(Trip()))
    failures: Counter[str] = field(default_factory=Counter)
    "Sentences it failed at, by code."
    failovers: int = 0
    "Sentences the next voice had to say in its place, all or the rest."

    @property
    def trouble(self) -> str:
        """Why it is not used; empty when it is."""
        return self.breaker.trouble or self.voice.trouble

    def read(self) -> dict[str, object]:
        """Return all counts."""
        return {
            "failures": dict(self.failures),
            "failovers": self.failovers,
            "breaker": self.breaker.trouble or "closed",
        }


class FailoverVoice:
    """The voices of a route, the preferred one first. Starting and stopping them is their owner's.

    :param reactor: of which it needs the clock.
    """

    log = Logger()
    name = "failover"

    def __init__(self, mouths: Sequence[Mouth], reactor: Any, patience_s: float = PATIENCE_S) -> None:
        self.mouths = tuple(mouths)
        self._reactor = reactor
        self._patience_s = patience_s

    @property
    def trouble(self) -> str:
        """Why nobody can speak at this moment; empty when somebody can."""
        troubles = [mouth.trouble for mouth in self.mouths]
        return "; ".join(troubles) if all(troubles) else ""

    def start(self) -> Deferred[None]:
        """Start the voices."""
        return _all([maybeDeferred(mouth.voice.start) for mouth in self.mouths])

    def stop(self) -> Deferred[None]:
        """Stop them."""
        return _all([maybeDeferred(mouth.voice.stop) for mouth in self.mouths])

    def speak_between(
        self,
        text: str,
        rate_hz: int,
        put: Callable[[bytes], None],
        word: Callable[[int, int], None],
        around: Surroundings = ALONE,
    ) -> Deferred[None]:
        """Speak one sentence between others."""
        return Deferred.fromCoroutine(self._speak(Saying(text, rate_hz, put, word), around))

    speak = speak_between

    async def _speak(self, saying: Saying, around: Surroundings) -> None:
        why = ProviderError("no voice is configured", retryable=False)
        failed: Mouth | None = None
        for mouth in self._candidates():
            if failed is not None:
                failed.failovers += 1
            try:
                await self._try(mouth, saying, around)
            except ProviderError as error:
                why, failed = error, mouth
                mouth.failures[error.code] += 1
                mouth.breaker.failed(error, self._now_ms())
                self.log.warn(
                    "voice {voice} failed ({code}) after {said_ms} ms of a sentence: {reason}",
                    voice=mouth.name,
                    code=error.code,
                    said_ms=saying.given_ms,
                    reason=str(error),
                )
                if not saying.go_on():
                    return
            else:
                mouth.breaker.worked(self._now_ms())
                return
        raise why

    def _candidates(self) -> list[Mouth]:
        """List who is worth a try, the best first; where nobody is, all are: silence is no better."""
        now_ms = self._now_ms()
        allowed = [mouth for mouth in self.mouths if mouth.breaker.allows(now_ms)]
        rest = [mouth for mouth in self.mouths if mouth not in allowed]
        return allowed + rest

    async def _try(self, mouth: Mouth, saying: Saying, around: Surroundings) -> None:
        """Let one voice say what is left.

        :raises ProviderError: it could not, for whatever reason.
        """
        mouth.breaker.enter(self._now_ms())
        try:
            await self._timed(mouth, saying, around)
        except ProviderError:
            raise
        except CancelledError:
            mouth.breaker.leave()
            raise
        except Exception as error:
            self.log.failure("voice {voice} has a bug", voice=mouth.name)
            raise ProviderError(f"bug in the voice: {error}", code="bug") from error

    async def _timed(self, mouth: Mouth, saying: Saying, around: Surroundings) -> None:
        overdue = False

        def give_up() -> None:
            nonlocal overdue
            overdue = True
            work.cancel()

        def put(pcm: bytes) -> None:
            if patience.active():
                patience.reset(self._patience_s)
                told(pcm)

        told, word = saying.turn()
        patience = self._reactor.callLater(self._patience_s, give_up)
        work = speak_between(mouth.voice, (saying.rest, saying.rate_hz, put, word), around)
        try:
            await work
        except CancelledError:
            if overdue:
                raise ProviderError(f"no sound for {self._patience_s:g} s", code="silent") from None
            raise
        finally:
            if patience.active():
                patience.cancel()

    def _now_ms(self) -> float:
        now_s: float = self._reactor.seconds()
        return now_s * 1000


def _all(waiting: list[Deferred[None]]) -> Deferred[None]:
    every: Deferred[Any] = DeferredList(waiting, fireOnOneErrback=True, consumeErrors=True)
    return every.addCallback(lambda _results: None)
