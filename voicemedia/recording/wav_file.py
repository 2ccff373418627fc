"""A stereo WAV file that is written anywhere, and can be read at every instant.

It comes into being with a head, by being renamed. Sound is written first, then the head that counts it in: one write
of some 50 bytes, which the kernel does whole or not at all. So whenever the process ends, the head speaks of sound that
is there. All methods block; they belong to one thread.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from errno import EEXIST
from pathlib import Path
from typing import Final

import numpy as np

from voicemedia.audio.pcm import lin2ulaw
from voicemedia.audio.stereo import Piece
from voicemedia.audio.wav import MU_LAW, PCM

SIDES: Final = 2
BLOCK: Final = 1 << 15
"Samples written at once."
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

    def write(self, pieces: Sequence[Piece], samples: int) -> None:
        """Write sound and silence where it belongs, in this order, beside what the other side says there.

        The file then is at least `samples` long, and its head tells so.

        :raises OSError: the disk does not take it.
        """
        for start, end, group in _together(pieces, samples, self.samples):
            self._merge(start, end, group)
        self._fill(samples)
        self._tell(samples)

    def finish(self, samples: int) -> None:
        """Let the file be exactly so long; see to it that it is on the disk; close it.

        :raises OSError: the disk does not take it; it is closed all the same.
        """
        try:
            self.write((), samples)
            if self.samples > samples:
                self._tell(samples)
                os.ftruncate(self._file, self._start + samples * self._width)
            os.fsync(self._file)
        finally:
            os.close(self._file)

    # --- inside ---

    def _merge(self, start: int, end: int, pieces: Sequence[Piece]) -> None:
        """Write pieces that lie between two positions, in one go."""
        self._fill(start)
        both = np.full((end - start, SIDES), self._silence[0], np.uint8 if self._law else "<i2")
        overlap = min(self.samples, end) - start
        if overlap > 0:
            there = os.pread(self._file, overlap * self._width, self._start + start * self._width)
            both[:overlap] = np.frombuffer(there, both.dtype).reshape(-1, SIDES)
        for piece in pieces:
            at = piece.position - start
            both[at : at + piece.samples, piece.side] = self._coded(piece)
        _write(self._file, both.tobytes(), self._start + start * self._width)
        self.samples = max(self.samples, end)

    def _coded(self, piece: Piece) -> "int | np.ndarray[tuple[int], np.dtype[np.integer]]":
        if piece.pcm is None:
            return self._silence[0]
        return np.frombuffer(lin2ulaw(piece.pcm, 2), np.uint8) if self._law else np.frombuffer(piece.pcm, "<i2")

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


def _together(pieces: Sequence[Piece], samples: int, written: int) -> Iterator[tuple[int, int, Sequence[Piece]]]:
    """Yield what is written in one go: all there is, as a rule, from its first position to its last."""
    if not pieces:
        return
    start = min(piece.position for piece in pieces)
    end = max(samples, *(piece.position + piece.samples for piece in pieces))
    if end - start <= BLOCK:
        yield start, end, pieces
        return
    for piece in pieces:
        yield from _blocks(piece, written)
        written = max(written, piece.position + piece.samples if piece.pcm is not None else 0)


def _blocks(piece: Piece, written: int) -> Iterator[tuple[int, int, Sequence[Piece]]]:
    """Cut a long piece; silence behind the end comes by itself."""
    end = piece.position + piece.samples
    for at in range(piece.position, end if piece.pcm is not None else min(end, written), BLOCK):
        count = min(BLOCK, end - at)
        pcm = piece.pcm[2 * (at - piece.position) :][: 2 * count] if piece.pcm is not None else None
        yield at, at + count, (Piece(piece.side, at, count, pcm),)


def _write(file: int, octets: bytes, at: int) -> None:
    """Write all of it; a disk that is nearly full takes a part first."""
    view = memoryview(octets)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written
