"""What a voice said before, kept in memory and in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.fakes import FakeSynthesizer
from tests.in_reactor import in_reactor
from voicemedia.tts.cache import MOST_WRITING, READ_S, CachedVoice, SpokenCache
from voicemedia.tts.elevenlabs import Options
from voicemedia.tts.http_voice import identity_of
from voicemedia.tts.spoken import Spoken, SpokenFolder

TEXT = "Anything else for lunch?"


def say(voice: CachedVoice, text: str = TEXT, rate_hz: int = 8000) -> tuple[bytes, list[tuple[int, int]]]:
    sound, words = bytearray(), list[tuple[int, int]]()
    ended: list[object] = []
    voice.speak(text, rate_hz, sound.extend, lambda at, ms: words.append((at, ms))).addBoth(ended.append)
    assert ended == [None]
    return bytes(sound), words


def test_a_sentence_is_synthesized_once_for_each_voice_and_rate() -> None:
    inner, cache = FakeSynthesizer(), SpokenCache(1 << 20, Clock())
    voice, other = CachedVoice(inner, cache, "alice"), CachedVoice(inner, cache, "bob")
    first = say(voice)
    assert say(voice) == first
    assert len(inner.spoken) == 1
    say(other)
    say(voice, rate_hz=16000)
    assert len(inner.spoken) == 3


def test_a_sentence_that_was_cut_is_not_kept() -> None:
    inner = FakeSynthesizer(instant=False)
    voice = CachedVoice(inner, SpokenCache(1 << 20, Clock()), "alice")
    sound = bytearray()
    speaking = voice.speak(TEXT, 8000, sound.extend, lambda _at, _ms: None)
    inner.deliver(words=1, finish=False)
    speaking.addErrback(lambda _failure: None)
    speaking.cancel()
    voice.speak(TEXT, 8000, sound.extend, lambda _at, _ms: None)
    assert len(inner.spoken) == 2


def test_the_least_recently_said_is_given_up_first() -> None:
    cache = SpokenCache(300, Clock())
    for name in "ab":
        cache.put(name, Spoken(bytes(120), ()))
    assert cache.get("a") is not None
    cache.put("c", Spoken(bytes(120), ()))
    assert [name for name in "abc" if cache.get(name)] == ["a", "c"]


def test_a_folder_outlives_a_restart_and_stays_bounded(tmp_path: Path) -> None:
    folder = SpokenFolder(tmp_path / "spoken", 10_000)
    folder.open()
    folder.write("a", Spoken(b"\1\2" * 1000, ((0, 0), (4, 250))))
    again = SpokenFolder(tmp_path / "spoken", 10_000)
    again.open()
    assert again.read("a") == Spoken(b"\1\2" * 1000, ((0, 0), (4, 250)))
    for name in "bcdefgh":
        again.write(name, Spoken(bytes(2000), ()))
        again.write(name, Spoken(bytes(2000), ()))
    assert 8000 < sum(path.stat().st_size for path in again.path.iterdir()) <= 10_000
    assert again.read("h") is not None
    assert (again.has("a"), again.read("a")) == (False, None)


def test_a_damaged_file_is_no_sentence(tmp_path: Path) -> None:
    folder = SpokenFolder(tmp_path, 10_000)
    folder.open()
    folder.write("a", Spoken(bytes(2000), ()))
    (tmp_path / "a.spoken").write_bytes(b"\x93 half a fi")
    assert folder.read("a") is None
    (tmp_path / "b.spoken").write_bytes(b"")
    folder.open()
    assert folder.read("b") is None
    assert not folder.has("b")


class Disk:
    """A thread that works when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def __call__(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, lambda: work(*args, **kwargs)))
        return done

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for done, work in waiting:
            try:
                result = work()
            except OSError:
                done.errback()
            else:
                done.callback(result) if not done.called else None


class Bench:
    """A voice with a folder and no memory, on a clock of the test's own."""

    def __init__(self, path: Path, memory_bytes: int = 0) -> None:
        self.inner, self.disk, self.clock = FakeSynthesizer(), Disk(), Clock()
        self.cache = SpokenCache(memory_bytes, self.clock, SpokenFolder(path, 1 << 20), self.disk)
        self.voice = CachedVoice(self.inner, self.cache, "alice")
        self.started = self.voice.start()
        self.disk.work()
        self.sound, self.ended = bytearray(), list[object]()

    def say(self) -> Deferred[None]:
        speaking = self.voice.speak(TEXT, 8000, self.sound.extend, lambda _at, _ms: None)
        speaking.addBoth(self.ended.append)
        return speaking


def test_nothing_of_the_folder_happens_on_the_thread_of_the_calls(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.say()
    assert (len(bench.ended), list(tmp_path.iterdir())) == (1, []), "the answer does not wait for the file"
    bench.disk.work()
    first = bytes(bench.sound)
    bench.sound.clear()
    bench.say()
    assert (len(bench.ended), bytes(bench.sound)) == (1, b"")
    bench.disk.work()
    assert (bench.ended, bytes(bench.sound), len(bench.inner.spoken)) == ([None, None], first, 1)
    assert bench.clock.getDelayedCalls() == []


def test_a_disk_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.say()
    bench.disk.work()
    bench.say()
    bench.clock.advance(READ_S)
    assert (bench.ended, len(bench.inner.spoken)) == ([None, None], 2)
    for _ in range(2 * MOST_WRITING):
        bench.cache.put("x", Spoken(b"", ()))
    assert len(bench.disk.waiting) == MOST_WRITING + 1, "with the read that nobody waits for"


def test_a_caller_who_interrupts_the_reading_of_a_file_hears_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.say()
    bench.disk.work()
    bench.sound.clear()
    speaking = bench.say()
    speaking.cancel()
    bench.disk.work()
    assert (bytes(bench.sound), len(bench.inner.spoken)) == (b"", 1)
    assert isinstance(getattr(bench.ended[-1], "value", None), CancelledError)


def test_a_folder_that_cannot_be_written_does_not_stop_the_talk(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "spoken", 1 << 20)
    (tmp_path / "spoken").rmdir()
    bench.say()
    bench.disk.work()
    bench.say()
    assert (bench.ended, len(bench.inner.spoken)) == ([None, None], 1)


@in_reactor
async def test_a_real_thread_keeps_and_finds_a_sentence(tmp_path: Path) -> None:
    from twisted.internet import reactor

    said: list[bytes] = []
    for _ in range(2):
        inner = FakeSynthesizer()
        cache = SpokenCache(0, reactor, SpokenFolder(tmp_path / "spoken", 1 << 20))
        voice = CachedVoice(inner, cache, "alice")
        await voice.start()
        sound = bytearray()
        await voice.speak(TEXT, 8000, sound.extend, lambda _at, _ms: None)
        await voice.stop()
        said.append(bytes(sound))
    assert said[0] == said[1] != b""
    assert inner.spoken == []


def test_a_new_key_or_memory_does_not_change_the_voice() -> None:
    same = identity_of("elevenlabs", Options(key_env="OTHER", cache_mb=1, timeout_s=9))
    assert same == identity_of("elevenlabs", Options())
    assert identity_of("elevenlabs", Options(stability=0.1)) != same
