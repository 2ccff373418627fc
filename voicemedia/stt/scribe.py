"""Recognizer `scribe`: ElevenLabs' Scribe over HTTP, one question an utterance."""

import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred, succeed

from voicemedia.config import secret
from voicemedia.errors import ConfigError, ProviderError, WireError
from voicemedia.interfaces import Expected, Hearing, Recognition, Recognizer, Traits
from voicemedia.stt.scribe_wire import read_answer
from voicemedia.stt.spoken import SCRIBE, first
from voicemedia.stt.whisper import language_for
from voicemedia.stt.whisper_wire import wav
from voicemedia.stt.windowed import WindowedRecognition
from voicemedia.stt.windows import Sizes, Window, Windows
from voicemedia.stt.words import HeardWord
from voicemedia.web.backoff import Backoff
from voicemedia.web.posting import Poster, Upload

Seconds = Annotated[float, Meta(gt=0)]

WHOLE_UTTERANCES: Final = Sizes(step_ms=60_000, overlap_ms=0, keep_ms=30_000, longest_ms=59_999)
"Nothing is asked before the endpoint; only an utterance of a minute is taken in parts."
RAW_HZ: Final = 16_000
"The one rate at which the service takes sound without a header."


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What both ways to Scribe need to know."""

    base_url: str = "https://api.elevenlabs.io"
    key_env: str = "ELEVENLABS_API_KEY"
    "Environment variable with the API key."
    language: str = ""
    "ISO 639 code, `en`; empty: the model finds out."
    patience_s: Seconds = 10.0
    "How long the service is tried again when it fails, in seconds."
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    "Price of an hour of sound sent, in US dollars."

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError("base_url: expected http:// or https://")

    def missing(self) -> str:
        """Say whether the key is absent."""
        try:
            secret(self.key_env, "key_env")
        except ConfigError as error:
            return str(error)
        return ""


class Options(Account, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    model: str = "scribe_v1"
    keyterms: tuple[str, ...] = ()
    "Words and names to prefer; only `scribe_v2` takes them."
    enable_logging: bool = True
    "False: the service keeps nothing (enterprise accounts only)."
    timeout_s: Seconds = 15.0
    "For one question and its whole answer, in seconds."


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any) -> Recognizer:
    """Make the recognizer."""
    return ScribeRecognizer(options, reactor, random.random)


class ScribeRecognizer:
    """Asks ElevenLabs for all callers.

    :param random: for the jitter of waits after refusals, 0 to 1.
    """

    name = "scribe"

    def __init__(self, options: Options, reactor: Any, random: Callable[[], float]) -> None:
        self._options = options
        self._reactor = reactor
        self._poster = Poster(reactor, options.timeout_s)
        self._backoff = Backoff(random)
        self._url = options.base_url.rstrip("/") + "/v1/speech-to-text"
        if not options.enable_logging:
            self._url += "?enable_logging=false"
        self._headers: dict[str, str] = {}
        self.trouble = ""
        self.traits = Traits(usd_per_hour=options.usd_per_hour)
        self.languages = first(options.language, SCRIBE)

    def start(self) -> Deferred[None]:
        """Read the key; connections open when there is something to ask."""
        self._headers = {"xi-api-key": secret(self._options.key_env, "key_env").reveal()}
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the connections."""
        return self._poster.close()

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller."""

        def ask(window: Window, expected: Expected) -> Deferred[Sequence[HeardWord]]:
            return Deferred.fromCoroutine(self._ask(window, rate_hz, expected))

        windows = Windows(rate_hz, WHOLE_UTTERANCES)
        recognition = WindowedRecognition(self._reactor, windows, ask, self._backoff, self._options.patience_s)
        return recognition.begin(hearing)

    async def _ask(self, window: Window, rate_hz: int, expected: Expected) -> Sequence[HeardWord]:
        try:
            upload = _upload(window.pcm, rate_hz)
            body = await self._poster.post(self._url, self._headers, self._fields(rate_hz, expected), upload)
            words = read_answer(body, window.start_ms, window.end_ms)
        except WireError as error:
            raise ProviderError(f"cannot read the answer: {error}") from error
        except ProviderError as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
        return words

    def _fields(self, rate_hz: int, expected: Expected) -> list[tuple[str, str]]:
        options = self._options
        fields = [
            ("model_id", options.model),
            ("tag_audio_events", "false"),
            ("diarize", "false"),
            ("timestamps_granularity", "word"),
            ("file_format", "pcm_s16le_16" if rate_hz == RAW_HZ else "other"),
        ]
        language = language_for(options.language, expected)
        if language:
            fields.append(("language_code", language))
        if options.model != "scribe_v1":
            fields += [("keyterms", term) for term in (*options.keyterms, *expected.phrases)]
        return fields


def _upload(pcm: bytes, rate_hz: int) -> Upload:
    if rate_hz == RAW_HZ:
        return Upload("file", "speech.pcm", "application/octet-stream", pcm)
    return Upload("file", "speech.wav", "audio/wav", wav(pcm, rate_hz))
