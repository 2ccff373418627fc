"""A voice that is asked over HTTP, a sentence a request, and sounds as the answer comes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed

from voicemedia.between import ALONE
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Surroundings, Synthesizer
from voicemedia.tts.account import LONGEST_SENTENCE, Account, Retrying
from voicemedia.tts.cache import CachedVoice
from voicemedia.web.posting import Poster

REACHING: Final = frozenset(Account.__struct_fields__) - {"base_url"}


class Decoder(Protocol):
    """What comes over the wire, made into s16le at the caller's rate."""

    def feed(self, wire: bytes) -> bytes:
        """Take bytes of any length; return the sound that is complete."""

    def flush(self) -> bytes:
        """The sentence is over: return the rest."""


@dataclass(frozen=True, slots=True)
class Order:
    """One request."""

    url: str
    body: Mapping[str, object]
    decoder: Decoder


class Service(Protocol):
    """The wire format of one service."""

    name: str
    options: Any
    "An `Account`."

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are."""

    def order(self, text: str, rate_hz: int, around: Surroundings) -> Order:
        """Word the request for a sentence."""


class HttpVoice:
    """Asks one service for all callers."""

    def __init__(self, service: Service, reactor: Any) -> None:
        account: Account = service.options
        self.name = service.name
        self._service = service
        self._poster = Poster(reactor, account.timeout_s)
        self._retrying = Retrying(reactor, account.patience_s)
        self._headers: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """Why it cannot speak now."""
        return self._retrying.trouble

    def start(self) -> Deferred[None]:
        """Read the key; connections open when there is something to say."""
        account: Account = self._service.options
        self._headers = self._service.headers(account.key())
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the connections."""
        return self._poster.close()

    def speak_between(
        self,
        text: str,
        rate_hz: int,
        put: Callable[[bytes], None],
        word: Callable[[int, int], None],
        around: Surroundings = ALONE,
    ) -> Deferred[None]:
        """Speak one sentence between others; the service does not tell when words begin."""
        return Deferred.fromCoroutine(self._speak(text[:LONGEST_SENTENCE], rate_hz, put, around))

    speak = speak_between

    async def _speak(self, text: str, rate_hz: int, put: Callable[[bytes], None], around: Surroundings) -> None:
        given = False

        def sound(pcm: bytes) -> None:
            nonlocal given
            if pcm:
                given = True
                put(pcm)

        def attempt() -> Deferred[None]:
            order = self._service.order(text, rate_hz, around)

            def end(_done: None) -> None:
                sound(order.decoder.flush())
                if not given and text.strip():
                    raise ProviderError("an answer without sound", code="no_sound")

            asked = self._poster.stream(
                order.url, self._headers, order.body, lambda wire: sound(order.decoder.feed(wire))
            )
            return asked.addCallback(end)

        await self._retrying.ask(attempt, lambda: given)


def http_voice(service: Service, reactor: Any) -> Synthesizer:
    """Make a voice of a service's wire format, with the memory its options ask for."""
    voice = HttpVoice(service, reactor)
    account: Account = service.options
    cache = account.cache(reactor)
    return CachedVoice(voice, cache, identity_of(service.name, account)) if cache else voice


def identity_of(name: str, account: Account) -> dict[str, object]:
    """Tell what a voice sounds like; how it is reached is left out: a new key does not change the voice."""
    fields = {key: getattr(account, key) for key in account.__struct_fields__}
    return {"service": name, **{key: value for key, value in fields.items() if key not in REACHING}}
