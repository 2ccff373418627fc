"""What a voice said before, kept in memory and in a folder."""

from pathlib import Path

from tests.fakes import FakeSynthesizer
from voicemedia.tts.cache import CachedVoice, Spoken, SpokenCache
from voicemedia.tts.elevenlabs import Options
from voicemedia.tts.http_voice import identity_of

TEXT = "Anything else for lunch?"


def say(voice: CachedVoice, text: str = TEXT, rate_hz: int = 8000) -> tuple[bytes, list[tuple[int, int]]]:
    sound, words = bytearray(), list[tuple[int, int]]()
    ended: list[object] = []
    voice.speak(text, rate_hz, sound.extend, lambda at, ms: words.append((at, ms))).addBoth(ended.append)
    assert ended == [None]
    return bytes(sound), words


def test_a_sentence_is_synthesized_once_for_each_voice_and_rate() -> None:
    inner, cache = FakeSynthesizer(), SpokenCache(1 << 20)
    voice, other = CachedVoice(inner, cache, "alice"), CachedVoice(inner, cache, "bob")
    first = say(voice)
    assert say(voice) == first
    assert len(inner.spoken) == 1
    say(other)
    say(voice, rate_hz=16000)
    assert len(inner.spoken) == 3


def test_a_sentence_that_was_cut_is_not_kept() -> None:
    inner = FakeSynthesizer(instant=False)
    voice = CachedVoice(inner, SpokenCache(1 << 20), "alice")
    sound = bytearray()
    speaking = voice.speak(TEXT, 8000, sound.extend, lambda _at, _ms: None)
    inner.deliver(words=1, finish=False)
    speaking.addErrback(lambda _failure: None)
    speaking.cancel()
    voice.speak(TEXT, 8000, sound.extend, lambda _at, _ms: None)
    assert len(inner.spoken) == 2


def test_the_least_recently_said_is_given_up_first() -> None:
    cache = SpokenCache(300)
    for name in "ab":
        cache.put(name, Spoken(bytes(120), ()))
    assert cache.get("a") is not None
    cache.put("c", Spoken(bytes(120), ()))
    assert [name for name in "abc" if cache.get(name)] == ["a", "c"]


def test_a_folder_outlives_a_restart_and_stays_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "spoken"
    cache = SpokenCache(1 << 20, folder, 10_000)
    cache.open()
    cache.put("a", Spoken(b"\1\2" * 1000, ((0, 0), (4, 250))))
    again = SpokenCache(0, folder, 10_000)
    again.open()
    assert again.get("a") == Spoken(b"\1\2" * 1000, ((0, 0), (4, 250)))
    for name in "bcdefgh":
        again.put(name, Spoken(bytes(2000), ()))
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000
    assert again.get("h") is not None
    assert again.get("a") is None


def test_a_damaged_file_is_no_sentence(tmp_path: Path) -> None:
    cache = SpokenCache(0, tmp_path, 10_000)
    cache.put("a", Spoken(bytes(2000), ()))
    (tmp_path / "a.spoken").write_bytes(b"\x93 half a fi")
    assert cache.get("a") is None
    (tmp_path / "b.spoken").write_bytes(b"")
    cache.open()
    assert cache.get("b") is None


def test_a_folder_that_cannot_be_written_does_not_stop_the_talk(tmp_path: Path) -> None:
    cache = SpokenCache(1 << 20, tmp_path / "gone", 10_000)
    cache.put("a", Spoken(bytes(2000), ()))
    assert cache.get("a") is not None


def test_a_new_key_or_memory_does_not_change_the_voice() -> None:
    same = identity_of("elevenlabs", Options(key_env="OTHER", cache_mb=1, timeout_s=9))
    assert same == identity_of("elevenlabs", Options())
    assert identity_of("elevenlabs", Options(stability=0.1)) != same
