"""A recognizer over others that costs no word when a stream of theirs ends, fails, stalls or falls behind.

The decisions are in `continuity`; here are the providers' recognitions, the clock, and the account.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from voicemedia.account import Account
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Hearing, Traits, Transcript
from voicemedia.stt.attempts import Attempts
from voicemedia.stt.continuity import Continuity
from voicemedia.stt.failover import Lineup, Place
from voicemedia.stt.stretches import Patience, Tally

TICK_S: Final = 0.25
"How often a recognition looks at the time: none of its limits is shorter than a second."
TURNS: Final = 10
"They look in turns: all of 500 at once would hold up the reactor for as long as a frame lasts."


class RenewingRecognizer:
    """The recognizers of a route as one.

    :param places: in the order of preference.
    :param account: charged with what all callers cost together.
    :param bare: the sound comes prepared: see `Lineup`.
    """

    def __init__(
        self,
        places: Sequence[Place],
        reactor: IReactorTime,
        patience: Patience | None = None,
        account: Account | None = None,
        *,
        bare: bool = False,
    ) -> None:
        self.lineup = Lineup(places, reactor.seconds, account, bare=bare)
        self.name = "+".join(place.name for place in places)
        self.patience = patience or Patience()
        self.tally = Tally()
        "What happened to all callers that have gone."
        self.live: dict[RenewingRecognition, int] = {}
        "All that listen, and when it is whose turn to look at the time."
        self._reactor = reactor
        self._ticking: IDelayedCall | None = None
        self._turn = 0
        self._turns = cycle(range(TURNS))

    @property
    def traits(self) -> Traits:
        """Tell the price of the preferred one; all else that is peculiar to them is taken care of here."""
        return Traits(usd_per_hour=self.lineup.places[0].traits.usd_per_hour)

    @property
    def languages(self) -> tuple[str, ...]:
        """Tell what the preferred one hears; empty: it does not say."""
        spoken: tuple[str, ...] = getattr(self.lineup.places[0].recognizer, "languages", ())
        return spoken

    @property
    def full(self) -> str:
        """Tell why none of them would hear one caller more in time; empty when one would."""
        reasons: list[str] = [getattr(place.recognizer, "full", "") for place in self.lineup.places]
        return "; ".join(reasons) if all(reasons) else ""

    @property
    def trouble(self) -> str:
        """Why nobody is heard now; empty when somebody is."""
        return self.lineup.trouble

    def start(self) -> Deferred[None]:
        """Start the recognizers; one that cannot start is one that failed."""
        started = [place.recognizer.start().addErrback(self._not_started, place) for place in self.lineup.places]
        return DeferredList(started).addCallback(lambda _results: None)

    def _not_started(self, failure: Failure, place: Place) -> None:
        error = failure.value
        if not isinstance(error, ProviderError):
            error = ProviderError(str(error), retryable=False, code="not_started")
        self.lineup.failed(place, error)

    def stop(self) -> Deferred[None]:
        """Stop them."""
        for recognition in tuple(self.live):
            recognition.close()
        stopped = [place.recognizer.stop() for place in self.lineup.places]
        return DeferredList(stopped, consumeErrors=True).addCallback(lambda _results: None)

    def listen(self, rate_hz: int, hearing: Hearing) -> "RenewingRecognition":
        """Begin to listen to one caller whose frames come at `rate_hz`."""
        recognition = RenewingRecognition(self, rate_hz, hearing)
        self.live[recognition] = next(self._turns)
        if self._ticking is None:
            self._ticking = self._reactor.callLater(TICK_S / TURNS, self._tick)
        return recognition

    def now_ms(self) -> float:
        """Tell the reactor's time."""
        return self._reactor.seconds() * 1000

    def _tick(self) -> None:
        # One timer for all: with 500 recognitions, 500 timers would cost more than what they do.
        self._ticking = self._reactor.callLater(TICK_S / TURNS, self._tick) if self.live else None
        self._turn = (self._turn + 1) % TURNS
        for recognition in [each for each, turn in self.live.items() if turn == self._turn]:
            recognition.tick()


