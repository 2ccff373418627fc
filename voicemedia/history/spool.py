"""What is not yet in the database, in files that survive a crash. Blocks: only for the spool's own thread.

Lines are appended to the newest file and are on the disk (fsync) when `append` returns. The oldest file is read whole,
written to the database in one transaction, and dropped: whatever happens in between, the same file is read again.
Every server has a numbered folder to itself; one that finds the files of a server that is no more takes them over.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from voicemedia.errors import VoicemediaError

FILE_BYTES: Final = 64 * 1024
"A file is closed when it is as long as this: one transaction of a few hundred rows."
SERVERS: Final = 64
"Folders tried for a free one."
SUFFIX: Final = ".jsonl"


class SpoolFull(VoicemediaError):
    """No more than `max_bytes` wait."""


class Spool:
    """The files of one server, below `folder`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._root, self.max_bytes = folder, max_bytes
        self._folder = folder
        self._lock = self._file = -1
        self._files: dict[int, int] = {}
        "Length by number, oldest first."
        self._open: int | None = None
        "Number of the file that is appended to."

    @property
    def waiting_bytes(self) -> int:
        """Tell how much is not yet in the database; may be asked on any thread."""
        return sum(tuple(self._files.values()))

    def open(self) -> None:
        """Find a folder nobody else uses, and what is left in it and in those of servers that are no more.

        :raises OSError: nothing can be written there.
        """
        for folder in (self._root.parent, self._root):
            # `mode` is that of the last folder made, and the database lies in the first.
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(1, SERVERS + 1):
            folder = self._root / str(number)
            if self._lock >= 0 and not folder.exists():
                continue
            lock = _locked(folder)
            if lock < 0:
                continue
            if self._lock < 0:
                self._folder, self._lock = folder, lock
                self._files = {int(path.stem): path.stat().st_size for path in _files(folder)}
            else:
                self._adopt(folder)
                os.close(lock)
        if self._lock < 0:
            raise OSError(f"{self._root}: {SERVERS} servers use it already")

    def _adopt(self, folder: Path) -> None:
        for path in _files(folder):
            number = self._next()
            self._files[number] = path.stat().st_size
            path.rename(self._path(number))

    def append(self, lines: bytes) -> None:
        """Add whole lines, and see to it that they are on the disk.

        :raises SpoolFull: too much waits already; nothing was added.
        :raises OSError: the disk is full or broken; nothing was added.
        """
        if self.waiting_bytes + len(lines) > self.max_bytes:
            waits = f"{self._folder}: {self.max_bytes >> 20} MiB wait already"
            raise SpoolFull(f"{waits}; bring the database back, or raise history.spool_mb")
        if self._open is None or self._files[self._open] >= FILE_BYTES:
            self._begin_file()
        number = self._open
        assert number is not None
        before = self._files[number]
        try:
            _write_all(self._file, lines)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            os.lseek(self._file, before, os.SEEK_SET)
            raise
        self._files[number] = before + len(lines)

    def oldest(self) -> bytes | None:
        """Read the oldest file, which gets no longer from now on; None: nothing waits."""
        number = next(iter(self._files), None)
        if number is None:
            return None
        if number == self._open:
            self._end_file()
        return self._path(number).read_bytes()

    def drop(self) -> None:
        """Remove the oldest file: it is in the database."""
        number = next(iter(self._files))
        self._path(number).unlink(missing_ok=True)
        del self._files[number]

    def refuse(self, line: bytes) -> None:
        """Keep what no database takes, for people to look at."""
        with open(self._folder / "refused", "ab") as refused:
            refused.write(line + b"\n")

    def close(self) -> None:
        """Let go of the folder."""
        self._end_file()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _begin_file(self) -> None:
        self._end_file()
        number = self._next()
        self._file = os.open(self._path(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._open = number
        self._files[number] = 0
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _end_file(self) -> None:
        if self._open is not None:
            os.close(self._file)
            self._open, self._file = None, -1

    def _next(self) -> int:
        return max(self._files, default=0) + 1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012}{SUFFIX}"


def whole_lines(octets: bytes) -> list[bytes]:
    """Split into lines; what a crash cut off in the middle of one is left out."""
    return octets.split(b"\n")[:-1]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


def _locked(folder: Path) -> int:
    """Take a folder for this process; -1: somebody has it."""
    folder.mkdir(exist_ok=True, mode=0o700)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return -1
    return lock


def _write_all(file: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(file, view) :]
