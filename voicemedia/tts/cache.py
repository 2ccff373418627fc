"""What a voice has said before, kept: by text and voice, in memory, and in a folder if one is given.

A diary asks the same questions all day: most of its sentences need no request and sound at once.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from voicemedia.between import ALONE, speak_between
from voicemedia.interfaces import Surroundings, Synthesizer

LONGEST_TEXT: Final = 300
"Characters; longer sentences are seldom said twice."
MIB: Final = 1 << 20


class Spoken(msgspec.Struct, frozen=True, array_like=True):
    """One sentence as it sounded."""

    pcm: bytes
    words: tuple[tuple[int, int], ...]
    "Character and ms of each word, if the voice told."

    @property
    def size(self) -> int:
        """Roughly what it takes, in bytes."""
        return len(self.pcm) + 32 * len(self.words)


class SpokenCache:
    """Sentences by key, the least recently used of them given up first.

    :param folder: where they are kept across restarts, a file each; None: nowhere.
    """

    log = Logger()

    def __init__(self, size_bytes: int, folder: Path | None = None, folder_bytes: int = 0) -> None:
        self._size_bytes, self._folder, self._folder_bytes = size_bytes, folder, folder_bytes
        self._kept: OrderedDict[str, Spoken] = OrderedDict()
        self._used = 0
        self._files: OrderedDict[str, int] = OrderedDict()
        self.hits = self.misses = 0

    def open(self) -> None:
        """Look what the folder has, the oldest first."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = [(path.stat(), path) for path in self._folder.glob("*.spoken")]
        self._files = OrderedDict(
            (path.stem, stat.st_size) for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime)
        )

    def get(self, key: str) -> Spoken | None:
        """Find a sentence; a file that cannot be read is none."""
        spoken = self._kept.get(key) or self._read(key)
        if spoken is None:
            self.misses += 1
            return None
        self.hits += 1
        self._keep(key, spoken)
        return spoken

    def put(self, key: str, spoken: Spoken) -> None:
        """Keep a sentence."""
        self._keep(key, spoken)
        if self._folder is not None:
            self._write(self._folder, key, spoken)

    def _keep(self, key: str, spoken: Spoken) -> None:
        before = self._kept.pop(key, None)
        self._used -= before.size if before else 0
        self._kept[key] = spoken
        self._used += spoken.size
        while self._used > self._size_bytes and self._kept:
            self._used -= self._kept.popitem(last=False)[1].size

    def _read(self, key: str) -> Spoken | None:
        if self._folder is None or key not in self._files:
            return None
        self._files.move_to_end(key)
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.msgpack.decode(self._path(self._folder, key).read_bytes(), type=Spoken)
        del self._files[key]
        return None

    def _write(self, folder: Path, key: str, spoken: Spoken) -> None:
        octets = msgspec.msgpack.encode(spoken)
        path = self._path(folder, key)
        unfinished = path.with_suffix(".new")
        try:
            unfinished.write_bytes(octets)
            unfinished.replace(path)
        except OSError as error:
            self.log.warn("{folder}: cannot keep a sentence: {reason}", folder=str(folder), reason=str(error))
            return
        self._files[key] = len(octets)
        while sum(self._files.values()) > self._folder_bytes and self._files:
            self._path(folder, self._files.popitem(last=False)[0]).unlink(missing_ok=True)

    def _path(self, folder: Path, key: str) -> Path:
        return folder / f"{key}.spoken"


class CacheOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of what a voice said is kept."""

    cache_mb: int = 16
    "Memory for sentences said before, in MiB; 0: none is kept."
    cache_folder: str = ""
    "Folder where they outlive a restart; empty: nowhere. It holds what was said to callers."
    cache_folder_mb: int = 200
    "Most the folder may hold, in MiB."

    def cache(self) -> SpokenCache | None:
        """Make the cache; None: nothing is kept."""
        if not self.cache_mb and not self.cache_folder:
            return None
        folder = Path(self.cache_folder).absolute() if self.cache_folder else None
        return SpokenCache(self.cache_mb * MIB, folder, self.cache_folder_mb * MIB)


@dataclass(slots=True)
class _Recorded:
    """A sentence being said and kept."""

    put: Callable[[bytes], None]
    word: Callable[[int, int], None]
    pcm: bytearray
    words: list[tuple[int, int]]

    def sound(self, pcm: bytes) -> None:
        self.pcm += pcm
        self.put(pcm)

    def begins(self, at: int, ms: int) -> None:
        self.words.append((at, ms))
        self.word(at, ms)


class CachedVoice:
    """A voice that does not ask for the same sentence twice.

    :param identity: what its sound depends on besides text and rate: provider, voice, model, settings.
    """

    def __init__(self, voice: Synthesizer, cache: SpokenCache, identity: object) -> None:
        self._voice, self._cache = voice, cache
        self._identity = msgspec.json.encode(identity, order="deterministic")
        self.name = voice.name

    @property
    def trouble(self) -> str:
        """Why it cannot speak now."""
        return self._voice.trouble

    def start(self) -> Deferred[None]:
        """Start the voice."""
        self._cache.open()
        return self._voice.start()

    def stop(self) -> Deferred[None]:
        """Stop it."""
        return self._voice.stop()

    def speak_between(
        self,
        text: str,
        rate_hz: int,
        put: Callable[[bytes], None],
        word: Callable[[int, int], None],
        around: Surroundings = ALONE,
    ) -> Deferred[None]:
        """Speak one sentence between others, whatever stood around it when it was said before."""
        if len(text) > LONGEST_TEXT:
            return speak_between(self._voice, (text, rate_hz, put, word), around)
        key = hashlib.sha256(b"%s|%d|%s" % (self._identity, rate_hz, text.encode())).hexdigest()
        spoken = self._cache.get(key)
        if spoken is not None:
            for at, ms in spoken.words:
                word(at, ms)
            put(spoken.pcm)
            return succeed(None)
        recorded = _Recorded(put, word, bytearray(), [])

        def keep(done: None) -> None:
            if recorded.pcm:
                self._cache.put(key, Spoken(bytes(recorded.pcm), tuple(recorded.words)))

        order = (text, rate_hz, recorded.sound, recorded.begins)
        return speak_between(self._voice, order, around).addCallback(keep)

    speak = speak_between
