"""Several voices as one, on a clock of the test's own."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.fakes import FakeSynthesizer
from voicemedia.config import Config, Route
from voicemedia.errors import ProviderError
from voicemedia.providers import wanted
from voicemedia.tts.failover import FailoverVoice, Mouth
from voicemedia.tts.unsaid import Saying
from voicemedia.voices import Voices

TEXT = "For breakfast you had two eggs."


class Call:
    """Two voices and what comes of one sentence."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.first, self.second = FakeSynthesizer(instant=False), FakeSynthesizer(instant=False)
        mouths = [Mouth(self.first, "first"), Mouth(self.second, "second")]
        self.voice = FailoverVoice(mouths, self.clock)
        self.sound = bytearray()
        self.words: list[tuple[int, int]] = []
        self.ended: list[Any] = []

    def speak(self, text: str = TEXT) -> Deferred[None]:
        speaking = self.voice.speak(text, 8000, self.sound.extend, lambda at, ms: self.words.append((at, ms)))
        speaking.addBoth(self.ended.append)
        return speaking

    @property
    def sound_ms(self) -> int:
        return len(self.sound) // 16


def test_the_preferred_voice_speaks_alone() -> None:
    call = Call()
    call.speak()
    call.first.deliver()
    assert (call.first.spoken, call.second.spoken, call.ended) == ([TEXT], [], [None])
    assert call.clock.getDelayedCalls() == []


def test_sentences_taken_over_are_counted_by_the_voice_that_failed() -> None:
    call = Call()
    for broke in (ProviderError("busy", code="busy"), ProviderError("busy", code="busy"), None):
        call.speak()
        call.first.fail(broke) if broke else call.first.deliver()
        call.second.deliver() if broke else None
    first, second = (mouth.read() for mouth in call.voice.mouths)
    assert first == {"failures": {"busy": 2}, "failovers": 2, "breaker": "closed"}
    assert second == {"failures": {}, "failovers": 0, "breaker": "closed"}


def test_a_sentence_whose_end_alone_was_missing_is_no_failover() -> None:
    call = Call()
    call.speak("Ok")
    call.first.deliver(words=1, finish=False)
    call.first.fail()
    assert (call.second.spoken, call.voice.mouths[0].failovers) == ([], 0)


def test_a_voice_that_fails_at_once_is_replaced() -> None:
    call = Call()
    call.speak()
    call.first.fail()
    call.second.deliver()
    assert (call.second.spoken, call.ended) == ([TEXT], [None])


def test_a_voice_that_breaks_off_is_replaced_where_it_broke_off() -> None:
    call = Call()
    call.speak()
    # A second of sound, 15 characters: "For breakfast y".
    call.first.deliver(words=5, finish=False)
    call.first.fail()
    assert call.second.spoken == ["you had two eggs."]
    call.second.deliver()
    assert (call.sound_ms, call.ended) == (1000 + 4 * 200, [None])


def test_what_the_dead_voice_still_delivers_goes_nowhere() -> None:
    call = Call()
    call.speak()
    _, put, _ = call.first.waiting[0]
    call.first.fail()
    put(bytes(160))
    assert call.sound_ms == 0


def test_a_silent_voice_has_failed() -> None:
    call = Call()
    call.speak()
    call.first.deliver(words=1, finish=False)
    call.clock.advance(7.9)
    assert call.second.spoken == []
    call.clock.advance(0.2)
    assert call.first.cancelled == [TEXT]
    assert call.second.spoken == [TEXT]


def test_a_voice_that_failed_once_is_still_preferred() -> None:
    call = Call()
    call.first.trouble = "it failed a moment ago"
    call.speak()
    assert (call.first.spoken, call.second.spoken) == ([TEXT], [])


def test_when_all_fail_the_last_one_says_why() -> None:
    call = Call()
    call.speak()
    call.first.fail()
    call.second.fail(ProviderError("no breath"))
    assert isinstance(call.ended[0].value, ProviderError)
    assert str(call.ended[0].value) == "no breath"


def test_a_bug_in_a_voice_is_its_failure(caught: Callable[[type[Exception]], int]) -> None:
    call = Call()
    call.speak()
    call.first.fail(ZeroDivisionError())
    call.second.deliver()
    assert call.ended == [None]
    assert caught(ZeroDivisionError) == 1


def test_an_interruption_stops_the_voice_that_speaks_and_asks_no_other() -> None:
    call = Call()
    speaking = call.speak()
    speaking.cancel()
    assert (call.first.cancelled, call.second.spoken) == ([TEXT], [])
    assert call.ended[0].check(CancelledError)
    assert call.voice.mouths[0].breaker.allows(0)


def test_a_voice_that_keeps_failing_is_left_alone_and_comes_back() -> None:
    call = Call()
    for _ in range(3):
        call.speak()
        call.first.fail()
        call.second.deliver()
    call.speak()
    assert (len(call.first.spoken), len(call.second.spoken)) == (3, 4)
    assert call.voice.mouths[0].trouble == "no voice"
    assert call.voice.trouble == ""
    call.clock.advance(21)
    call.speak()
    assert len(call.first.spoken) == 4


UNSAID = [
    ("nothing sounded", 0, [], "one two three"),
    ("the first word was cut", 200, [], "one two three"),
    ("guessed from the length", 400, [], "two three"),
    ("told: in the second word", 500, [(0, 0), (4, 450)], "two three"),
    ("told: the second word was over", 800, [(0, 0), (4, 450)], "three"),
    ("told: the next word had not begun", 900, [(0, 0)], "two three"),
    ("all but the end", 880, [(0, 0), (4, 300), (8, 600)], "three"),
    ("all of it", 2000, [], ""),
]


@pytest.mark.parametrize(("said_ms", "words", "rest"), [row[1:] for row in UNSAID], ids=[row[0] for row in UNSAID])
def test_the_word_that_was_cut_is_said_again(said_ms: int, words: list[tuple[int, int]], rest: str) -> None:
    told: list[tuple[int, int]] = []
    saying = Saying("one two three", 8000, lambda _pcm: None, lambda at, ms: told.append((at, ms)))
    put, word = saying.turn()
    for each in words:
        word(*each)
    put(bytes(16 * said_ms))
    assert saying.go_on() is bool(rest)
    assert saying.rest == rest
    if rest:
        put, word = saying.turn()
        word(0, 10)
        assert told[-1] == (13 - len(rest), said_ms + 10)


def test_a_route_may_name_several_voices() -> None:
    route = Route("/a", agent="echo", stt="none", tts=("elevenlabs", "espeak"))
    assert [each.key for each in wanted(Config(routes=(route,)))] == ["tts.elevenlabs", "tts.espeak", "agents.echo"]


def test_a_voice_whose_key_is_missing_is_left_out() -> None:
    first, second = FakeSynthesizer(), FakeSynthesizer()
    voices = Voices({("tts", "a"): first, ("tts", "b"): second}, Clock())
    joined = voices.of_route(["a", "b"], {})
    assert isinstance(joined, FailoverVoice)
    assert [mouth.name for mouth in joined.mouths] == ["a", "b"]
    assert list(voices.read()) == ["a", "b"]
    assert voices.of_route(["a", "b"], {"tts.a": "no key"}) is second
    assert voices.of_route(["none"], {}) is None
