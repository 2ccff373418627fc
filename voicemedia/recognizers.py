"""The recognizers of a server, as routes and sessions use them: by several, one after the other, if one fails."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred

from voicemedia.account import Account
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Hearing, Provider, Recognition, Recognizer, Traits
from voicemedia.stt.failover import Place
from voicemedia.stt.prepared import PreparedRecognizer
from voicemedia.stt.renewing import RenewingRecognizer
from voicemedia.stt.stretches import Tally


class Recognizers:
    """One place for each recognizer, with its circuit breaker and its account; all who name it share them."""

    def __init__(self, providers: Mapping[tuple[str, str], Provider], reactor: Any) -> None:
        self.providers, self._reactor = providers, reactor
        self._accounts: dict[str, Account] = {}
        self._tallies: dict[str, Tally] = {}
        self.places = {
            name: Place(cast(Recognizer, provider), name=name)
            for (kind, name), provider in providers.items()
            if kind == "stt"
        }

    def of_route(self, path: str, names: Sequence[str], missing: Mapping[str, str]) -> Recognizer | None:
        """Join the recognizers of a route, without those whose packages are missing; None: nobody is left."""
        places = [self.places[name] for name in names if name in self.places and f"stt.{name}" not in missing]
        if len(places) == 1 and places[0].traits == Traits():
            return Alone(places[0])
        return self._renewing(path, places) if places else None

    def of_session(self, path: str, name: str) -> Recognizer:
        """Let the sessions that come in by `path` be heard by one recognizer, whose streams may end."""
        return self._renewing(path, [self.places[name]])

    def _renewing(self, path: str, places: Sequence[Place]) -> Recognizer:
        first = places[0].recognizer
        front = first if len(places) == 1 and isinstance(first, PreparedRecognizer) else None
        account = self._accounts.setdefault(path, Account())
        renewing = RenewingRecognizer(places, self._reactor, account=account, bare=front is not None)
        renewing.tally = self._tallies.setdefault(path, renewing.tally)
        return cast(Recognizer, front.in_front_of(cast(Recognizer, renewing)) if front else renewing)

    def read(self) -> dict[str, dict[str, object]]:
        """Return what each recognizer has done and cost, calls and sessions together."""
        return {name: place.read() for name, place in self.places.items()}

    def left_alone(self) -> dict[str, str]:
        """Say of each recognizer, by its key such as `stt.google`, why it is not asked for a while; empty: it is."""
        return {f"stt.{name}": place.breaker.trouble for name, place in self.places.items()}

    def costs(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return what each recognizer has cost, by the way in: a route's path, the streaming API's, `grpc`."""
        return {path: account.read() for path, account in self._accounts.items()}

    def continuity(self) -> dict[str, dict[str, int]]:
        """Return how often streams were replaced and what sound that cost, by the way in."""
        return {path: tally.read() for path, tally in self._tallies.items()}


class Alone:
    """The only recognizer of a route: nobody to fail over to and nothing to renew, but its streams are counted."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.name = place.recognizer.name

    @property
    def trouble(self) -> str:
        """Why it cannot serve."""
        return self._place.recognizer.trouble

    def start(self) -> Deferred[None]:
        """Start it; the service does."""
        return self._place.recognizer.start()

    def stop(self) -> Deferred[None]:
        """Stop it; the service does."""
        return self._place.recognizer.stop()

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller."""
        self._place.streams += 1
        return self._place.recognizer.listen(rate_hz, _Counted(hearing, self._place))


class _Counted:
    """Counts a failure on its way to whom it concerns."""

    def __init__(self, hearing: Hearing, place: Place) -> None:
        self.heard, self._deaf, self._place = hearing.heard, hearing.deaf, place

    def deaf(self, error: ProviderError) -> None:
        self._place.failures[error.code] += 1
        self._deaf(error)
