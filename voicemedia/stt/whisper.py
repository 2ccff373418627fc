"""Recognizer `whisper`: any server with OpenAI's `POST /audio/transcriptions` (OpenAI, vLLM, speaches, LocalAI).

Such a server knows nothing of streams. It is asked about windows of an utterance (`windows.py`), and what two
answers agree on is final (`agreement.py`).
"""

import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from voicemedia.interfaces import Expected
from voicemedia.keyed import Keyed
from voicemedia.stt.asked import AskedRecognizer, Question
from voicemedia.stt.spoken import WHISPER, first
from voicemedia.stt.whisper_wire import read_answer, wav
from voicemedia.stt.windows import Sizes, Window
from voicemedia.stt.words import HeardWord
from voicemedia.web.posting import Upload

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


class Options(Keyed, WindowOptions, frozen=True, forbid_unknown_fields=True):
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


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any, random: Callable[[], float] = random.random) -> AskedRecognizer:
    """Make the recognizer."""
    return AskedRecognizer(Whisper(options), reactor, random)


class Whisper:
    """The wire format of `POST /audio/transcriptions`."""

    name = "whisper"

    def __init__(self, options: Options) -> None:
        self.options, self.sizes = options, options.sizes()
        self.languages = first(options.language, WHISPER)
        self.url = options.base_url.rstrip("/") + "/audio/transcriptions"

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def question(self, window: Window, rate_hz: int, expected: Expected) -> Question:
        """Ask for the words of a window; its past and what is expected are the prompt."""
        options = self.options
        language = language_for(options.language, expected)
        prompt = " ".join(part for part in (options.prompt, ", ".join(expected.phrases), window.context) if part)
        fields = [("model", options.model), ("response_format", "verbose_json"), ("temperature", "0")]
        if language:
            fields.append(("language", language))
        if prompt:
            fields.append(("prompt", prompt[-LONGEST_PROMPT:]))
        if options.word_times:
            fields += [("timestamp_granularities[]", kind) for kind in ("segment", "word")]
        return fields, Upload("file", "speech.wav", "audio/wav", wav(window.pcm, rate_hz))

    def answer(self, body: bytes, start_ms: int, end_ms: int) -> Sequence[HeardWord]:
        """Read what was heard."""
        return read_answer(body, start_ms, end_ms)
