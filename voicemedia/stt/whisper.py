"""Recognizer `whisper`: any server with OpenAI's `POST /audio/transcriptions` (OpenAI, vLLM, speaches, LocalAI).

Such a server knows nothing of streams. It is asked about windows of an utterance (`windows.py`), and what two
answers agree on is final (`agreement.py`).
"""

import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred, succeed

from voicemedia.config import Secret, secret
from voicemedia.errors import ConfigError, ProviderError, WireError
from voicemedia.interfaces import Expected, Hearing, Recognition, Recognizer, Traits
from voicemedia.stt.spoken import WHISPER, first
from voicemedia.stt.whisper_wire import read_answer, wav
from voicemedia.stt.windowed import WindowedRecognition
from voicemedia.stt.windows import Sizes, Window, Windows
from voicemedia.stt.words import HeardWord
from voicemedia.web.backoff import Backoff
from voicemedia.web.posting import Poster, Upload

Milliseconds = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]

LONGEST_PROMPT: Final = 800
"Characters; Whisper reads the last 224 tokens of its prompt."


def language_for(configured: str, expected: Expected) -> str:
    """Choose the language to ask for, as ISO 639-1; empty: the model finds out."""
    wanted = expected.language or configured
    return "" if wanted == "auto" else wanted.split("-")[0]


class WindowOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is common to the recognizers that are asked about windows."""

    language: str = ""
    "ISO 639-1 code, `en`; empty: the model finds out."
    window_ms: Annotated[int, Meta(ge=200)] = 1000
    "Sound by which a window grows from one question to the next."
    overlap_ms: Milliseconds = 200
    "Settled sound a window starts with after a cut."
    keep_ms: Annotated[int, Meta(ge=1000)] = 5000
    "A longer window is cut where its words are settled."
    longest_ms: Annotated[int, Meta(ge=2000, le=30_000)] = 15_000
    "A longer window is believed at once; Whisper itself hears 30 s."
    interim: bool = True
    "Whether to ask before the utterance is over; without, an utterance costs one question."
    patience_s: Seconds = 10.0
    "How long the end of an utterance is asked for again when the server fails, in seconds."
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    "Price of an hour of sound sent, in US dollars."

    def sizes(self) -> Sizes:
        """Give how windows grow."""
        step_ms = self.window_ms if self.interim else self.longest_ms
        return Sizes(step_ms, self.overlap_ms, self.keep_ms, self.longest_ms)


class Options(WindowOptions, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    base_url: str = "https://api.openai.com/v1"
    "Everything before `/audio/transcriptions`."
    model: str = "whisper-1"
    key_env: str = "OPENAI_API_KEY"
    "Environment variable with the API key; empty: the server wants none."
    prompt: str = ""
    "Words and spellings to expect, always told to the model."
    word_times: bool = True
    "Ask for the time of each word; a server that refuses `timestamp_granularities` wants false."
    timeout_s: Seconds = 15.0
    "For one question and its whole answer, in seconds."

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError("base_url: expected http:// or https://")


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    try:
        _key(options)
    except ConfigError as error:
        return str(error)
    return ""


def make(options: Options, reactor: Any) -> Recognizer:
    """Make the recognizer."""
    return WhisperRecognizer(options, reactor, random.random)


def _key(options: Options) -> Secret | None:
    return secret(options.key_env, "key_env") if options.key_env else None


class WhisperRecognizer:
    """Asks one server for all callers.

    :param random: for the jitter of waits after refusals, 0 to 1.
    """

    name = "whisper"

    def __init__(self, options: Options, reactor: Any, random: Callable[[], float]) -> None:
        self._options = options
        self._reactor = reactor
        self._poster = Poster(reactor, options.timeout_s)
        self._backoff = Backoff(random)
        self._url = options.base_url.rstrip("/") + "/audio/transcriptions"
        self._headers: dict[str, str] = {}
        self.trouble = ""
        self.traits = Traits(usd_per_hour=options.usd_per_hour)
        self.languages = first(options.language, WHISPER)

    def start(self) -> Deferred[None]:
        """Read the key; connections open when there is something to ask."""
        key = _key(self._options)
        self._headers = {"Authorization": f"Bearer {key.reveal()}"} if key else {}
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the connections."""
        return self._poster.close()

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller."""

        def ask(window: Window, expected: Expected) -> Deferred[Sequence[HeardWord]]:
            return Deferred.fromCoroutine(self._ask(window, rate_hz, expected))

        windows = Windows(rate_hz, self._options.sizes())
        recognition = WindowedRecognition(self._reactor, windows, ask, self._backoff, self._options.patience_s)
        return recognition.begin(hearing)

    async def _ask(self, window: Window, rate_hz: int, expected: Expected) -> Sequence[HeardWord]:
        upload = Upload("file", "speech.wav", "audio/wav", wav(window.pcm, rate_hz))
        try:
            body = await self._poster.post(self._url, self._headers, self._fields(window, expected), upload)
            words = read_answer(body, window.start_ms, window.end_ms)
        except WireError as error:
            raise ProviderError(f"cannot read the answer: {error}") from error
        except ProviderError as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
        return words

    def _fields(self, window: Window, expected: Expected) -> list[tuple[str, str]]:
        options = self._options
        language = language_for(options.language, expected)
        prompt = " ".join(part for part in (options.prompt, ", ".join(expected.phrases), window.context) if part)
        fields = [("model", options.model), ("response_format", "verbose_json"), ("temperature", "0")]
        if language:
            fields.append(("language", language))
        if prompt:
            fields.append(("prompt", prompt[-LONGEST_PROMPT:]))
        if options.word_times:
            fields += [("timestamp_granularities[]", kind) for kind in ("segment", "word")]
        return fields
