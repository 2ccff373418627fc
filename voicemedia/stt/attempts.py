"""The providers' recognitions that serve one caller, and what they cost."""

from collections.abc import Callable
from dataclasses import dataclass

from voicemedia.account import Account
from voicemedia.errors import ProviderError
from voicemedia.interfaces import FRAME_MS, Expected, Hearing, Recognition, Traits, Transcript
from voicemedia.stt.failover import Lineup, Place
from voicemedia.stt.spoken import hears
from voicemedia.stt.stretches import Stream


@dataclass(slots=True)
class Attempt:
    """One recognition of one provider."""

    place: Place
    recognition: Recognition


class Attempts:
    """Opens, feeds and closes recognitions as `Continuity` orders (its `Streams`).

    :param ear: makes what hears one recognition, by its number.
    :param owner: hears the transcripts in their final order.
    """

    def __init__(self, lineup: Lineup, rate_hz: int, ear: Callable[[int], Hearing], owner: Hearing) -> None:
        self._lineup, self._rate_hz = lineup, rate_hz
        self._ear: Callable[[int], Hearing] | None = ear
        self.owner: Hearing | None = owner
        "None: it wants to hear no more."
        self._expected = Expected()
        self._live: dict[int, Attempt] = {}
        self._feeds: dict[int, Callable[[bytes], None]] = {}
        self._refused: dict[Place, ProviderError] = {}
        "Who will not serve this caller, however often it is asked."
        self._failing: set[Place] = set()
        "Who has failed over what is being said: the others are asked first until it is over."
        self.place: Place | None = None
        "Who was asked last."
        self.failovers = 0
        "How often the sound went to another provider than before."
        self.account = Account()

    @property
    def together(self) -> int:
        """How many frames are best given at once to whoever was asked last."""
        return max(1, self.place.traits.chunk_ms // FRAME_MS) if self.place else 1

    def forget(self) -> None:
        """Hold on to nobody: what refers to one another waits for the garbage collector, which seldom comes."""
        self.owner = self._ear = None

    def expect(self, expected: Expected) -> None:
        """Prefer this from the next utterance on, with whatever provider."""
        self._expected = expected
        for attempt in self._live.values():
            attempt.recognition.expect(expected)

    def place_of(self, number: int) -> Place | None:
        """Tell whose recognition a number is; None: it is closed."""
        attempt = self._live.get(number)
        return attempt.place if attempt else None

    # --- Streams ---

    def open(self, number: int) -> Traits | None:
        """Open a recognition at the best provider that takes it.

        :raises ProviderError: each has refused this caller for good.
        """
        assert self._ear is not None, "nobody opens a stream for a caller who has gone"
        if len(self._refused) == len(self._lineup.places):
            raise next(reversed(self._refused.values()))
        for place in self._candidates():
            try:
                recognition = self._lineup.listen(place, self._rate_hz, self._ear(number))
            except ProviderError as error:
                self._failed(place, error)
                continue
            self._live[number] = Attempt(place, recognition)
            self._feeds[number] = recognition.feed
            if self._expected != Expected():
                recognition.expect(self._expected)
            self.failovers += self.place not in (None, place)
            self.place = place
            return place.traits
        return None

    def better(self, number: int) -> bool:
        """Tell whether somebody preferred to this recognition's provider is back."""
        candidates = self._candidates()
        return bool(candidates) and candidates[0] is not self._live[number].place

    def feed(self, number: int, pcm: bytes) -> None:
        """Send some sound."""
        self._feeds[number](pcm)

    def onset(self, number: int) -> None:
        """Tell that the caller has begun to speak."""
        self._live[number].recognition.onset()

    def endpoint(self, number: int) -> None:
        """Ask for the final."""
        self._failing.clear()
        self._live[number].recognition.endpoint()

    def backlog_ms(self, number: int) -> int:
        """Tell how much sound it has taken and not sent; 0 if it does not say."""
        backlog: int = getattr(self._live[number].recognition, "backlog_ms", 0)
        return backlog

    def drop(self, stream: Stream, why: ProviderError | None) -> None:
        """Close a recognition, and settle its account."""
        attempt = self._live.pop(stream.number)
        del self._feeds[stream.number]
        attempt.recognition.close()
        place, seconds = attempt.place, stream.billed_s or stream.fed / self._rate_hz
        place.seconds += seconds
        for account in (self.account, self._lineup.account):
            account.charge(place.name, seconds, place.cost(seconds))
        if why is None:
            place.breaker.leave()
        else:
            self._failed(place, why)

    def _candidates(self) -> list[Place]:
        """List who is worth a try, the best first; who does not hear the caller's language comes last of all."""
        candidates = [place for place in self._lineup.candidates() if place not in self._refused]
        return sorted(candidates, key=self._doubts)

    def _doubts(self, place: Place) -> tuple[bool, bool]:
        return not hears(place.languages, self._expected.language), place in self._failing

    def _failed(self, place: Place, why: ProviderError) -> None:
        if not why.retryable:
            self._refused[place] = why
        if not why.blameless:
            self._failing.add(place)
        self._lineup.failed(place, why)

    def say(self, transcript: Transcript) -> None:
        """Tell the owner."""
        if self.owner is not None:
            self.owner.heard(transcript)

    def give_up(self, why: ProviderError) -> None:
        """Tell the owner that nothing more will come."""
        if self.owner is not None:
            self.owner.deaf(why)