class _Ear:
    """Hears what one stream says."""

    __slots__ = ("_number", "_owner")

    def __init__(self, owner: "RenewingRecognition", number: int) -> None:
        self._owner, self._number = owner, number

    def heard(self, transcript: Transcript) -> None:
        """Take a transcript."""
        self._owner.stream_heard(self._number, transcript)

    def deaf(self, error: ProviderError) -> None:
        """Take the end."""
        self._owner.stream_failed(self._number, error)


class RenewingRecognition:
    """One caller, over as many streams as it takes."""

    def __init__(self, recognizer: RenewingRecognizer, rate_hz: int, hearing: Hearing) -> None:
        self._recognizer = recognizer
        self.attempts = Attempts(recognizer.lineup, rate_hz, partial(_Ear, self), hearing)
        self._core = Continuity(rate_hz, recognizer.patience, self.attempts)
        self._fresh: list[bytes] = []
        "Frames that wait for more, as the provider does not send each by itself."
        self._together = 1
        self._busy = False
        self._waiting: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._finished: Deferred[None] | None = None

    @property
    def tally(self) -> Tally:
        """What happened so far."""
        return self._core.tally

    @property
    def renewing(self) -> bool:
        """Whether its sound waits for a stream."""
        return self._core.waiting

    @property
    def trouble(self) -> str:
        """Why the caller has not been heard for some seconds, though all is kept that may still be; empty: he is."""
        return self._core.trouble(self._recognizer.now_ms())

    @property
    def account(self) -> Account:
        """What it has cost, over all streams that have ended: all of them once it is closed."""
        return self.attempts.account

    # --- Recognition ---

    def feed(self, pcm: bytes) -> None:
        """Take 20 ms of sound."""
        # The way of every frame: no clock, no queue, and as little as can be of what the processor has not at hand.
        self._fresh.append(pcm)
        if len(self._fresh) >= self._together:
            self._pass_on()

    def onset(self) -> None:
        """The caller has begun to speak."""
        self._pass_on()
        self._enter(self._core.onset)

    def endpoint(self) -> None:
        """The utterance is over: exactly one final follows, whatever happens to the providers."""
        self._pass_on()
        self._enter(self._core.endpoint)

    def expect(self, expected: Expected) -> None:
        """Prefer this from the next utterance on, with whatever provider."""
        self.attempts.expect(expected)

    def finish(self) -> Deferred[None]:
        """End with an endpoint; fires when every final has been said. Then close."""
        finished = self._finished = Deferred()
        self.endpoint()
        return finished

    def close(self) -> None:
        """Forget the caller."""
        self.attempts.owner = None
        if self in self._recognizer.live:
            del self._recognizer.live[self]
            self._core.close()
            self._recognizer.tally.add(self.tally)
        self.attempts.forget()
        self._fire_finished()

    # --- what happens to it ---

    def tick(self) -> None:
        """Let time pass."""
        self._enter(self._core.tick)

    def stream_heard(self, number: int, transcript: Transcript) -> None:
        """A stream has said something."""
        if (place := self.attempts.place_of(number)) is not None:
            place.breaker.worked(self._recognizer.now_ms())
            self._enter(self._core.heard, number, transcript)

    def stream_failed(self, number: int, error: ProviderError) -> None:
        """A stream has failed."""
        self._enter(self._core.failed, number, error)

    def _pass_on(self) -> None:
        """Let the machine have the frames that have waited."""
        fresh, self._fresh = self._fresh, []
        for pcm in fresh if self.attempts.together == 1 else (b"".join(fresh),):
            if pcm and not self._core.over and self._core.feed(pcm):
                self._enter(self._core.serve)
        self._together = self.attempts.together

    def _enter(self, act: Callable[..., object], *args: object) -> None:
        """Let the machine do one thing at a time: providers and owners may answer while they are told something."""
        self._waiting.append((act, args))
        if self._busy:
            return
        self._busy = True
        try:
            now_ms = self._recognizer.now_ms()
            while self._waiting:
                act, args = self._waiting.popleft()
                if not self._core.over:
                    act(*args, now_ms)
        finally:
            self._busy = False
        if self._finished is not None and (self._core.idle or self._core.over):
            self._fire_finished()

    def _fire_finished(self) -> None:
        if self._finished is not None:
            finished, self._finished = self._finished, None
            finished.callback(None)
