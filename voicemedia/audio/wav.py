"""The head of a WAV file (RIFF), and its sound as s16le mono."""

import audioop
import struct
from dataclasses import dataclass
from typing import Final

from voicemedia.errors import WireError

PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
"Format codes of WAV files (RFC 2361)."
OTHER_SOUND: Final = {
    b"OggS": "Ogg",
    b"\x1aE\xdf\xa3": "WebM",
    b"fLaC": "FLAC",
    b"ID3": "MP3",
    b"FORM": "AIFF",
}
"First bytes of files that are sound and neither PCM nor WAV."


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the sound."""

    rate_hz: int
    channels: int
    code: int
    bits: int
    start: int
    "Where the sound begins."
    size: int
    "How long it is said to be, in bytes; of a stream nobody could seek in it means nothing."


def is_wav(octets: bytes) -> bool:
    """Tell whether this is the beginning of a WAV file."""
    return octets[:4] == b"RIFF" and octets[8:12] == b"WAVE"


def other_sound(octets: bytes) -> str:
    """Name the format of sound that is neither WAV nor PCM; empty when it may be PCM."""
    return next((name for magic, name in OTHER_SOUND.items() if octets.startswith(magic)), "")


def read_head(octets: bytes) -> Head:
    """Read everything before the sound.

    :raises WireError: it is damaged or cut off, or the format is none we can read.
    """
    at, form = 12, b""
    while at + 8 <= len(octets):
        name, size = struct.unpack_from("<4sI", octets, at)
        if name == b"data":
            return _head(form, at + 8, size)
        if name == b"fmt ":
            form = octets[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    raise WireError("bad_wav", "a WAV file without sound")


def _head(form: bytes, start: int, size: int) -> Head:
    if len(form) < 16:
        raise WireError("bad_wav", "a WAV file without a format")
    code, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if code == EXTENSIBLE and len(form) >= 26:
        (code,) = struct.unpack_from("<H", form, 24)
    known = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (A_LAW, 8), (MU_LAW, 8)}
    if (code, bits) not in known or channels not in (1, 2):
        raise WireError(
            "unsupported_wav", f"WAV format {code} with {bits} bits and {channels} channels; send 16-bit PCM"
        )
    return Head(rate_hz, channels, code, bits, start, size)


def to_pcm(sound: bytes, head: Head) -> bytes:
    """Bring the sound to s16le mono; what is left of a cut sample is dropped."""
    width = head.bits // 8
    sound = sound[: len(sound) // (width * head.channels) * width * head.channels]
    if head.code == A_LAW:
        sound, width = audioop.alaw2lin(sound, 2), 2
    elif head.code == MU_LAW:
        sound, width = audioop.ulaw2lin(sound, 2), 2
    elif width == 1:
        # 8 bits are unsigned in WAV files.
        sound = audioop.bias(sound, 1, 128)
    if head.channels == 2:
        sound = audioop.tomono(sound, width, 0.5, 0.5)
    return sound if width == 2 else audioop.lin2lin(sound, width, 2)


def read_wav(octets: bytes) -> tuple[int, bytes]:
    """Read a WAV file: its rate in Hz, and its sound as s16le mono.

    :raises WireError: as `read_head`.
    """
    head = read_head(octets)
    return head.rate_hz, to_pcm(octets[head.start : head.start + head.size], head)


def write_wav(pcm: bytes, rate_hz: int) -> bytes:
    """Make a WAV file of s16le mono."""
    form = struct.pack("<HHIIHH", PCM, 1, rate_hz, rate_hz * 2, 2, 16)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, form, b"data", len(pcm)) + pcm
