"""The messages of `/v1/text-to-speech/{voice_id}/multi-stream-input`: sentences as contexts of one WebSocket.

https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input
"""

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from voicemedia.errors import WireError

ABSOLUTE_FROM_MS: Final = 200
"A later chunk whose characters begin so late counts from the start of the sentence, not of the chunk."


class Alignment(msgspec.Struct, frozen=True, rename="camel"):
    """When each character begins to sound."""

    chars: list[str] = []
    char_start_times_ms: list[float] = []


class _Message(msgspec.Struct, frozen=True, rename="camel"):
    audio: str | None = None
    is_final: bool | None = None
    alignment: Alignment | None = None
    context_id: str | None = None
    other_context_id: str | None = msgspec.field(name="context_id", default=None)
    error: str | None = None
    message: str | None = None
    code: int | str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of the service."""

    context: str
    "Empty: it is about the whole connection."
    audio: bytes = b""
    alignment: Alignment | None = None
    final: bool = False
    error: str = ""


def read(payload: bytes) -> Piece:
    """Read a message.

    :raises WireError: it is none of the service's.
    """
    try:
        message = msgspec.json.decode(payload, type=_Message)
        audio = b64decode(message.audio, validate=True) if message.audio else b""
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise WireError("bad_message", str(error)) from error
    context = message.context_id or message.other_context_id or ""
    error_text = ""
    if message.error:
        error_text = f"{message.error}: {message.message}" if message.message else message.error
    return Piece(context, audio, message.alignment, bool(message.is_final), error_text)


def begin(context: str, settings: Mapping[str, object]) -> bytes:
    """Open a context."""
    return msgspec.json.encode({"text": " ", "voice_settings": settings, "context_id": context})


def text(context: str, sentence: str) -> bytes:
    """Say a whole sentence, and let it be spoken now rather than when more has come."""
    return msgspec.json.encode({"text": sentence + " ", "context_id": context, "flush": True})


def close(context: str) -> bytes:
    """Close a context: its sentence is complete, or nobody wants to hear it."""
    return msgspec.json.encode({"context_id": context, "close_context": True})


def close_socket() -> bytes:
    """Close the connection."""
    return msgspec.json.encode({"close_socket": True})


class Words:
    """Finds the words of a sentence in the alignments of its chunks."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._at = 0
        self._in_word = False

    @property
    def complete(self) -> bool:
        """Whether every character has been spoken."""
        return self._at >= len(self._sentence)

    def take(self, alignment: Alignment, given_ms: int) -> Iterator[tuple[int, int]]:
        """Yield (character, ms since the start of the sentence) of the words that begin in a chunk.

        :param given_ms: the sound of the chunks before.
        """
        times = alignment.char_start_times_ms
        base = _base_ms(times, given_ms)
        for char, ms in zip(alignment.chars, times, strict=False):
            if self._at >= len(self._sentence):
                return
            if char != self._sentence[self._at]:
                # Spaces are trimmed here and there; what is not in the sentence at all is passed over.
                found = self._sentence.find(char, self._at, self._at + 3)
                if found < 0 or not char.strip():
                    continue
                self._at = found
            if char.strip() and not self._in_word:
                yield self._at, max(0, round(base + ms))
            self._in_word = bool(char.strip())
            self._at += 1


def _base_ms(times: Sequence[float], given_ms: int) -> int:
    absolute = bool(times) and given_ms > ABSOLUTE_FROM_MS and times[0] >= given_ms - ABSOLUTE_FROM_MS
    return 0 if absolute else given_ms
