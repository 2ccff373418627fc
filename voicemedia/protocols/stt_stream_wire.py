"""The messages of `/stt/stream`, both ways, and the parameters of a session.

How clients send sound is published nowhere: binary PCM and JSON with base64 in every form met so far are read.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from voicemedia.errors import WireError
from voicemedia.interfaces import Word
from voicemedia.protocols.languages_wire import known_language, usual_spelling
from voicemedia.transcribing.events import RATES_HZ, Heard, Over, Trouble, Wish

MAX_CHUNK_BYTES: Final = 1 << 20
MAX_SILENCE_MS: Final = 10_000

# --- from the client ---


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound, s16le or the beginning of a WAV file."""

    pcm: bytes
    final: bool = False
    "Whether the client has marked it as its last."


@dataclass(frozen=True, slots=True)
class Finalize:
    """End the utterance; the session goes on."""


@dataclass(frozen=True, slots=True)
class End:
    """End the session."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered with `pong`."""

    echo: Mapping[str, Any]
    "What else stood in it; sent back."


@dataclass(frozen=True, slots=True)
class Pong:
    """A sign of life nobody asked for."""


Message = Audio | Finalize | End | Ping | Pong

TYPE_KEYS: Final = ("type", "event", "action", "command", "message_type")
AUDIO_KEYS: Final = ("data", "audio", "audio_data", "audio_chunk", "chunk", "payload", "audio_base64", "content")
FINAL_KEYS: Final = ("is_final", "is_final_chunk", "final")
AUDIO_TYPES: Final = frozenset(("audio", "audio_chunk", "audio_data", "chunk", "media", "input_audio"))
END_TYPES: Final = frozenset(
    ("end", "stop", "close", "eos", "end_of_stream", "end_stream", "stop_stream", "finish", "closestream", "terminate")
)
FINALIZE_TYPES: Final = frozenset(("finalize", "finalise", "flush", "commit"))
PING_TYPES: Final = frozenset(("ping", "keepalive", "keep_alive", "heartbeat"))


def read_text(payload: bytes) -> Message:
    """Read a text message.

    :raises WireError: it is none of ours.
    """
    word = payload.strip().lower().decode("utf-8", "replace") if len(payload) < 32 else ""
    if control := _control(word, {}):
        return control
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("bad_json", "text must be JSON or a control word; sound is sent as binary") from error
    if isinstance(message, str):
        if control := _control(message.strip().lower(), {}):
            return control
        raise WireError("unknown_message", f"unknown word {message[:40]!r}")
    if not isinstance(message, dict):
        raise WireError("not_an_object", "a JSON message must be an object")
    return _read_object(message)


def _read_object(message: dict[str, Any]) -> Message:
    kind = next((message[key] for key in TYPE_KEYS if isinstance(message.get(key), str)), "").lower()
    if kind in AUDIO_TYPES or (not kind and any(key in message for key in AUDIO_KEYS)):
        return _read_audio(message)
    if control := _control(kind, message):
        return control
    if not kind and any(message.get(key) is True for key in FINAL_KEYS):
        return End()
    raise WireError("unknown_message", f"unknown type {kind[:40]!r}" if kind else "there is no `type`")


def _control(kind: str, message: Mapping[str, Any]) -> Message | None:
    if kind in END_TYPES:
        return End()
    if kind in FINALIZE_TYPES:
        return Finalize()
    if kind == "pong":
        return Pong()
    if kind in PING_TYPES:
        scalars = str | int | float | None
        echo = {key: value for key, value in message.items() if key not in TYPE_KEYS and isinstance(value, scalars)}
        return Ping(echo)
    return None


