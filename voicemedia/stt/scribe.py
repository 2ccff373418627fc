"""Recognizer `scribe`: ElevenLabs' Scribe over HTTP, one question an utterance."""

import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from voicemedia.interfaces import Expected
from voicemedia.keyed import Keyed
from voicemedia.stt.asked import AskedRecognizer, Question
from voicemedia.stt.scribe_wire import read_answer
from voicemedia.stt.spoken import SCRIBE, first
from voicemedia.stt.whisper import language_for
from voicemedia.stt.whisper_wire import wav
from voicemedia.stt.windows import Sizes, Window
from voicemedia.stt.words import HeardWord
from voicemedia.web.posting import Upload

Seconds = Annotated[float, Meta(gt=0)]

WHOLE_UTTERANCES: Final = Sizes(step_ms=60_000, overlap_ms=0, keep_ms=30_000, longest_ms=59_999)
"Nothing is asked before the endpoint; only an utterance of a minute is taken in parts."
RAW_HZ: Final = 16_000
"The one rate at which the service takes sound without a header."


class Account(Keyed, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What both ways to Scribe need to know."""

    base_url: str = "https://api.elevenlabs.io"
    key_env: str = "ELEVENLABS_API_KEY"
    "Environment variable with the API key; empty: none is wanted."
    language: str = ""
    "ISO 639 code, `en`; empty: the model finds out."
    patience_s: Seconds = 10.0
    "How long the service is tried again when it fails, in seconds."
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    "Price of an hour of sound sent, in US dollars."


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


def make(options: Options, reactor: Any, random: Callable[[], float] = random.random) -> AskedRecognizer:
    """Make the recognizer."""
    return AskedRecognizer(Scribe(options), reactor, random)


class Scribe:
    """The wire format of `POST /v1/speech-to-text`."""

    name, sizes = "scribe", WHOLE_UTTERANCES

    def __init__(self, options: Options) -> None:
        self.options = options
        self.languages = first(options.language, SCRIBE)
        self.url = options.base_url.rstrip("/") + "/v1/speech-to-text"
        if not options.enable_logging:
            self.url += "?enable_logging=false"

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are."""
        return {"xi-api-key": key} if key else {}

    def question(self, window: Window, rate_hz: int, expected: Expected) -> Question:
        """Ask for the words of a window and their times."""
        options, raw = self.options, rate_hz == RAW_HZ
        fields = [
            ("model_id", options.model),
            ("tag_audio_events", "false"),
            ("diarize", "false"),
            ("timestamps_granularity", "word"),
            ("file_format", "pcm_s16le_16" if raw else "other"),
        ]
        language = language_for(options.language, expected)
        if language:
            fields.append(("language_code", language))
        if options.model != "scribe_v1":
            fields += [("keyterms", term) for term in (*options.keyterms, *expected.phrases)]
        if raw:
            return fields, Upload("file", "speech.pcm", "application/octet-stream", window.pcm)
        return fields, Upload("file", "speech.wav", "audio/wav", wav(window.pcm, rate_hz))

    def answer(self, body: bytes, start_ms: int, end_ms: int) -> Sequence[HeardWord]:
        """Read what was heard."""
        return read_answer(body, start_ms, end_ms)
