"""The files of all recordings that are on; everything here happens on the thread of files."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voicemedia.audio.stereo import Piece
from voicemedia.recording.wav_file import WavFile

FULL: Final = "less than recording.min_free_mb is free"


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be written of one call."""

    path: Path
    rate_hz: int
    pieces: Sequence[Piece]
    samples: int
    "How long the recording is now."
    over: bool = False
    "Whether that is all."


@dataclass(frozen=True, slots=True)
class Done:
    """What became of it."""

    path: Path
    samples: int
    "How long the file says it is."
    dropped: int
    "Samples of either side that were not written."
    trouble: str = ""


class Files:
    """Writes recordings.

    :param folder: where they are, or will be.
    :param law: whether in mu-law.
    :param min_free_bytes: left alone on the disk.
    """

    def __init__(self, folder: Path, *, law: bool, min_free_bytes: int) -> None:
        self._folder, self._law, self._min_free_bytes = folder, law, min_free_bytes
        self._open: dict[Path, WavFile] = {}

    def write(self, batch: Sequence[Work]) -> list[Done]:
        """Write what there is of every call; what one file does not take harms no other."""
        try:
            room = free_bytes(self._folder) >= self._min_free_bytes
        except OSError:
            room = True  # each file finds out for itself what is wrong
        return [self._write_one(work, room) for work in batch]

    def _write_one(self, work: Work, room: bool) -> Done:
        written, trouble = 0, ""
        file = self._open.get(work.path)
        try:
            if not room:
                raise OSError(FULL)
            if file is None:
                file = self._open[work.path] = WavFile(work.path, work.rate_hz, law=self._law)
            file.write(work.pieces, work.samples)
            written = sum(map(_sound, work.pieces))
        except OSError as error:
            trouble = error.strerror or str(error)
        if work.over:
            trouble = self._close(work) or trouble
        dropped = sum(map(_sound, work.pieces)) - written
        return Done(work.path, file.told if file is not None else 0, dropped, trouble)

    def _close(self, work: Work) -> str:
        file = self._open.pop(work.path, None)
        if file is None:
            return ""
        try:
            file.finish(work.samples)
        except OSError as error:
            return error.strerror or str(error)
        return ""


def _sound(piece: Piece) -> int:
    return piece.samples if piece.pcm is not None else 0


def free_bytes(path: Path) -> int:
    """Tell what is free on the disk of a path that need not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def remove_old(folder: Path, before_s: float) -> int:
    """Delete recordings that ended before a time, and folders of days nothing is left of; return how many."""
    removed = 0
    for path in folder.glob("*/*.wav"):
        # Others delete here, too: history, and people.
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < before_s:
                path.unlink()
                removed += 1
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()
    return removed