def _read_audio(message: Mapping[str, Any]) -> Audio:
    final = any(message.get(key) is True for key in FINAL_KEYS)
    value = next((message[key] for key in AUDIO_KEYS if message.get(key) is not None), None)
    if isinstance(value, dict):
        # Nested as carriers do: {"media": {"payload": ...}} under a name of ours.
        value = next((value[key] for key in AUDIO_KEYS if value.get(key) is not None), None)
    if value is None and final:
        return Audio(b"", final=True)
    if not isinstance(value, str):
        raise WireError("no_audio", f"expected base64 in one of {', '.join(AUDIO_KEYS[:3])}")
    return Audio(read_base64(value), final)


def read_base64(text: str) -> bytes:
    """Decode base64 of any dialect: URL-safe, without padding, with line breaks, as a data URL.

    :raises WireError: it is none.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        octets = "".join(text.split()).encode("ascii").translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        return base64.b64decode(octets + b"=" * (-len(octets) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise WireError("bad_base64", "the audio is not base64") from error


# --- the parameters of a session ---


@dataclass(frozen=True, slots=True)
class Fault:
    """A parameter that cannot be as it is; its default takes its place."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the parameters of a connection say."""

    wish: Wish
    session_id: str = ""
    "Of the session to resume; empty: a new one."
    last_seq: int | None = None
    "Number of the last message the client knows."
    faults: tuple[Fault, ...] = ()
    given: frozenset[str] = frozenset()
    "Names of the parameters that were there."


def read_parameters(parameters: Mapping[str, Sequence[str]]) -> Request:
    """Read the query of `/stt/stream`, or the form of `/stt/stream-chunk`: never fails, lists what it did not take."""
    given = {name.lower(): values[-1].strip() for name, values in parameters.items() if values and values[-1].strip()}
    faults: list[Fault] = []
    wish = Wish()
    for name, (field, read) in PARAMETERS.items():
        if name in given:
            try:
                wish = replace(wish, **{field: read(given[name])})
            except WireError as error:
                faults.append(Fault(error.kind, error.detail))
    session_id, last_seq = given.get("session_id", ""), given.get("last_seq", "")
    number = int(last_seq) if re.fullmatch(r"[0-9]{1,15}", last_seq) else None
    if last_seq and number is None:
        faults.append(Fault("invalid_parameter", "last_seq: expected a number"))
    if session_id and not re.fullmatch(r"[A-Za-z0-9._:~-]{1,128}", session_id):
        faults.append(Fault("session_not_found", "session_id: expected up to 128 letters, digits and . _ : ~ -"))
        session_id = ""
    return Request(wish, session_id, number, tuple(faults), frozenset(given))


def _language(text: str) -> str:
    if not known_language(text):
        raise WireError("unsupported_language", f"no language {text[:40]!r}; give a BCP 47 code such as en, or auto")
    return usual_spelling(text)


