"""A recognizer that is asked over HTTP, a window of sound a request."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from voicemedia.errors import ProviderError, WireError
from voicemedia.interfaces import Expected, Hearing, Recognition, Traits
from voicemedia.stt.windowed import WindowedRecognition
from voicemedia.stt.windows import Sizes, Window, Windows
from voicemedia.stt.words import HeardWord
from voicemedia.web.backoff import Backoff
from voicemedia.web.posting import Poster, Upload
from voicemedia.web.trouble import Trouble

Question = tuple[list[tuple[str, str]], Upload]
"The fields of a form, and the sound."


class Options(Protocol):
    """What the operator may set of any of them."""

    @property
    def timeout_s(self) -> float:
        """For one question and its whole answer, in seconds."""

    @property
    def patience_s(self) -> float:
        """How long the end of an utterance is asked for again when the service fails, in seconds."""

    @property
    def usd_per_hour(self) -> float:
        """Price of an hour of sound sent, in US dollars."""

    def key(self) -> str:
        """Read the API key; empty: none is wanted."""


class Service(Protocol):
    """The wire format of one service."""

    name: str
    url: str
    sizes: Sizes
    "How windows grow."
    languages: tuple[str, ...]
    "Those it knows, the one it is set to first."

    @property
    def options(self) -> Options:
        """What the operator has set."""

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are."""

    def question(self, window: Window, rate_hz: int, expected: Expected) -> Question:
        """Word the question about a window."""

    def answer(self, body: bytes, start_ms: int, end_ms: int) -> Sequence[HeardWord]:
        """Read what was heard.

        :raises WireError: the answer is none.
        """


class AskedRecognizer:
    """Asks one service for all callers.

    :param random: for the jitter of waits after refusals, 0 to 1.
    """

    def __init__(self, service: Service, reactor: Any, random: Callable[[], float]) -> None:
        self.name, self.languages = service.name, service.languages
        self.traits = Traits(usd_per_hour=service.options.usd_per_hour)
        self._news = Trouble(reactor.seconds)
        self._service, self._reactor = service, reactor
        self._poster = Poster(reactor, service.options.timeout_s)
        self._backoff = Backoff(random)
        self._headers: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """Why it cannot serve: what went wrong a short while ago; empty: it may be tried."""
        return self._news.text

    def start(self) -> Deferred[None]:
        """Read the key; connections open when there is something to ask."""
        self._headers = self._service.headers(self._service.options.key())
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the connections."""
        return self._poster.close()

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller."""

        def ask(window: Window, expected: Expected) -> Deferred[Sequence[HeardWord]]:
            return Deferred.fromCoroutine(self._ask(window, rate_hz, expected))

        windows, patience_s = Windows(rate_hz, self._service.sizes), self._service.options.patience_s
        return WindowedRecognition(self._reactor, windows, ask, self._backoff, patience_s).begin(hearing)

    async def _ask(self, window: Window, rate_hz: int, expected: Expected) -> Sequence[HeardWord]:
        fields, upload = self._service.question(window, rate_hz, expected)
        try:
            body = await self._poster.post(self._service.url, self._headers, fields, upload)
            words = self._service.answer(body, window.start_ms, window.end_ms)
        except WireError as error:
            raise ProviderError(f"cannot read the answer: {error}") from error
        except ProviderError as error:
            self._news.failed(error)
            raise
        self._news.served()
        return words
