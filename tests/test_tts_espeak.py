"""The offline voice with its real child process."""

import audioop
import os
import signal
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from tests.in_reactor import in_reactor
from voicemedia.errors import ProviderError
from voicemedia.tts.espeak import Espeak, Options, missing

pytestmark = pytest.mark.skipif(bool(missing(Options())), reason=missing(Options()) or "installed")


def unheard(at: int, ms: int) -> None:
    """Take no note of a word."""


async def spoken(voice: Espeak, text: str, rate_hz: int = 8000) -> bytes:
    pieces: list[bytes] = []
    await voice.speak(text, rate_hz, pieces.append, unheard)
    return b"".join(pieces)


@pytest.fixture
def voice() -> Iterator[Espeak]:
    voice = Espeak(Options(), reactor)
    pytest_twisted.blockon(voice.start())
    yield voice
    pytest_twisted.blockon(voice.stop())


@in_reactor
async def test_a_sentence_sounds_at_the_rate_that_was_asked_for(voice: Espeak) -> None:
    low, high = await spoken(voice, "Good morning to you."), await spoken(voice, "Good morning to you.", 16000)
    assert 0.8 < len(low) / 16000 < 2.5
    assert abs(len(high) / len(low) - 2) < 0.1
    assert audioop.rms(low, 2) > 500


@in_reactor
async def test_sound_begins_to_come_long_before_the_sentence_is_complete(voice: Espeak) -> None:
    pieces: list[int] = []
    await voice.speak(
        "This is a rather long sentence, spoken in many pieces.", 8000, lambda pcm: pieces.append(len(pcm)), unheard
    )
    assert len(pieces) > 10
    assert max(pieces) < 16000 // 5


@in_reactor
async def test_a_cancelled_sentence_stops_and_the_next_one_is_spoken(voice: Espeak) -> None:
    heard: list[bytes] = []
    first: Deferred[None] = voice.speak("I would go on for very long. " * 50, 8000, heard.append, unheard)
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    assert len(await spoken(voice, "Next.")) > 1000
    before = len(heard)
    await spoken(voice, "And next.")
    assert len(heard) == before


@in_reactor
async def test_a_killed_child_costs_no_word(voice: Espeak) -> None:
    whole = await spoken(voice, "One two three four five six seven eight nine ten.")
    killed: list[int] = []
    pieces: list[bytes] = []

    def put(pcm: bytes) -> None:
        pieces.append(pcm)
        if not killed:
            killed.extend(voice._children.pids)
            os.kill(killed[0], signal.SIGKILL)

    await voice.speak("One two three four five six seven eight nine ten.", 8000, put, unheard)
    assert killed
    assert abs(len(b"".join(pieces)) - len(whole)) < 1600


@in_reactor
async def test_a_voice_that_does_not_exist_says_so() -> None:
    voice = Espeak(Options(voice="nobody"), reactor)
    await voice.start()
    with pytest.raises(ProviderError, match="no voice nobody"):
        await spoken(voice, "Hello.")
    await voice.stop()


@in_reactor
async def test_many_callers_are_served_at_once(voice: Espeak) -> None:
    sentences: list[list[bytes]] = [[] for _ in range(20)]
    for done in [voice.speak(f"Caller number {n}.", 8000, heard.append, unheard) for n, heard in enumerate(sentences)]:
        await done
    assert all(len(b"".join(heard)) > 8000 for heard in sentences)


@in_reactor
async def test_the_voice_tells_when_each_word_begins(voice: Espeak) -> None:
    words: list[tuple[int, int]] = []
    pieces: list[bytes] = []
    text = "Two eggs, and a slice of toast."
    await voice.speak(text, 8000, pieces.append, lambda at, ms: words.append((at, ms)))
    assert [text[at] for at, _ in words] == [word[0] for word in text.split()]
    times = [ms for _, ms in words]
    assert times == sorted(times)
    assert times[-1] < len(b"".join(pieces)) / 16