def _provider(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise WireError("provider_unavailable", f"no provider {text[:40]!r}")
    return text


def _rate_hz(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 6 or int(text) not in RATES_HZ:
        rates = ", ".join(map(str, RATES_HZ))
        raise WireError("unsupported_sample_rate", f"sample_rate {text[:40]!r}; choose one of {rates}")
    return int(text)


def _number(name: str, least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise WireError("invalid_parameter", f"{name} {text[:40]!r}; expected {least} to {most}")
        return int(text)

    return read


def _flag(name: str) -> Callable[[str], bool]:
    def read(text: str) -> bool:
        if text.lower() in ("true", "1", "yes", "on"):
            return True
        if text.lower() in ("false", "0", "no", "off"):
            return False
        raise WireError("invalid_parameter", f"{name} {text[:40]!r}; expected true or false")

    return read


PARAMETERS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "language": ("language", _language),
    "provider": ("provider", _provider),
    "sample_rate": ("rate_hz", _rate_hz),
    "chunk_size": ("chunk_bytes", _number("chunk_size", 1, MAX_CHUNK_BYTES)),
    "words": ("words", _flag("words")),
    "interim": ("interim", _flag("interim")),
    "silence_ms": ("silence_ms", _number("silence_ms", 100, MAX_SILENCE_MS)),
}
"Parameter: the field of `Wish`, and how it is read."
read_flag: Final = _flag

# --- to the client ---


class Stream(Protocol):
    """What is asked of a session."""

    session_id: str
    wish: Wish
    over: Over | None
    language: str
    "That of what was heard last."

    def so_far(self) -> tuple[float, str, float]:
        """Return the time of day, the text and its confidence."""


def iso(at_s: float) -> str:
    """Write a time of day as the seed does, with the zone."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def started(session_id: str, wish: Wish, at_s: float, *, resumed: bool = False, lost: int = 0) -> bytes:
    """Write `session_started`.

    :param lost: of a resumed session: messages that can no longer be told.
    """
    message: dict[str, Any] = {
        "type": "session_started",
        "session_id": session_id,
        "language": wish.language,
        "provider": wish.provider,
        "sample_rate": wish.rate_hz,
        "chunk_size": wish.chunk_bytes,
        "timestamp": iso(at_s),
    }
    if resumed:
        message |= {"resumed": True, "lost_messages": lost}
    return msgspec.json.encode(message)


def event_message(number: int, event: Heard | Trouble | Over, session_id: str, *, replayed: bool = False) -> bytes:
    """Write what a session tells."""
    match event:
        case Heard():
            message = {"type": "transcription", **transcription(event)}
        case Trouble():
            message = error(event)
        case Over():
            message = {"type": "session_ended", "reason": event.reason, "summary": event.summary}
    message |= {"session_id": session_id, "seq": number}
    if replayed:
        message["replayed"] = True
    return msgspec.json.encode(message)


def transcription(event: Heard) -> dict[str, Any]:
    """Write words."""
    transcript = event.transcript
    message: dict[str, Any] = {
        "text": transcript.text,
        "is_final": transcript.final,
        "confidence": round(transcript.confidence, 4),
        "language": event.language,
        "timestamp": iso(event.at_s),
    }
    if transcript.final:
        message |= {"accumulated_text": event.text, "average_confidence": round(event.confidence, 4)}
    elif transcript.stability:
        message["stability"] = round(transcript.stability, 4)
    if transcript.end_ms:
        message |= {"start_ms": transcript.start_ms, "end_ms": transcript.end_ms}
    if event.words:
        message["words"] = [_word(word) for word in transcript.words]
    return message


def chunk_reply(session: Stream, guess: Heard | None, last_chunk: bool) -> dict[str, Any]:
    """Write the answer to one chunk over HTTP: everything heard so far, and the newest guess after it."""
    at_s, text, confidence = session.so_far()
    if guess is not None:
        text = f"{text} {guess.transcript.text}".strip()
        confidence = confidence or guess.transcript.confidence
    message: dict[str, Any] = {
        "text": text,
        "is_final": last_chunk,
        "confidence": round(confidence, 4),
        "language": session.language,
        "timestamp": iso(at_s),
        "session_id": session.session_id,
        "provider": session.wish.provider,
    }
    if session.over is not None:
        message["summary"] = session.over.summary
    return message


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "start_ms": word.start_ms,
        "end_ms": word.end_ms,
        "confidence": round(word.confidence, 4),
    }


def error(trouble: Trouble) -> dict[str, Any]:
    """Write an error in both forms in use: `error`, and `error_code` with `message`."""
    return {
        "type": "error",
        "error": trouble.message,
        "error_code": trouble.code,
        "code": trouble.code,
        "message": trouble.message,
        "recovery_suggestion": trouble.suggestion,
        "timestamp": trouble.at_s,
    }


def error_message(trouble: Trouble) -> bytes:
    """Write an error that belongs to no session."""
    return msgspec.json.encode(error(trouble))


def pong(ping: Ping, at_s: float) -> bytes:
    """Answer a ping."""
    return msgspec.json.encode({"type": "pong", "server_time": at_s, **ping.echo})
