"""What a voice has said before, kept: by text and voice, in memory, and in a folder if one is given.

A diary asks the same questions all day: most of its sentences need no request and sound at once. Files are read and
written on a thread of their own: the sentence that waits for one keeps nobody else waiting.
"""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.aside import Aside, OneThread
from voicemedia.between import ALONE, Order, speak_between
from voicemedia.interfaces import Surroundings, Synthesizer
from voicemedia.tts.spoken import Spoken, SpokenFolder

LONGEST_TEXT: Final = 300
"Characters; longer sentences are seldom said twice."
READ_S: Final = 0.2
"A disk that takes longer than this is slower than the voice."
MOST_WRITING: Final = 64
"Sentences on their way to a disk that takes its time; more are kept in memory only."
MIB: Final = 1 << 20


class SpokenCache:
    """Sentences by key, the least recently used of them given up first.

    :param folder: where they are kept across restarts; None: nowhere.
    :param aside: runs what the folder does; None: a thread of our own.
    """

    log = Logger()

    def __init__(
        self, size_bytes: int, reactor: Any, folder: SpokenFolder | None = None, aside: Aside | None = None
    ) -> None:
        self._size_bytes, self._reactor, self._folder = size_bytes, reactor, folder
        self._thread = OneThread(reactor, "voice cache") if folder is not None and aside is None else None
        self._aside: Aside | None = aside or self._thread
        self._kept: OrderedDict[str, Spoken] = OrderedDict()
        self._used = self._writing = 0
        self.hits = self.misses = 0

    def start(self) -> Deferred[None]:
        """Look what the folder has.

        :raises OSError: it cannot be made.
        """
        if self._thread is not None:
            self._thread.start()
        return succeed(None) if self._folder is None or self._aside is None else self._aside(self._folder.open)

    def stop(self) -> None:
        """End the folder's thread, if there is one."""
        if self._thread is not None:
            self._thread.stop()

    def get(self, key: str) -> Spoken | None:
        """Find a sentence in memory."""
        spoken = self._kept.get(key)
        if spoken is not None:
            self.hits += 1
            self._keep(key, spoken)
        return spoken

    def fetch(self, key: str) -> Deferred[Spoken | None] | None:
        """Read a sentence that is not in memory; None, at once or later: it is not there, or the disk is slow."""
        if self._folder is None or self._aside is None or not self._folder.has(key):
            self.misses += 1
            return None
        reading = self._aside(self._folder.read, key)
        return reading.addTimeout(READ_S, self._reactor).addErrback(_too_late).addCallback(self._fetched, key)

    def _fetched(self, spoken: Spoken | None, key: str) -> Spoken | None:
        if spoken is None:
            self.misses += 1
        else:
            self.hits += 1
            self._keep(key, spoken)
        return spoken

    def put(self, key: str, spoken: Spoken) -> None:
        """Keep a sentence."""
        self._keep(key, spoken)
        if self._folder is not None and self._aside is not None and self._writing < MOST_WRITING:
            self._writing += 1
            self._aside(self._folder.write, key, spoken).addErrback(self._not_written).addBoth(self._written)

    def _written(self, _done: None) -> None:
        self._writing -= 1

    def _not_written(self, failure: Failure) -> None:
        failure.trap(OSError)
        folder = str(self._folder and self._folder.path)
        self.log.warn("{folder}: cannot keep a sentence: {reason}", folder=folder, reason=failure.getErrorMessage())

    def _keep(self, key: str, spoken: Spoken) -> None:
        before = self._kept.pop(key, None)
        self._used -= before.size if before else 0
        self._kept[key] = spoken
        self._used += spoken.size
        while self._used > self._size_bytes and self._kept:
            self._used -= self._kept.popitem(last=False)[1].size


def _too_late(failure: Failure) -> None:
    failure.trap(TimeoutError)


class CacheOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of what a voice said is kept."""

    cache_mb: int = 16
    "Memory for sentences said before, in MiB; 0: none is kept."
    cache_folder: str = ""
    "Folder where they outlive a restart; empty: nowhere. It holds what was said to callers."
    cache_folder_mb: int = 200
    "Most the folder may hold, in MiB."

    def cache(self, reactor: Any) -> SpokenCache | None:
        """Make the cache; None: nothing is kept."""
        if not self.cache_mb and not self.cache_folder:
            return None
        path = Path(self.cache_folder).absolute() if self.cache_folder else None
        folder = SpokenFolder(path, self.cache_folder_mb * MIB) if path else None
        return SpokenCache(self.cache_mb * MIB, reactor, folder)


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
        return self._cache.start().addCallback(lambda _: self._voice.start())

    def stop(self) -> Deferred[None]:
        """Stop it."""
        self._cache.stop()
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
        order: Order = (text, rate_hz, put, word)
        if len(text) > LONGEST_TEXT:
            return speak_between(self._voice, order, around)
        key = hashlib.sha256(b"%s|%d|%s" % (self._identity, rate_hz, text.encode())).hexdigest()
        spoken = self._cache.get(key)
        reading = None if spoken is not None else self._cache.fetch(key)
        if reading is None:
            return self._say(spoken, key, order, around)
        return reading.addCallback(self._say, key, order, around)

    def _say(self, spoken: Spoken | None, key: str, order: Order, around: Surroundings) -> Deferred[None]:
        """Say it as it was said, or ask for it and keep it."""
        text, rate_hz, put, word = order
        if spoken is not None:
            for at, ms in spoken.words:
                word(at, ms)
            put(spoken.pcm)
            return succeed(None)
        recorded = _Recorded(put, word, bytearray(), [])

        def keep(_done: None) -> None:
            if recorded.pcm:
                self._cache.put(key, Spoken(bytes(recorded.pcm), tuple(recorded.words)))

        asked = speak_between(self._voice, (text, rate_hz, recorded.sound, recorded.begins), around)
        return asked.addCallback(keep)

    speak = speak_between
