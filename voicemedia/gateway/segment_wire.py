"""What a gateway says of a segment, checked (`voicemedia/proto/audio_stream.proto`)."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

from voicemedia.errors import WireError

SESSION_ID_CHARS: Final = 256
OPUS_PACKET_BYTES: Final = 1275 * 48
"Longest Opus packet (RFC 6716, section 3.2.1: a frame has at most 1275 bytes, a packet 48 frames)."
OPUS_PACKET_MS: Final = 120
OPUS_USUAL_MS: Final = 20


class Format(IntEnum):
    """How samples are written, by the numbers of `AudioFormat`."""

    PCMU = 1
    PCMA = 2
    OPUS = 3
    LINEAR16 = 4


RATES_HZ: Final[dict[Format, tuple[int, ...]]] = {
    Format.PCMU: (8000,),
    Format.PCMA: (8000,),
    # An Opus packet can be decoded at any of these; what was encoded does not show (RFC 7587, section 4.1).
    Format.OPUS: (48000, 8000, 12000, 16000, 24000),
    Format.LINEAR16: (16000, 8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000),
}
"Sample rates taken; the first one is meant by 0."


class Message(Protocol):
    """The fields of `AudioSegment`."""

    session_id: str
    timestamp: int
    audio_format: int
    sequence_number: int
    data: bytes
    is_final: bool
    sample_rate_hertz: int
    language_code: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one caller's sound."""

    session_id: str
    number: int
    payload: bytes = field(repr=False)
    format: Format | None
    "None: it has no sound, only the news that the session is over."
    rate_hz: int = 0
    "0: there is no sound."
    last: bool = False
    timestamp_ms: int = 0
    "Unix time by the gateway's clock; 0: it does not say."
    language: str = ""
    "BCP 47; empty: as configured."

    @property
    def duration_ms(self) -> int:
        """Length of the sound; 20 ms for Opus, whose packets mostly are."""
        if self.format is None or self.format is Format.OPUS:
            return OPUS_USUAL_MS
        return len(self.payload) * 1000 // (self.rate_hz * (2 if self.format is Format.LINEAR16 else 1))


def read_segment(message: Message, max_s: int) -> Segment:
    """Check a message.

    :param max_s: longest sound taken in one segment, in seconds.
    :raises WireError: a sentence about the field at fault.
    """
    name = message.session_id
    if not name or len(name) > SESSION_ID_CHARS or not name.isprintable():
        raise WireError("bad_session_id", f"session_id: expected 1 to {SESSION_ID_CHARS} printable characters")
    spoken = Segment(
        name,
        message.sequence_number,
        message.data,
        format=None,
        last=message.is_final,
        timestamp_ms=message.timestamp,
        language=message.language_code,
    )
    if not message.data and message.is_final and not message.audio_format:
        return spoken
    written = _format(message.audio_format)
    rate_hz = _rate(written, message.sample_rate_hertz)
    _check_length(written, rate_hz, message.data, max_s)
    return Segment(
        name, spoken.number, spoken.payload, written, rate_hz, spoken.last, spoken.timestamp_ms, spoken.language
    )


def _format(number: int) -> Format:
    try:
        return Format(number)
    except ValueError:
        known = ", ".join(f"{each.name} ({each.value})" for each in Format)
        raise WireError("bad_format", f"audio_format: {number} is none of {known}") from None


def _rate(written: Format, rate_hz: int) -> int:
    taken = RATES_HZ[written]
    if rate_hz and rate_hz not in taken:
        known = ", ".join(map(str, taken))
        raise WireError("bad_rate", f"sample_rate_hertz: {written.name} at {rate_hz} Hz is not taken, but {known}")
    return rate_hz or taken[0]


def _check_length(written: Format, rate_hz: int, payload: bytes, max_s: int) -> None:
    if written is Format.OPUS:
        if payload.startswith(b"OggS"):
            raise WireError("bad_opus", "data: an Ogg page; send the bare Opus packets, one a segment")
        if len(payload) > OPUS_PACKET_BYTES:
            raise WireError("bad_opus", f"data: {len(payload)} bytes are no Opus packet; send one packet a segment")
        return
    width = 2 if written is Format.LINEAR16 else 1
    if len(payload) % width:
        raise WireError("odd_length", f"data: {len(payload)} bytes; samples of LINEAR16 have two bytes each")
    if len(payload) > max_s * rate_hz * width:
        seconds = len(payload) / rate_hz / width
        raise WireError("too_long", f"data: {seconds:.1f} s of sound; a segment may be {max_s} s long")
