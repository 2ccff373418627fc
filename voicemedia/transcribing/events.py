"""What a session tells whoever reads it, and what was wished for when it began."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from voicemedia.interfaces import Transcript

RATES_HZ: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)
"Sample rates a client may send."

SUGGESTIONS: Final = {
    "session_not_found": "Start a new session.",
    "session_expired": "Start a new session; send sound, silence too, to keep one alive.",
    "provider_unavailable": "Try again later, or name another provider.",
    "audio_format_error": "Send 16-bit little-endian mono PCM at the session's sample rate, or WAV.",
    "audio_too_large": "Send shorter chunks.",
    "transcription_timeout": "Go on; what was said last may have been lost.",
    "too_fast": "Send sound at the speed at which it was spoken.",
    "unsupported_language": "Choose a language the provider hears, or `auto`.",
    "unsupported_sample_rate": f"Choose one of {', '.join(map(str, RATES_HZ))} Hz.",
    "invalid_parameter": "See the list of parameters in the documentation.",
    "invalid_message": "Send binary PCM, JSON with base64 audio, or one of end, stop, finalize, ping.",
    "server_full": "Try again in a few seconds.",
    "forbidden": "Give the secret, and come from an address that is allowed.",
    "method_not_allowed": "Send a POST request.",
    "invalid_request": "Send multipart/form-data with a file audio_chunk.",
    "unsupported_media_type": "Send multipart/form-data with a file audio_chunk.",
    "unsupported_audio_format": "Send WAV or raw 16-bit little-endian mono PCM.",
}
"Every error code, and what the client can do about it."


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks of its session."""

    language: str = "en"
    provider: str = ""
    "Name of a recognizer; empty: the default one."
    rate_hz: int = 16000
    chunk_bytes: int = 1024
    "What the client means to send at a time; longer and shorter chunks are taken too."
    words: bool = False
    "Whether finals carry the times of their words."
    interim: bool = True
    "Whether interim transcripts are wanted."
    silence_ms: int = 0
    "Silence that ends an utterance; 0: as configured."

    def named(self, heard: str) -> str:
        """Name a language that was heard as the client does, unless it is another one."""
        same = heard.partition("-")[0].lower() == self.language.partition("-")[0].lower()
        return self.language if same or not heard else heard


@dataclass(frozen=True, slots=True)
class Heard:
    """Words, interim or final."""

    transcript: Transcript
    language: str
    at_s: float
    "Time of day, in seconds since 1970."
    text: str = field(repr=False)
    "Everything that is final so far."
    confidence: float
    "Mean of all finals so far."
    words: bool = False
    "Whether the reader asked for word times."


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong; the session lives unless `Over` follows."""

    code: str
    "One of `SUGGESTIONS`."
    message: str
    at_s: float = 0.0

    @property
    def suggestion(self) -> str:
        """Say what the client can do."""
        return SUGGESTIONS[self.code]


@dataclass(frozen=True, slots=True)
class Over:
    """The session has ended; nothing follows."""

    reason: str
    "`ended`, `expired`, `abandoned`, `failed`, `drained`."
    summary: Mapping[str, Any] = field(repr=False)


Event = Heard | Trouble | Over


class Reader(Protocol):
    """Whoever reads a session now. No method blocks or raises."""

    @property
    def writable(self) -> bool:
        """Whether a message that matters can be sent."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits before the next message: only then is an interim transcript worth sending."""

    def take(self, number: int, event: Event, *, replayed: bool) -> None:
        """Send one event; numbers rise, with holes where interim transcripts were out of date."""

    def dismissed(self) -> None:
        """Somebody else has resumed the session."""
