"""A stereo WAV file that is written anywhere, and can be read at every instant.

It comes into being with a head, by being renamed. Sound is written first, then the head that counts it in: one write
of some 50 bytes, which the kernel does whole or not at all. So whenever the process ends, the head speaks of sound that
is there. All methods block; they belong to one thread.
"""

import audioop
import os
import struct
from errno import EEXIST
from pathlib import Path
from typing import Final

import numpy as np

from voicemedia.audio.stereo import Piece
from voicemedia.audio.wav import MU_LAW, PCM

SIDES: Final = 2
BLOCK: Final = 1 << 15
"Samples of silence written at once."
FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


class WavFile:
    """One recording.

    :param law: whether each sample is a byte of mu-law, in place of 16 bits.
    :raises OSError: it cannot be made; there is nothing then.
    """

    def __init__(self, path: Path, rate_hz: int, *, law: bool = False) -> None:
        self.path, self._rate_hz, self._law = path, rate_hz, law
        self._width = SIDES * (1 if law else 2)
        self._silence = b"\xff" if law else b"\0"
        self._start = len(self._head(0))
        self.samples = 0
        "How much of the file has been written, of each side."
        self.told = 0
        "How much of it the head counts in."
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(EEXIST, "there is a recording of that name", str(path))
        unborn = path.with_name(f".{path.name}")
        self._file = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            _write(self._file, self._head(0), 0)
            unborn.rename(path)
        except OSError:
            os.close(self._file)
            unborn.unlink(missing_ok=True)
            raise

    def put(self, piece: Piece) -> None:
        """Write sound or silence where it belongs, beside what the other side says there.

        :raises OSError: the disk does not take it.
        """
        if piece.pcm is not None:
            self._merge(piece.side, piece.position, piece.pcm)
            return
        # Silence behind the end comes by itself.
        end = min(piece.position + piece.samples, self.samples)
        for at in range(piece.position, end, BLOCK):
            self._merge(piece.side, at, bytes(2 * min(BLOCK, end - at)))

    def extend(self, samples: int) -> None:
        """Let the file be at least so long, with silence, and its head tell so.

        :raises OSError: the disk does not take it.
        """
        self._fill(samples)
        self._tell(samples)

    def finish(self, samples: int) -> None:
        """Let the file be exactly so long; see to it that it is on the disk; close it.

        :raises OSError: the disk does not take it; it is closed all the same.
        """
        try:
            self.extend(samples)
            if self.samples > samples:
                self._tell(samples)
                os.ftruncate(self._file, self._start + samples * self._width)
            os.fsync(self._file)
        finally:
            os.close(self._file)

    # --- inside ---

    def _merge(self, side: int, position: int, pcm: bytes) -> None:
        self._fill(position)
        sound = np.frombuffer(audioop.lin2ulaw(pcm, 2), np.uint8) if self._law else np.frombuffer(pcm, "<i2")
        both = np.full(SIDES * len(sound), self._silence[0], sound.dtype)
        overlap = min(self.samples - position, len(sound))
        if overlap > 0:
            there = os.pread(self._file, overlap * self._width, self._start + position * self._width)
            both[: SIDES * overlap] = np.frombuffer(there, sound.dtype)
        both[side::SIDES] = sound
        _write(self._file, both.tobytes(), self._start + position * self._width)
        self.samples = max(self.samples, position + len(sound))

    def _fill(self, samples: int) -> None:
        """Write silence up to a position."""
        while self.samples < samples:
            block = min(BLOCK, samples - self.samples)
            _write(self._file, self._silence * (block * self._width), self._start + self.samples * self._width)
            self.samples += block

    def _tell(self, samples: int) -> None:
        _write(self._file, self._head(samples), 0)
        self.told = samples

    def _head(self, samples: int) -> bytes:
        octets = samples * self._width
        code, bits = (MU_LAW, 8) if self._law else (PCM, 16)
        form = struct.pack("<HHIIHH", code, SIDES, self._rate_hz, self._rate_hz * self._width, self._width, bits)
        chunks = struct.pack("<4sI16s", b"fmt ", 16, form)
        if self._law:
            # Whoever is not PCM says how many samples there are (RFC 2361 and the WAVE format before it).
            chunks = struct.pack("<4sI16sH4sII", b"fmt ", 18, form, 0, b"fact", 4, samples)
        riff = 4 + len(chunks) + 8 + octets
        return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + chunks + struct.pack("<4sI", b"data", octets)


def _write(file: int, octets: bytes, at: int) -> None:
    """Write all of it; a disk that is nearly full takes a part first."""
    view = memoryview(octets)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written
