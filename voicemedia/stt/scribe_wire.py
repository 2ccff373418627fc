"""ElevenLabs' answers and messages for speech to text, over HTTP and over the realtime WebSocket.

Sources: elevenlabs.io/docs/api-reference (speech-to-text/convert, speech-to-text/v-1-speech-to-text-realtime) and
the Python SDK.
"""

from base64 import b64encode
from collections.abc import Sequence
from math import inf
from typing import Final
from urllib.parse import urlencode

import msgspec

from voicemedia.errors import ProviderError, WireError
from voicemedia.stt.language_names import code_of
from voicemedia.stt.whisper_wire import spread
from voicemedia.stt.words import HeardWord


class ScribeWord(msgspec.Struct):
    """A word, the space between two, or a sound such as `(laughter)`."""

    text: str = ""
    start: float | None = None
    end: float | None = None
    type: str = "word"
    logprob: float | None = None


class Answer(msgspec.Struct):
    """What was heard in a file."""

    text: str = ""
    language_code: str | None = None
    words: list[ScribeWord] | None = None


class Message(msgspec.Struct):
    """Any message of the realtime socket."""

    message_type: str = ""
    text: str = ""
    error: str = ""
    language_code: str | None = None
    words: list[ScribeWord] | None = None


_answers = msgspec.json.Decoder(Answer)
_messages = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


def read_answer(body: bytes, start_ms: int, end_ms: int) -> list[HeardWord]:
    """Read what was heard in the window from `start_ms` to `end_ms` of the media clock.

    :raises WireError: no JSON, or fields of other types.
    """
    try:
        answer = _answers.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError("bad_answer", str(error)) from error
    return words_of(answer.text, answer.words, code_of(answer.language_code), (start_ms, end_ms))


def words_of(
    text: str, told: Sequence[ScribeWord] | None, language: str, window_ms: tuple[int, int]
) -> list[HeardWord]:
    """Give the words on the media clock; without a list of them, the text in equal parts."""
    start_ms, end_ms = window_ms
    if not told:
        return spread(text, HeardWord("", start_ms, end_ms, exact=False, language=language))
    words, glued = [], False
    for word in told:
        if word.type == "word" and word.text.strip():
            begin_ms = start_ms + round((word.start or 0) * 1000)
            finish_ms = max(begin_ms, start_ms + round((word.end or 0) * 1000))
            logprob = -inf if word.logprob is None else word.logprob
            words.append(
                HeardWord(word.text.strip(), begin_ms, finish_ms, logprob, language=language, glued=glued, weight=1)
            )
        glued = word.type == "word"
    return words


# --- realtime ---

FATAL: Final = frozenset(
    {"auth_error", "quota_exceeded", "unaccepted_terms", "input_error", "invalid_request", "chunk_size_exceeded"}
)
"Errors only the operator, or we, can mend."
NATURAL: Final = frozenset({"session_time_limit_exceeded", "insufficient_audio_activity"})
"Ends of a session that are nobody's fault."
PASSING: Final = frozenset(
    {"error", "commit_throttled", "transcriber_error", "rate_limited", "queue_overflow", "resource_exhausted"}
)
"Errors after which a new session may succeed."
ERRORS: Final = FATAL | NATURAL | PASSING

PCM_RATES_HZ: Final = (8000, 16_000, 22_050, 24_000, 44_100, 48_000)


def read_message(payload: bytes) -> Message:
    """Read one message of the server.

    :raises WireError: no JSON object with a `message_type`.
    """
    try:
        message = _messages.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError("bad_message", str(error)) from error
    if not message.message_type:
        raise WireError("bad_message", "no message_type")
    return message


def error_of(message: Message) -> ProviderError | None:
    """Make the error a message tells of; None: it tells of none. Types unknown to us that carry an error are one."""
    kind = message.message_type
    if kind not in ERRORS and not message.error:
        return None
    says = f"{kind}: {message.error[:200]}" if message.error else kind
    return ProviderError(says, retryable=kind not in FATAL, blameless=kind in NATURAL, code=kind)


def audio_message(octets: bytes, rate_hz: int, *, commit: bool = False) -> bytes:
    """Write a piece of sound, or with none of it a commit."""
    audio = b64encode(octets).decode()
    return _encoder.encode(
        {"message_type": "input_audio_chunk", "audio_base_64": audio, "commit": commit, "sample_rate": rate_hz}
    )


def realtime_url(base_url: str, query: Sequence[tuple[str, str]]) -> str:
    """Write the address of the socket: `https://api.elevenlabs.io` and the parameters of the session."""
    return f"{base_url.rstrip('/').replace('http', 'ws', 1)}/v1/speech-to-text/realtime?{urlencode(query)}"
