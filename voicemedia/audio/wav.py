"""The head of a WAV file (RIFF), and its sound as s16le mono."""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from voicemedia.audio.pcm import alaw2lin, bias, lin2lin, tomono, ulaw2lin
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
MAX_HEAD: Final = 65_536
"The sound begins within so many bytes."
ENDLESS: Final = 0xFFFFFFFF


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
    head = _find_head(octets)
    if head is None:
        raise WireError("bad_wav", "a WAV file without sound")
    return head


def _find_head(octets: bytes) -> Head | None:
    at, form = 12, b""
    while at + 8 <= len(octets):
        name, size = struct.unpack_from("<4sI", octets, at)
        if name == b"data":
            return _head(form, at + 8, size)
        if name == b"fmt ":
            form = octets[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return None


def _head(form: bytes, start: int, size: int) -> Head:
    if len(form) < 16:
        raise WireError("bad_wav", "a WAV file without a format")
    code, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if code == EXTENSIBLE and len(form) >= 26:
        (code,) = struct.unpack_from("<H", form, 24)
    known = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64), (A_LAW, 8), (MU_LAW, 8)}
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
        sound, width = alaw2lin(sound, 2), 2
    elif head.code == MU_LAW:
        sound, width = ulaw2lin(sound, 2), 2
    elif head.code == FLOAT:
        sound, width = _from_float(sound, width), 2
    elif width == 1:
        # 8 bits are unsigned in WAV files.
        sound = bias(sound, 1, 128)
    if head.channels == 2:
        sound = tomono(sound, width, 0.5, 0.5)
    return sound if width == 2 else lin2lin(sound, width, 2)


def _from_float(sound: bytes, width: int) -> bytes:
    """Bring samples from -1 to 1 to s16le; what is louder is clipped, what is no number is silence."""
    samples = np.nan_to_num(np.frombuffer(sound, f"<f{width}"), posinf=1.0, neginf=-1.0)
    pcm: bytes = (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
    return pcm


class WavReader:
    """Reads one WAV file that comes in pieces of any length, cut anywhere."""

    def __init__(self) -> None:
        self.head: Head | None = None
        "None: it has not all come."
        self.ended = False
        "Whether its last sample has been read."
        self._pending = b""
        self._left = 0

    def feed(self, octets: bytes) -> bytes:
        """Read on; return s16le mono. What comes after the last sample is no sound.

        :raises WireError: as `read_head`.
        """
        self._pending += octets
        if self.head is None:
            self.head = _find_head(self._pending)
            if self.head is None:
                if len(self._pending) >= MAX_HEAD:
                    raise WireError("bad_wav", "a WAV file without sound")
                return b""
            self._pending = self._pending[self.head.start :]
            # A file that was never finished says 0 or the largest number.
            self._left = self.head.size or ENDLESS
        width = self.head.bits // 8 * self.head.channels
        whole = min(len(self._pending), self._left) // width * width
        sound, self._pending = self._pending[:whole], self._pending[whole:]
        self._left -= whole
        if self._left < width:
            self.ended, self._pending = True, b""
        return to_pcm(sound, self.head)


def read_wav(octets: bytes) -> tuple[int, bytes]:
    """Read a whole WAV file: its rate in Hz, and its sound as s16le mono.

    :raises WireError: as `read_head`.
    """
    return read_head(octets).rate_hz, WavReader().feed(octets)


def write_wav(pcm: bytes, rate_hz: int) -> bytes:
    """Make a WAV file of s16le mono."""
    form = struct.pack("<HHIIHH", PCM, 1, rate_hz, rate_hz * 2, 2, 16)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, form, b"data", len(pcm)) + pcm
