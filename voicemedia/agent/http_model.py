"""A language model asked over HTTP, its answer streamed as server-sent events."""

import random
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from voicemedia.agent.model import Prompt, ToolCall
from voicemedia.agent.sse_wire import EventStream
from voicemedia.errors import ProviderError, WireError
from voicemedia.keyed import Keyed
from voicemedia.web.backoff import Backoff
from voicemedia.web.posting import Poster
from voicemedia.web.trouble import Trouble

Seconds = Annotated[float, Meta(gt=0)]


class ModelOptions(Keyed, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is reached, and how it writes."""

    base_url: str = ""
    model: str = ""
    key_env: str = ""
    "Environment variable with the API key; empty: the server wants none."
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.6
    "0: always the same answer, 2: wild."
    max_tokens: Annotated[int, Meta(ge=16)] = 256
    "Longest answer, in tokens; nobody listens to more."
    timeout_s: Seconds = 10.0
    "How long the model may keep us waiting, for its first word and in between, in seconds."
    patience_s: Annotated[float, Meta(ge=0)] = 2.0
    "How long a question of which nothing was answered yet is asked again, in seconds."


class Reader(Protocol):
    """Reads the events of one answer."""

    def event(self, payload: str) -> list[str | ToolCall]:
        """Read one event.

        :raises WireError: it is none of the service's.
        :raises ProviderError: the service says that it failed, or that it will not answer this.
        """

    def end(self) -> list[str | ToolCall]:
        """The answer is over: give what was held back.

        :raises ProviderError: it was no answer.
        """


class Dialect(Protocol):
    """The wire format of one service."""

    name: str
    options: Any
    "`ModelOptions`."
    url: str

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are."""

    def body(self, prompt: Prompt) -> Mapping[str, object]:
        """Word the question."""

    def reader(self) -> Reader:
        """Make what reads the answer."""


class HttpModel:
    """Asks one service for all callers.

    :param random: for the jitter of waits after refusals, 0 to 1.
    """

    def __init__(self, dialect: Dialect, reactor: Any, random: Callable[[], float] = random.random) -> None:
        options: ModelOptions = dialect.options
        self.name = dialect.name
        self._dialect, self._reactor = dialect, reactor
        self._patience_s = options.patience_s
        self._poster = Poster(reactor, options.timeout_s)
        self._backoff = Backoff(random)
        self._headers: dict[str, str] = {}
        self._trouble = Trouble(reactor.seconds)

    @property
    def trouble(self) -> str:
        """Why it cannot answer now."""
        return self._trouble.text

    def start(self) -> Deferred[None]:
        """Read the key; connections open when there is something to ask."""
        options: ModelOptions = self._dialect.options
        self._headers = self._dialect.headers(options.key())
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the connections."""
        return self._poster.close()

    def ask(self, prompt: Prompt, take: Callable[[str | ToolCall], None]) -> Deferred[None]:
        """Ask, and ask again while nothing was answered."""
        return Deferred.fromCoroutine(self._ask(prompt, take))

    async def _ask(self, prompt: Prompt, take: Callable[[str | ToolCall], None]) -> None:
        answered = False

        def tell(pieces: list[str | ToolCall]) -> None:
            nonlocal answered
            for piece in pieces:
                answered = True
                take(piece)

        give_up_s = self._reactor.seconds() + self._patience_s
        while True:
            try:
                await self._ask_once(prompt, tell)
            except ProviderError as error:
                self._trouble.failed(error)
                self._backoff.refused(error, self._reactor.seconds())
                wait_s = self._backoff.wait_s(self._reactor.seconds())
                if answered or not error.retryable or self._reactor.seconds() + wait_s > give_up_s:
                    raise
            else:
                self._trouble.served()
                self._backoff.served()
                return
            await deferLater(self._reactor, wait_s)

    async def _ask_once(self, prompt: Prompt, tell: Callable[[list[str | ToolCall]], None]) -> None:
        events, reader = EventStream(), self._dialect.reader()

        def read(octets: bytes) -> None:
            for payload in events.feed(octets):
                tell(reader.event(payload))

        try:
            await self._poster.stream(self._dialect.url, self._headers, self._dialect.body(prompt), read)
            for payload in events.finish():
                tell(reader.event(payload))
            tell(reader.end())
        except WireError as error:
            raise ProviderError(f"cannot read the answer: {error}", code="bad_answer") from error
