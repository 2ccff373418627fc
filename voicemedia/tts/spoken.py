"""Sentences as they sounded, and a folder of them, a file each. The folder blocks: only for a thread of its own."""

from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

SUFFIX: Final = ".spoken"


class Spoken(msgspec.Struct, frozen=True, array_like=True):
    """One sentence as it sounded."""

    pcm: bytes
    words: tuple[tuple[int, int], ...]
    "Character and ms of each word, if the voice told."

    @property
    def size(self) -> int:
        """Roughly what it takes, in bytes."""
        return len(self.pcm) + 32 * len(self.words)


class SpokenFolder:
    """The files; the least recently said are given up first.

    :param most_bytes: they may have together.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self._most_bytes = path, most_bytes
        self._files: OrderedDict[str, int] = OrderedDict()
        "Size by key."
        self._used = 0

    def has(self, key: str) -> bool:
        """Whether there is a file; may be asked on any thread."""
        return key in self._files

    def open(self) -> None:
        """Look what is there, the oldest first.

        :raises OSError: the folder cannot be made.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = [(path.stat(), path) for path in self.path.glob(f"*{SUFFIX}")]
        self._files = OrderedDict(
            (path.stem, stat.st_size) for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime)
        )
        self._used = sum(self._files.values())

    def read(self, key: str) -> Spoken | None:
        """Read a sentence; a file that cannot be read is none."""
        if key not in self._files:
            return None
        self._files.move_to_end(key)
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.msgpack.decode(self._file(key).read_bytes(), type=Spoken)
        self._used -= self._files.pop(key)
        return None

    def write(self, key: str, spoken: Spoken) -> None:
        """Keep a sentence.

        :raises OSError: the disk is full, or the folder gone.
        """
        octets = msgspec.msgpack.encode(spoken)
        unfinished = self._file(key).with_suffix(".new")
        unfinished.write_bytes(octets)
        unfinished.replace(self._file(key))
        self._used += len(octets) - self._files.pop(key, 0)
        self._files[key] = len(octets)
        while self._used > self._most_bytes and self._files:
            oldest, size = self._files.popitem(last=False)
            self._used -= size
            self._file(oldest).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self.path / f"{key}{SUFFIX}"
